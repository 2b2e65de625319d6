"""Django: async and sync views under ASGI and WSGI, streams of both kinds."""

# mypy: disable-error-code="str-bytes-safe"
from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

from virke import errors
from virke.runtime import virke

fire, middleware, Bindings = virke(db=os.environ["APP_DB"])

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware", f"{__name__}.middleware"],
)
django.setup()


async def write(request: Any) -> Any:
    name = json.loads(request.body)["name"]
    wrote = await request.db.execute("INSERT INTO item (name) VALUES (?)", [name])
    return JsonResponse({"wrote": wrote, "bookmark": Bindings.db.bookmark, "same": Bindings.db is request.db})


def write_in_a_thread(request: Any) -> Any:
    wrote = Bindings.db.execute("INSERT INTO item (name) VALUES ('threaded')")
    return JsonResponse({"wrote": wrote, "bookmark": request.db.bookmark})


async def read(request: Any) -> Any:
    return JsonResponse((await request.db.query("SELECT name FROM item ORDER BY id")).rows, safe=False)


def read_in_a_thread(request: Any) -> Any:
    return JsonResponse(request.db.query("SELECT name FROM item ORDER BY id").rows, safe=False)


async def stream(request: Any) -> Any:
    async def lines() -> AsyncIterator[str]:
        async for (name,) in Bindings.db.query_rows("SELECT name FROM item ORDER BY id"):
            yield f"{name}\n"
        yield f"{(await Bindings.db.query('SELECT count(*) FROM item')).rows[0][0]} in all\n"

    return StreamingHttpResponse(lines())


def stream_in_threads(request: Any) -> Any:
    def lines() -> Iterator[str]:
        for (name,) in Bindings.db.query_rows("SELECT name FROM item ORDER BY id"):
            yield f"{name}\n"
        yield f"{Bindings.db.query('SELECT count(*) FROM item').rows[0][0]} in all\n"

    return StreamingHttpResponse(lines())


def fail(request: Any) -> Any:
    if request.GET["kind"] == "TooLarge":
        return HttpResponse("the app's own: said on purpose", status=418)
    raise getattr(errors, request.GET["kind"])("said on purpose")


async def broken(request: Any) -> Any:
    return JsonResponse((await request.db.query("SELECT * FROM no_such_table")).rows, safe=False)


async def refused(request: Any) -> Any:
    return JsonResponse(await request.db.execute("INSERT INTO item (name) VALUES (NULL)"), safe=False)


urlpatterns = [
    path(view.__name__.replace("_", "-"), view)
    for view in (
        write,
        write_in_a_thread,
        read,
        read_in_a_thread,
        stream,
        stream_in_threads,
        fail,
        broken,
        refused,
    )
]
app = get_asgi_application()
wsgi = get_wsgi_application()
fire(app)

"""Users over HTTP, with Django in one file. Run it with `python app.py`, `uvicorn app:app` or `gunicorn app:wsgi`."""

import json
import os
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from virke.runtime import virke

fire, middleware, Bindings = virke(db="my-app-db")

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "only for trying it out"),
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=[f"{__name__}.middleware"],
)
django.setup()


async def users(request: Any) -> JsonResponse:
    if request.method == "POST":
        user = json.loads(request.body)
        created = await request.db.execute(
            "INSERT INTO users (name, email) VALUES (?, ?)", [user["name"], user["email"]]
        )
        return JsonResponse({"created": created})
    result = await request.db.query("SELECT * FROM users")
    return JsonResponse(result.rows, safe=False)


def one_user(request: HttpRequest, user_id: int) -> JsonResponse:  # not async: nothing is awaited
    result = Bindings.db.query("SELECT * FROM users WHERE id = ?", [user_id])
    return JsonResponse(result.rows, safe=False)


urlpatterns = [path("users", users), path("users/<int:user_id>", one_user)]
app = get_asgi_application()
wsgi = get_wsgi_application()

fire(app)

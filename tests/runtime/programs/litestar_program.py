"""Litestar: a dependency, `request.state.db`, handlers on the event loop and in threads."""

# mypy: disable-error-code="str-bytes-safe"
from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.di import Provide
from litestar.response import Stream

from virke import errors
from virke.runtime import AsyncVirkeDB, SyncVirkeDB, VirkeDB, virke

fire, middleware, Bindings = virke(db=os.environ["APP_DB"])


@post("/write", status_code=200)
async def write(data: dict[str, str], db: VirkeDB) -> dict[str, Any]:
    wrote = await db.execute("INSERT INTO item (name) VALUES (?)", [data["name"]])
    return {"wrote": wrote, "bookmark": Bindings.db.bookmark}


@post("/write-in-a-thread", status_code=200, sync_to_thread=True)
def write_in_a_thread(request: Request[Any, Any, Any]) -> dict[str, Any]:
    db: SyncVirkeDB = request.state.db
    return {"wrote": db.execute("INSERT INTO item (name) VALUES ('threaded')"), "bookmark": Bindings.db.bookmark}


@get("/read")
async def read(request: Request[Any, Any, Any]) -> list[Any]:
    db: AsyncVirkeDB = request.state.db
    return list((await db.query("SELECT name FROM item ORDER BY id")).rows)


@get("/read-in-a-thread", sync_to_thread=True)
def read_in_a_thread(db: VirkeDB) -> list[Any]:
    return list(db.query("SELECT name FROM item ORDER BY id").rows)


@get("/stream", media_type=MediaType.TEXT)
async def stream() -> Stream:
    async def lines() -> AsyncIterator[str]:
        async for (name,) in Bindings.db.query_rows("SELECT name FROM item ORDER BY id"):
            yield f"{name}\n"
        yield f"{(await Bindings.db.query('SELECT count(*) FROM item')).rows[0][0]} in all\n"

    return Stream(lines())


@get("/fail")
async def fail(kind: str) -> None:
    async with Bindings.db.transaction():
        raise getattr(errors, kind)("said on purpose")


@get("/broken")
async def broken(db: VirkeDB) -> list[Any]:
    return list((await db.query("SELECT * FROM no_such_table")).rows)


@get("/refused", sync_to_thread=True)
def refused(db: VirkeDB) -> int:
    return db.execute("INSERT INTO item (name) VALUES (NULL)")


def shown(request: Request[Any, Any, Any], error: errors.TooLarge) -> Response[str]:
    return Response(f"the app's own: {error}", status_code=418, media_type=MediaType.TEXT)


app = Litestar(
    route_handlers=[write, write_in_a_thread, read, read_in_a_thread, stream, fail, broken, refused],
    middleware=[middleware],
    dependencies={"db": Provide(lambda: Bindings.db, sync_to_thread=False)},
    exception_handlers={errors.TooLarge: shown},
)
fire(app)

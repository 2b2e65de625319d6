"""Starlette: async and threaded endpoints, streams, a WebSocket, background tasks, another middleware around the routes."""

# mypy: disable-error-code="str-bytes-safe"
from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from virke import errors
from virke.aio import AsyncTransaction
from virke.runtime import virke

fire, middleware, Bindings = virke(db=os.environ["APP_DB"])


async def write(request: Request) -> JSONResponse:
    name = (await request.json())["name"]
    wrote = await request.state.db.execute("INSERT INTO item (name) VALUES (?)", [name])
    await asyncio.sleep(0)
    return JSONResponse({"wrote": wrote, "bookmark": Bindings.db.bookmark, "same": Bindings.db is request.state.db})


async def read(request: Request) -> JSONResponse:
    return JSONResponse((await request.state.db.query("SELECT name FROM item ORDER BY id")).rows)


def read_in_a_thread(request: Request) -> JSONResponse:
    return JSONResponse(request.state.db.query("SELECT name FROM item ORDER BY id").rows)


def write_in_a_thread(request: Request) -> JSONResponse:
    wrote = Bindings.db.execute("INSERT INTO item (name) VALUES ('threaded')")
    return JSONResponse({"wrote": wrote, "bookmark": request.state.db.bookmark})


async def stream(request: Request) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        async for (name,) in Bindings.db.query_rows("SELECT name FROM item ORDER BY id"):
            yield f"{name}\n"
        yield f"{(await Bindings.db.query('SELECT count(*) FROM item')).rows[0][0]} in all\n"

    return StreamingResponse(lines())


async def stream_in_threads(request: Request) -> StreamingResponse:
    def lines() -> Iterator[str]:
        for (name,) in request.state.db.query_rows("SELECT name FROM item ORDER BY id"):
            yield f"{name}\n"
        yield f"{Bindings.db.query('SELECT count(*) FROM item').rows[0][0]} in all\n"

    return StreamingResponse(lines())


async def at_once(request: Request) -> JSONResponse:
    db = Bindings.db
    answers = await asyncio.gather(*(db.query("SELECT ?", [number]) for number in range(20)))
    return JSONResponse([answer.rows[0][0] for answer in answers])


async def everything(request: Request) -> JSONResponse:
    db = Bindings.db
    said: dict[str, Any] = {}
    async with db.transaction() as transaction:
        await transaction.execute("INSERT INTO item (name) VALUES ('in a transaction')")
    said["transaction"] = db.bookmark
    try:
        async with db.transaction() as transaction:
            await transaction.execute("INSERT INTO item (name) VALUES ('taken back')")
            raise KeyError("changed its mind")
    except KeyError:
        said["rolled back"] = db.bookmark

    async def again(transaction: AsyncTransaction) -> int:
        return await transaction.execute("INSERT INTO item (name) VALUES ('again')")

    said["run_transaction"] = await db.run_transaction(again)
    said["batch"] = [one.rows_affected for one in await db.batch(["INSERT INTO item (name) VALUES ('b')", "SELECT 1"])]
    said["executemany"] = await db.executemany("INSERT INTO item (name) VALUES (?)", [["m"], ["n"]])
    said["run_script"] = (await db.run_script("SELECT 1; SELECT count(*) FROM item")).rows
    said["run"] = (await db.run("INSERT INTO item (name) VALUES ('r') RETURNING name")).rows
    said["schema"] = [entry.name for entry in await db.schema("item")]
    try:
        with db.transaction():
            said["with"] = "blocks the loop"
    except errors.UsageError as error:
        said["with"] = error.message
    said["bookmark"] = db.bookmark
    return JSONResponse(said)


async def in_the_background(request: Request) -> JSONResponse:
    async def later() -> None:
        await Bindings.db.execute("INSERT INTO item (name) VALUES ('later')")

    return JSONResponse({"queued": True}, background=BackgroundTask(later))


async def fail(request: Request) -> JSONResponse:
    raise getattr(errors, request.query_params["kind"])("said on purpose")


async def broken(request: Request) -> JSONResponse:
    return JSONResponse((await Bindings.db.query("SELECT * FROM no_such_table")).rows)


async def refused(request: Request) -> JSONResponse:
    return JSONResponse(await Bindings.db.execute("INSERT INTO item (name) VALUES (NULL)"))


async def keys(request: Request) -> JSONResponse:
    return JSONResponse((await Bindings.db.query("PRAGMA foreign_keys = off")).rows)


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        wrote = await websocket.state.db.execute("INSERT INTO item (name) VALUES (?)", [text])
        count = (await Bindings.db.query("SELECT count(*) FROM item")).rows[0][0]
        await websocket.send_json({"wrote": wrote, "count": count})


async def shown(request: Request, error: Exception) -> PlainTextResponse:
    return PlainTextResponse(f"the app's own: {error}", 418)


class Around(BaseHTTPMiddleware):
    """What Starlette's own middleware classes are; it runs the routes in another task."""

    async def dispatch(self, request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-around"] = "yes"
        return response


ROUTES: dict[str, Any] = {
    "/read": read,
    "/read-in-a-thread": read_in_a_thread,
    "/stream": stream,
    "/stream-in-threads": stream_in_threads,
    "/at-once": at_once,
    "/fail": fail,
    "/broken": broken,
    "/refused": refused,
    "/keys": keys,
}
WRITES: dict[str, Any] = {
    "/write": write,
    "/write-in-a-thread": write_in_a_thread,
    "/everything": everything,
    "/in-the-background": in_the_background,
}
app = Starlette(
    routes=[
        *(Route(path, endpoint) for path, endpoint in ROUTES.items()),
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in WRITES.items()),
        WebSocketRoute("/talk", talk),
    ],
    exception_handlers={errors.TooLarge: shown},
)
app.add_middleware(Around)
middleware(app)
fire(app)

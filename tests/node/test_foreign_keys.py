"""Foreign keys can't be switched off below the scope `schema`, whichever way a client of libSQL's asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.node.test_socket import Socket
from tests.node.test_streams import post
from virke import tokens
from virke.api.codec import PlainCodec
from virke.engine.database import Database
from virke.node.app import App
from virke.node.databases import Databases
from virke.opening import connect
from virke.scopes import Scope
from virke.stores.base import Store
from virke.stores.memory import memory_store

OFF = (
    "PRAGMA foreign_keys = OFF",
    "pragma main.foreign_keys(0)",
    "PRAGMA 'foreign_keys' = no",
    "PRAGMA foreign_keys=2-2",
)
ORPHAN = "INSERT INTO child VALUES (99)"
Way = Callable[[App, str, str], Awaitable[None]]


def steps(*sql: str, condition: object = None) -> dict[str, Any]:
    return {"steps": [{"stmt": {"sql": one}, "condition": condition} for one in sql]}


async def by_pipeline(app: App, token: str, off: str) -> None:
    requests = [{"type": "execute", "stmt": {"sql": one}} for one in (off, ORPHAN)]
    await post(app, "/db/d/v2/pipeline", {"requests": requests}, headers=bearer(token))


async def by_batch(app: App, token: str, off: str) -> None:
    requests = [{"type": "batch", "batch": steps(off, ORPHAN)}]
    await post(app, "/db/d/v3/pipeline", {"requests": requests}, headers=bearer(token))


async def by_conditional_batch(app: App, token: str, off: str) -> None:
    batch = steps("SELECT 1", off, ORPHAN, "INSERT INTO t VALUES (7)", condition={"type": "is_autocommit"})
    await post(app, "/db/d/v3/pipeline", {"requests": [{"type": "batch", "batch": batch}]}, headers=bearer(token))


async def by_version_1(app: App, token: str, off: str) -> None:
    await post(app, "/db/d/v1/batch", {"batch": steps(off, ORPHAN)}, headers=bearer(token))


async def by_sequence(app: App, token: str, off: str) -> None:
    requests = [{"type": "sequence", "sql": f"{off}; {ORPHAN}"}, {"type": "sequence", "sql": ORPHAN}]
    await post(app, "/db/d/v2/pipeline", {"requests": requests}, headers=bearer(token))


async def by_stored_sql(app: App, token: str, off: str) -> None:
    requests = [
        {"type": "store_sql", "sql_id": 1, "sql": off},
        {"type": "execute", "stmt": {"sql_id": 1}},
        {"type": "execute", "stmt": {"sql": ORPHAN}},
    ]
    await post(app, "/db/d/v2/pipeline", {"requests": requests}, headers=bearer(token))


async def by_cursor(app: App, token: str, off: str) -> None:
    await post_lines(app, "/db/d/v3/cursor", {"batch": steps(off, ORPHAN)}, token)


async def post_lines(app: App, path: str, body: object, token: str) -> None:
    """A request whose answer is no single JSON: only that it is answered counts."""
    try:
        await post(app, path, body, headers=bearer(token))
    except ValueError:
        return


async def by_socket(app: App, token: str, off: str) -> None:
    socket = Socket(app, "/db/d/", ("hrana3",))
    assert (await socket.heard())["type"] == "websocket.accept"
    socket.say({"type": "hello", "jwt": token})
    assert (await socket.heard())["type"] == "hello_ok"
    stream = {"stream_id": 1}
    socket.ask("open_stream", **stream)
    socket.ask("describe", sql=off, **stream)
    socket.ask("sequence", sql=off, **stream)
    socket.ask("store_sql", sql_id=1, sql=off)
    socket.ask("execute", stmt={"sql_id": 1}, **stream)
    socket.ask(
        "batch",
        batch=steps(off, "SELECT 1", off, condition={"type": "not", "cond": {"type": "or", "conds": []}}),
        **stream,
    )
    socket.ask("open_cursor", cursor_id=1, batch=steps(off), **stream)
    last = socket.ask("execute", stmt={"sql": ORPHAN}, **stream)
    await socket.answers(last)
    await socket.leave()


WAYS: dict[str, Way] = {
    "pipeline": by_pipeline,
    "batch": by_batch,
    "conditional batch": by_conditional_batch,
    "version 1": by_version_1,
    "sequence": by_sequence,
    "stored SQL": by_stored_sql,
    "cursor": by_cursor,
    "socket": by_socket,
}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def filled() -> Store:
    store = memory_store()
    with connect("d", store, create=True) as db:
        db.change_settings({"foreign_keys": "on"})
        db.run_script("CREATE TABLE t (a INTEGER PRIMARY KEY); CREATE TABLE child (t REFERENCES t)")
    return store


def orphans(database: Database) -> int:
    return len(database.query("SELECT * FROM child", consistency="strong").rows)


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("way", WAYS)
def test_p12_foreign_keys_are_switched_off_by_who_may_change_the_schema_only(way: str, scope: Scope) -> None:
    store = filled()
    token, _ = tokens.create(store, ("d",), scope)

    async def live() -> None:
        app = App(Databases(store), PlainCodec())
        try:
            for off in OFF:
                await asyncio.wait_for(WAYS[way](app, token, off), 30)
        finally:
            await app._hrana.streams.close()
            await asyncio.get_running_loop().run_in_executor(None, app.close)

    asyncio.run(live())
    with connect("d", store) as db:
        assert (orphans(db) > 0) == (scope >= Scope.SCHEMA)


@pytest.mark.parametrize("scope", Scope)
def test_p12_foreign_keys_may_be_switched_on_and_asked_for_by_all(scope: Scope) -> None:
    store = filled()
    token, _ = tokens.create(store, ("d",), scope)

    async def live() -> None:
        app = App(Databases(store), PlainCodec())
        try:
            sql = ("PRAGMA foreign_keys = ON", "PRAGMA foreign_keys")
            requests = [{"type": "execute", "stmt": {"sql": one}} for one in sql]
            status, body = await post(app, "/db/d/v2/pipeline", {"requests": requests}, headers=bearer(token))
            assert (status, [one["type"] for one in body["results"]]) == (200, ["ok", "ok"])
            assert body["results"][1]["response"]["result"]["rows"] == [[{"type": "integer", "value": "1"}]]
        finally:
            await app._hrana.streams.close()
            await asyncio.get_running_loop().run_in_executor(None, app.close)

    asyncio.run(live())

"""Imports and exports over HTTP: bodies that come and go part by part."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import CODEC, Call, asgi, beyond_the_edge, in_memory
from virke.api.messages import Request
from virke.api.operations import Export, Import
from virke.api.performing import perform_operation
from virke.errors import Busy, Invalid
from virke.node import bodies, transfers
from virke.node.app import App
from virke.node.databases import Databases
from virke.scopes import Scope
from virke.stores.memory import memory_store

DUMP = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT);\n" + "".join(
    f"INSERT INTO item (name) VALUES ('{n} pens, at least');\n" for n in range(500)
)
COUNT = {"sql": "SELECT count(*) FROM item"}


@pytest.fixture
def shop(call: Call) -> Call:
    """A server with an empty database `shop`."""
    assert call("PUT", "/db/shop").status == 201
    return call


def rows(shop: Call) -> int:
    """How many rows are in `item`; 0 without that table."""
    found = shop("POST", "/db/shop/query", COUNT)
    return found.json["rows"][0][0] if found.status == 200 else 0


def test_a_dump_a_file_and_a_table_come_in_and_go_out_as_they_are(shop: Call, tmp_path: Path) -> None:
    done = shop("POST", "/db/shop/import", DUMP.encode())
    assert (done.status, done.json["kind"], done.json["rows"], done.json["bytes"]) == (200, "sql", 500, len(DUMP))
    dump, image = shop("GET", "/db/shop/export"), shop("GET", "/db/shop/export?format=sqlite")
    table = shop("GET", "/db/shop/export?table=item")
    kinds = [one.headers["content-type"] for one in (dump, image, table)]
    assert kinds == ["application/sql", "application/vnd.sqlite3", "text/csv; charset=utf-8"]
    (tmp_path / "x.sqlite").write_bytes(image.body)
    copy = sqlite3.connect(tmp_path / "x.sqlite")
    assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert "".join(f"{line}\n" for line in copy.iterdump()).count("INSERT") == 500
    copy.close()

    assert shop("POST", "/db/shop/import", image.body).status == 400  # it holds something
    replaced = shop("POST", "/db/shop/import?replace=1&kind=sqlite", image.body)
    assert (replaced.status, replaced.json["kind"]) == (200, "sqlite")
    assert shop("PUT", "/db/twin").status == 201
    assert shop("POST", "/db/twin/import?kind=csv&table=item", table.body).json["rows"] == 500
    assert shop("GET", "/db/twin/export?format=csv&table=item").body == table.body
    assert shop("GET", "/db/shop/export").body == dump.body


def test_the_bytes_are_those_of_the_command(shop: Call, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if "local" not in request.node.callspec.params["databases"]:
        pytest.skip("the command runs in another process, which sees stores on the disk")
    shop("POST", "/db/shop/import", DUMP.encode())
    for number, (query, options) in enumerate(
        [("", []), ("?format=sqlite", ["--format", "sqlite"]), ("?table=item", ["--table", "item"])]
    ):
        file = tmp_path / f"file-{number}"
        words = ["db", "export", str(file), "--db", "shop", "--store", str(tmp_path / "store"), *options]
        subprocess.run([sys.executable, "-m", "virke", *words], check=True, cwd=tmp_path, env=dict(os.environ))
        assert shop("GET", f"/db/shop/export{query}").body == file.read_bytes()


@in_memory
@pytest.mark.parametrize(
    ("status", "method", "path", "body"),
    [
        (400, "POST", "import", b""),
        (400, "POST", "import", b"CREATE TABLE t (a); SELEC 1"),
        (400, "POST", "import?kind=sqlite", DUMP.encode()),
        (400, "POST", "import?kind=csv", b"a,b\n1,2\n"),
        (400, "POST", "import?table=t&kind=sql", DUMP.encode()),
        (400, "POST", "import?kind=xml", DUMP.encode()),
        (400, "POST", "import?replace=maybe", DUMP.encode()),
        (400, "POST", "import?replace=1", DUMP.encode()),
        (400, "POST", "import?tabel=t", b"a,b\n1,2\n"),
        (403, "POST", "import", b"ATTACH 'x' AS y"),
        (405, "GET", "import", b""),
        (400, "GET", "export?format=xml", b""),
        (400, "GET", "export?format=csv", b""),
        (400, "GET", "export?format=sqlite&table=item", b""),
        (400, "GET", "export?tabel=item", b""),
        (404, "GET", "export?table=none", b""),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_changed(
    shop: Call, status: int, method: str, path: str, body: bytes
) -> None:
    version = shop("GET", "/db/shop/status").json["version"]
    found = shop(method, f"/db/shop/{path}", body)
    assert (found.status, "error" in found.json) == (status, True)
    assert shop("GET", "/db/shop/status").json["version"] == version
    assert shop(method, f"/db/none/{path}", body).status in (400, 404, 405)


@beyond_the_edge
def test_a_body_that_is_shorter_than_announced_is_refused(shop: Call) -> None:
    found = shop("POST", "/db/shop/import", DUMP.encode(), content_length=str(len(DUMP) + 1))
    assert (found.status, rows(shop)) == (400, 0)
    assert "cut off" in found.json["error"]["message"]
    assert shop("POST", "/db/shop/import", DUMP.encode(), content_length=str(len(DUMP))).status == 200


# By blocking


def counting(parts: list[bytes], taken: list[int]) -> Iterator[bytes]:
    for number, part in enumerate(parts):
        taken.append(number)
        yield part


def test_parts_are_taken_as_they_are_needed() -> None:
    """What is refused at its beginning is not read to its end."""
    databases = Databases(memory_store())
    databases.create("shop", if_not_exists=False, page_size=None)
    taken: list[int] = []
    parts = [b"SELECT nope;\n" + b"-- more\n" * 20_000 for _ in range(200)]
    with pytest.raises(Invalid, match="no such column"):
        perform_operation(Import("shop", counting(parts, taken)), databases, Scope.ADMIN)
    assert len(taken) < 50
    databases.close()


def test_an_export_that_is_closed_leaves_no_file_and_no_database_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    databases = Databases(memory_store(), open_max=0)
    databases.create("shop", if_not_exists=False, page_size=None)
    perform_operation(Import("shop", iter([DUMP.encode()])), databases, Scope.ADMIN)
    parts: Any = perform_operation(Export("shop"), databases, Scope.ADMIN)
    assert [path.name for path in tmp_path.iterdir()] != []
    databases.create("other", if_not_exists=False, page_size=None)
    databases.database("other")
    assert (databases.known("shop") is not None, databases.known("other")) == (True, None)
    parts.close()
    assert [path.name for path in tmp_path.iterdir()] == []
    databases.close()


# On the loop


@pytest.fixture
def app() -> Iterator[tuple[App, asyncio.AbstractEventLoop]]:
    databases = Databases(memory_store())
    databases.create("shop", if_not_exists=False, page_size=None)
    app, loop = App(databases, CODEC), asyncio.new_event_loop()
    yield app, loop
    app.close()
    loop.close()


def scope_of(method: str, path: str) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [(b"host", b"localhost")]}


def test_a_client_that_goes_away_in_the_middle_of_its_file_leaves_nothing(
    app: tuple[App, asyncio.AbstractEventLoop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    node, loop = app
    messages: list[Any] = [
        {"type": "http.request", "body": DUMP.encode(), "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    loop.run_until_complete(node(scope_of("POST", "/db/shop/import"), receive, send))
    assert sent == []
    assert list(tmp_path.iterdir()) == []
    found = asgi(node, loop)(Request("GET", "/db/shop/schema", headers={"host": "localhost"}))
    assert found.json == []


def test_a_client_that_sends_nothing_is_given_up(
    app: tuple[App, asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    arriving = bodies.Arriving(lambda: asyncio.Event().wait(), app[1], stall_s=0.05)  # type: ignore[arg-type,return-value]
    monkeypatch.setattr("virke.node.app.Arriving", lambda *_: arriving)
    found = asgi(*app)(Request("POST", "/db/shop/import", headers={"host": "localhost"}, body=b"SELECT 1"))
    assert (found.status, found.json["error"]["code"]) == (504, "timed_out")


def test_a_client_that_goes_away_ends_its_export(app: tuple[App, asyncio.AbstractEventLoop]) -> None:
    """The next one finds room, however many went away."""
    node, loop = app
    asgi(node, loop)(Request("POST", "/db/shop/import", headers={"host": "localhost"}, body=DUMP.encode()))
    for _ in range(transfers.TRANSFERS_MAX + 1):
        messages: list[Any] = [{"type": "http.request", "body": b""}, {"type": "http.disconnect"}]
        sent: list[Any] = []

        async def receive(messages: list[Any] = messages) -> Any:
            return messages.pop(0) if messages else await asyncio.Event().wait()

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        loop.run_until_complete(node(scope_of("GET", "/db/shop/export"), receive, send))
        assert [one.get("more_body") for one in sent] == [None]


def test_more_transfers_than_there_is_room_for_are_busy() -> None:
    async def main() -> None:
        databases = Databases(memory_store())
        databases.create("shop", if_not_exists=False, page_size=None)
        few = transfers.Transfers(databases)
        begun: list[Any] = [await few.perform(Export("shop"), Scope.ADMIN) for _ in range(transfers.TRANSFERS_MAX)]
        with pytest.raises(Busy):
            await few.perform(Export("shop"), Scope.ADMIN)
        begun.pop().close()
        assert b"".join(await few.perform(Export("shop"), Scope.ADMIN)) != b""  # type: ignore[arg-type]
        for parts in begun:
            parts.close()
        few.close()
        databases.close()

    asyncio.run(main())

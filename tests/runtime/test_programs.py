"""Programs of five frameworks on real servers, embedded and against a node: each request has its database, and no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from websockets.sync.client import connect

import virke
from tests.runtime.conftest import Where
from tests.runtime.serving import Visitor, program
from tests.servers.node import node
from tests.servers.running import free_ports
from virke.core.ids import Version
from virke.engine.results import mark_in

PROGRAMS: Final = Path(__file__).parent / "programs"
TABLE: Final = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL)"
FOREIGN: Final = (
    "main.00000001.0000000000000fff.bc82b3fb",
    "other.00000001.0000000000000001.bc82b3fb",
    "rubbish",
    "%0d%0a",
    "ü",
)

PAIRS: Final = [
    ("starlette", "uvicorn", "app"),
    ("starlette", "hypercorn", "app"),
    ("fastapi", "uvicorn", "app"),
    ("litestar", "uvicorn", "app"),
    ("flask", "fire", "app"),
    ("flask", "gunicorn threads", "app"),
    ("flask", "gunicorn processes", "app"),
    ("django", "uvicorn", "app"),
    ("django", "gunicorn threads", "wsgi"),
    ("django", "gunicorn preload", "wsgi"),
    ("starlette", "gunicorn asgi", "app"),
]
"""Frameworks, servers, and the name of the app in the program."""
ON_A_NODE: Final = [PAIRS[0], PAIRS[2], PAIRS[3], PAIRS[6], PAIRS[7]]
"""One of each framework: what differs between servers does not differ by where the database is."""


@pytest.fixture
def database(where: Where) -> Iterator[virke.Database]:
    """The program's database, as another process sees it."""
    with virke.connect(where.db, where.url, create=True) as database:
        database.execute(TABLE)
        yield database


@pytest.fixture
def serve(where: Where, tmp_path: Path, database: virke.Database) -> Iterator[Callable[[str, str, str], int]]:
    """Runs a program, and says its port."""
    blocks = []

    def begin(framework: str, server: str, app: str) -> int:
        module = f"{framework}_program"
        shutil.copy(PROGRAMS / f"{module}.py", tmp_path)
        block = program(tmp_path, server, module=module, app=app, environ=where.environ)
        port = block.__enter__()
        blocks.append(block)
        return port

    yield begin
    for block in blocks:
        block.__exit__(None, None, None)


def _version(bookmark: str | None) -> Version:
    assert bookmark is not None
    return mark_in(bookmark)[1].version


def _reads_and_writes(port: int, database: virke.Database) -> None:
    """The bookmark is given with answers that wrote, it is the write's own, and what was written is seen."""
    visitor = Visitor(port)
    assert (visitor.get("/read").json, visitor.cookie) == ([], None)
    wrote = visitor.post("/write", {"name": "a"})
    assert (wrote.status, wrote.json["wrote"], wrote.bookmark) == (200, 1, wrote.json["bookmark"])
    assert wrote.json.get("same", True)
    (cookie,) = [one for one in wrote.headers.get_all("set-cookie") or () if one.startswith("virke_bookmark")]
    assert {part.strip() for part in cookie.split(";")[1:]} == {"Max-Age=60", "Path=/", "HttpOnly", "SameSite=Lax"}
    read = visitor.get("/read")
    assert (read.json, read.bookmark) == ([["a"]], None)
    assert [tuple(row) for row in read.json] == database.query("SELECT name FROM item").rows


def _fails_well(port: int) -> None:
    """What a visitor can cause or repeat has its status; what the program has wrong is 500; its own handlers come first."""
    visitor = Visitor(port)
    kinds = {
        "Conflict": 409,
        "Unavailable": 503,
        "Busy": 429,
        "TimedOut": 504,
        "WrongValue": 400,
        "Invalid": 500,
        "Corrupt": 500,
    }
    assert {kind: visitor.get(f"/fail?kind={kind}").status for kind in kinds} == kinds
    refused = visitor.get("/refused")
    assert (refused.status, refused.bookmark) == (400, None)
    assert "NOT NULL constraint failed: item.name" in refused.body.decode()
    broken = visitor.get("/broken")
    assert (broken.status, b"no_such_table" in broken.body) == (500, False)
    assert visitor.get("/read").status == 200


def _ignores_foreign_bookmarks(port: int) -> None:
    for bookmark in FOREIGN:
        visitor = Visitor(port, bookmark)
        assert (bookmark, visitor.get("/read").status) == (bookmark, 200)


def _keeps_visitors_apart(port: int) -> None:
    """Visitors at the same time: who wrote gets the bookmark of that write, who only read gets none."""

    def writes(number: int) -> tuple[str | None, str]:
        answer = Visitor(port).post("/write", {"name": f"visitor {number}"})
        return answer.bookmark, answer.json["bookmark"]

    def reads(number: int) -> tuple[int, str | None]:
        answer = Visitor(port, None if number % 2 else FOREIGN[number % 3]).get("/read")
        return answer.status, answer.bookmark

    with ThreadPoolExecutor(12) as threads:
        written, read = list(threads.map(writes, range(24))), list(threads.map(reads, range(24)))
    assert [given == made for given, made in written] == [True] * 24
    assert read == [(200, None)] * 24


@pytest.mark.parametrize(
    ("where", "framework", "server", "app"),
    [*(("embedded", *pair) for pair in PAIRS), *(("node", *pair) for pair in ON_A_NODE)],
    indirect=["where"],
)
def test_a_program_on_a_server(
    framework: str, server: str, app: str, serve: Callable[[str, str, str], int], database: virke.Database
) -> None:
    port = serve(framework, server, app)
    _reads_and_writes(port, database)
    _fails_well(port)
    _ignores_foreign_bookmarks(port)
    _keeps_visitors_apart(port)
    rest = {
        "starlette": _starlettes,
        "fastapi": _fastapis,
        "litestar": _litestars,
        "flask": _flasks,
        "django": _djangos,
    }
    database.run_script("DELETE FROM item; INSERT INTO item (name) VALUES ('a'), ('b')")
    rest[framework](Visitor(port), database)


def _threads_and_streams(visitor: Visitor, *streams: str) -> None:
    assert visitor.get("/read-in-a-thread").json == [["a"], ["b"]]
    for path in streams:
        assert (path, visitor.get(path).body) == (path, b"a\nb\n2 in all\n")
    wrote = visitor.post("/write-in-a-thread", {})
    assert (wrote.json["wrote"], wrote.bookmark) == (1, wrote.json["bookmark"])


def _own_handler(visitor: Visitor) -> None:
    answer = visitor.get("/fail?kind=TooLarge")
    assert (answer.status, answer.body) == (418, b"the app's own: said on purpose")


def _does_everything(said: dict[str, object], database: virke.Database, bookmark: str | None) -> None:
    assert said["rolled back"] == said["transaction"]
    assert _version(bookmark) > _version(str(said["transaction"]))
    assert bookmark == said["bookmark"]
    expected = {"run_transaction": 1, "batch": [1, 0], "executemany": 2, "run_script": [[7]], "run": [["r"]]}
    assert {name: said[name] for name in expected} == expected
    assert said["schema"] == ["item"]
    names = [name for (name,) in database.query("SELECT name FROM item ORDER BY id").rows]
    assert names == ["a", "b", "in a transaction", "again", "b", "m", "n", "r"]


def _starlettes(visitor: Visitor, database: virke.Database) -> None:
    assert visitor.get("/read").headers["x-around"] == "yes"
    assert visitor.get("/at-once").json == list(range(20))
    everything = visitor.post("/everything", {})
    assert "async with db.transaction()" in everything.json["with"]
    _does_everything(everything.json, database, everything.bookmark)
    database.run_script("DELETE FROM item; INSERT INTO item (name) VALUES ('a'), ('b')")
    _threads_and_streams(visitor, "/stream", "/stream-in-threads")
    queued = visitor.post("/in-the-background", {})
    assert (queued.json, queued.bookmark) == ({"queued": True}, None)
    _comes_to_be("later", visitor)
    _talks(visitor, database)
    _own_handler(visitor)
    assert visitor.get("/keys").status == 500
    odd = visitor.post("/write", {"name": ["a", "list"]})
    assert (odd.status, odd.json["error"]["code"], odd.bookmark) == (400, "invalid", None)


def _comes_to_be(name: str, visitor: Visitor) -> None:
    """What a background task writes after the answer was sent; each look is a request."""
    for _ in range(2000):
        if [name] in visitor.get("/read").json:
            return
    raise AssertionError(f"{name!r} was not written")


def _talks(visitor: Visitor, database: virke.Database) -> None:
    """A WebSocket has a database as long as it is open, and several messages."""
    database.execute("DELETE FROM item")
    with connect(f"ws://127.0.0.1:{visitor.port}/talk") as socket:
        for number in (1, 2):
            socket.send(f"message {number}")
            assert json.loads(socket.recv()) == {"wrote": 1, "count": number}
    assert database.query("SELECT name FROM item").rows == [("message 1",), ("message 2",)]


def _fastapis(visitor: Visitor, database: virke.Database) -> None:
    _threads_and_streams(visitor, "/stream")
    assert visitor.post("/in-the-background", {}).json == {"queued": True}
    _comes_to_be("later", visitor)
    assert visitor.get("/openapi.json").status == 200


def _litestars(visitor: Visitor, database: virke.Database) -> None:
    _threads_and_streams(visitor, "/stream")
    _own_handler(visitor)
    assert visitor.get("/fail?kind=Conflict").json["extra"] == {"code": "conflict", "message": "said on purpose"}
    assert visitor.get("/fail?kind=Unavailable").headers["retry-after"] == "1"


def _flasks(visitor: Visitor, database: virke.Database) -> None:
    everything = visitor.post("/everything", {})
    _does_everything(everything.json, database, everything.bookmark)
    database.run_script("DELETE FROM item; INSERT INTO item (name) VALUES ('a'), ('b')")
    assert visitor.get("/stream").body == b"a\nb\n2 in all\n"
    assert visitor.get("/read-async").json == [["a"], ["b"]]
    wrote = visitor.post("/write-async", {})
    assert (wrote.json["wrote"], wrote.bookmark) == (1, wrote.json["bookmark"])
    _own_handler(visitor)
    assert "no request is running here" in json.dumps(visitor.get("/own-thread").json)


def _djangos(visitor: Visitor, database: virke.Database) -> None:
    _threads_and_streams(visitor, "/stream", "/stream-in-threads")


def test_a_node_that_is_down_is_answered_with_503_and_a_word_for_visitors(tmp_path: Path) -> None:
    """And the program goes on as soon as the node is there."""
    (port,) = free_ports(1)
    shutil.copy(PROGRAMS / "flask_program.py", tmp_path)
    environ = {"VIRKE_URL": f"http://127.0.0.1:{port}", "APP_DB": "app"}
    with program(tmp_path, "gunicorn threads", module="flask_program", environ=environ) as served:
        down = Visitor(served).get("/read")
        assert (down.status, down.json["error"]["code"], str(port) in down.body.decode()) == (503, "unavailable", False)
        with node("local:.virke", tmp_path, "--port", str(port)) as running:
            with virke.connect("app", running.url, create=True) as database:
                database.execute(TABLE)
            assert Visitor(served).get("/read").json == []

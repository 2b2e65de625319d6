"""A program whose writes go through a node: a real one, beside the host, on the same store. Reads stay in the sandbox."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.edge.component import component, why_not
from tests.edge.serving import NAME, Edge, edge
from tests.servers.node import Node, node
from virke.edge.building.component import ENTRY
from virke.edge.guest.divided import DividedDatabase
from virke.edge.host.exchange import Response
from virke.engine.catalog import make_database
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.project.building import entry_text
from virke.project.entry import Entry
from virke.stores.local.store import local_store

pytestmark = [pytest.mark.once]
TABLE: Final = "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)"
PROGRAM: Final = """
import json
from virke.errors import VirkeError
from virke.runtime import virke
fire, middleware, Bindings = virke(db="app")

def told(work):
    try:
        return work()
    except VirkeError as error:
        return {"error": error.kind, "message": error.message}

def counted():
    return Bindings.db.query("SELECT count(*), coalesce(sum(n), 0) FROM t").rows[0]

def write():
    done = Bindings.db.execute("INSERT INTO t (n) VALUES (1)")
    return [done, *counted()]

def several():
    Bindings.db.run_script("INSERT INTO t (n) VALUES (1); INSERT INTO t (n) VALUES (2)")
    Bindings.db.executemany("INSERT INTO t (n) VALUES (?)", [(3,), (4,)])
    Bindings.db.batch(["UPDATE t SET n = n + 10", ("DELETE FROM t WHERE n = ?", (14,))])
    return [row[0] for row in Bindings.db.query_rows("SELECT n FROM t ORDER BY n")]

def returning():
    return Bindings.db.query("WITH a AS (SELECT 7) INSERT INTO t (n) SELECT * FROM a RETURNING n").rows

def committed():
    with Bindings.db.transaction() as transaction:
        [[n]] = transaction.query("SELECT count(*) FROM t").rows
        transaction.execute("INSERT INTO t (n) VALUES (?)", (n + 100,))
        inside = transaction.query("SELECT count(*) FROM t").rows[0][0]
    return [inside, *counted()]

def rolled_back():
    try:
        with Bindings.db.transaction() as transaction:
            transaction.execute("DELETE FROM t")
            raise KeyError("of the program")
    except KeyError:
        return counted()

def wrong():
    return Bindings.db.execute("INSERT INTO nowhere VALUES (1)")

WORK = {"/" + work.__name__: work for work in (counted, write, several, returning, committed, rolled_back, wrong)}

def app(environ, start_response):
    body = json.dumps(told(WORK[environ["PATH_INFO"]])).encode()
    start_response("200 OK", [("content-type", "application/json")])
    return [body]

app = middleware(app)
"""


def program() -> Path:
    """The component with the program, built if it is not there."""
    if reason := why_not():
        pytest.skip(reason)
    entry = entry_text(Entry("divided_app:app", is_python=True))
    return component({f"{ENTRY}.py": entry.encode(), "divided_app.py": PROGRAM.encode()})


@contextmanager
def beside(tmp_path: Path, reuse: int = 100) -> Iterator[tuple[Edge, Node]]:
    """The program on the host, and a node that takes its writes, on one folder."""
    store = tmp_path / "store"
    make_database(local_store(store), NAME, Environment(), if_not_exists=False, page_size=4096)
    with node(f"local:{store}", tmp_path) as other:
        config = {"writes": other.url, "db": NAME}
        with edge(program(), local_store(store), config=config, backends={"writes": other.url}, reuse=reuse) as app:
            with app.natively() as database:
                database.execute(TABLE)
            yield app, other


def asked(app: Edge, what: str, **headers: str) -> tuple[object, Response]:
    """What the program answers, and the response with what it cost."""
    app.host.settle()  # else another sandbox takes it, which has not heard of the write before
    response = app.host.request("GET", f"/{what}", headers=tuple(headers.items()))
    assert response.status == 200, response.body
    return json.loads(response.body), response


@pytest.mark.slow
def test_a_program_writes_through_the_node_and_reads_here(tmp_path: Path) -> None:
    """No write reaches the KV store from the sandbox, each read sees the write before it, and a read asks no node."""
    with beside(tmp_path) as (app, _):
        for n in range(1, 4):
            said, response = asked(app, "write")
            assert (said, response.counts.writes, response.counts.backend_requests) == ([1, n, n], 0, 1)
        said, response = asked(app, "counted")
        assert (said, response.counts.backend_requests) == ([3, 3], 0)
        assert asked(app, "returning")[0] == [[7]]
        assert asked(app, "several")[0] == [11, 11, 11, 11, 12, 13, 17]
        said, response = asked(app, "wrong")
        assert said == {"error": "sql_error", "message": "no such table: nowhere"}
        assert response.counts.writes == 0
        assert app.host.traps == []


@pytest.mark.slow
def test_its_transactions_are_the_node_s(tmp_path: Path) -> None:
    """All or nothing, and what it read inside was the node's newest state."""
    with beside(tmp_path) as (app, _):
        said, response = asked(app, "committed")
        assert (said, response.counts.writes) == ([1, 1, 100], 0)
        said, response = asked(app, "rolled_back")
        assert (said, response.counts.writes) == ([1, 100], 0)
        assert app.host.traps == []


@pytest.mark.slow
def test_another_sandbox_sees_a_write_by_the_visitor_s_cookie(tmp_path: Path) -> None:
    """The bookmark of the node's answer is in the cookie; a new sandbox meets it."""
    with beside(tmp_path, reuse=1) as (app, _):
        _, response = asked(app, "write")
        cookie = response.header("set-cookie")
        assert cookie is not None
        assert asked(app, "counted", cookie=cookie.partition(";")[0])[0] == [1, 1]


@pytest.mark.slow
def test_without_the_node_writes_fail_honestly_and_reads_go_on(tmp_path: Path) -> None:
    """Nothing was done and it says so; a request waits for no longer than two seconds."""
    with beside(tmp_path) as (app, other):
        asked(app, "write")
        other.kill()
        said, response = asked(app, "write")
        assert isinstance(said, dict)
        assert said["error"] == "unavailable"
        assert response.counts.writes == 0
        assert asked(app, "counted")[0] == [1, 1]
        assert app.host.traps == []


def test_every_method_of_a_database_is_its_own() -> None:
    """With the same parameters; none would work without an engine."""
    names = {name for name, _ in inspect.getmembers(Database) if not name.startswith("_")}
    own = vars(DividedDatabase)
    from virke.engine import database as module

    missing = {name for name in names - set(module._OF_PEP_249) if name not in own}
    assert missing == set()
    for name in names & own.keys():
        if inspect.isfunction(own[name]):
            assert list(inspect.signature(own[name]).parameters) == list(
                inspect.signature(getattr(Database, name)).parameters
            )

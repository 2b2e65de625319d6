"""Where no stream outlives its request, a transaction that is left open is refused, and what it did is taken back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from virke.api.hrana import blocking, requests
from virke.api.hrana.operations import Cursor, Once, Pipeline
from virke.engine.catalog import make_database
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.values import Json
from virke.scopes import Scope
from virke.stores.memory import memory_store


@pytest.fixture
def db() -> Iterator[Database]:
    store = memory_store()
    make_database(store, "d", Environment(), if_not_exists=False, page_size=4096)
    with Database(store, "d") as database:
        database.execute("CREATE TABLE t (a)")
        yield database


def pipeline(db: Database, *sql: str) -> list[str]:
    """Kinds of answers, or what an error says in one word."""
    asked = tuple(requests.Execute(requests.statement_of({"sql": one})) for one in sql)
    results = blocking.answer_pipeline(Pipeline("d", None, asked), db, Scope.ADMIN)["results"]
    assert isinstance(results, list)
    return [one["type"] if one["type"] == "ok" else one["error"]["code"] for one in results]


def rows(db: Database) -> int:
    """How many rows there are."""
    [(count,)] = db.query("SELECT count(*) FROM t").rows
    assert isinstance(count, int)
    return count


@pytest.mark.parametrize(
    ("sql", "said", "left"),
    [
        (["BEGIN"], ["BLOCKED"], 0),
        (["BEGIN", "INSERT INTO t VALUES (1)"], ["ok", "BLOCKED"], 0),
        (["SAVEPOINT a", "INSERT INTO t VALUES (1)"], ["ok", "BLOCKED"], 0),
        (["BEGIN", "INSERT INTO t VALUES (1)", "COMMIT"], ["ok", "ok", "ok"], 1),
        (["BEGIN", "INSERT INTO t VALUES (1)", "ROLLBACK"], ["ok", "ok", "ok"], 0),
        (["INSERT INTO t VALUES (1)"], ["ok"], 1),
    ],
)
def test_a_pipeline_ends_in_autocommit_or_says_that_it_does_not(
    db: Database, sql: list[str], said: list[str], left: int
) -> None:
    assert (pipeline(db, *sql), rows(db)) == (said, left)


def test_a_client_that_closes_its_stream_asked_for_that(db: Database) -> None:
    asked = (
        requests.Execute(requests.statement_of({"sql": "BEGIN"})),
        *requests.pipeline_of({"requests": [{"type": "close"}]})[1],
    )
    results = blocking.answer_pipeline(Pipeline("d", None, asked), db, Scope.ADMIN)["results"]
    assert isinstance(results, list)
    assert [one["type"] for one in results] == ["ok", "ok"]


def test_a_cursor_and_a_single_batch_say_so_too(db: Database) -> None:
    steps: Json = {"steps": [{"stmt": {"sql": "BEGIN"}}, {"stmt": {"sql": "INSERT INTO t VALUES (1)"}}]}
    *_, last = blocking.answer_cursor(Cursor("d", None, requests.batch_of(steps)), db, Scope.ADMIN)
    assert isinstance(last["error"], dict)
    assert (last["type"], last["error"]["code"]) == ("error", "BLOCKED")
    assert blocking.answer_once(Once("d", requests.batch_of(steps)), db, Scope.ADMIN)["code"] == "BLOCKED"
    assert rows(db) == 0

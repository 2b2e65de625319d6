"""Where no stream outlives its request, a transaction that is left open is refused, and what it did is taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from virke.api.hrana import blocking, requests
from virke.api.hrana.complaints import Refused
from virke.api.hrana.effects import Effect
from virke.api.hrana.operations import Cursor, Once, Pipeline
from virke.engine.catalog import make_database
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.transaction import Transaction
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


STEPS: Json = {"steps": [{"stmt": {"sql": "INSERT INTO t VALUES (1)"}}, {"stmt": {"sql": "SELECT a FROM t"}}]}
OPEN: Json = {"steps": [{"stmt": {"sql": "BEGIN"}}, {"stmt": {"sql": "INSERT INTO t VALUES (1)"}}]}
ASKS: list[Callable[[Database, requests.Batch], object]] = [
    lambda db, batch: blocking.answer_pipeline(Pipeline("d", None, (batch,)), db, Scope.ADMIN),
    lambda db, batch: blocking.answer_cursor(Cursor("d", None, batch), db, Scope.ADMIN),
    lambda db, batch: blocking.answer_once(Once("d", batch), db, Scope.ADMIN),
]


@pytest.mark.parametrize("ask", ASKS, ids=["pipeline", "cursor", "once"])
def test_a_batch_that_leaves_nothing_open_is_answered_and_kept(
    ask: Callable[[Database, requests.Batch], object], db: Database
) -> None:
    answer = ask(db, requests.batch_of(STEPS))
    assert answer is not None
    assert "BLOCKED" not in str(answer)
    assert rows(db) == 1


@pytest.mark.parametrize("ask", ASKS, ids=["pipeline", "cursor", "once"])
def test_a_transaction_that_was_left_open_is_over_when_its_request_is_answered(
    ask: Callable[[Database, requests.Batch], object], db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that went on would keep every other writer waiting."""
    begun, do_effect = list[Transaction](), blocking._do_effect

    def recorded(database: Database, scope: Scope, effect: Effect) -> object:
        outcome = do_effect(database, scope, effect)
        if isinstance(outcome, Transaction):
            begun.append(outcome)
        return outcome

    monkeypatch.setattr(blocking, "_do_effect", recorded)
    assert "BLOCKED" in str(ask(db, requests.batch_of(OPEN)))
    assert [one.is_over for one in begun] == [True]
    assert rows(db) == 0


def test_a_stream_of_an_earlier_request_is_refused_before_anything_is_run(db: Database) -> None:
    """What its client believes to be open is not: its statements would stand alone."""
    batch = requests.batch_of(STEPS)
    with pytest.raises(Refused, match="expired"):
        blocking.answer_pipeline(Pipeline("d", "baton", (batch,)), db, Scope.ADMIN)
    with pytest.raises(Refused, match="expired"):
        blocking.answer_cursor(Cursor("d", "baton", batch), db, Scope.ADMIN)
    assert rows(db) == 0

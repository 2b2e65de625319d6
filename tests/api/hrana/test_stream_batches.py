"""Batches and sequences on a stream: which steps are run, in how many commits, and what the stream is afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.hrana.test_stream_steps import ONE, ORPHAN, TWO, Client, rows
from virke.api.hrana import requests
from virke.engine.database import Database
from virke.scopes import Scope


def batch(client: Client, *steps: str, chained: bool = True) -> list[Any]:
    """Each step after the first only if the one before it went well, if `chained`; "ok", "skipped", or the error."""
    asked: Any = {
        "steps": [
            {"stmt": {"sql": sql}} | ({"condition": {"type": "ok", "step": number - 1}} if chained and number else {})
            for number, sql in enumerate(steps)
        ]
    }
    found = client.do(requests.batch_of(asked))["response"]["result"]
    return [
        "ok" if result else error["message"] if error else "skipped"
        for result, error in zip(found["step_results"], found["step_errors"], strict=True)
    ]


@pytest.mark.parametrize("chained", [True, False])
def test_steps_of_a_batch_run_if_their_condition_holds(chained: bool, db: Database) -> None:
    client = Client(db)
    found = batch(client, ONE, ONE, TWO, chained=chained)
    assert (found[0], "UNIQUE" in found[1], found[2]) == ("ok", True, "skipped" if chained else "ok")
    assert rows(db) == ([1] if chained else [1, 2])


def test_a_batch_inside_of_a_transaction_belongs_to_it(db: Database, other: Database) -> None:
    client = Client(db)
    client.run("BEGIN")
    assert batch(client, ONE, TWO) == ["ok", "ok"]
    assert rows(other) == []
    client.run("ROLLBACK")
    assert rows(other) == []


def test_a_batch_that_sets_foreign_keys_sets_them_for_itself_and_the_stream(db: Database) -> None:
    client = Client(db)
    assert batch(client, "PRAGMA foreign_keys = off", ORPHAN, "BEGIN", ORPHAN, "COMMIT") == ["ok"] * 5
    assert client.run("PRAGMA foreign_keys") == ["0"]
    assert batch(client, ORPHAN, "PRAGMA foreign_keys = on") == ["ok"] * 2
    assert client.run("PRAGMA foreign_keys") == ["1"]


def test_a_sequence_ends_with_its_first_error(db: Database) -> None:
    client = Client(db)
    answer = client.do(requests.RunSequence(requests.Text(f"{ONE}; {ONE}; {TWO}", None)))
    assert answer["type"] == "error"
    assert rows(db) == [1]


@pytest.mark.parametrize("scope", [Scope.WRITE, Scope.ADMIN])
@pytest.mark.parametrize("steps", [(ONE, TWO), ("BEGIN", ONE, TWO, "COMMIT"), (ONE, "SELECT 1")])
def test_a_batch_that_may_be_one_program_is_one_commit(scope: Scope, steps: tuple[str, ...], db: Database) -> None:
    before = db.version
    assert set(batch(Client(db, scope), *steps)) == {"ok"}
    assert db.version == before + 1


def test_a_readers_batch_is_answered_up_to_its_writes(db: Database) -> None:
    client = Client(db, Scope.READ)
    found = batch(client, "SELECT 1", ONE, "SELECT 2", chained=False)
    assert (found[0], "may only read" in found[1], found[2]) == ("ok", True, "ok")
    assert rows(db) == []


@pytest.mark.parametrize(("chained", "left"), [(True, [1]), (False, [1, 2])])
def test_conditions_of_a_batch_hold_inside_of_a_transaction_too(chained: bool, left: list[int], db: Database) -> None:
    client = Client(db)
    client.run("BEGIN")
    found = batch(client, ONE, ONE, TWO, chained=chained)
    assert (found[0], "UNIQUE" in found[1], found[2]) == ("ok", True, "skipped" if chained else "ok")
    client.run("COMMIT")
    assert rows(db) == left


def test_a_sequence_inside_of_a_transaction_ends_with_its_first_error(db: Database) -> None:
    client = Client(db)
    client.run("BEGIN")
    answer = client.do(requests.RunSequence(requests.Text(f"{ONE}; {ONE}; {TWO}", None)))
    assert "UNIQUE" in answer["error"]["message"]
    client.run("COMMIT")
    assert rows(db) == [1]

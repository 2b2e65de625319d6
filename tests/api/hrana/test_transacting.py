"""What Virke's own requests do to the database on one stream: a transaction is one version, its steps are all kept or none, and its key is used once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.hrana.test_stream_steps import ONE, ORPHAN, TWO, Client, rows
from virke.api.hrana import interactive
from virke.engine.database import Database
from virke.errors import Conflict
from virke.scopes import Scope


def begin(client: Client, **how: Any) -> dict[str, Any]:
    return client.do(interactive.begin_of(how))


def run(client: Client, *statements: Any) -> dict[str, Any]:
    return client.do(interactive.run_of({"statements": list(statements)}))


COMMIT = interactive.CommitTransaction()


@pytest.mark.parametrize("mode", ["deferred", "immediate"])
def test_an_interactive_transaction_is_committed_as_one_version(mode: str, db: Database, other: Database) -> None:
    client = Client(db)
    before = db.version
    assert begin(client, mode=mode)["response"]["version"] == before
    assert run(client, ONE, TWO)["type"] == "ok"
    assert rows(other) == []
    assert client.do(COMMIT)["response"]["version"] == before + 1
    assert rows(other) == [1, 2]
    assert client.stream.is_autocommit
    assert "over" in client.do(COMMIT)["error"]["message"]
    assert "over" in run(client, ONE)["error"]["message"]


def test_an_interactive_transaction_that_only_reads_commits_nothing(db: Database) -> None:
    client = Client(db)
    before = db.version
    begin(client, mode="read_only")
    assert run(client, "SELECT 1")["type"] == "ok"
    assert run(client, ONE)["type"] == "error"
    assert client.do(COMMIT)["response"]["version"] == before
    assert (rows(db), db.version) == ([], before)


def test_an_interactive_transaction_with_a_key_is_applied_once(db: Database, other: Database) -> None:
    versions = []
    for server in (db, other, db):
        client = Client(server)
        begin(client, key="k")
        run(client, "INSERT INTO t VALUES (random())")
        versions.append(client.do(COMMIT)["response"]["version"])
    assert len(rows(other)) == 1
    assert versions == versions[:1] * 3


def test_an_interactive_transaction_begins_once(db: Database) -> None:
    client = Client(db)
    begin(client, mode="immediate")
    run(client, ONE)
    assert "within a transaction" in begin(client)["error"]["message"]
    assert client.do(COMMIT)["type"] == "ok"
    assert rows(db) == [1]


@pytest.mark.parametrize(
    ("scope", "how", "begins", "has_keys"),
    [
        (Scope.WRITE, {"foreign_keys": False}, False, True),
        (Scope.WRITE, {"foreign_keys": False, "mode": "read_only"}, True, True),
        (Scope.WRITE, {"foreign_keys": True}, True, True),
        (Scope.WRITE, {}, True, True),
        (Scope.SCHEMA, {"foreign_keys": False}, True, False),
        (Scope.SCHEMA, {"foreign_keys": False, "mode": "immediate"}, True, False),
    ],
)
def test_an_interactive_transaction_has_the_foreign_keys_that_it_may_ask_for(
    scope: Scope, how: dict[str, Any], begins: bool, has_keys: bool, db: Database
) -> None:
    client = Client(db, scope)
    assert (begin(client, **how)["type"] == "ok") == begins
    if begins and how.get("mode") != "read_only":
        assert (run(client, ORPHAN)["type"] == "error") == has_keys
        client.do(COMMIT)
    assert client.stream.foreign_keys


@pytest.mark.parametrize("write", [TWO, {"sql": TWO, "script": True}])
def test_an_interactive_write_above_what_was_read_before_another_commit_is_refused(
    write: Any, db: Database, other: Database
) -> None:
    client = Client(db)
    begin(client)
    run(client, "SELECT a FROM t")
    other.execute(ONE)
    db.query("SELECT 1", consistency="strong")
    answer = run(client, "SELECT 1", write)
    assert answer["error"]["virke"]["code"] == Conflict.kind
    assert rows(other) == [1]


def test_steps_of_an_interactive_run_are_all_kept_or_none(db: Database) -> None:
    client = Client(db)
    begin(client)
    assert run(client, ONE)["type"] == "ok"
    assert run(client, TWO, ONE)["type"] == "error"
    client.do(COMMIT)
    assert rows(db) == [1]


@pytest.mark.parametrize("mode", ["deferred", "immediate"])
@pytest.mark.parametrize("stream_keys", [False, True])
def test_an_interactive_transaction_that_says_nothing_has_the_foreign_keys_of_its_stream(
    stream_keys: bool, mode: str, db: Database
) -> None:
    client = Client(db, foreign_keys=stream_keys)
    begin(client, mode=mode)
    assert (run(client, ORPHAN)["type"] == "error") == stream_keys


def test_a_statement_is_described_in_an_interactive_transaction(db: Database) -> None:
    client = Client(db)
    begin(client)
    run(client, "CREATE TABLE x (first)")
    answer = client.do(interactive.describe_of({"sql": "SELECT * FROM x"}))
    assert [column["name"] for column in answer["response"]["description"]["columns"]] == ["first"]

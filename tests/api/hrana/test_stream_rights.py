"""What a stream allows: foreign keys are its own, and no more is done than the scope of its token says."""

from __future__ import annotations

import pytest

from tests.api.hrana.test_stream_steps import ONE, ORPHAN, Client, rows
from virke.engine.database import Database
from virke.scopes import Scope

# Foreign keys


def test_foreign_keys_are_those_of_the_stream_outside_and_inside_of_transactions(db: Database) -> None:
    client = Client(db)
    assert "FOREIGN KEY" in client.run(ORPHAN)[-1]
    assert client.run("PRAGMA foreign_keys", "PRAGMA foreign_keys = off", "PRAGMA foreign_keys") == ["1", "ok", "0"]
    assert not client.stream.is_blank
    assert client.run(ORPHAN, "BEGIN", ORPHAN, "COMMIT", "BEGIN IMMEDIATE", ORPHAN, "COMMIT") == ["ok"] * 7
    assert "FOREIGN KEY" in Client(db).run(ORPHAN)[-1]
    assert db.query("SELECT count(*) FROM child").rows == [(3,)]


def test_foreign_keys_can_not_be_changed_inside_of_a_transaction(db: Database) -> None:
    client = Client(db)
    client.run("BEGIN", "PRAGMA foreign_keys = off")
    assert "FOREIGN KEY" in client.run(ORPHAN)[-1]
    client.run("ROLLBACK")
    assert client.run("PRAGMA foreign_keys") == ["1"]


@pytest.mark.parametrize(("scope", "is_allowed"), [(Scope.WRITE, False), (Scope.SCHEMA, True)])
def test_foreign_keys_are_switched_off_by_those_who_may_change_the_schema(
    scope: Scope, is_allowed: bool, db: Database
) -> None:
    client = Client(db, scope)
    said = client.run("PRAGMA foreign_keys = off")[0]
    assert (said == "ok", client.stream.foreign_keys) == (is_allowed, not is_allowed)
    assert is_allowed or "nothing was changed" in said
    client = Client(db, scope, foreign_keys=False)
    assert client.run("PRAGMA foreign_keys = on", "PRAGMA foreign_keys") == ["ok", "1"]
    assert "FOREIGN KEY" in client.run(ORPHAN)[-1]


# Scopes


@pytest.mark.parametrize("sql", [[ONE], ["BEGIN", ONE], ["BEGIN IMMEDIATE"], ["SAVEPOINT a"], ["CREATE TABLE x (a)"]])
def test_a_reader_begins_no_write(sql: list[str], db: Database) -> None:
    client = Client(db, Scope.READ)
    assert "may only read" in client.run(*sql)[-1]
    assert rows(db) == []
    assert Client(db, Scope.READ).run("BEGIN", "SELECT count(*) FROM t", "COMMIT") == ["ok", "0", "ok"]


@pytest.mark.parametrize("begin", [[], ["BEGIN"], ["BEGIN IMMEDIATE"]])
def test_a_writer_changes_no_schema(begin: list[str], db: Database) -> None:
    client = Client(db, Scope.WRITE)
    said = client.run(*begin, "CREATE TABLE x (a)")[-1]
    assert "schema" in said
    assert client.run(ONE) == ["ok"]


def test_tables_of_virkes_own_stay(db: Database) -> None:
    client = Client(db)
    assert "nothing was changed" in client.run("DROP TABLE virke_requests")[-1]
    assert "nothing was changed" in client.run("BEGIN", "DROP TABLE virke_requests")[-1]

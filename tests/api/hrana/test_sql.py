"""What a stream reads in a statement's text."""

from __future__ import annotations

import pytest

from virke.api.hrana.sql import (
    Begin,
    Commit,
    Control,
    ForeignKeys,
    Rollback,
    Savepoint,
    control_of,
    parameter_names,
    takes_own_table,
    verb_of,
)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("BEGIN", Begin("deferred")),
        (" -- hi\n begin /* x */ transaction ;", Begin("deferred")),
        ("BEGIN CONCURRENT", Begin("deferred")),
        ("BEGIN IMMEDIATE TRANSACTION", Begin("write")),
        ("BEGIN EXCLUSIVE", Begin("write")),
        ("BEGIN TRANSACTION READONLY", Begin("read")),
        ("BEGIN nonsense", None),
        ("COMMIT", Commit()),
        ("END TRANSACTION;", Commit()),
        ("COMMIT; SELECT 1", None),
        ("ROLLBACK", Rollback()),
        ("ROLLBACK TRANSACTION", Rollback()),
        ("ROLLBACK TO SAVEPOINT x", Savepoint("ROLLBACK", "x")),
        ("ROLLBACK TRANSACTION TO x", Savepoint("ROLLBACK", "x")),
        ("SAVEPOINT a", Savepoint("SAVEPOINT", "a")),
        ("RELEASE SAVEPOINT a", Savepoint("RELEASE", "a")),
        ("PRAGMA foreign_keys", ForeignKeys(None)),
        ("pragma FOREIGN_KEYS = ON", ForeignKeys(True)),
        ("PRAGMA main.foreign_keys(0)", ForeignKeys(False)),
        ("PRAGMA foreign_keys='yes'", ForeignKeys(True)),
        ("PRAGMA foreign_keys=off;", ForeignKeys(False)),
        ("PRAGMA foreign_key_list(t)", None),
        ("SELECT 'BEGIN'", None),
        ("", None),
    ],
)
def test_transaction_control_is_known_by_its_words(sql: str, expected: Control | None) -> None:
    assert control_of(sql) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("insert into t values (1)", "INSERT"),
        ("WITH a AS (SELECT 1), b(x) AS (DELETE) INSERT INTO t SELECT * FROM a", "INSERT"),
        ("WITH a AS (SELECT ')' || '(' || 'INSERT') SELECT * FROM a", "SELECT"),
        ("WITH RECURSIVE r AS (SELECT 1 UNION SELECT 2) UPDATE t SET a = 1", "UPDATE"),
        ("/* INSERT */ SELECT 1", "SELECT"),
    ],
)
def test_what_a_statement_does_is_its_verb(sql: str, expected: str) -> None:
    assert verb_of(sql) == expected


def test_parameters_are_named_with_the_sign_of_the_text() -> None:
    sql = "SELECT ':no', @b, $c, ?, ?7 -- :no\n, :a"
    assert parameter_names(sql, ("b", "c", None, "7", "a")) == ["@b", "$c", None, "?7", ":a"]


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("DROP TABLE virke_requests", "virke_requests"),
        ('drop table if exists main."Virke_x" -- why', "Virke_x"),
        ("ALTER TABLE [virke_x] RENAME TO x", "virke_x"),
        ("DROP TABLE IF EXISTS main . TABLE TABLE IF", None),
        ("DROP", None),
        ("DROP INDEX virke_x", None),
        ("DROP TABLE t", None),
        ("SELECT * FROM virke_requests", None),
    ],
)
def test_what_would_take_a_table_of_virkes_own_is_known_by_its_words(sql: str, name: str | None) -> None:
    assert takes_own_table(sql) == name

"""What a request may do under its scope: rows only below `schema`, nothing below `write`; SQLite says what a statement does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from tests.engine.world import make, reopen, store_of
from virke.engine.database import Database
from virke.engine.programs import Answer, Failed, Program, Step, steps_of
from virke.engine.queue import Pending
from virke.engine.results import QueryResult
from virke.engine.sqlite.pragmas import ALLOWED
from virke.errors import Denied, SqlError
from virke.scopes import Scope

LESSER: Final = (Scope.READ, Scope.WRITE)
FILLED: Final = """
CREATE TABLE t (n INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT CHECK (v <> ''));
CREATE TABLE log (v TEXT, extra);
CREATE INDEX t_v ON t (v);
CREATE VIEW w AS SELECT n, v FROM t;
CREATE TRIGGER kept AFTER INSERT ON t BEGIN INSERT INTO log (v) VALUES (new.v); END;
CREATE TRIGGER through INSTEAD OF INSERT ON w BEGIN INSERT INTO t (v) VALUES (new.v); END;
CREATE TABLE virke_migrations (name TEXT);
CREATE VIRTUAL TABLE f USING fts5 (body);
CREATE VIRTUAL TABLE r USING rtree (id, low, high);
CREATE TABLE child (of INTEGER REFERENCES t (n) ON DELETE CASCADE);
INSERT INTO t (v) VALUES ('a');
INSERT INTO f VALUES ('one word');
INSERT INTO r VALUES (1, 0, 1);
ANALYZE;
"""
ROWS: Final = [
    "INSERT INTO t (v) VALUES ('b')",
    "INSERT OR REPLACE INTO t VALUES (1, 'c')",
    "INSERT INTO t VALUES (1, 'd') ON CONFLICT (n) DO UPDATE SET v = excluded.v",
    "UPDATE t SET v = 'e'",
    "UPDATE t SET v = s.v FROM log AS s",
    "DELETE FROM t",
    "DELETE FROM t WHERE n = 1 RETURNING v",
    "INSERT INTO w VALUES (NULL, 'through a view and two triggers')",
    "WITH c AS (SELECT 'x' AS v) INSERT INTO log (v) SELECT v FROM c",
    "INSERT INTO f VALUES ('another word')",
    "UPDATE f SET body = 'else' WHERE f MATCH 'word'",
    "INSERT INTO f (f) VALUES ('rebuild')",
    "DELETE FROM f",
    "INSERT INTO r VALUES (2, 3, 4)",
    "UPDATE r SET high = 9",
    "DELETE FROM r WHERE low >= 0",
    "DELETE FROM sqlite_sequence WHERE name = 't'",
]
"""What changes rows."""
READS: Final = [
    "SELECT * FROM t",
    "SELECT * FROM w",
    "SELECT body FROM f WHERE f MATCH 'word'",
    "SELECT id FROM r WHERE low < 5",
    "EXPLAIN QUERY PLAN SELECT * FROM t",
    "PRAGMA table_info(t)",
    "PRAGMA user_version",
    "SELECT * FROM sqlite_schema",
    "PRAGMA integrity_check",
    "PRAGMA foreign_key_check",
]
SCHEMA: Final = [
    "CREATE TABLE u (n)",
    "CREATE TABLE IF NOT EXISTS u AS SELECT * FROM t",
    "CREATE INDEX i ON t (v)",
    "CREATE UNIQUE INDEX i ON t (v)",
    "CREATE VIEW x AS SELECT 1",
    "CREATE TRIGGER g AFTER DELETE ON t BEGIN DELETE FROM log; END",
    "CREATE VIRTUAL TABLE ff USING fts5 (body)",
    "CREATE TEMP TABLE u (n)",
    "CREATE TABLE temp.u (n)",
    "CREATE TEMP VIEW x AS SELECT 1",
    "CREATE TEMP TRIGGER g AFTER DELETE ON t BEGIN DELETE FROM log; END",
    "ALTER TABLE t ADD COLUMN extra",
    "ALTER TABLE t RENAME TO renamed",
    "ALTER TABLE log RENAME COLUMN extra TO more",
    "ALTER TABLE log DROP COLUMN extra",
    "DROP TABLE log",
    "DROP TABLE IF EXISTS child",
    "DROP INDEX t_v",
    "DROP VIEW w",
    "DROP TRIGGER kept",
    "DROP TABLE f",
    "REINDEX",
    "REINDEX t",
    "ANALYZE",
    "ANALYZE t",
    "VACUUM",
    "  /* VACUUM */ -- hidden\n vacuum main",
    "INSERT INTO virke_migrations VALUES ('forged')",
    "UPDATE VIRKE_MIGRATIONS SET name = 'forged'",
    "DELETE FROM main.[virke_migrations]",
    "INSERT INTO sqlite_stat1 VALUES ('t', 't_v', '1 1')",
    "DELETE FROM sqlite_stat1",
    "PRAGMA user_version = 7",
    "PRAGMA application_id = 7",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA foreign_keys = 'no'",
    "PRAGMA foreign_keys(0)",
    "PRAGMA auto_vacuum = FULL",
    "PRAGMA incremental_vacuum",
    "PRAGMA optimize",
    "PRAGMA encoding = 'UTF-16'",
]
"""What `schema` may do, and `write` may not."""
MODES: Final = ["explain CREATE TABLE u (n)", "PRAGMA ignore_check_constraints = ON", "PRAGMA case_sensitive_like = 1"]
"""What has no effect where only reads are run, and is refused elsewhere."""
WITHIN: Final = [sql for sql in SCHEMA if not sql.lower().lstrip(" /*").startswith(("vacuum", "pragma"))]
"""Of those, what can stand in the middle of a transaction."""


@pytest.fixture
def filled(db: Database) -> Database:
    db.run_script(FILLED)
    return db


Way = Callable[[Database, str, Scope], object]


def _query(db: Database, sql: str, scope: Scope) -> object:
    return db.query(sql, scope=scope)


def _run(db: Database, sql: str, scope: Scope) -> object:
    return db.serving.run(steps_of([(sql, ())]), scope=scope)


def _keyed(db: Database, sql: str, scope: Scope) -> object:
    return db.serving.run(steps_of([(sql, ())]), scope=scope, key="one key")


def _enqueued(db: Database, sql: str, scope: Scope) -> object:
    return _answer(db, db.serving.program((Step(sql),), scope=scope))


def _script(db: Database, sql: str, scope: Scope) -> object:
    return _answer(db, db.serving.program((Step(f"SELECT 1; {sql}", is_script=True),), scope=scope))


def _transaction(db: Database, sql: str, scope: Scope) -> object:
    with db.transaction(scope=scope) as transaction:
        return transaction.query(sql)


def _answer(db: Database, program: Program) -> object:
    told: list[Pending] = []
    lead = db.serving.enqueue(program, told.append)
    assert lead is not None
    lead()
    return told[0].results()


WAYS: Final = (_query, _run, _keyed, _enqueued, _script, _transaction)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sql", SCHEMA)
def test_below_schema_nothing_but_rows_is_changed(filled: Database, sql: str, way: Way) -> None:
    """By every way, also where the same text was prepared and run a moment before by somebody who may."""
    before = filled.version
    for scope in LESSER:
        with pytest.raises(Denied):
            way(filled, sql, scope)
    assert filled.version == before


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize("sql", MODES)
def test_modes_that_weaken_checks_are_not_for_write(filled: Database, sql: str, way: Way) -> None:
    """They would hold for the rest of a script or a transaction."""
    with pytest.raises(Denied):
        way(filled, sql, Scope.WRITE)


@pytest.mark.parametrize("sql", WITHIN)
def test_schema_may_do_what_write_may_not(filled: Database, sql: str) -> None:
    """So that the list above is of statements that are good but for their scope."""
    assert isinstance(filled.query(sql, scope=Scope.SCHEMA), QueryResult)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sql", ROWS)
def test_write_changes_rows_and_read_does_not(filled: Database, sql: str, way: Way) -> None:
    """Triggers, views and virtual tables included."""
    with pytest.raises(Denied, match="read"):
        way(filled, sql, Scope.READ)
    before = filled.version
    way(filled, sql, Scope.WRITE)
    assert filled.version == before + 1
    assert filled.query("PRAGMA integrity_check").rows == [("ok",)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sql", READS)
def test_every_scope_reads(filled: Database, sql: str, way: Way) -> None:
    """A virtual table that was not read yet on its connection included: it prepares writes then."""
    reopened = reopen(store_of(filled))
    for scope in Scope:
        way(reopened, sql, scope)


@pytest.mark.parametrize("way", [_run, _enqueued])
def test_what_one_scope_prepared_another_does_not_run(filled: Database, way: Way) -> None:
    """SQLite is asked when a statement is prepared, and prepared statements are kept: by text, and on one connection."""
    texts = ["DELETE FROM virke_migrations", "DELETE FROM sqlite_stat1", "INSERT INTO f_config VALUES ('k', 1)"]
    for sql in texts:
        for _ in range(2):
            with_it = way(filled, sql if "f_config" not in sql else "DELETE FROM f_config WHERE k = 'k'", Scope.ADMIN)
            assert with_it is not None
            way(filled, sql, Scope.ADMIN)
        before = filled.version
        for scope in LESSER:
            with pytest.raises((Denied, SqlError)):
                way(filled, sql, scope)
        assert filled.version == before


def test_a_transaction_does_not_run_what_an_earlier_one_prepared(filled: Database) -> None:
    """They share a connection one after another."""
    sql = "DELETE FROM virke_migrations WHERE name = 'x'"
    with filled.transaction() as transaction:
        transaction.execute(sql)
    for scope in LESSER:
        with filled.transaction(scope=scope) as transaction, pytest.raises(Denied):
            transaction.execute(sql)
    with filled.transaction() as transaction:
        transaction.execute(sql)
        transaction.execute("CREATE TABLE made_later (n)")


def test_programs_of_one_commit_keep_their_own_scopes(filled: Database) -> None:
    """In any order, with the same text in each; those who may are not held back by those who may not."""
    sql = "INSERT INTO virke_migrations VALUES ('one')"
    scopes = [Scope.ADMIN, Scope.WRITE, Scope.SCHEMA, Scope.READ, Scope.ADMIN, Scope.WRITE]
    told: list[Pending] = []
    leads = [filled.serving.enqueue(filled.serving.program((Step(sql),), scope=scope), told.append) for scope in scopes]
    before = filled.version
    assert leads[0] is not None
    assert not any(leads[1:])
    leads[0]()
    assert [pending.error is None for pending in told] == [scope >= Scope.SCHEMA for scope in scopes]
    assert all(isinstance(pending.error, Denied | None) for pending in told)
    assert (filled.version, filled.query("SELECT count(*) FROM virke_migrations").rows) == (before + 1, [(3,)])


def test_shadow_tables_are_not_written_by_hand(filled: Database) -> None:
    """They are how a virtual table keeps its rows: who may change rows changes those of the table itself."""
    with pytest.raises(SqlError, match="may not be modified"):
        filled.query("DELETE FROM f_data", scope=Scope.WRITE)
    with pytest.raises(SqlError, match="may not be modified"):
        filled.query("UPDATE r_node SET data = x'00'", scope=Scope.WRITE)
    filled.query("INSERT INTO f_config VALUES ('k', 1)", scope=Scope.SCHEMA)


def test_checks_stay_on_for_who_may_not_switch_them_off(filled: Database) -> None:
    """A PRAGMA takes effect when it is prepared, so it must not even be."""
    for scope in LESSER:
        transaction = filled.transaction(scope=scope)
        with pytest.raises(Denied):
            transaction.query("PRAGMA ignore_check_constraints = ON")
        if scope is Scope.WRITE:
            with pytest.raises(SqlError, match="CHECK"):
                transaction.execute("INSERT INTO t (v) VALUES ('')")
        transaction.rollback()
    switch, insert = Step("PRAGMA ignore_check_constraints = ON"), Step("INSERT INTO t (v) VALUES ('')")
    denied, broken = _answers(filled, (switch, replace(insert, condition=Failed(0))))
    assert isinstance(denied, Denied)
    assert isinstance(broken, SqlError)
    filled.query("PRAGMA foreign_keys = ON", scope=Scope.WRITE)
    with pytest.raises(Denied):
        filled.query("PRAGMA foreign_keys = OFF", scope=Scope.WRITE)
    assert filled.foreign_keys


def _answers(db: Database, steps: tuple[Step, ...]) -> list[Answer]:
    told: list[Pending] = []
    lead = db.serving.enqueue(db.serving.program(steps, keeps_going=True, scope=Scope.WRITE), told.append)
    assert lead is not None
    lead()
    return told[0].answers or []


def test_a_trigger_can_t_write_where_its_firer_may_not(filled: Database) -> None:
    """A trigger that was made by hand on Virke's own tables is no way to them."""
    filled.run_script("CREATE TRIGGER forging AFTER DELETE ON log BEGIN INSERT INTO virke_migrations VALUES ('x'); END")
    filled.query("INSERT INTO log (v) VALUES ('y')", scope=Scope.WRITE)
    with pytest.raises(Denied):
        filled.query("DELETE FROM log", scope=Scope.WRITE)


def test_keyed_requests_are_remembered_whatever_their_scope(filled: Database) -> None:
    """Their table is Virke's: the engine writes it, and makes it, for those who may not."""
    insert = [("INSERT INTO t (v) VALUES ('once')", ())]
    for _ in range(3):
        filled.serving.run(steps_of(insert), scope=Scope.WRITE, key="k")
    with filled.transaction(scope=Scope.WRITE, idempotency_key="of a transaction") as transaction:
        transaction.execute("INSERT INTO t (v) VALUES ('once')")
    assert filled.query("SELECT count(*) FROM t WHERE v = 'once'").rows == [(2,)]
    for sql in ("DELETE FROM virke_requests", "UPDATE virke_requests SET answer = '[]'"):
        with pytest.raises(Denied):
            filled.query(sql, scope=Scope.WRITE)


def test_an_engine_s_own_statement_is_nobody_else_s(filled: Database) -> None:
    """The same text as one that the engine ran for the same request a moment before."""
    program = filled.serving.program((Step("INSERT INTO t (v) VALUES ('x')"),), key="k", scope=Scope.WRITE)
    _answer(filled, program)
    trim = "DELETE FROM virke_requests WHERE id IN (SELECT id FROM virke_requests ORDER BY id LIMIT 4) AND at_ms <= ?"
    with pytest.raises(Denied):
        filled.serving.run(steps_of([(trim, (1 << 62,))]), scope=Scope.WRITE)


def test_a_batch_that_reads_asks_for_no_place_in_line() -> None:
    """With `read` a batch sees what reads see, all of it of one version, and commits nothing."""
    with make() as db:
        db.run_script("CREATE TABLE t (n); INSERT INTO t VALUES (1)")
        with db.transaction(immediate=True) as open_here:
            results = db.serving.run(steps_of([("SELECT n FROM t", ()), ("SELECT 2", ())]), scope=Scope.READ, meta=True)
            open_here.rollback()
        assert [result.rows for result in results] == [[(1,)], [(2,)]]
        assert {result.version for result in results} == {db.version}
        assert all(result.meta for result in results)
        assert db.serving.run(steps_of([]), scope=Scope.READ) == []


def test_every_pragma_that_may_be_set_was_thought_about(filled: Database) -> None:
    """Of those that `schema` may set, `write` may set these."""
    settable = set()
    for name in sorted(ALLOWED):
        try:
            filled.serving.run(steps_of([(f"PRAGMA {name} = 1", ())]), scope=Scope.WRITE)
            settable.add(name)
        except Denied:
            continue
    assert settable == {
        "cell_size_check",
        "defer_foreign_keys",
        "foreign_keys",
        "recursive_triggers",
        "reverse_unordered_selects",
    }


@pytest.mark.parametrize("word", ["read", "write", "schema", "admin"])
def test_a_scope_has_a_word(word: str) -> None:
    """That users write it with."""
    assert Scope.named(word).word == word

"""libSQL's ALTER TABLE … ALTER COLUMN … TO …: another definition of one column, and no row that contradicts it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.world import make
from virke.engine.database import Database
from virke.engine.programs import steps_of
from virke.engine.sqlite import column_change, definition_of, with_definition
from virke.errors import Denied, SqlError
from virke.scopes import Scope


@pytest.fixture
def db() -> Iterator[Database]:
    with make() as database:
        database.run_script(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER, UNIQUE (b)); CREATE INDEX i ON t (a);"
            "CREATE TABLE log (n); CREATE TRIGGER r AFTER UPDATE ON t BEGIN INSERT INTO log VALUES (new.id); END;"
            "INSERT INTO t VALUES (1, 'x', 1), (2, NULL, 2);"
        )
        yield database


def create_of(db: Database, table: str = "t") -> str:
    return str(db.query("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).rows[0][0])


def test_a_changed_default_is_that_of_new_rows_and_old_rows_keep_what_they_had(db: Database) -> None:
    """Also those that are stored without the column, whose value was the old default."""
    db.execute("ALTER TABLE t ADD COLUMN c INT DEFAULT 5")
    found = db.query("ALTER TABLE t ALTER COLUMN c TO c INT DEFAULT 7")
    assert (found.rows, found.rows_affected) == ([], 0)
    db.execute("INSERT INTO t (b) VALUES (3)")
    assert db.query("SELECT c FROM t ORDER BY id").rows == [(5,), (5,), (7,)]


def test_no_trigger_sees_it_and_no_row_counts_as_changed(db: Database) -> None:
    db.execute("ALTER TABLE t ALTER COLUMN a TO a TEXT DEFAULT 'y'")
    db.execute("ALTER TABLE t ALTER COLUMN b TO b REAL")
    assert db.query("SELECT count(*) FROM log").rows == [(0,)]
    db.execute("UPDATE t SET b = 9 WHERE id = 1")
    assert db.query("SELECT count(*) FROM log").rows == [(1,)]


def test_a_new_type_and_collation_hold_for_old_rows_and_their_indexes(db: Database) -> None:
    db.execute("ALTER TABLE t ALTER COLUMN b TO b TEXT")
    db.execute("ALTER TABLE t ALTER COLUMN a TO a TEXT COLLATE NOCASE")
    assert db.query("SELECT id, typeof(b) FROM t WHERE b = '1' AND a = 'X'").rows == [(1, "text")]
    assert db.query("PRAGMA integrity_check").rows == [("ok",)]


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ("a TEXT NOT NULL", "NULL value in t.a"),
        ("a TEXT CHECK (a <> 'x')", "CHECK constraint failed in t"),
        ("a TEXT UNIQUE", "UNIQUE constraint cannot be altered"),
        ("a TEXT PRIMARY KEY", "more than one primary key"),
        ("a TEXT AS ('x')", "GENERATED constraint cannot be altered"),
        ("a TEXT DEFAULT (", "syntax error"),
        ("a TEXT, more INT", "syntax error"),
        ("a TEXT) WITHOUT ROWID --", "syntax error"),
        ("a TEXT CHECK (nope > 1)", "no such column: nope"),
        ("c TEXT", "can't rename"),
        ("", "syntax error"),
    ],
)
def test_a_definition_that_is_none_or_that_rows_contradict_changes_nothing(
    db: Database, definition: str, words: str
) -> None:
    before, version = create_of(db), db.status().version
    with pytest.raises(SqlError, match=words.replace("(", r"\(")):
        db.execute(f"ALTER TABLE t ALTER COLUMN a TO {definition}")
    assert (create_of(db), db.status().version) == (before, version)
    assert db.query("PRAGMA integrity_check").rows == [("ok",)]
    db.execute("INSERT INTO t (a) VALUES (NULL)")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("ALTER TABLE nope ALTER COLUMN a TO a", "no such table: nope"),
        ("ALTER TABLE t ALTER COLUMN nope TO nope", "no such column"),
        ("ALTER TABLE v ALTER COLUMN a TO a", "v is a view"),
        ("ALTER TABLE f ALTER COLUMN a TO a", "f is a virtual table"),
        ("ALTER TABLE sqlite_sequence ALTER COLUMN seq TO seq", "may not be altered"),
        ("ALTER TABLE k ALTER COLUMN x TO x BLOB PRIMARY KEY", "the type of a column of the PRIMARY KEY"),
        ("ALTER TABLE t ALTER b TO b", "syntax error"),
    ],
)
def test_only_columns_of_ordinary_tables_are_altered(db: Database, sql: str, words: str) -> None:
    db.run_script(
        "CREATE VIEW v AS SELECT a FROM t; CREATE VIRTUAL TABLE f USING fts5 (a);"
        "CREATE TABLE s (i INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE k (x TEXT PRIMARY KEY) WITHOUT ROWID"
    )
    with pytest.raises(SqlError, match=words):
        db.execute(sql)


def test_it_is_part_of_a_transaction_and_of_a_batch(db: Database) -> None:
    before = create_of(db)
    tx = db.transaction()
    tx.execute("ALTER TABLE t ALTER COLUMN a TO a TEXT DEFAULT 'q'")
    tx.execute("INSERT INTO t (b) VALUES (8)")
    assert tx.query("SELECT a FROM t WHERE b = 8").rows == [("q",)]
    tx.rollback()
    assert create_of(db) == before
    db.batch(["ALTER TABLE t ALTER COLUMN a TO a TEXT DEFAULT 'q';", "INSERT INTO t (b) VALUES (8)"])
    assert db.query("SELECT a FROM t WHERE b = 8").rows == [("q",)]


def test_another_connection_of_the_process_reads_the_new_schema(db: Database) -> None:
    with db.transaction(read_only=True) as old:
        assert old.query("SELECT * FROM t WHERE id = 1").rows == [(1, "x", 1)]
        db.execute('ALTER TABLE main."t" ALTER COLUMN "a" TO `a` TEXT DEFAULT \'q\' -- why\n;')
        assert old.query("SELECT sql FROM sqlite_schema WHERE name = 't'").rows != [(create_of(db),)]
    assert db.query("SELECT dflt_value FROM pragma_table_info('t') WHERE name = 'a'").rows == [("'q'",)]


@pytest.mark.parametrize("scope", Scope)
def test_p12_it_needs_the_scope_schema(db: Database, scope: Scope) -> None:
    sql = "ALTER TABLE t ALTER COLUMN a TO a TEXT DEFAULT 'q'"
    if scope >= Scope.SCHEMA:
        db.serving.run(steps_of([(sql, ())]), scope=scope)
        return
    with pytest.raises(Denied):
        db.serving.run(steps_of([(sql, ())]), scope=scope)


NAMES = st.sampled_from(["a", '"b, (b"', "[c)]", "`d``d`", '"e ""e"'])
ENDS = st.sampled_from(
    [
        "",
        "INT",
        "TEXT DEFAULT ','",
        "CHECK (1 > (0))",
        "DEFAULT (')')",
        "/* , ( */ REAL",
        "NOT NULL -- ),\n",
        "DECIMAL(10, 2)",
    ]
)


@given(st.lists(st.tuples(NAMES, ENDS), min_size=1, max_size=5, unique_by=lambda one: one[0]), st.data())
def test_a_definition_takes_the_place_of_one_column_and_of_nothing_else(
    columns: list[tuple[str, str]], data: st.DataObject
) -> None:
    written = [f"{name} {end}" for name, end in columns]
    create = f"CREATE TABLE \"x (,\" (\n {', '.join(written)}, CHECK ('a,' <> ')')) STRICT"
    place = data.draw(st.integers(0, len(columns) - 1))
    head, rest = with_definition(create, place, "NEW (1, 2)")
    assert head == 'CREATE TABLE "x (," '
    for at in range(len(columns)):
        wanted = "NEW (1, 2)" if at == place else definition_of(create, at)
        assert definition_of(head + rest, at) == wanted
    assert rest.endswith(", CHECK ('a,' <> ')')) STRICT")


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("/* x */ alter table t alter column a to a int; SELECT 1", ("t", "a", "a int")),
        (
            'ALTER TABLE "t ""x" ALTER COLUMN [a b] TO "a b" TEXT DEFAULT \';\'',
            ('t "x', "a b", "\"a b\" TEXT DEFAULT ';'"),
        ),
        ("ALTER TABLE t ALTER COLUMN a TO A /* c */ INT -- end", ("t", "a", "A /* c */ INT")),
        ("ALTER TABLE t RENAME COLUMN a TO b", None),
        ("ALTER TABLE t ALTER COLUMN a SET NOT NULL", None),
        ("ALTER TABLE other.t ALTER COLUMN a TO a", None),
    ],
)
def test_the_statement_is_understood_as_libsql_does(sql: str, found: tuple[str, str, str] | None) -> None:
    change = column_change(sql)
    assert (change and (change.table, change.column, change.definition)) == found
    assert change is None or not change.renames

"""Migrations: planned, applied once and whole, checked, undone."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virke.errors import Invalid, NotFound, SqlError, VirkeError
from virke.migrations import migrate, plan, status, undo
from virke.migrations.tokens import parameter_names, split_statements, tokens
from virke.opening import connect, create

if TYPE_CHECKING:
    from virke.engine.database import Database

SEED = """-- migrations/001_create_users.sql
CREATE TABLE IF NOT EXISTS users (
id INTEGER PRIMARY KEY,
name TEXT NOT NULL,
email TEXT UNIQUE,
created_at TEXT DEFAULT (datetime('now'))
);
"""


@pytest.fixture
def database() -> Iterator[Database]:
    database = create("app", f"memory://{uuid.uuid4().hex}")
    yield database
    database.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "migrations", **{"001_create_users": SEED})


def write(folder: Path, **files: str) -> Path:
    """Put `name=sql` as `name.sql` into `folder`; `_undo_` in a name stands for `.undo`."""
    folder.mkdir(exist_ok=True)
    for name, sql in files.items():
        (folder / f"{name.replace('_undo_', '.undo')}.sql").write_text(sql)
    return folder


def schema_of(database: Database) -> list[tuple[object, ...]]:
    """All that the database contains, the record table left out."""
    sql = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE '%virke_migrations%' ORDER BY name"
    return [tuple(row) for row in database.query(sql).rows]


# Planning


def test_files_are_planned_in_order_of_their_numbers(tmp_path: Path) -> None:
    names = {f"{n:03}_step": f"SELECT {n}" for n in (3, 1, 2)}
    found = plan(write(tmp_path / "m", **names, **{"002_step_undo_": "SELECT 0"}))
    assert [(file.number, file.name, file.undo) for file in found] == [
        (1, "step", None),
        (2, "step", "SELECT 0"),
        (3, "step", None),
    ]


def test_a_checksum_does_not_see_line_ends_or_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "001_a.sql").write_bytes(b"SELECT 1;\nSELECT 2;\n")
    (tmp_path / "002_b.sql").write_bytes(b"\xef\xbb\xbfSELECT 1;\r\nSELECT 2;\r\n")
    (tmp_path / "003_c.sql").write_bytes(b"SELECT 1;\nSELECT 2; \n")
    first, second, third = plan(tmp_path)
    assert first.checksum == second.checksum != third.checksum


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["001_a", "003_c"], "migration 002 is missing"),
        (["002_b", "003_c"], "migration 001 is missing"),
        (["001_a", "0001_b"], "same number"),
        (["create_users"], "not a migration's name"),
        (["001-a"], "not a migration's name"),
        (["001_a", "001_b_undo_"], "undoes nothing"),
    ],
)
def test_a_folder_that_is_not_in_order_is_refused_before_anything_runs(
    database: Database, tmp_path: Path, names: list[str], words: str
) -> None:
    folder = write(tmp_path / "m", **dict.fromkeys(names, "CREATE TABLE t(a)"))
    version = database.version
    with pytest.raises(Invalid, match=words):
        migrate(database, folder)
    assert database.version == version


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "._001_a.sql").write_bytes(b"\xff")
    (tmp_path / "old.sql").mkdir()
    assert plan(tmp_path) == []


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"001_name\.sql"):
        plan(tmp_path / "none")


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "001_a.sql").write_bytes(b"SELECT '\xff'")
    with pytest.raises(Invalid, match=r"001_a\.sql is not UTF-8"):
        plan(tmp_path)


# Statements


@pytest.mark.parametrize(
    ("sql", "keywords"),
    [
        ("SELECT 1; SELECT 2", ["SELECT", "SELECT"]),
        ("-- a; b\n/* ; */ ;;SELECT ';', \";\", [;], `;`;", ["SELECT"]),
        (
            "CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET b = CASE WHEN 1 THEN 2 END; END; SELECT 1",
            ["CREATE", "SELECT"],
        ),
        ("create temp trigger t after insert on a begin select 1; select 2; end;", ["CREATE"]),
        ("BEGIN; INSERT INTO t VALUES ('it''s; fine'); COMMIT;", ["BEGIN", "INSERT", "COMMIT"]),
        ("SELECT 'open; SELECT 2", ["SELECT"]),
        ("  -- nothing\n", []),
    ],
)
def test_a_script_is_cut_where_sqlite_would(sql: str, keywords: list[str]) -> None:
    assert [statement.keyword for statement in split_statements(sql)] == keywords


@given(st.lists(st.sampled_from([*";'\"[]`-/*\n a1?:", "--", "/*", "BEGIN ", "END", "CREATE ", "TRIGGER ", "é"])))
def test_cutting_loses_no_token_and_cuts_only_complete_statements(parts: list[str]) -> None:
    sql = "".join(parts)
    statements = [statement.sql for statement in split_statements(sql)]
    kept = [token.text for statement in statements for token in tokens(statement)]
    assert [text for text in kept if text != ";"] == [token.text for token in tokens(sql) if token.text != ";"]
    assert all(sqlite3.complete_statement(statement) for statement in statements[:-1])


def test_named_parameters_are_found_outside_of_texts_and_comments() -> None:
    sql = "SELECT :a, @b, $c, ?, ?1, ':no', \"@no\", :a -- $no\n/* :no */"
    assert parameter_names(sql) == ["a", "b", "c"]


# Applying


def test_the_migration_of_the_seed_is_applied_and_recorded(database: Database, folder: Path) -> None:
    assert [file.name for file in migrate(database, folder)] == ["create_users"]
    database.execute("INSERT INTO users (name, email) VALUES (?, ?)", ["Alice", "alice@example.com"])
    row = database.query("SELECT number, name, checksum, undo FROM virke_migrations").rows
    assert row == [(1, "create_users", plan(folder)[0].checksum, 'DROP TABLE "users";\n')]


def test_a_second_run_does_nothing(database: Database, folder: Path) -> None:
    migrate(database, folder)
    version = database.version
    assert migrate(database, folder) == []
    assert database.version == version


def test_each_file_is_all_or_nothing(database: Database, folder: Path) -> None:
    write(
        folder,
        **{"002_posts": "CREATE TABLE posts(id);\n\nINSERT INTO posts VALUES (1);\nINSERT INTO nope VALUES (1);"},
    )
    with pytest.raises(SqlError, match=r"002_posts\.sql: .*nope.* \(line 4\)"):
        migrate(database, folder)
    assert [state.applied_at is None for state in status(database, folder)] == [False, True]
    assert not database.query("SELECT 1 FROM sqlite_schema WHERE name = 'posts'").rows


def test_a_files_own_transaction_marks_mean_nothing(database: Database, tmp_path: Path) -> None:
    sql = "BEGIN IMMEDIATE;\nCREATE TABLE a(x);\nCOMMIT;\nBEGIN;\nCREATE TABLE b(x);\nEND TRANSACTION;\n"
    migrate(database, write(tmp_path / "m", **{"001_a": sql}))
    assert [row[1] for row in schema_of(database)] == ["a", "b"]


def test_rollback_in_a_file_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="ROLLBACK"):
        migrate(database, write(tmp_path / "m", **{"001_a": "CREATE TABLE a(x);\nROLLBACK;"}))
    assert schema_of(database) == []


def test_a_dry_run_keeps_nothing_and_finds_errors(database: Database, folder: Path) -> None:
    assert [file.name for file in migrate(database, folder, dry_run=True)] == ["create_users"]
    assert schema_of(database) == []
    write(folder, **{"002_bad": "CREATE TABEL x(y)"})
    with pytest.raises(SqlError, match=r"002_bad\.sql"):
        migrate(database, folder, dry_run=True)
    assert database.query("SELECT count(*) FROM sqlite_schema").rows == [(0,)]


@pytest.mark.parametrize("change", ["edit", "remove", "rename"])
def test_an_applied_file_that_changed_is_refused_before_anything_runs(
    database: Database, folder: Path, change: str
) -> None:
    migrate(database, folder)
    write(folder, **{"002_more": "CREATE TABLE more(x)"})
    first = folder / "001_create_users.sql"
    words = {"edit": "was edited", "remove": "is missing", "rename": "old name"}[change]
    match change:
        case "edit":
            first.write_text(SEED + "SELECT 1;")
        case "remove":
            first.rename(folder / "gone.txt")
            (folder / "002_more.sql").rename(folder / "002_more.txt")
        case "rename":
            first.rename(folder / "001_users.sql")
    for call in (migrate, status, undo):
        with pytest.raises(VirkeError, match=words):
            call(database, folder)
    assert not database.query("SELECT 1 FROM sqlite_schema WHERE name = 'more'").rows


def test_two_who_migrate_at_once_both_succeed_and_apply_each_file_once(tmp_path: Path) -> None:
    store = f"local:{tmp_path / 'store'}"
    create("app", store).close()
    files = {f"{n:03}_t": f"CREATE TABLE t{n}(x); INSERT INTO t{n} VALUES ({n});" for n in range(1, 6)}
    folder = write(tmp_path / "m", **files)
    barrier, applied, errors = threading.Barrier(2), list[int](), list[BaseException]()

    def run() -> None:
        try:
            database = connect("app", store)
            barrier.wait()
            applied.extend(file.number for file in migrate(database, folder))
            database.close()
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(applied) == [1, 2, 3, 4, 5]
    assert connect("app", store).query("SELECT count(*) FROM t1").rows == [(1,)]


# Undoing

EXACT = [
    "CREATE TABLE b(x INTEGER PRIMARY KEY AUTOINCREMENT, y REFERENCES a(id)); CREATE INDEX bi ON b(y);",
    "CREATE TABLE b AS SELECT * FROM a; INSERT INTO b VALUES (9, 'new');",
    "ALTER TABLE a ADD COLUMN c INTEGER DEFAULT 5; ALTER TABLE a ADD d TEXT; CREATE INDEX ac ON a(c);",
    'ALTER TABLE A ADD COLUMN "we ird" TEXT CHECK (length("we ird") < 9);',
    "CREATE VIEW v AS SELECT * FROM a; CREATE TRIGGER tr AFTER INSERT ON a BEGIN SELECT 1; END;",
    "CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES ('hello');",
    "CREATE TABLE IF NOT EXISTS a(id INTEGER PRIMARY KEY, name TEXT);",
    "DROP TABLE IF EXISTS fresh; CREATE TABLE fresh(x);",
    "UPDATE a SET name = 'x' WHERE id = 99; PRAGMA foreign_keys = ON; CREATE TABLE z(q);",
    'CREATE TABLE "quo""ted"(x); CREATE UNIQUE INDEX "i""x" ON "quo""ted"(x);',
    "SELECT 1;",
]
INEXACT = [
    "DROP TABLE a;",
    "DROP INDEX ai;",
    "DROP INDEX ai; ALTER TABLE a DROP COLUMN name; ALTER TABLE a ADD COLUMN name TEXT; CREATE INDEX ai ON a(name);",
    "ALTER TABLE a RENAME TO b;",
    "ALTER TABLE a RENAME COLUMN name TO title;",
    "UPDATE a SET name = upper(name);",
    "DELETE FROM a WHERE id = 1;",
    "INSERT INTO a VALUES (7, 'x');",
    "REPLACE INTO a VALUES (1, 'x');",
    "WITH n AS (SELECT 8 AS i) INSERT INTO a SELECT i, 'x' FROM n;",
    "CREATE TABLE b(x); CREATE TRIGGER tr AFTER INSERT ON b BEGIN DELETE FROM a; END; INSERT INTO b VALUES (1);",
    "DROP TABLE a; CREATE TABLE a(id INTEGER PRIMARY KEY, name TEXT);",
    "PRAGMA user_version = 5;",
]


def before_undo(database: Database, folder: Path, sql: str) -> list[tuple[object, ...]]:
    """Apply a first migration, then `sql` as the second; the schema between the two."""
    first = "CREATE TABLE a(id INTEGER PRIMARY KEY, name TEXT); CREATE INDEX ai ON a(name);"
    write(folder, **{"001_a": first + "INSERT INTO a VALUES (1, 'one'), (2, 'two');"})
    migrate(database, folder)
    between = schema_of(database)
    write(folder, **{"002_b": sql})
    migrate(database, folder)
    return between


@pytest.mark.parametrize("sql", EXACT)
def test_what_only_added_is_undone_exactly(database: Database, tmp_path: Path, sql: str) -> None:
    between = before_undo(database, tmp_path, sql)
    assert [state.undo for state in status(database, tmp_path)] == ["automatic", "automatic"]
    assert [file.number for file in undo(database, tmp_path)] == [2]
    found = [row for row in schema_of(database) if row[1] != "sqlite_sequence"]
    assert found == between
    assert database.query("SELECT * FROM a").rows == [(1, "one"), (2, "two")]


@pytest.mark.parametrize("sql", INEXACT)
def test_what_took_something_away_is_not_undone_without_a_file(database: Database, tmp_path: Path, sql: str) -> None:
    before_undo(database, tmp_path, sql)
    after = schema_of(database)
    with pytest.raises(Invalid, match=r"write 002_b\.undo\.sql next to it"):
        undo(database, tmp_path)
    with pytest.raises(Invalid, match=r"write 002_b\.undo\.sql next to it"):
        undo(database, tmp_path, steps=2)
    assert schema_of(database) == after


def test_an_undo_file_wins_over_the_automatic_one(database: Database, folder: Path) -> None:
    migrate(database, folder)
    write(folder, **{"001_create_users_undo_": "BEGIN; ALTER TABLE users RENAME TO old_users; COMMIT;"})
    assert status(database, folder)[0].undo == "file"
    undo(database, folder)
    assert "old_users" in [row[1] for row in schema_of(database)]
    assert status(database, folder)[0].applied_at is None


def test_several_are_undone_newest_first_and_can_be_applied_again(database: Database, folder: Path) -> None:
    write(folder, **{"002_b": "ALTER TABLE users ADD COLUMN avatar TEXT", "003_c": "CREATE INDEX i ON users(avatar)"})
    migrate(database, folder)
    after = schema_of(database)
    assert [file.number for file in undo(database, folder, steps=3)] == [3, 2, 1]
    assert schema_of(database) == []
    migrate(database, folder)
    assert schema_of(database) == after


@pytest.mark.parametrize("steps", [0, -1, 2])
def test_more_than_there_is_can_not_be_undone(database: Database, folder: Path, steps: int) -> None:
    migrate(database, folder)
    with pytest.raises(Invalid, match="1 applied"):
        undo(database, folder, steps)
    assert status(database, folder)[0].applied_at is not None


def test_an_undo_that_fails_changes_nothing_and_names_the_file(database: Database, folder: Path) -> None:
    migrate(database, folder)
    write(folder, **{"001_create_users_undo_": "DROP TABLE users;\nDROP TABLE nope;"})
    with pytest.raises(SqlError, match=r"001_create_users\.undo\.sql: .*nope.*\(line 2\)"):
        undo(database, folder)
    assert status(database, folder)[0].applied_at is not None
    assert "users" in [row[1] for row in schema_of(database)]

"""Folders of other migration tools are run as those tools run them, or refused by name before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from virke.engine.database import Database
from virke.errors import Invalid
from virke.migrations import migrate, status, undo
from virke.opening import create

FILES = {
    "golang-migrate": {
        "000001_init.up.sql": "CREATE TABLE a(x);", "000001_init.down.sql": "DROP TABLE a;",
        "000002_more.up.sql": "CREATE TABLE b(x);", "000002_more.down.sql": "DROP TABLE b;",
    },
    "by Unix seconds": {
        "1481574547_a.up.sql": "CREATE TABLE a(x);", "1481574547_a.down.sql": "DROP TABLE a;",
        "1481574999_b.up.sql": "CREATE TABLE b(x);", "1481574999_b.down.sql": "DROP TABLE b;",
    },
    "dbmate": {
        "20240101120000_a.sql": "-- migrate:up\nCREATE TABLE a(x);\n\n-- migrate:down\nDROP TABLE a;\n",
        "20240202120000_b.sql": "-- migrate:up\nCREATE TABLE b(x);\n\n-- migrate:down\nDROP TABLE b;\n",
    },
    "goose": {
        "00001_a.sql": "-- +goose Up\nCREATE TABLE a(x);\n-- +goose Down\nDROP TABLE a;\n",
        "00002_b.sql": "-- +goose Up\n-- +goose StatementBegin\nCREATE TABLE b(x);\n-- +goose StatementEnd\n"
        "-- +goose Down\nDROP TABLE b;\n",
    },
    "sql-migrate": {
        "1_a.sql": "-- +migrate Up\nCREATE TABLE a(x);\n-- +migrate Down\nDROP TABLE a;\n",
        "2_b.sql": "-- +migrate Up\nCREATE TABLE b(x);\n-- +migrate Down\nDROP TABLE b;\n",
    },
    "Prisma": {
        "migration_lock.toml": 'provider = "sqlite"\n',
        "20240101120000_a/migration.sql": "-- CreateTable\nCREATE TABLE a(x);\n",
        "20240202120000_b/migration.sql": "CREATE TABLE b(x);\n",
        "20240202120000_b/down.sql": "DROP TABLE b;\n",
    },
    "Supabase, Rails": {"20240101120000_a.sql": "CREATE TABLE a(x);", "20240202120000_b.sql": "CREATE TABLE b(x);"},
    "Drizzle": {
        "0000_a.sql": "CREATE TABLE a(x);\n--> statement-breakpoint\nCREATE INDEX i ON a(x);",
        "0001_b.sql": "CREATE TABLE b(x);",
        "meta/_journal.json": "{}",
    },
    "Drizzle 1": {
        "20240101120000_a/migration.sql": "CREATE TABLE a(x);", "20240101120000_a/snapshot.json": "{}",
        "20240202120000_b/migration.sql": "CREATE TABLE b(x);",
    },
    "D1": {"0001_a.sql": "CREATE TABLE a(x);", "0002_b.sql": "CREATE TABLE b(x);"},
    "Alembic's SQL": {
        "001_a.sql": "BEGIN;\n\nCREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);\n\n-- Running upgrade  -> 1\n\n"
        "CREATE TABLE a(x);\n\nINSERT INTO alembic_version (version_num) VALUES ('1') RETURNING version_num;\n\nCOMMIT;\n",
        "002_b.sql": "BEGIN;\n\nCREATE TABLE b(x);\n\nUPDATE alembic_version SET version_num='2';\n\nCOMMIT;\n",
        "002_b.undo.sql": "DROP TABLE b; UPDATE alembic_version SET version_num='1';",
    },
}  # fmt: skip


@pytest.fixture
def database() -> Database:
    return create("app", "memory://")


def folder_of(files: dict[str, str], folder: Path) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def tables(database: Database) -> list[str]:
    rows = database.query("SELECT name FROM sqlite_schema WHERE name IN ('a', 'b') ORDER BY 1").rows
    return [str(name) for (name,) in rows]


@pytest.mark.parametrize("tool", FILES)
def test_a_folder_is_applied_in_order_and_taken_back(database: Database, tmp_path: Path, tool: str) -> None:
    folder = folder_of(FILES[tool], tmp_path)
    first, second = migrate(database, folder)
    assert first.number < second.number
    assert tables(database) == ["a", "b"]
    assert migrate(database, folder) == []
    undo(database, folder, 1)
    assert tables(database) == ["a"]
    assert [state.applied_at is not None for state in status(database, folder)] == [True, False]


def test_an_error_is_on_the_line_where_the_file_has_it(database: Database, tmp_path: Path) -> None:
    folder_of({"1_a.sql": "-- a note\n-- migrate:up\nCREATE TABLE a(x);\nNO;\n-- migrate:down\n"}, tmp_path)
    with pytest.raises(Invalid) as caught:
        migrate(database, tmp_path)
    assert (caught.value.context["line"], tables(database)) == (4, [])


def test_a_migration_by_time_before_an_applied_one_is_refused(database: Database, tmp_path: Path) -> None:
    folder_of({"20240202120000_b.sql": "CREATE TABLE b(x);"}, tmp_path)
    migrate(database, tmp_path)
    folder_of({"20240101120000_a.sql": "CREATE TABLE a(x);"}, tmp_path)
    with pytest.raises(Invalid, match=r"20240101120000_a\.sql was never applied, but a later one was"):
        migrate(database, tmp_path)
    assert tables(database) == ["b"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"V1__init.sql": "CREATE TABLE a(x);"}, "V1__init.sql is named as Flyway does: call it 001_name.sql"),
        ({"1_a.sql": "-- migrate:up transaction:false\nCREATE TABLE a(x);"}, "1_a.sql asks dbmate to run it without a tra"),
        ({"1_a.sql": "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE TABLE a(x);"}, "1_a.sql asks goose to run it without"),
        ({"1_a.sql": "-- migrate:down\nDROP TABLE a;\n-- migrate:up\nCREATE TABLE a(x);"}, "not a file of dbmate: it takes one"),
        ({"1_a.up.sql": "", "1_a.sql": "CREATE TABLE a(x);"}, "there are two texts for 1_a.sql"),
        ({"1_a.down.sql": "DROP TABLE a;"}, "1_a.undo.sql undoes nothing"),
        ({"0001_initial.py": "", "__init__.py": ""}, r"programs in Python \(Alembic, Django\), like 0001_initial.py"),
        ({"env.sql.mako": "", "versions/1_a.py": ""}, "programs in Python .*, like 1_a.py, and no SQL"),
        ({"2024_a.js": ""}, r"programs in JavaScript \(Knex, Sequelize\)"),
        ({"1_a.sql": "", "20240101120000_b.sql": ""}, "migration 002 is missing"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_as_its_tool_does_is_refused_before_anything_runs(
    database: Database, tmp_path: Path, files: dict[str, str], message: str
) -> None:
    folder = folder_of(files, tmp_path)
    version = database.version
    with pytest.raises(Invalid, match=message):
        migrate(database, folder)
    assert (database.version, tables(database)) == (version, [])

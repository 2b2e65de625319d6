"""Exports by name: parts of a database, compressed ones, and names that say nothing."""

from __future__ import annotations

import gzip
import io
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.transfer.conftest import ZOO, content
from virke.engine.database import Database
from virke.errors import Invalid, NotFound, VirkeError
from virke.opening import create
from virke.transfer import export_file, import_file

SCHEMA = """
CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, v); CREATE TABLE b(v);
CREATE INDEX by_v ON a(v); CREATE VIEW seen AS SELECT v FROM a;
CREATE TRIGGER t AFTER INSERT ON a BEGIN INSERT INTO b VALUES (new.v); END;
"""


def exported(database: Database, **options: object) -> str:
    stream = io.BytesIO()
    export_file(database, stream, format="sql", **options)  # type: ignore[arg-type]
    return stream.getvalue().decode()


def loaded(*scripts: str) -> list[str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for script in scripts:
            connection.executescript(script)
        return [line for line in connection.iterdump() if "sqlite_sequence" not in line]


@pytest.fixture
def filled(database: Database) -> Database:
    database.run_script(SCHEMA + "INSERT INTO a(v) VALUES (1.5), ('it''s')")
    return database


def test_schema_and_data_together_are_the_whole(filled: Database) -> None:
    schema, data = exported(filled, schema_only=True), exported(filled, data_only=True)
    assert "INSERT INTO a" not in schema
    assert "CREATE" not in data
    assert "INSERT INTO a VALUES(2,'it''s');" in data
    whole = loaded(exported(filled))
    assert loaded(schema) == loaded(SCHEMA)
    tables_alone = "\n".join(line for line in SCHEMA.splitlines() if "TRIGGER" not in line)
    assert [line for line in whole if "TRIGGER" not in line] == loaded(tables_alone, data)


def test_one_table_as_sql_has_its_indexes_and_triggers(filled: Database) -> None:
    text = exported(filled, table="A")
    rest = "DELETE FROM b; DROP VIEW seen; DROP TABLE b; CREATE TABLE b(v);"
    assert loaded(text + "CREATE TABLE b(v);") == loaded(exported(filled) + rest)
    with pytest.raises(NotFound, match="there is no table 'none'"):
        exported(filled, table="none")


def test_virtual_tables_are_made_by_their_own_statement(database: Database) -> None:
    import_file(database, io.BytesIO(ZOO.encode()))
    schema = exported(database, schema_only=True)
    assert "CREATE VIRTUAL TABLE words" in schema
    assert "words_data" not in schema
    with create("other", "memory://") as other:
        import_file(other, io.BytesIO(schema.encode()))
        assert other.query("SELECT count(*) FROM words").rows == [(0,)]
    with pytest.raises(Invalid, match="words is a virtual table, which only a whole export can hold"):
        exported(database, data_only=True)


@pytest.mark.parametrize("name", ["x.sql", "x.sqlite", "t.csv", "t.ndjson"])
@pytest.mark.parametrize("end", ["", ".gz", ".GZ"])
def test_what_goes_out_by_a_name_comes_in_by_it(database: Database, tmp_path: Path, name: str, end: str) -> None:
    database.run_script("CREATE TABLE t(a TEXT, b); INSERT INTO t VALUES ('x', 1), ('', NULL)")
    table = "t" if name.startswith("t.") else None
    done = export_file(database, tmp_path / (name + end), table=table)
    data = (tmp_path / (name + end)).read_bytes()
    assert done.bytes == len(data)
    assert data.startswith(b"\x1f\x8b") == bool(end)
    with create("other", "memory://") as other:
        import_file(other, tmp_path / (name + end), table=table)
        assert other.query("SELECT * FROM t").rows == [("x", 1), ("", None)]


def test_what_gzip_wrote_and_was_cut_is_refused(database: Database, tmp_path: Path) -> None:
    before = content(database)
    path = tmp_path / "x.sql.gz"
    whole = gzip.compress(b"CREATE TABLE t(a);" * 1000 + b"SELECT 1;")
    for data in (whole[:-10], whole[:40], whole[:20] + b"\xff" * 20 + whole[40:]):
        path.write_bytes(data)
        with pytest.raises(Invalid, match=r"x\.sql\.gz is damaged: not the whole of what gzip wrote"):
            import_file(database, path)
    assert content(database) == before


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "x.json",
            {},
            r"what is a file whose name ends in \.json\? Known are \.sql, \.sqlite, \.db, \.csv and \.ndjson",
        ),
        ("x.tar.gz", {}, r"ends in \.tar"),
        ("x.csv", {}, "a file of csv holds one table: say which"),
        ("x.db", {"table": "t"}, "sqlite holds the whole database"),
        ("x.sql", {"schema_only": True, "data_only": True}, "exclude each other"),
        ("x.csv", {"table": "t", "data_only": True}, "are for SQL, not for csv"),
    ],
)
def test_a_name_that_says_nothing_known_is_an_error(
    database: Database, tmp_path: Path, name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(VirkeError, match=message):
        export_file(database, tmp_path / name, **options)  # type: ignore[arg-type]
    assert list(tmp_path.glob("x.*")) == []

"""Files that are easily taken for something else, or for unchanged."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from virke.engine.database import Database
from virke.errors import Invalid
from virke.transfer import export_file, import_file

Write = Callable[[str, str | bytes], Path]

WAL = "PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'old')"


def wal_file(path: Path) -> Path:
    """A database in WAL mode, closed."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(WAL)
    return path


def test_a_file_whose_first_page_is_as_before_may_have_changed(database: Database, tmp_path: Path) -> None:
    """In WAL mode SQLite leaves page 1 alone when only rows change."""
    path = wal_file(tmp_path / "app.db")
    import_file(database, path)
    before = database.version
    assert import_file(database, path, replace=True).version == before
    first = path.read_bytes()[:4096]
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE t SET v = 'NEW'")
        connection.commit()
    if path.read_bytes()[:4096] != first:  # whatever this SQLite does, the case is tried
        path.write_bytes(first + path.read_bytes()[4096:])
    assert import_file(database, path, replace=True).version == before + 1
    assert database.query("SELECT v FROM t").rows == [("NEW",)]


def test_a_link_to_a_database_brings_its_log(database: Database, tmp_path: Path) -> None:
    """SQLite keeps it beside the file that the link names."""
    (tmp_path / "real").mkdir()
    path = wal_file(tmp_path / "real" / "app.db")
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("UPDATE t SET v = 'in the log'")
        connection.commit()
        import_file(database, link)
    assert database.query("SELECT v FROM t").rows == [("in the log",)]


@pytest.mark.parametrize("header", ["Release Date,Title", "Start Date,End Date", "Set Number\tName", "select,name"])
def test_a_header_may_begin_with_a_word_of_sql(database: Database, write: Write, header: str) -> None:
    import_file(
        database, write("films.csv", f"{header}\n1,2\n".replace(",2", "\t2" if "\t" in header else ",2")), table="films"
    )
    assert database.query("SELECT count(*) FROM films").rows == [(1,)]


def test_a_comment_may_have_what_would_be_another_products_sql(database: Database, write: Write) -> None:
    text = "-- Created by SQL::Translator::Producer::SQLite, don\\'t edit, ENGINE=none\nCREATE TABLE t (a);\n"
    import_file(database, write("x.sql", text))
    assert database.query("SELECT count(*) FROM t").rows == [(0,)]
    with pytest.raises(Invalid, match="a dump of PostgreSQL"):
        import_file(database, write("y.sql", "--\n-- PostgreSQL database dump\n--\nCREATE TABLE u (a);\n"))


def test_a_field_may_be_long(database: Database, write: Write) -> None:
    """Also where it is met while the delimiter is looked for."""
    import_file(database, write("long.csv", f"a,b\n{'x' * 200_000},2\n"), table="long")
    import_file(database, write("open.csv", 'a,b\n"a, b;",' + "1\n" + "3,4\n" * 50_000), table="open")
    assert database.query("SELECT length(a), b FROM long").rows == [(200_000, 2)]
    assert database.query("SELECT count(*) FROM open").rows == [(50_001,)]


def test_a_number_too_small_for_a_real_is_text(database: Database, write: Write) -> None:
    import_file(database, write("small.csv", "a\n1e-400\n0.0\n"), table="small")
    assert database.query("SELECT a FROM small").rows == [("1e-400",), ("0.0",)]


def test_a_schema_that_is_no_text_is_an_error_that_says_so(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "latin.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a /* ____ */)")
        connection.commit()
    path.write_bytes(path.read_bytes().replace(b"____", b"\xe9t\xe9 "))
    import_file(database, path)
    with pytest.raises(Invalid, match="not valid Unicode"):
        export_file(database, tmp_path / "out.sql")
    assert not (tmp_path / "out.sql").exists()


def test_text_that_is_none_in_utf_16_leaves_its_neighbours_alone(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "wide.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (a);"
            "INSERT INTO t VALUES ('before'), (CAST(X'61003dd8' AS TEXT)), ('plain é')"
        )
    import_file(database, path)
    export_file(database, tmp_path / "out.sql")
    text = (tmp_path / "out.sql").read_text()
    assert "VALUES('before')" in text
    assert "VALUES('plain é')" in text
    assert "VALUES(CAST(X'61eda0bd' AS TEXT))" in text

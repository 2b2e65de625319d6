"""An SQL dump is one commit, or nothing happened and the message says where."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.transfer.conftest import ZOO, content, needs_shell, shell_dump
from virke.engine.database import Database
from virke.engine.long_writes import LongWrite
from virke.errors import Conflict, Denied, Invalid, NotFound, SqlError, Unavailable, VirkeError
from virke.opening import create
from virke.transfer import export_file, import_file

Write = Callable[[str, str | bytes], Path]


def test_chinook_comes_in_as_one_commit(database: Database, write: Write, chinook: str) -> None:
    before = database.version
    done = import_file(database, write("chinook.sql", chinook))
    assert (done.kind, done.rows, done.version) == ("sql", 15607, before + 1)
    assert database.query("SELECT count(*) FROM Track").rows == [(3503,)]
    assert database.query("PRAGMA integrity_check").rows == [("ok",)]


def test_what_was_exported_comes_in_again(database: Database, other: Database, write: Write, tmp_path: Path) -> None:
    import_file(database, write("zoo.sql", ZOO))
    export_file(database, tmp_path / "out.sql")
    import_file(other, tmp_path / "out.sql")
    assert content(other) == content(database)
    assert other.query("SELECT body FROM words WHERE words MATCH 'hello'").rows == [("world",)]
    assert other.query("SELECT id FROM boxes WHERE x0 < 2.5").rows == [(1,)]
    assert other.query("PRAGMA integrity_check").rows == [("ok",)]


@needs_shell
def test_the_dump_of_the_shell_comes_in(zoo: Path, database: Database, other: Database, write: Write) -> None:
    import_file(database, zoo)
    import_file(other, write("dump.sql", shell_dump(zoo)))
    other.execute("DROP TABLE IF EXISTS sqlite_stat4")  # ANALYZE makes it in some builds, and the dump runs ANALYZE
    assert content(other) == content(database)


def test_a_dump_goes_into_what_is_there(database: Database, write: Write) -> None:
    database.run_script("CREATE TABLE t(a PRIMARY KEY); INSERT INTO t VALUES (1)")
    done = import_file(
        database, write("more.sql", "BEGIN; INSERT INTO t VALUES (2),(3); DELETE FROM t WHERE a = 1; END;")
    )
    assert (done.statements, done.rows) == (2, 3)
    assert database.query("SELECT a FROM t").rows == [(2,), (3,)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_with_a_byte_order_mark_comes_in(database: Database, write: Write, encoding: str) -> None:
    import_file(database, write("x.sql", "CREATE TABLE t(a);\r\nINSERT INTO t VALUES('é😀');".encode(encoding)))
    assert database.query("SELECT a FROM t").rows == [("é😀",)]


def test_a_stream_comes_in(database: Database) -> None:
    done = import_file(database, io.BytesIO(b"CREATE TABLE t(a);"))
    assert (done.kind, done.bytes) == ("sql", 18)


def test_one_instant_for_the_whole_import(database: Database, write: Write) -> None:
    now = "INSERT INTO t VALUES(strftime('%f %s', 'now'));\n"
    import_file(database, write("x.sql", "CREATE TABLE t(a);" + now + "INSERT INTO t VALUES(1);\n" * 20_000 + now))
    assert database.query("SELECT count(DISTINCT a) FROM t WHERE a <> 1").rows == [(1,)]


def test_what_dumps_say_about_the_file_is_no_error(database: Database, write: Write) -> None:
    text = (
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA foreign_keys=ON; SAVEPOINT a;\n"
        "CREATE TABLE t(a REFERENCES missing); INSERT INTO t VALUES(1); RELEASE a; VACUUM; ANALYZE; SELECT 1;"
    )
    import_file(database, write("x.sql", text))
    assert database.query("SELECT a FROM t").rows == [(1,)]


def test_a_dump_that_changes_nothing_makes_no_version(database: Database, write: Write) -> None:
    database.execute("CREATE TABLE t(a)")
    before = database.version
    assert import_file(database, write("x.sql", "BEGIN; SELECT 1; COMMIT;")).version == before
    assert database.version == before


GOOD = "CREATE TABLE t(a PRIMARY KEY);\nINSERT INTO t VALUES (1);\n"


@pytest.mark.parametrize(
    ("bad", "kind", "message"),
    [
        (
            "INSERT INTO t\nVALUES (1);",
            SqlError,
            "line 3: UNIQUE constraint failed: t.a, in: INSERT INTO t VALUES \\(1\\)",
        ),
        ("SELEC 1;", SqlError, 'line 3: near "SELEC": syntax error, in: SELEC 1;'),
        ("INSERT INTO t\nVALUES (2,\n 3 4);", SqlError, "line 5: near .* \\(the statement begins on line 3\\)"),
        ("INSERT INTO missing VALUES (1);", SqlError, "line 3: no such table: missing"),
        ("ATTACH 'x' AS y;", Denied, "line 3: ATTACH is not allowed"),
        ("VACUUM INTO 'x';", Denied, "line 3"),
        ("SELECT load_extension('x');", Denied, "line 3: function load_extension"),
        ("ROLLBACK;", Invalid, "line 3: ROLLBACK"),
        (
            ".read x.sql\nSELECT 1;",
            Invalid,
            "line 3: .read is a command of the sqlite3 shell.*, in: .read x.sql; nothing",
        ),
        ("SELECT 1;\n .import x y", SqlError, "line 4: near"),
        ("SAVEPOINT s; ROLLBACK TO r;", SqlError, "line 3: no such savepoint: r"),
        ('SELECT 1 AS "' + "\udce9" + '";', Invalid, "line 3: a name that is not valid UTF-8"),
        ("SELECT " + "\udce9" + ";", Invalid, "line 3: not valid UTF-8 outside of a string"),
        ("BEGIN;\nINSERT INTO t VALUES (2);", Invalid, "line 3: the dump begins a transaction here and ends without"),
        ("INSERT INTO t VALUES ('abc", Invalid, "line 3: a string begins here and never ends"),
        ("INSERT INTO t VALUES (?);", Invalid, "line 3"),
        ("DELIMITER //", SqlError, "line 3: .*looks like MySQL"),
        ("LOCK TABLES t WRITE;", SqlError, "line 3: .*looks like MySQL"),
        ("CREATE TABLE u(a int) ENGINE=InnoDB;", SqlError, "line 3: .*looks like MySQL"),
        ("COPY t (a) FROM stdin;", SqlError, "line 3: .*looks like PostgreSQL"),
        ("PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage=77;", Invalid, "is damaged"),
        ("PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql='CREATE TABLE t(';", Invalid, "is damaged"),
        (
            "SELECT '\x1b[31m' || missing;",
            SqlError,
            "line 3: no such column: missing, in: SELECT '\ufffd.31m' .. missing;",
        ),
        ("SELECT randomblob(2000000000);", VirkeError, "line 3"),
    ],
)
def test_a_broken_dump_changes_nothing_and_names_the_place(
    database: Database, write: Write, bad: str, kind: type[VirkeError], message: str
) -> None:
    database.execute("CREATE TABLE kept(a)")
    before, version = content(database), database.version
    with pytest.raises(kind, match=message) as raised:
        import_file(database, write("x.sql", (GOOD + bad).encode(errors="surrogateescape")))
    assert "\n" not in raised.value.message
    assert (content(database), database.version) == (before, version)


def test_a_long_statement_is_shortened_in_the_message(database: Database, write: Write) -> None:
    with pytest.raises(SqlError) as raised:
        import_file(database, write("x.sql", f"SELECT missing, '{'x' * 5000}'"))
    assert len(raised.value.message) < 300


@pytest.mark.parametrize(
    ("pragma", "question", "answer"),
    [
        ("encoding='UTF-16le'", "SELECT encoding FROM pragma_encoding", "UTF-16le"),
        ("page_size=8192", "PRAGMA page_size", 8192),
        ("auto_vacuum=FULL", "PRAGMA auto_vacuum", 1),
        ("user_version=7", "PRAGMA user_version", 7),
    ],
)
def test_a_dump_shapes_an_empty_database(
    database: Database, write: Write, pragma: str, question: str, answer: object
) -> None:
    import_file(database, write("x.sql", f"PRAGMA {pragma}; CREATE TABLE t(a); INSERT INTO t VALUES ('é');"))
    assert database.query(question).rows == [(answer,)]
    assert database.query("SELECT a FROM t").rows == [("é",)]


def test_progress_counts_up_to_the_end_of_each_stage(database: Database, write: Write) -> None:
    seen: list[tuple[int, int]] = []
    done = import_file(
        database, write("x.sql", GOOD + "-- \n" * 1_000_000), progress=lambda *counts: seen.append(counts)
    )
    assert (done.bytes, done.bytes) in seen
    assert all(0 <= count <= total for count, total in seen)
    assert seen[-1][0] == seen[-1][1] == database.snapshot().page_count * database.snapshot().page_size


def test_a_full_disk_changes_nothing(database: Database, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(TemporaryDirectory[str]):
        def __init__(self, prefix: str) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("virke.transfer.scratch.TemporaryDirectory", Full)
    with pytest.raises(Unavailable, match=r"No space left on device.*TMPDIR"):
        import_file(database, write("x.sql", GOOD))


def test_a_missing_file_is_not_found(database: Database, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        import_file(database, tmp_path / "missing.sql")
    with pytest.raises(Invalid, match="can't read"):
        import_file(database, tmp_path)


def test_no_scratch_file_is_left(
    database: Database, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    import_file(database, write("x.sql", GOOD))
    with pytest.raises(SqlError):
        import_file(database, write("x.sql", GOOD))
    assert list(folder.iterdir()) == []


class Raced:
    """A database on which somebody else commits just before each of the first commits."""

    def __init__(self, database: Database, rival: Database, times: int) -> None:
        self._database = database
        self._rival = rival
        self._times = times

    def long_write(self) -> LongWrite:
        write = self._database.long_write()
        commit_pages = write.commit_pages

        def raced(*args: Any, **named: Any) -> int:
            if self._times:
                self._times -= 1
                self._rival.execute("INSERT INTO race VALUES (1)")
            return commit_pages(*args, **named)

        write.commit_pages = raced  # type: ignore[method-assign]
        return write


def test_a_lost_race_is_run_again_on_the_new_state(tmp_path: Path, write: Write) -> None:
    store = f"local:{tmp_path / 'store'}"
    with create("x", store) as mine, create("x", store, if_not_exists=True) as theirs:
        theirs.execute("CREATE TABLE race(a)")
        import_file(Raced(mine, theirs, 2), write("x.sql", GOOD + "INSERT INTO t SELECT 10 + count(*) FROM race;"))
        assert mine.query("SELECT a FROM t", consistency="strong").rows == [(1,), (12,)]
        assert mine.query("SELECT count(*) FROM race").rows == [(2,)]


def test_a_race_that_is_always_lost_is_a_conflict(tmp_path: Path, write: Write) -> None:
    store = f"local:{tmp_path / 'store'}"
    with create("x", store) as mine, create("x", store, if_not_exists=True) as theirs:
        theirs.execute("CREATE TABLE race(a)")
        mine.change_settings({"max_attempts": "3"})
        with pytest.raises(Conflict):
            import_file(Raced(mine, theirs, 99), write("x.sql", GOOD))
        assert theirs.query("SELECT count(*) FROM race", consistency="strong").rows == [(3,)]
        assert theirs.query("SELECT count(*) FROM sqlite_schema").rows == [(1,)]


def test_text_that_is_no_utf8_comes_in_byte_for_byte(database: Database, write: Write) -> None:
    text = b"""-- caf\xe9 (a comment)
    CREATE TABLE t(a TEXT DEFAULT 'na\xefve', b); /* \xff */
    INSERT INTO t(b) VALUES('plain'); INSERT INTO t VALUES('It''s a caf\xe9', X'00FF'), ('\xff\xfe', '\xc3\xa9');
    """
    assert import_file(database, write("x.sql", text)).rows == 3
    rows = database.query("SELECT hex(a), typeof(a), b FROM t").rows
    assert [(bytes.fromhex(str(raw)), kind, value) for raw, kind, value in rows] == [
        (b"na\xefve", "text", "plain"), (b"It's a caf\xe9", "text", b"\0\xff"), (b"\xff\xfe", "text", "\xe9"),
    ]  # fmt: skip
    assert database.query("SELECT a FROM t WHERE rowid=2").rows == [("It's a caf\udce9",)]


def test_a_dump_of_a_known_encoding_is_read_in_it(database: Database, write: Write) -> None:
    import_file(
        database, write("x.sql", "CREATE TABLE t(a); INSERT INTO t VALUES('Żółć');".encode("cp1250")), encoding="cp1250"
    )
    assert database.query("SELECT a FROM t").rows == [("Żółć",)]
    with pytest.raises(Invalid, match="unknown encoding 'klingon'; some that are known"):
        import_file(database, write("x.sql", "SELECT 1;"), encoding="klingon")


def test_savepoints_of_a_dump_are_kept_or_taken_back(database: Database, write: Write) -> None:
    database.run_script("CREATE TABLE t(a); INSERT INTO t VALUES ('there')")
    text = """SAVEPOINT one; INSERT INTO t VALUES (1); RELEASE one;
    BEGIN; SAVEPOINT two; INSERT INTO t VALUES (2); SAVEPOINT deep; DELETE FROM t; ROLLBACK TRANSACTION TO deep; RELEASE deep;
    ROLLBACK TO SAVEPOINT two; INSERT INTO t VALUES (3); RELEASE two; COMMIT;"""
    import_file(database, write("x.sql", text))
    assert database.query("SELECT a FROM t").rows == [("there",), (1,), (3,)]


def test_what_is_said_to_other_programs_is_passed_over_with_a_warning(database: Database, write: Write) -> None:
    text = """.bail on
    PRAGMA count_changes=OFF;
    PRAGMA no_such_thing;
    CREATE TABLE t(a);
    INSERT INTO t VALUES('
.mode of transport
');
.print It's done
"""
    done = import_file(database, write("x.sql", text))
    assert [warning.split(": ")[0] for warning in done.warnings] == ["line 1", "line 2", "line 3", "line 8"]
    assert done.warnings[1] == "line 2: passed over, for it means nothing here: PRAGMA count_changes=OFF"
    assert database.query("SELECT a FROM t").rows == [("\n.mode of transport\n",)]
    many = import_file(database, write("y.sql", "PRAGMA no_such_thing;\n" * 1000))
    assert (len(many.warnings), many.warnings[-1]) == (21, "and 980 more of this kind")


def test_a_dump_may_use_the_functions_of_the_shell(database: Database, other: Database, tmp_path: Path) -> None:
    """And its export comes in again."""
    dump = tmp_path / "dump.sql"
    dump.write_text(
        "CREATE TABLE a (code TEXT CHECK (code REGEXP '^[a-z]+$'));\nINSERT INTO a VALUES ('abc');\n"
        "CREATE TABLE n (v INTEGER);\nINSERT INTO n SELECT value FROM generate_series(1, 100);\n"
    )
    import_file(database, dump)
    assert database.query("SELECT count(*), sum(v), (SELECT code FROM a) FROM n").rows == [(100, 5050, "abc")]
    export_file(database, tmp_path / "again.sql")
    import_file(other, tmp_path / "again.sql")
    assert other.query("SELECT count(*), sum(v), (SELECT code FROM a) FROM n").rows == [(100, 5050, "abc")]

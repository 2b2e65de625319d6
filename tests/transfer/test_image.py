"""An SQLite file comes in and goes out page by page, and only if it is whole."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from virke.engine.database import Database
from virke.errors import Exists, Invalid
from virke.opening import create
from virke.transfer import export_file, import_file

Write = Callable[[str, str | bytes], Path]


def make(path: Path, *, page_size: int = 4096, rows: int = 2000, script: str = "") -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"PRAGMA page_size={page_size}; {script}; CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"row {n}" * 5) for n in range(rows)])
        connection.execute("CREATE INDEX i ON t(b)")
        connection.commit()
    return path


def without_counters(image: bytes) -> bytes:
    """An image without the change counter and version number, which each commit sets."""
    return image[:24] + image[28:92] + image[100:]


@pytest.mark.parametrize("page_size", [512, 1024, 4096, 65536])
def test_pages_come_in_and_go_out_as_they_are(database: Database, tmp_path: Path, page_size: int) -> None:
    path = make(tmp_path / "x.sqlite", page_size=page_size)
    done = import_file(database, path)
    assert (done.kind, done.bytes) == ("sqlite", path.stat().st_size)
    assert database.query("SELECT count(*), max(a), sum(length(b)) FROM t").rows == [(2000, 1999, 74450)]
    export_file(database, tmp_path / "out.db")
    assert without_counters((tmp_path / "out.db").read_bytes()) == without_counters(path.read_bytes())
    with closing(sqlite3.connect(tmp_path / "out.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("script", ["PRAGMA encoding='UTF-16le'", "PRAGMA auto_vacuum=FULL"])
def test_every_kind_of_file_comes_in(database: Database, tmp_path: Path, script: str) -> None:
    import_file(database, make(tmp_path / "x.db", script=script))
    database.execute("DELETE FROM t WHERE a > 10")
    assert database.query("SELECT count(*) FROM t").rows == [(11,)]
    assert database.query("PRAGMA integrity_check").rows == [("ok",)]


def test_an_empty_database_goes_out_as_a_file_that_comes_in(
    database: Database, other: Database, tmp_path: Path
) -> None:
    export_file(database, tmp_path / "x.sqlite")
    import_file(other, tmp_path / "x.sqlite")
    assert other.query("SELECT * FROM sqlite_schema").rows == []


def test_a_log_beside_the_file_comes_in_too(database: Database, tmp_path: Path) -> None:
    path = make(tmp_path / "x.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; INSERT INTO t VALUES (-1, 'log')"
        )
        before = path.read_bytes()
        import_file(database, path)
        assert path.read_bytes() == before
    assert database.query("SELECT b FROM t WHERE a = -1").rows == [("log",)]
    assert database.snapshot().page(1)[18:20] == b"\1\1"


def test_a_file_in_wal_mode_without_a_log_comes_in(database: Database, tmp_path: Path) -> None:
    path = make(tmp_path / "x.db", script="PRAGMA journal_mode=WAL")
    assert path.read_bytes()[18:20] == b"\2\2"
    import_file(database, path)
    assert database.query("SELECT count(*) FROM t").rows == [(2000,)]


def test_a_database_with_content_is_replaced_only_on_request(database: Database, tmp_path: Path) -> None:
    database.execute("CREATE TABLE mine(a)")
    path = make(tmp_path / "x.db")
    with pytest.raises(Invalid, match="not empty"):
        import_file(database, path)
    assert database.query("SELECT name FROM sqlite_schema").rows == [("mine",)]
    import_file(database, path, replace=True)
    assert database.query("SELECT name FROM sqlite_schema").rows == [("t",), ("i",)]


def test_replacing_by_another_page_size_and_by_the_same_file(database: Database, tmp_path: Path) -> None:
    import_file(database, make(tmp_path / "x.db", rows=5000))
    import_file(database, make(tmp_path / "y.db", page_size=1024, rows=10), replace=True)
    assert database.query("SELECT count(*) FROM t").rows == [(10,)]
    export_file(database, tmp_path / "z.db")
    before = database.version
    assert import_file(database, tmp_path / "z.db", replace=True).version == before
    assert database.query("PRAGMA integrity_check").rows == [("ok",)]


def test_replace_is_for_files_that_take_the_place_of_all(database: Database, write: Write) -> None:
    with pytest.raises(Invalid, match="--replace is for SQLite files"):
        import_file(database, write("x.sql", "SELECT 1;"), replace=True)


def broken(path: Path, at: int, data: bytes) -> Path:
    image = bytearray(path.read_bytes())
    image[at : at + len(data)] = data
    path.write_bytes(image)
    return path


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut in a page": (lambda p: p.write_bytes(p.read_bytes()[:-100]), "is cut short: .* pages of 4096 bytes"),
    "cut after a page": (lambda p: p.write_bytes(p.read_bytes()[:-4096]), "is cut short"),
    "cut in the header": (lambda p: p.write_bytes(p.read_bytes()[:50]), "is cut short"),
    "page size": (lambda p: broken(p, 16, b"\x10\x01"), "is damaged: its header says page size 4097"),
    "reserved": (lambda p: broken(p, 16, b"\x02\x00\x01\x01\xf0"), "240 reserved bytes"),
    "format": (lambda p: broken(p, 18, b"\3\3"), "file format that SQLite does not know"),
    "a page of noise": (lambda p: broken(p, 3 * 4096, b"\x5a" * 4096), "is damaged"),
    "schema": (lambda p: broken(p, 100, b"\xff" * 200), "is damaged"),
    "magic": (lambda p: broken(p, 0, b"sqlite"), "not an SQLite database"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused(database: Database, tmp_path: Path, damage: str) -> None:
    spoil, message = DAMAGE[damage]
    spoil(path := make(tmp_path / "x.db"))
    with pytest.raises(Invalid, match=message):
        import_file(database, path)
    assert database.query("SELECT * FROM sqlite_schema").rows == []


def test_p7_an_index_that_misses_a_row_is_damage(database: Database, tmp_path: Path) -> None:
    """Each page is whole, and only a full check holds the index against its table."""
    path = make(tmp_path / "x.db", rows=5)
    image = path.read_bytes()
    at = image.rindex(b"row 3")
    assert at > image.index(b"row 3"), "the second is the index's"
    broken(path, at, b"row 9")
    with pytest.raises(Invalid, match=r"x\.db is damaged: row 4 missing from index i"):
        import_file(database, path)


CONTENT = "CREATE TABLE d(id INTEGER PRIMARY KEY, t TEXT); INSERT INTO d VALUES(1,'alpha'),(2,'beta');"
FILLED = "INSERT INTO f(rowid, t) SELECT id, t FROM d;"
MADE = {
    "fts4": "CREATE VIRTUAL TABLE f USING fts4(content='d', t);",
    "fts5": "CREATE VIRTUAL TABLE f USING fts5(t, content='d');",
}
OWN = "CREATE VIRTUAL TABLE f USING {}(t); INSERT INTO f VALUES('alpha'),('beta');"
OUT_OF_STEP = {
    "behind its table": lambda fts: f"{CONTENT}{MADE[fts]}{FILLED} UPDATE d SET t = 'gamma' WHERE id = 2",
    "never filled": lambda fts: f"{CONTENT}{MADE[fts]}",
    "without its table": lambda fts: f"{CONTENT}{MADE[fts]}{FILLED} DROP TABLE d",
    "behind its own content": lambda fts: (
        OWN.format(fts)
        + "UPDATE f_content SET {} = 'gamma' WHERE {} = 2".format(
            *(("c0t", "docid") if fts == "fts4" else ("c0", "id"))
        )
    ),
}


@pytest.mark.parametrize("fts", ["fts4", "fts5"])
@pytest.mark.parametrize("case", OUT_OF_STEP)
def test_a_full_text_index_out_of_step_comes_in_with_a_warning(
    database: Database, other: Database, tmp_path: Path, fts: str, case: str
) -> None:
    """As a file, as the dump of it, and again as what export makes of it; SQLite warns of FTS4, and of FTS5's own content."""
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OUT_OF_STEP[case](fts))
    warned = fts == "fts4" or case == "behind its own content"
    warnings = import_file(database, path).warnings
    assert len(warnings) == warned
    assert not warned or warnings[0].endswith("""built again: INSERT INTO "f"("f") VALUES('rebuild')""")
    export_file(database, tmp_path / "x.sql")
    assert len(import_file(other, tmp_path / "x.sql").warnings) == warned
    for one in (database, other):
        found = [row[0] for row in one.query("SELECT rowid FROM f WHERE f MATCH 'beta'").rows]
        assert found == ([] if case == "never filled" else [2])


def test_p7_a_damaged_full_text_index_is_refused(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OWN.format("fts5") + "DELETE FROM f_data")
    with pytest.raises(Invalid, match=r"x\.db is damaged: fts5: corruption"):
        import_file(database, path)


def test_a_file_that_needs_more_than_sqlite_is_refused_with_the_reason(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.create_collation("mine", lambda a, b: (a > b) - (a < b))
        connection.executescript("CREATE TABLE t(a COLLATE mine UNIQUE); INSERT INTO t VALUES ('a'), ('b')")
    with pytest.raises(Invalid, match="needs what Virke does not have: no such collation sequence: mine"):
        import_file(database, path)


def test_a_hot_journal_is_refused(database: Database, tmp_path: Path) -> None:
    path = make(tmp_path / "live.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA cache_size=2; BEGIN; UPDATE t SET b = b || 'x'")
        for suffix in ("", "-journal"):
            shutil.copy(f"{path}{suffix}", tmp_path / f"x.db{suffix}")
    with pytest.raises(Invalid, match="in the middle of a change"):
        import_file(database, tmp_path / "x.db")


def test_what_lies_behind_the_last_page_is_left_out(database: Database, tmp_path: Path) -> None:
    path = make(tmp_path / "x.db")
    pages = path.stat().st_size // 4096
    path.write_bytes(path.read_bytes() + b"x" * 5000)
    import_file(database, path)
    assert database.snapshot().page_count == pages


def test_a_file_is_never_written_beside_a_log(database: Database, tmp_path: Path) -> None:
    (tmp_path / "x.db-wal").write_bytes(b"log")
    with pytest.raises(Exists, match=r"x\.db-wal is next to"):
        export_file(database, tmp_path / "x.db", force=True)
    assert not (tmp_path / "x.db").exists()


def test_an_export_that_fails_leaves_no_file(tmp_path: Path) -> None:
    class Failing:
        def snapshot(self, at: object) -> object:
            raise Invalid(f"no {at}")

    with pytest.raises(Invalid, match="no None"):
        export_file(Failing(), tmp_path / "x.db")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_lock_page_is_stepped_over(tmp_path: Path) -> None:
    path = make(tmp_path / "x.db", page_size=65536, rows=10)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.executemany("INSERT INTO t VALUES (?, zeroblob(?))", [(n, 64 << 20) for n in range(100, 117)])
        connection.execute("INSERT INTO t VALUES (1000, 'behind')")
        connection.commit()
    with create("x", f"local:{tmp_path / 'store'}") as database:
        import_file(database, path)
        assert database.query("SELECT b FROM t WHERE a = 1000").rows == [("behind",)]
        import_file(database, write_file(tmp_path / "x.sql", "INSERT INTO t VALUES (1001, 'more');"))
        export_file(database, tmp_path / "out.db")
    with closing(sqlite3.connect(tmp_path / "out.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT b FROM t WHERE a > 900").fetchall() == [("behind",), ("more",)]


def write_file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path

"""Pages of every size come and go as SQLite asks for them; what is gone never shows again."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Final

import pytest

from tests.engine.world import NAME, dump_image, dump_of, image, make, reopen, store_of
from virke.core.merge import Run
from virke.core.page import PAGE_SIZES, lock_page
from virke.engine.branch import Branch
from virke.engine.connection import Connection
from virke.engine.database import Database
from virke.engine.volume import Volume
from virke.errors import Conflict

every_size = pytest.mark.parametrize("page_size", PAGE_SIZES)
SECRET: Final = b"\xfeSECRET\xfe"


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def fill(db: Database, rows: int, size: int, mark: bytes = b"") -> None:
    """Rows of noise that start with `mark`."""
    db.executemany("INSERT INTO t (v) VALUES (?)", [(mark + noise(n, size),) for n in range(rows)])


def table(page_size: int) -> Database:
    db = make(page_size=page_size)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)")
    return db


@pytest.mark.edge
@every_size
def test_a_shrunk_and_regrown_database_shows_nothing_old(page_size: int) -> None:
    """VACUUM cuts pages off, the next insert brings them back with other bytes."""
    db = table(page_size)
    fill(db, 60, 3000, SECRET)
    high = db.snapshot().page_count
    db.execute("DELETE FROM t")
    db.execute("VACUUM")
    assert db.snapshot().page_count < high
    assert SECRET not in image(db.snapshot())
    fill(db, 120, 3000)
    assert db.snapshot().page_count >= high
    assert SECRET not in image(db.snapshot())
    assert dump_of(db.snapshot()) == dump_of(reopen(store_of(db)).snapshot())


@pytest.mark.edge
@every_size
def test_deleting_everything_and_filling_again_is_exact(page_size: int) -> None:
    """Free pages are taken again, in the same and in later commits."""
    db = table(page_size)
    for round_number in range(3):
        fill(db, 40, 2000)
        db.batch(["DELETE FROM t", ("INSERT INTO t (v) VALUES (?)", (noise(round_number, 9000),))])
        assert len(dump_of(db.snapshot())) > 3
        db.execute("DELETE FROM t")
    assert db.query("PRAGMA freelist_count").rows[0][0] == db.snapshot().page_count - 2


@pytest.mark.edge
@pytest.mark.parametrize("new", PAGE_SIZES)
@pytest.mark.parametrize("old", [512, 4096, 65536])
def test_the_page_size_changes_by_pragma_and_vacuum(old: int, new: int) -> None:
    """Two calls, as SQLite wants it; other connections and earlier versions go on."""
    db = table(old)
    fill(db, 25, 1500)
    other = reopen(store_of(db))
    before, expected = other.snapshot(), dump_of(db.snapshot())
    assert other.query("SELECT count(*) FROM t").rows == [(25,)]
    db.execute(f"PRAGMA page_size = {new}")
    db.execute("VACUUM")
    assert (db.snapshot().page_size, dump_of(db.snapshot())) == (new, expected)
    assert dump_of(before) == expected
    assert other.query("SELECT count(*) FROM t", consistency="strong").rows == [(25,)]
    other.execute("DELETE FROM t WHERE id > 1")
    assert db.query("SELECT count(*) FROM t", consistency="strong").rows == [(1,)]
    assert len(dump_of(db.snapshot())) == len(expected) - 24
    assert dump_of(db.snapshot(before.version)) == expected


@pytest.mark.edge
@every_size
def test_segments_of_two_page_sizes_are_merged(page_size: int) -> None:
    """Of the older size only what is still reachable counts: nothing."""
    db = table(page_size)
    fill(db, 100, 1500)
    db.execute("PRAGMA page_size = 2048")
    db.execute("VACUUM")
    fill(db, 100, 1500)
    expected = dump_of(db.snapshot())
    segments = len(db._volume.branch.latest().root.segments)
    assert segments >= 2
    assert db._upkeep.compact(Run(0, segments))
    assert dump_of(db.snapshot()) == expected
    assert dump_of(reopen(store_of(db)).snapshot()) == expected


@pytest.mark.edge
@every_size
def test_the_page_size_of_an_empty_database_is_taken_from_the_pragma(page_size: int) -> None:
    """`create(page_size=…)` is a default, as in SQLite."""
    db = make()
    db.execute(f"PRAGMA page_size = {page_size}")
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)")
    assert db.snapshot().page_size == page_size
    assert reopen(store_of(db)).query("PRAGMA page_size").rows == [(page_size,)]


@pytest.mark.edge
@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_incremental_vacuum_gives_pages_back(page_size: int) -> None:
    """`auto_vacuum = INCREMENTAL` moves pages and cuts the file when asked."""
    db = make(page_size=page_size)
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)")
    fill(db, 60, 3000, SECRET)
    high = db.snapshot().page_count
    db.execute("DELETE FROM t WHERE id > 5")
    assert db.snapshot().page_count == high
    db.execute("PRAGMA incremental_vacuum(3)")
    assert db.snapshot().page_count == high - 3
    db.query("PRAGMA incremental_vacuum")
    assert db.query("PRAGMA freelist_count").rows == [(0,)]
    assert len(dump_of(db.snapshot())) > 5


@pytest.mark.edge
@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_full_auto_vacuum_cuts_at_every_commit(page_size: int) -> None:
    """`auto_vacuum = FULL` shrinks the file in the commit that freed pages."""
    db = make(page_size=page_size)
    db.execute("PRAGMA auto_vacuum = FULL")
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)")
    fill(db, 60, 3000, SECRET)
    high = db.snapshot().page_count
    db.execute("DELETE FROM t WHERE id % 2")
    db.execute("DELETE FROM t")
    assert db.snapshot().page_count <= high // 2
    fill(db, 90, 3000)
    assert len(dump_of(db.snapshot())) > 90


@pytest.mark.edge
@every_size
def test_a_transaction_larger_than_the_page_cache_spills_and_commits(page_size: int) -> None:
    """SQLite writes dirty pages before COMMIT; the overlay keeps them to itself."""
    db = table(page_size)
    with db.transaction() as transaction:
        for n in range(24):
            transaction.execute("INSERT INTO t (v) VALUES (?)", (noise(n, 600_000),))
        assert db.query("SELECT count(*) FROM t").rows == [(0,)]
        assert transaction.query("SELECT count(*), sum(length(v)) FROM t").rows == [(24, 14_400_000)]
    assert db.query("SELECT sum(length(v)) FROM t").rows == [(14_400_000,)]
    assert dump_of(db.snapshot())[-3] == "COMMIT;"


@pytest.mark.edge
@every_size
def test_a_rollback_after_a_spill_leaves_nothing(page_size: int) -> None:
    """What was spilled is dropped, in a transaction and in a batch, and the connections go on."""
    db = table(page_size)
    fill(db, 3, 2000)
    expected = dump_of(db.snapshot())
    transaction = db.transaction()
    for n in range(20):
        transaction.execute("INSERT INTO t (v) VALUES (?)", (SECRET + noise(n, 600_000),))
    transaction.rollback()
    big = [("INSERT INTO t (v) VALUES (?)", (SECRET + noise(n, 600_000),)) for n in range(20)]
    with pytest.raises(Exception, match="UNIQUE"):
        db.batch([*big, "INSERT INTO t (id) VALUES (1)"])
    assert dump_of(db.snapshot()) == expected
    fill(db, 300, 2000)
    assert SECRET not in image(db.snapshot())
    assert dump_of(db.snapshot())


@pytest.mark.edge
def test_a_large_statement_that_fails_half_way_is_undone_alone() -> None:
    """A statement journal in memory, larger than the page cache."""
    db = table(4096)
    fill(db, 12, 900_000)
    transaction = db.transaction()
    transaction.execute("INSERT INTO t (v) VALUES (x'01')")
    with pytest.raises(Exception, match="datatype"):
        transaction.execute("UPDATE t SET v = zeroblob(900000), id = CASE id WHEN 12 THEN 'x' ELSE id END")
    assert transaction.query("SELECT count(*), max(length(v)) FROM t").rows == [(13, 900_000)]
    transaction.commit()
    assert db.query("SELECT hex(v) FROM t WHERE id = 12").rows == [(noise(11, 900_000).hex().upper(),)]


@pytest.mark.edge
def test_an_empty_database_reads_as_empty() -> None:
    """No page at all, until the first write."""
    db = make()
    assert (db.snapshot().page_count, image(db.snapshot())) == (0, b"")
    assert db.query("SELECT count(*) FROM sqlite_schema").rows == [(0,)]
    assert db.query("PRAGMA page_count").rows == [(0,)]
    assert db.query("PRAGMA integrity_check").rows == [("ok",)]
    assert db.schema() == []
    with db.transaction() as transaction:
        assert transaction.query("SELECT count(*) FROM sqlite_schema").rows == [(0,)]


def commit_image(db: Database, data: bytes, page_size: int) -> int:
    """Commit a raw file as the whole database."""
    skip, count = lock_page(page_size), len(data) // page_size
    pages = ((n, data[(n - 1) * page_size : n * page_size]) for n in range(1, count + 1) if n != skip)
    return db.long_write().commit_pages(db.snapshot(), page_size=page_size, page_count=count, pages=pages)


def raw_file(path: Path, page_size: int, *, wal: bool) -> bytes:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size = {page_size}")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    connection.executemany("INSERT INTO t (v) VALUES (?)", [(noise(n, 3000),) for n in range(50)])
    connection.close()
    data = path.read_bytes()
    return data[:18] + b"\x02\x02" + data[20:] if wal else data  # all that WAL leaves in a file that was closed


@pytest.mark.parametrize("wal", [False, True])
@every_size
def test_a_raw_file_becomes_the_database(tmp_path: Path, page_size: int, wal: bool) -> None:
    """Whatever its page size and journal mode; a WAL header is made a rollback one."""
    data = raw_file(tmp_path / "x.sqlite", page_size, wal=wal)
    assert data[18] == (2 if wal else 1)
    db = make()
    db.execute("CREATE TABLE before (x)")
    commit_image(db, data, page_size)
    assert image(db.snapshot())[18:20] == b"\x01\x01"
    normal = data[:18] + b"\x01\x01" + data[20:]
    assert dump_of(db.snapshot()) == dump_image(normal)
    db.execute("INSERT INTO t (v) VALUES (1)")
    assert db.query("SELECT count(*) FROM t").rows == [(51,)]
    assert "CREATE TABLE before (x);" in dump_of(db.snapshot(2))


def test_a_raw_file_on_a_moved_base_is_a_conflict(tmp_path: Path) -> None:
    """Nothing is overwritten that the importer has not seen."""
    data = raw_file(tmp_path / "x.sqlite", 4096, wal=False)
    db = table(4096)
    base = db.snapshot()
    db.execute("INSERT INTO t (v) VALUES (1)")
    with pytest.raises(Conflict):
        db.long_write().commit_pages(base, page_size=4096, page_count=1, pages=[(1, data[:4096])])
    assert db.query("SELECT v FROM t").rows == [(1,)]


@every_size
def test_an_exported_image_opens_in_plain_sqlite(tmp_path: Path, page_size: int) -> None:
    """As a file, with the contents that the database shows."""
    db = table(page_size)
    assert db.snapshot().page_size == page_size
    fill(db, 20, 5000)
    path = tmp_path / "out.sqlite"
    path.write_bytes(image(db.snapshot()))
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT * FROM t").fetchall() == db.query("SELECT * FROM t").rows
        assert connection.execute("PRAGMA page_size").fetchone() == (page_size,)
    connection.close()


@pytest.mark.edge
def test_the_overlay_patches_what_is_no_whole_page() -> None:
    """A file whose pages have another size than SQLite writes is right byte by byte."""
    db = table(4096)
    fill(db, 5, 5000)
    volume = Volume(Branch(store_of(db), NAME, db._env))
    volume.branch.refresh()
    connection = Connection(volume.snapshot(), value_bytes_max=1 << 20)
    file, whole = connection.file, bytearray(image(volume.snapshot()))
    for offset, data in [(100, b"abc"), (4090, b"0123456789"), (8192, b"x" * 4096), (len(whole) - 2, b"beyond")]:
        file.xWrite(data, offset)
        whole[offset : offset + len(data)] = data
    assert file.xFileSize() == len(whole)
    whole[24:28] = whole[92:96] = file.xRead(4, 24)
    for offset, amount in [(0, 100), (90, 8), (4000, 9000), (0, len(whole)), (len(whole) - 3, 3)]:
        assert file.xRead(amount, offset) == whole[offset : offset + amount]
    assert file.xRead(10, len(whole) - 4) == whole[-4:]
    connection.close()

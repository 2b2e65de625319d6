"""Databases that reach beyond 1 GiB: the page that SQLite never uses is never stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.engine.world import make, reopen, store_of
from virke.core.page import lock_page, page_hash
from virke.engine.snapshot import Snapshot

PAGE_SIZE: Final = 65536
SKIP: Final = lock_page(PAGE_SIZE)


def giant(path: Path) -> int:
    """A file of 1 GiB and some MiB of zeros, with a marked row on each side of the lock page; its page count."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    connection.execute("INSERT INTO t VALUES (1, 'before')")
    connection.executemany("INSERT INTO t VALUES (?, zeroblob(1000000))", [(n,) for n in range(2, 1081)])
    connection.execute("INSERT INTO t VALUES (2000, 'behind')")
    (count,) = connection.execute("PRAGMA page_count").fetchone()
    connection.close()
    return int(count)


def pages_of_file(path: Path, count: int) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number in range(1, count + 1):
            data = file.read(PAGE_SIZE)
            if number != SKIP:
                yield number, data


def checksum(snapshot: Snapshot) -> int:
    total = 0
    for number, data in snapshot.pages():
        assert number != SKIP
        total ^= page_hash(number, data)
    return total


@pytest.mark.slow
def test_a_database_beyond_the_lock_page_is_read_and_written_on_both_sides(tmp_path: Path) -> None:
    """Taken in as a stream, changed on both sides, shrunk below the lock page and grown over it again."""
    count = giant(tmp_path / "in.sqlite")
    assert count > SKIP + 10
    db = make(page_size=PAGE_SIZE)
    pages = pages_of_file(tmp_path / "in.sqlite", count)
    db.long_write().commit_pages(db.snapshot(), page_size=PAGE_SIZE, page_count=count, pages=pages)
    ends = "SELECT id, v FROM t WHERE typeof(v) = 'text' AND id IN (1, 2000)"
    assert db.query(ends).rows == [(1, "before"), (2000, "behind")]
    assert db.snapshot().page(SKIP) == bytes(PAGE_SIZE)
    db.execute("UPDATE t SET v = v || '!' WHERE id IN (1, 2000)")
    db.execute("INSERT INTO t VALUES (3000, zeroblob(3000000))")
    assert reopen(store_of(db)).query(ends).rows == [(1, "before!"), (2000, "behind!")]
    head = db.snapshot().head
    assert head.checksum == checksum(db.snapshot())
    exported(tmp_path / "out.sqlite", db.snapshot())
    db.batch(["DELETE FROM t WHERE id BETWEEN 900 AND 999", "UPDATE t SET v = randomblob(200000) WHERE id = 1040"])
    db.batch([("INSERT INTO t VALUES (?, zeroblob(900000))", (n,)) for n in range(4000, 4130)])
    assert db.snapshot().head.checksum == checksum(db.snapshot())
    exported(tmp_path / "out.sqlite", db.snapshot())


def exported(path: Path, snapshot: Snapshot) -> None:
    """Write the raw file sparsely and let plain SQLite check it."""
    with path.open("wb") as file:
        for number, data in snapshot.pages():
            if data.count(0) != len(data):
                file.seek((number - 1) * PAGE_SIZE)
                file.write(data)
        file.truncate(snapshot.page_count * PAGE_SIZE)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT v FROM t WHERE id IN (1, 2000)").fetchall() == [("before!",), ("behind!",)]
    connection.close()
    path.unlink()

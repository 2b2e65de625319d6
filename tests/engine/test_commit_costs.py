"""What a commit of one row costs that can be counted: calls of Python's, statements prepared, what is encoded and read again."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

import pytest

from virke.core import page
from virke.core.ring import Ring
from virke.engine.database import Database
from virke.errors import SqlError
from virke.opening import connect

pytestmark = pytest.mark.native  # the store is a file, which a component has no locks for

UPDATE: Final = "UPDATE t SET v = ? WHERE id = ?"
COMMITS: Final = 20
CALLS_MOST: Final = 395
"""It took 414 when each commit prepared what is around its statement, and opened a journal that is not there twice."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A local one that has made a commit for each entry of its root's ring, and keeps 20 of them inline."""
    with connect("d", f"local:{tmp_path / 'store'}", create=True, background=False, state_dir=tmp_path) as database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        database.executemany("INSERT INTO t VALUES (?, ?)", [(number, "x" * 50) for number in range(20_000)])
        for number in range(70):
            write(database, number)
        database.upkeep()
        while len(database.snapshot().root.inline) != 3:
            write(database, number := number + 1)
        yield database


def write(database: Database, number: int, row: int | None = None) -> None:
    """One row, of the first 2,000 if it is not said which."""
    database.execute(UPDATE, (f"written {number}", number * 37 % 2_000 if row is None else row))


def checksum(database: Database) -> int:
    """Of all pages, as they are read."""
    found = 0
    for at, data in database.snapshot().pages():
        found ^= page.page_hash(at, data)
    return found


def test_a_commit_makes_few_calls_of_python(database: Database) -> None:
    """Its CPU is mostly those; `python -m bench B17` times it."""
    called = Counter[str]()

    def note(frame: FrameType, event: str, argument: object) -> None:
        called[event] += 1

    for number in range(COMMITS):
        sys.setprofile(note)
        try:
            write(database, number)
        finally:
            sys.setprofile(None)
    assert called["call"] / COMMITS <= CALLS_MOST


def test_a_commit_prepares_no_statement(database: Database) -> None:
    """Neither the program's, once it is known, nor those around it."""
    raw = database._writer.connections.usual.raw  # type: ignore[union-attr]
    before = raw.cache_stats()
    for number in range(COMMITS):
        write(database, number)
    after = raw.cache_stats()
    assert {name: after[name] - before[name] for name in ("misses", "no_cache")} == {"misses": 0, "no_cache": 0}
    assert after["hits"] - before["hits"] == 3 * COMMITS


def test_a_commit_encodes_only_what_it_adds(database: Database) -> None:
    """The commits of the root before are the same objects and keep their bytes; the entries of its ring are bytes still."""
    old = database.snapshot().root
    write(database, 1_000)
    new = database.snapshot().root
    assert [id(one) for one in new.inline[:-1]] == [id(one) for one in old.inline]
    assert isinstance(new.ring, Ring)
    assert new.ring[:-1] == old.ring[1:]
    assert all("encoded" in vars(one) for one in new.inline)


def test_pages_that_were_written_before_are_not_hashed_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the pages of before hashed to is known of those that the commit before wrote."""
    hashed: list[int] = []

    def counted(number: int, data: bytes) -> int:
        hashed.append(number)
        return page.page_hash(number, data)

    monkeypatch.setattr("virke.engine.vfs.page_hash", counted)
    database._writer.close_idle()
    for row, count in ((9_000, 4), (15_000, 3), (15_000, 2)):
        hashed.clear()
        write(database, len(hashed) + count, row)
        assert len(hashed) == count


def test_the_checksum_is_the_one_of_all_pages(database: Database) -> None:
    """Whatever was known of pages that grew, went and came again, and after errors and lost attempts."""
    database.run_script("CREATE TABLE wide (v); INSERT INTO wide SELECT zeroblob(9000) FROM t LIMIT 50")
    for number in range(5):
        write(database, number)
        with pytest.raises(SqlError):
            database.execute("INSERT INTO t VALUES (1, 'twice')")
        database.execute("DELETE FROM wide WHERE rowid % 2 = ?", (number % 2,))
        database.execute("VACUUM")
        database.execute("INSERT INTO wide SELECT zeroblob(9000) FROM t LIMIT 30")
        assert checksum(database) == database.snapshot().head.checksum


def test_the_checksum_is_right_after_others_have_written(database: Database, tmp_path: Path) -> None:
    """What this process knows of pages is of the state that it wrote, and no longer holds."""
    with connect("d", f"local:{tmp_path / 'store'}", background=False, state_dir=tmp_path) as other:
        for number in range(6):
            write(database if number % 2 else other, number, row=5)
            database.query("SELECT 1 FROM t LIMIT 1")  # what others wrote is known after that
            assert checksum(database) == database.snapshot().head.checksum


def test_an_error_of_a_lone_program_leaves_nothing(database: Database) -> None:
    """It has no savepoint of its own: the whole transaction goes."""
    with pytest.raises(SqlError):
        database.batch(["UPDATE t SET v = 'gone' WHERE id = 5", "INSERT INTO t VALUES (1, 'twice')"])
    write(database, 0)
    assert database.query("SELECT count(*) FROM t WHERE v = 'gone'").rows == [(0,)]

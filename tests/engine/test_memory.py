"""One budget for all databases of a process: frames, page caches, idle connections (P11, B18)."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from tests.engine.world import make, reopen, store_of
from virke import collector
from virke.engine import sqlite
from virke.engine.connection import Connection
from virke.engine.database import Database
from virke.engine.frames import FrameCache
from virke.engine.memory import CONNECTIONS_KEPT, FRAMES_SHARE, PROCESS
from virke.errors import TooLarge

MIB: Final = 1 << 20
SUM: Final = "SELECT sum(length(v)) FROM big"
ENDLESS: Final = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c)"


def collect() -> None:
    """Everything that other tests forgot is gone, what threads close included."""
    gc.collect()
    while not collector.is_idle():
        time.sleep(0.001)


@contextmanager
def budget(heap_bytes: int) -> Iterator[None]:
    """SQLite's heap, and with it page caches, may grow by so much; frames have a third of that."""
    collect()
    before = PROCESS.bytes_max
    try:
        PROCESS.resize((sqlite.memory_used() + heap_bytes) * FRAMES_SHARE // (FRAMES_SHARE - 1))
        yield
    finally:
        PROCESS.resize(before)


def large(mib: int) -> Database:
    """A database of so many MiB, one row on each page, whose pages all have to be read for `SUM`."""
    db = make()
    db.execute("CREATE TABLE big (v)")
    db.executemany("INSERT INTO big VALUES (zeroblob(3000))", [()] * (256 * mib))
    return db


def total(mib: int) -> list[tuple[int]]:
    """What `SUM` answers there."""
    return [(256 * mib * 3000,)]


def cached_bytes(db: Database) -> int:
    """What the page caches of a database's idle readers hold."""
    return sum(reader.connection.raw.status(1)[0] for reader in db._readers.idle)  # SQLITE_DBSTATUS_CACHE_USED


@pytest.mark.edge
def test_a_database_that_fits_into_the_budget_is_read_from_memory_alone() -> None:
    """All of it: the second read makes no callback into the file."""
    db = large(24)
    db.query(SUM)
    assert cached_bytes(db) > 24 * MIB
    pages = db.query(SUM, meta=True).meta
    assert pages is not None
    assert pages.pages_read == 0


@pytest.mark.edge
def test_databases_share_one_budget_of_frames() -> None:
    """The least recently used go first, whichever database they are of."""
    frames = FrameCache(300)
    for owner in (1, 2, 3):
        frames.keep({(owner, b"id", 0, 0, 0): [bytes(100)]})
    assert frames.find((1, b"id", 0, 0, 0))
    frames.keep({(4, b"id", 0, 0, 0): [bytes(100)]})
    assert [owner for owner in (1, 2, 3, 4) if frames.has((owner, b"id", 0, 0, 0))] == [1, 3, 4]
    assert frames.size_bytes == 300


@pytest.mark.edge
def test_frames_take_what_page_caches_leave_and_never_less_than_their_share() -> None:
    room = 500
    frames = FrameCache(100, lambda: room)
    frames.keep({(1, b"id", 0, 0, number): [bytes(100)] for number in range(9)})
    assert frames.size_bytes == 500
    room = 0
    frames.keep({})
    assert frames.size_bytes == 100


@pytest.mark.edge
@pytest.mark.parametrize("close", [True, False])
def test_the_frames_of_a_database_go_with_it(close: bool) -> None:
    """Closed or just dropped."""
    db = large(2)
    db.query(SUM)
    owner = db._volume.owner
    assert any(key[0] == owner for key in PROCESS.frames._frames)
    if close:
        db.close()
    del db
    collect()
    collect()  # what SQLite held is found by the second
    PROCESS.frames.keep({})
    assert not any(key[0] == owner for key in PROCESS.frames._frames)


@pytest.mark.edge
def test_page_caches_of_all_databases_stay_within_the_budget_together() -> None:
    """Also when each of them is larger than all that is allowed."""
    databases = [large(12) for _ in range(3)]
    with budget(8 * MIB):
        for db in (*databases, *databases):
            assert db.query(SUM).rows == total(12)
            assert sqlite.memory_used() <= PROCESS.heap_bytes_max + MIB


@pytest.mark.edge
def test_the_cache_of_a_database_that_was_not_read_for_long_gives_way() -> None:
    first, second = large(12), large(12)
    with budget(16 * MIB):
        assert first.query(SUM).rows == total(12)
        assert cached_bytes(first) > 10 * MIB
        assert second.query(SUM).rows == total(12)
        second.execute("DELETE FROM big WHERE rowid = 1")
        assert second.query(SUM).rows == [(total(12)[0][0] - 3000,)]
        assert cached_bytes(second) > 10 * MIB
        assert cached_bytes(first) < MIB
        assert first.query(SUM).rows == total(12)


@pytest.mark.edge
def test_a_long_value_is_read_while_page_caches_are_as_large_as_they_may_be() -> None:
    """The limit of SQLite's heap that such a statement sets leaves room for what caches hold, and they stop growing."""
    db = large(24)
    db.execute("CREATE TABLE long (v)")
    db.execute("INSERT INTO long VALUES (zeroblob(?))", (4 * MIB,))
    with budget(16 * MIB):
        for _ in range(3):
            assert db.query(SUM).rows == total(24)
            assert db.query("SELECT length(hex(v)) FROM long").rows == [(8 * MIB,)]
            assert sqlite.memory_used() <= PROCESS.heap_bytes_max + MIB


@pytest.mark.edge
def test_a_page_cache_that_grows_is_not_taken_for_a_greedy_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan may fill it with many times what a request may take; sorting as much in the same request is too much."""
    collect()
    monkeypatch.setattr(sqlite, "WORK_BYTES", MIB)
    db = large(24)
    db.change_settings({"max_result_mb": 1})
    assert db.query(SUM).rows == total(24)
    other = reopen(store_of(db))
    with pytest.raises(TooLarge):
        other.query("SELECT count(*) FROM (SELECT v FROM big ORDER BY v || random())")


@pytest.mark.edge
def test_temporary_tables_count_as_memory_of_the_request() -> None:
    """They are in the same figure of SQLite's as the page cache."""
    collect()
    db = make()
    connection = Connection(db.snapshot(), value_bytes_max=16 * MIB, overlay_bytes_max=8 * MIB)
    connection.begin_request(now_ms=0, deadline=db._env.monotonic() + 60, result_bytes=16 * MIB)
    with pytest.raises(TooLarge):
        connection.fetch(
            f"CREATE TEMP TABLE t AS {ENDLESS} SELECT n, zeroblob(900) AS v FROM c LIMIT 60000", (), 16 * MIB
        )
    connection.close()


@pytest.mark.edge
def test_many_open_databases_share_a_few_connections() -> None:
    """Each answers as ever, and finds its connection closed if many others were used since."""
    collect()
    databases = [make() for _ in range(2 * CONNECTIONS_KEPT)]
    for number, db in enumerate(databases):
        db.run_script(f"CREATE TABLE t (n); INSERT INTO t VALUES ({number})")
    for _ in range(2):
        for number, db in enumerate(databases):
            assert db.query("SELECT n FROM t").rows == [(number,)]
            assert PROCESS.connection_count <= CONNECTIONS_KEPT + 1
    for db in databases:
        db.execute("UPDATE t SET n = n + 1")
    assert [db.query("SELECT n FROM t").rows for db in databases[:3]] == [[(1,)], [(2,)], [(3,)]]


@pytest.mark.edge
def test_a_connection_that_is_in_use_is_never_closed() -> None:
    """More interactive transactions and half-read results than connections are kept."""
    collect()
    databases = [make() for _ in range(CONNECTIONS_KEPT)]
    for db in databases:
        db.run_script("CREATE TABLE t (n); INSERT INTO t VALUES (1), (2)")
    rows = [iter(db.query_rows("SELECT n FROM t")) for db in databases]
    assert [next(one) for one in rows] == [(1,)] * CONNECTIONS_KEPT
    transactions = [db.transaction() for db in databases]
    for transaction in transactions:
        transaction.execute("UPDATE t SET n = n + 10")
    assert [list(one) for one in rows] == [[(2,)]] * CONNECTIONS_KEPT
    for transaction in transactions:
        transaction.commit()
    assert [db.query("SELECT n FROM t").rows for db in databases] == [[(11,), (12,)]] * CONNECTIONS_KEPT
    assert reopen(store_of(databases[0])).query("SELECT n FROM t").rows == [(11,), (12,)]

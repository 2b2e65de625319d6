"""A connection that only reads: writes are `Denied`, and the store is never written to, not even to fence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import virke
from tests.engine.world import NAME, Clock, make, reopen, store_of
from virke.core.effects import Absent, Generation, PutOutcome, ReadOutcome, SwapOutcome, Tier
from virke.engine.database import Database
from virke.errors import Denied, Invalid, ReadOnly, SqlError, UsageError
from virke.stores.base import Blobs, Consistency, Listed, Range, Register, Store
from virke.stores.memory import memory_store

WRITES = [
    "INSERT INTO t VALUES (2)",
    "INSERT INTO t VALUES (2) RETURNING n",
    "WITH c AS (SELECT 1) DELETE FROM t",
    "CREATE TEMP TABLE x (v)",
    "PRAGMA user_version = 7",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA optimize",
    "VACUUM",
    "ANALYZE",
]


class Sealed:
    """A register and blobs of which everything may be read, and nothing written."""

    def __init__(self, inner: Register, consistency: Consistency) -> None:
        self._inner = inner
        self.consistency = consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        return self._inner.read(key, known)

    def keys(self, prefix: str) -> Iterator[str]:
        return self._inner.keys(prefix)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        raise AssertionError("a connection that only reads swaps a root")

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        raise AssertionError("a connection that only reads removes a root")


class SealedBlobs:
    """Blobs that refuse to be changed."""

    def __init__(self, inner: Blobs) -> None:
        self._inner = inner
        self.consistency = inner.consistency
        self.has_ranges = inner.has_ranges
        self.part_bytes_max = inner.part_bytes_max

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        return self._inner.get(ranges)

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        raise AssertionError("a connection that only reads puts an object")

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        raise AssertionError("a connection that only reads puts objects")

    def delete(self, keys: Sequence[str]) -> None:
        raise AssertionError("a connection that only reads deletes objects")

    def list(self, prefix: str) -> Iterator[Listed]:
        return self._inner.list(prefix)


def sealed(inner: Store, consistency: Consistency) -> Store:
    blobs: dict[Tier, Blobs] = {tier: SealedBlobs(one) for tier, one in inner.blobs.items()}
    return replace(inner, register=Sealed(inner.register, consistency), blobs=blobs, line=None, watch=None)


@pytest.fixture(params=list(Consistency))
def reading(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database whose promotion is due, which its writer could not do, opened to be read on a store that is sealed."""
    store = memory_store()
    with make(replace(store, blobs={Tier.KV: store.blobs[Tier.KV]})) as db:
        db.execute("CREATE TABLE t (n)")
        db.change_settings({"promote_at_mb": 1})
        db.execute("INSERT INTO t VALUES (1)")
        db.executemany("INSERT INTO t VALUES (zeroblob(?))", [(20_000,)] * 69)
    with Database(sealed(store, request.param), NAME, environment=Clock().environment, read_only=True) as database:
        yield database


@pytest.mark.parametrize("sql", WRITES)
def test_every_statement_that_writes_is_denied(reading: Database, sql: str) -> None:
    """By SQLite's own knowledge; and whichever call brings it."""
    calls: list[Callable[[str], object]] = [
        reading.query,
        reading.run,
        reading.execute,
        reading.run_script,
        reading.query_rows,
    ]
    for call in calls:
        with pytest.raises(Denied):
            call(sql)
    with pytest.raises(Denied):
        reading.batch(["SELECT 1", sql])
    with reading.transaction() as tx, pytest.raises(Denied):
        tx.query(sql)
    assert reading.query("SELECT count(*) FROM t").rows == [(70,)]


def test_whatever_else_writes_is_denied(reading: Database) -> None:
    """Settings, promotion, collection, imports."""
    calls: list[Callable[[], object]] = [
        lambda: reading.change_settings({"max_attempts": 3}),
        reading.promote,
        reading.collect,
        lambda: reading.executemany("INSERT INTO t VALUES (?)", [(1,)]),
        lambda: reading.long_write().commit_pages(reading.snapshot(), page_size=4096, page_count=0, pages=[]),
    ]
    for call in calls:
        with pytest.raises(Denied):
            call()
    assert reading.flush().pushed == 0


def test_reads_transactions_and_their_ends_write_nothing(reading: Database) -> None:
    """The store would raise; reads of every kind, and what follows the end of a transaction (upkeep)."""
    version = reading.version
    with reading.transaction() as tx:
        assert tx.read_only
        assert tx.query("SELECT count(*) FROM t").rows == [(70,)]
        assert tx.run_script("SELECT 1; SELECT n FROM t LIMIT 1").rows == [(1,)]
    assert reading.run_transaction(lambda tx: tx.query("SELECT 2").rows) == [(2,)]
    assert list(reading.query_rows("SELECT count(*) FROM t")) == [(70,)]
    assert reading.query("SELECT count(*) FROM t", at=4).rows == [(1,)]
    assert reading.query("PRAGMA journal_mode = WAL").rows == [("memory",)]
    assert reading.query("PRAGMA cache_size = 9").rows == []
    assert reading.query("PRAGMA case_sensitive_like = 1").rows == []
    assert reading.query("SELECT 'A' LIKE 'a'").rows == [(1,)]
    assert reading.query("EXPLAIN QUERY PLAN DELETE FROM t").columns == ["id", "parent", "notused", "detail"]
    assert reading.collect(dry_run=True).dry_run
    assert reading.status().version == version


def test_a_strong_read_needs_a_write_where_reads_may_be_old(reading: Database) -> None:
    """There it is an honest error; where reads are linearizable it is one read."""
    if reading._branch.is_linearizable:
        assert reading.query("SELECT 1", consistency="strong").rows == [(1,)]
    else:
        with pytest.raises(Denied, match="strong read"):
            reading.query("SELECT 1", consistency="strong")
    assert reading.query("SELECT 1").rows == [(1,)]


def test_a_read_only_query_of_a_database_that_writes_is_denied_its_writes() -> None:
    db = make()
    db.execute("CREATE TABLE t (n)")
    for sql in ["INSERT INTO t VALUES (1)", "PRAGMA foreign_keys = ON", "DELETE FROM t RETURNING n"]:
        with pytest.raises(Denied, match="only reads"):
            db.query(sql, read_only=True)
    assert db.query("PRAGMA synchronous = OFF", read_only=True).rows == []
    assert db.query("SELECT count(*) FROM t", read_only=True).rows == [(0,)]
    assert db.query("INSERT INTO t VALUES (1) RETURNING n").rows == [(1,)]


def test_to_create_and_only_read_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="contradict"):
        virke.connect("db", memory_store(), create=True, read_only=True)


@pytest.mark.native
@pytest.mark.parametrize("consistency", list(Consistency))
def test_what_is_pending_is_read_and_stays_pending(consistency: Consistency, tmp_path: Path) -> None:
    """A journal is neither pushed nor hidden by a connection that only reads; its transactions see what reads see."""
    store = memory_store()
    db = virke.connect(NAME, store, create=True, state_dir=tmp_path, background=False)
    db.execute("CREATE TABLE t (n)")
    db.change_settings({"durability": "deferred"})
    db.execute("INSERT INTO t VALUES (1)")
    db.close(push=False)
    with virke.connect(NAME, sealed(store, consistency), read_only=True, state_dir=tmp_path) as reading:
        assert reading.query("SELECT n FROM t").rows == [(1,)]
        with reading.transaction() as tx:
            assert tx.query("SELECT n FROM t").rows == [(1,)]
        with pytest.raises(Denied, match="stay pending"):
            reading.flush()
        assert reading.status().pending_writes == 1


def test_a_transaction_that_reads_takes_nothing_that_is_for_writes() -> None:
    with pytest.raises(Invalid, match="idempotency_key"):
        make().transaction(read_only=True, idempotency_key="k")
    with pytest.raises(Invalid, match="immediate"):
        make().transaction(read_only=True, immediate=True)


@pytest.mark.parametrize(
    "sql", ["INSERT INTO t VALUES (1)", "replace into t values (1)", "UPDATE t SET x = 2", "DELETE FROM t"]
)
def test_a_first_statement_whose_first_word_writes_opens_no_reader(sql: str) -> None:
    """A connection is half of what such a request of a new sandbox reads; what is wrong is told as ever."""
    database = make()
    database.execute("CREATE TABLE t (x)")
    with reopen(store_of(database)) as cold:
        cold.query(sql)
        assert len(cold._parts.connections) == 1
    with reopen(store_of(database)) as cold:
        with pytest.raises(ReadOnly):
            cold.query(sql, read_only=True)
        assert len(cold._parts.connections) == 1
        with pytest.raises(SqlError, match="no such table: nope"):
            cold.query(sql.replace(" t ", " nope ").replace("FROM t", "FROM nope"))

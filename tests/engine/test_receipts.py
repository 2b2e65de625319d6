"""Receipts: what a request cost, counted for the request that asked and for no other."""

from __future__ import annotations

import threading
from dataclasses import fields

import pytest

from tests.engine.world import Clock, make, reopen
from virke.engine.database import Database
from virke.engine.reader import Reader
from virke.engine.results import Meta
from virke.stores.base import Store
from virke.stores.counted import CountingStore
from virke.stores.memory import memory_store
from virke.stores.receipt import metered_store


def world(clock: Clock | None = None) -> tuple[CountingStore, Database]:
    """A database whose store is counted beneath its receipts; on a clock that stands still nothing has to be confirmed."""
    counts = CountingStore(memory_store())
    database = make(metered_store(counts.store), clock=clock)
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    return counts, database


def meta_of(meta: Meta | None) -> Meta:
    assert meta is not None
    return meta


def cold(counts: CountingStore) -> Database:
    return reopen(metered_store(counts.store), clock=Clock())


def test_a_result_carries_a_receipt_only_if_it_was_asked_for() -> None:
    _, db = world(Clock())
    assert db.query("SELECT 1").meta is None
    assert db.run("INSERT INTO t (v) VALUES (1)").meta is None
    assert db.query("SELECT 1", meta=True).meta is not None
    assert db.query("SELECT 1").meta is None


def test_a_receipt_says_what_the_store_was_asked() -> None:
    """Calls, ranges and bytes equal those that were counted beneath; a warm read costs nothing."""
    counts, db = world(Clock())
    db.executemany("INSERT INTO t (v) VALUES (randomblob(3000))", [()] * 200)
    reader = cold(counts)
    counts.reset()
    found = meta_of(reader.query("SELECT sum(length(v)) FROM t", meta=True).meta)
    total = counts.total
    assert total.requests > 0
    assert (found.round_trips, found.requests, found.bytes_down, found.bytes_up) == (
        total.requests,
        total.items,
        total.bytes_down,
        0,
    )
    assert found.pages_read >= 150
    assert (found.version, found.bookmark) == (reader.version, reader.bookmark)
    warm = meta_of(reader.query("SELECT sum(length(v)) FROM t", meta=True).meta)
    assert (warm.round_trips, warm.requests, warm.bytes_down, warm.pages_read) == (0, 0, 0, 0)


def test_a_write_says_what_its_commit_cost() -> None:
    """One swap for a small one, a put and a swap for a large one; upkeep is not on it."""
    counts, db = world(Clock())
    counts.reset()
    small = meta_of(db.run("INSERT INTO t (v) VALUES (1)", meta=True).meta)
    assert (small.round_trips, small.requests, small.bytes_up) == (1, 1, counts.total.bytes_up)
    assert small.version == db.version
    large = meta_of(db.run_script("INSERT INTO t (v) VALUES (randomblob(100000))", meta=True).meta)
    assert large.round_trips == 2
    assert large.bytes_up > 100_000
    first, second = db.batch(["INSERT INTO t (v) VALUES (1)", "SELECT count(*) FROM t"], meta=True)
    assert first.meta == second.meta
    assert meta_of(first.meta).round_trips == 1


def test_times_add_up() -> None:
    _, db = world()
    found = meta_of(db.run("INSERT INTO t (v) VALUES (1)", meta=True).meta)
    parts = found.root_ms + found.fetch_ms + found.commit_ms + found.sql_ms
    assert min(getattr(found, field.name) for field in fields(found) if field.name.endswith("_ms")) >= 0
    assert abs(parts - found.total_ms) < 1e-6


@pytest.mark.native
def test_writes_that_share_a_commit_share_its_receipt() -> None:
    """Everybody in a group is told the whole cost, and how many rode along; a write on its own rides alone."""
    _, db = world(Clock())
    counts, answers = 12, list[Meta]()
    lead = threading.Event()

    def write(number: int) -> None:
        lead.wait()
        answers.append(meta_of(db.run("INSERT INTO t (v) VALUES (?)", (number,), meta=True).meta))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(counts)]
    with db._committing.lead:  # whoever comes now waits, and is taken along by the first
        for thread in threads:
            thread.start()
        lead.set()
        while len(db._writer.queue.waiting) < counts:
            threading.Event().wait(0.001)
    for thread in threads:
        thread.join()
    assert {answer.shared_by for answer in answers} == {counts}
    assert {answer.round_trips for answer in answers} == {1}
    assert meta_of(db.run("INSERT INTO t (v) VALUES (0)", meta=True).meta).shared_by == 1


@pytest.mark.native
def test_two_requests_at_once_have_two_receipts() -> None:
    """What another thread reads meanwhile is on its own receipt."""
    counts, db = world(Clock())
    db.executemany("INSERT INTO t (v) VALUES (randomblob(3000))", [()] * 200)
    reader = cold(counts)
    inside, go_on = threading.Event(), threading.Event()
    found = list[Meta]()

    def slow() -> None:
        def wait(*_: object) -> int:
            inside.set()
            go_on.wait()
            return 1

        connection = reader._readers._connect()
        connection.raw.create_scalar_function("pause", wait, 0)
        reader._readers.idle.append(Reader(connection))
        found.append(meta_of(reader.query("SELECT pause()", meta=True).meta))

    thread = threading.Thread(target=slow)
    thread.start()
    inside.wait()
    other = meta_of(reader.query("SELECT sum(length(v)) FROM t", meta=True).meta)
    go_on.set()
    thread.join()
    assert other.round_trips > 0
    assert found[0].round_trips == 0


def test_a_store_that_was_given_open_is_metered_too() -> None:
    """`connect` takes an open store; receipts count on it all the same."""
    from virke.opening import connect

    store: Store = memory_store()
    with connect("db", store, create=True, background=False) as database:
        database.execute("CREATE TABLE t (v)")
        assert meta_of(database.query("SELECT 1", consistency="strong", meta=True).meta).round_trips == 1

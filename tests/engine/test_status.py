"""`status` says what is stored, history included (F8), and what upkeep is due."""

from __future__ import annotations

import pytest

from tests.engine.world import Clock, make, reopen, store_of
from virke.core.collect import DAY_MS, GRACE_MS
from virke.core.effects import Tier
from virke.engine.database import Database
from virke.errors import Unavailable
from virke.stores.base import Call
from virke.stores.counted import CountingStore, Tally, counting_store
from virke.stores.memory import memory_store

LARGE = "REPLACE INTO t VALUES (1, randomblob(80000))"


def listed(database: Database) -> tuple[int, int]:
    """How many objects the store really has, and their bytes."""
    items = [item for blobs in store_of(database).blobs.values() for item in blobs.list("seg/")]
    return len(items), sum(item.size_bytes for item in items)


def written(clock: Clock, commits: int = 40) -> Database:
    """A database whose history is much larger than itself."""
    database = make(clock=clock)
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    for _ in range(commits):
        database.execute(LARGE)
        database.upkeep(None)
    return database


@pytest.mark.edge
def test_status_counts_what_history_keeps() -> None:
    """To the byte; of that, what the newest version does not need. Whoever asks."""
    database = written(Clock())
    for asked in (database, reopen(store_of(database))):
        found = asked.status()
        assert (found.objects, found.stored_bytes) == listed(database)
        newest = database.snapshot().root.segments
        assert found.objects - found.history_objects == sum(ref.parts for ref in newest)
        assert found.stored_bytes - found.history_bytes == sum(ref.stored_bytes for ref in newest)
        assert found.history_bytes > 10 * (found.stored_bytes - found.history_bytes)


@pytest.mark.edge
def test_status_counts_no_history_when_there_is_none() -> None:
    clock = Clock()
    database = written(clock)
    database.change_settings({"history_days": 0})
    for _ in range(4):
        clock.now_ms += DAY_MS
        database.collect()
    found = database.status()
    assert (found.objects, found.stored_bytes) == listed(database)
    assert (found.history_objects, found.history_bytes) == (0, 0)


@pytest.mark.edge
def test_status_counts_without_a_list_and_asks_again_only_what_changed() -> None:
    """One read of the root; indexes of merges in as many rounds as merges are deep, and once."""
    counts = CountingStore(store_of(written(Clock())))
    database = reopen(counts.store)
    counts.reset()
    database.status()
    assert counts.of(Call.LIST).requests == 0
    assert 1 <= counts.of(Call.GET).requests <= 13  # of 13 merges, each of which holds the one before
    counts.reset()
    database.status()
    assert counts.total.requests == counts.of(Call.READ).requests == 1
    database = reopen(counts.store)
    counts.reset()
    database.status(history=False)
    assert counts.of(Call.GET).requests == 0


@pytest.mark.edge
def test_status_answers_though_history_can_not_be_read() -> None:
    """What is known by the root alone, and why there is no more."""
    failing = False

    def fail(call: Call, tally: Tally) -> None:
        if failing and tally.requests and call is Call.GET:
            raise Unavailable("the store is down")

    store = counting_store(memory_store(), fail)
    database = make(store)
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    for _ in range(8):
        database.execute(LARGE)
        database.upkeep(None)
    failing = True
    found = database.status()
    assert not found.healthy
    assert found.upkeep_error == "the store is down"
    assert found.objects == sum(ref.parts for ref in database._branch.latest().root.segments)
    assert found.tier == Tier.KV.value
    assert (found.growth_bytes_per_day, found.gc_bytes, found.gc_later_bytes) == (None, None, None)


@pytest.mark.edge
def test_status_says_what_collection_could_free_and_when(clock: Clock) -> None:
    """Nothing while history is kept, all of it when it ended; and that is what the collection deletes then."""
    database = written(clock)
    told = database.status()
    assert (told.gc_objects, told.gc_bytes) == (0, 0)
    assert (told.gc_later_objects, told.gc_later_bytes) == (told.history_objects, told.history_bytes)
    assert told.gc_later_from_ms == told.gc_later_until_ms == told.last_commit_ms + 7 * DAY_MS
    clock.now_ms = told.gc_later_until_ms
    now = database.status()
    assert (now.gc_objects, now.gc_bytes) == (told.gc_later_objects, told.gc_later_bytes)
    assert (now.gc_later_objects, now.gc_later_from_ms, now.gc_later_until_ms) == (0, None, None)
    database.collect()
    assert database.status().gc_bytes == now.gc_bytes, "let go, and waiting for the grace period"
    clock.now_ms += GRACE_MS
    deleted = database.collect()
    assert (len(deleted.deleted), deleted.bytes) == (now.gc_objects, now.gc_bytes)
    left = database.status()
    assert (left.gc_bytes, left.gc_later_bytes, left.history_bytes) == (0, 0, 0)


@pytest.mark.edge
def test_status_says_what_writes_store_a_day(clock: Clock) -> None:
    """Merges included; without history it is not counted, and neither is what could be freed."""
    database = written(clock)
    assert database.status().growth_bytes_per_day == database.status().stored_bytes
    clock.now_ms += 4 * DAY_MS
    assert database.status().growth_bytes_per_day == database.status().stored_bytes // 4
    brief = database.status(history=False)
    unknown = (
        brief.growth_bytes_per_day,
        brief.gc_objects,
        brief.gc_bytes,
        brief.gc_later_objects,
        brief.gc_later_bytes,
    )
    assert unknown == (None,) * 5

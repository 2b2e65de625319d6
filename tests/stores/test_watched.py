"""Stamps that the owner of a key changes for the other processes of its machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.world import NAME, make, reopen
from virke.engine.database import Database
from virke.stores.base import Store
from virke.stores.counted import CountingStore
from virke.stores.faulty import At, FaultyStore, LoseAnswer
from virke.stores.memory import memory_store
from virke.stores.watched import watched_store


def unwatched() -> Store:
    return replace(memory_store(), watch=None)


def pair(inner: Store, folder: Path) -> tuple[Store, Store]:
    """The store as the owner of every key has it, and as another process does."""
    return watched_store(inner, folder, lambda key: True), watched_store(inner, folder, lambda key: False)


def test_another_process_reads_what_the_owner_wrote_at_once_and_asks_only_then(tmp_path: Path) -> None:
    inner = unwatched()
    make(inner).execute("CREATE TABLE t (v)")
    counted = CountingStore(inner)
    owning, reading = pair(counted.store, tmp_path)
    owner, other = reopen(owning), Database(reading, NAME, read_only=True)
    for value in range(5):
        owner.execute("INSERT INTO t VALUES (?)", (value,))
        assert other.query("SELECT max(v) FROM t").rows == [(value,)]
        counted.reset()
        for _ in range(3):
            assert other.query("SELECT max(v) FROM t").rows == [(value,)]
            assert owner.query("SELECT max(v) FROM t").rows == [(value,)]
        assert counted.total.requests == 0


def test_a_swap_whose_answer_was_lost_is_seen(tmp_path: Path) -> None:
    faulty = FaultyStore(unwatched(), [At(1, LoseAnswer())])
    owning, reading = pair(faulty.store, tmp_path)
    assert reading.watch is not None
    look = reading.watch("root/a/main")
    before = look()
    owning.register.swap("root/a/main", b"x", None)
    assert look() != before


def test_what_others_changed_is_seen_when_the_owner_learns_of_it(tmp_path: Path) -> None:
    inner = unwatched()
    owning, reading = pair(inner, tmp_path)
    assert reading.watch is not None
    look = reading.watch("k")
    before = look()
    inner.register.swap("k", b"x", None)
    reading.register.read("k")
    assert look() == before
    owning.register.read("k")
    assert look() != before


@pytest.mark.parametrize("is_eventual", [False, True], ids=["watched already", "eventual"])
def test_where_stamps_are_there_or_would_lie_none_are_made(tmp_path: Path, is_eventual: bool) -> None:
    store = FaultyStore(memory_store(), eventual=True).store if is_eventual else memory_store()
    assert watched_store(store, tmp_path, lambda key: True) is store
    assert list(tmp_path.iterdir()) == []

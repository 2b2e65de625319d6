"""Nodes that collect at once and without grace, while others write and read: nothing that is needed is deleted (P8)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.promises.ledger import LARGE, NAME, TABLE, Ledger, check_integrity, check_store, exercise
from tests.promises.places import on
from virke.engine.database import Database
from virke.errors import Conflict, OutcomeUnknown
from virke.opening import connect, open_store

pytestmark = pytest.mark.once

ROWS = "SELECT count(*), count(filler), sum(length(filler)) FROM entry"


def race(url: str, *, collectors: int, readers: int, writers: int, times: int) -> Ledger:
    """Each a node of its own; ends when the writers are done. Returns what they were told."""
    told, telling, over = Ledger(), threading.Lock(), threading.Event()

    def node(work: Callable[[Database, int], None], number: int) -> None:
        with connect(NAME, url, background=False) as database:
            work(database, number)
            assert not (database.status().upkeep_error or "").startswith("corrupt")

    def collecting(database: Database, number: int) -> None:
        while not over.is_set():
            try:
                database.collect(grace_ms=0)
            except (Conflict, OutcomeUnknown):  # of a commit of references; it is begun anew
                continue

    def reading(database: Database, number: int) -> None:
        before = 0
        while not over.is_set():
            [(count, fillers, _)] = database.query(ROWS, consistency="strong").rows
            assert isinstance(count, int)
            assert before <= count
            assert count == fillers
            before = count

    def writing(database: Database, number: int) -> None:
        own = Ledger()
        for row in range(times):
            own.insert(database, f"{number}-{row}", LARGE if row % 2 else 3000)
        with telling:
            told.kept |= own.kept
            told.refused |= own.refused
            told.open |= own.open
            told.errors += own.errors

    with ThreadPoolExecutor(collectors + readers + writers) as pool:
        others = [pool.submit(node, collecting, number) for number in range(collectors)]
        others += [pool.submit(node, reading, number) for number in range(readers)]
        try:
            for written in [pool.submit(node, writing, number) for number in range(writers)]:
                written.result()
        finally:
            over.set()
        for other in others:
            other.result()
    return told


@pytest.mark.parametrize("times", [5, pytest.param(30, marks=pytest.mark.prove)])
@on("seaweedfs", slow=("local", "local+seaweedfs"))  # moto fails at a LIST while others write
def test_p8_nodes_that_collect_at_once_delete_nothing_that_is_needed(times: int, place: str) -> None:
    """Nobody meets a missing object; and what was answered is there."""
    with connect(NAME, place, create=True, background=False) as database:
        database.execute(TABLE)
        database.change_settings({"history_days": 0, "promote_at_mb": 1})
    told = race(place, collectors=2, readers=2, writers=4, times=times)
    assert [error for error in told.errors if not isinstance(error, (Conflict, OutcomeUnknown))] == []
    assert told.kept
    with connect(NAME, place, background=False) as database:
        told.check(database)
        check_integrity(database)
        exercise(database, told, "again")
        told.check(database)
    check_store(open_store(place))


def test_status_says_what_collection_then_frees(place: str) -> None:
    """To the byte, and without a LIST; on each kind of store."""
    with connect(NAME, place, create=True, background=False) as database:
        database.execute(TABLE)
        for number in range(12):
            database.execute("INSERT INTO entry (token, filler) VALUES (?, randomblob(?))", (str(number), LARGE))
            database.upkeep(None)
        kept = database.status()
        assert (kept.gc_bytes, kept.gc_later_bytes) == (0, kept.history_bytes)
        assert kept.history_bytes > 0
        database.change_settings({"history_days": 0})
        told = database.status()
        assert (told.gc_objects, told.gc_bytes) == (kept.gc_later_objects, kept.gc_later_bytes)
        freed = [database.collect(grace_ms=0).bytes for _ in range(3)]
        assert sum(freed) == told.gc_bytes
        assert database.status().history_bytes == 0

"""The line before a branch: a place ends with whoever holds it, however that ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.engine.world import Clock, make, reopen
from virke.engine.database import Database
from virke.engine.line import Line, Place
from virke.engine.transaction import _open_here
from virke.errors import Unavailable
from virke.stores.base import Call
from virke.stores.faulty import At, FaultyStore, Refuse
from virke.stores.memory import memory_store

KEY = "root/db/main"


def _in_another_thread(line: Line) -> bool:
    """Whether another thread finds itself first, without waiting."""
    found = list[bool]()

    def stand() -> None:
        place = line.enter(0)
        found.append(place.is_first)
        place.leave()

    thread = threading.Thread(target=stand)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.native
def test_a_place_that_is_forgotten_lets_the_next_one_through() -> None:
    line = Line(memory_store(), KEY)
    place = line.enter(0)
    assert not _in_another_thread(line)
    del place
    assert _in_another_thread(line)


@pytest.mark.native
def test_a_thread_stands_in_line_again_after_its_place_was_forgotten() -> None:
    """A thread that counted as first for ever would never line up: others would lose to it."""
    line = Line(memory_store(), KEY)
    line.enter(0)
    again = line.enter(0)
    assert again.is_first
    assert not _in_another_thread(line)


def test_a_thread_that_has_a_place_does_not_wait_for_itself() -> None:
    """And the inner place ends without the outer one."""
    waits = list[str]()

    @contextmanager
    def wait(key: str, timeout_s: float) -> Iterator[bool]:
        waits.append(key)
        yield True

    line = Line(replace(memory_store(), line=wait), KEY)
    outer = line.enter(30)
    for _ in range(2):
        line.enter(30).leave()
    assert waits == [KEY]
    outer.leave()
    line.enter(30).leave()
    assert waits == [KEY, KEY]


@pytest.mark.native
def test_a_thread_that_waited_in_vain_stands_in_line_the_next_time() -> None:
    line, places = Line(memory_store(), KEY), list[Place]()
    other = threading.Thread(target=lambda: places.append(line.enter(0)))
    other.start()
    other.join()
    late = line.enter(0)
    assert not late.is_first
    places.pop().leave()
    again = line.enter(0)
    assert again.is_first
    assert not _in_another_thread(line)
    late.leave()
    assert not _in_another_thread(line)


@pytest.mark.native
@pytest.mark.parametrize("immediate", [False, True])
def test_a_transaction_that_can_not_begin_keeps_no_other_waiting(immediate: bool) -> None:
    inner = memory_store()
    make(inner).close()
    faulty = FaultyStore(inner, [At(n, Refuse(), Call.READ) for n in range(2, 99)])
    with reopen(faulty.store, clock=Clock()) as database:
        with pytest.raises(Unavailable):
            database.transaction(immediate=immediate)
        assert _in_another_thread(database._writes._begin_line)
        assert _in_another_thread(database._writer.line)


@pytest.mark.native
def test_a_place_that_another_thread_leaves_is_free_for_all() -> None:
    line = Line(memory_store(), KEY)
    place = line.enter(0)
    thread = threading.Thread(target=place.leave)
    thread.start()
    thread.join()
    assert _in_another_thread(line)
    assert line.enter(0).is_first


@pytest.mark.native
def test_a_transaction_that_is_forgotten_keeps_no_writer_waiting() -> None:
    clock = Clock()
    database = make(clock=clock)
    database.execute("CREATE TABLE t (n)")
    transaction = database.transaction()
    transaction.execute("INSERT INTO t VALUES (1)")
    del transaction
    assert _in_another_thread(database._writer.line)
    assert database.execute("INSERT INTO t VALUES (2)") == 1
    assert database.query("SELECT n FROM t").rows == [(2,)]


def _end_elsewhere(database: Database) -> None:
    transaction = database.transaction()
    transaction.__enter__()
    thread = threading.Thread(target=transaction.finish, kwargs={"is_good": True})
    thread.start()
    thread.join()


@pytest.mark.native
def test_a_thread_keeps_nothing_of_transactions_that_ended_in_another() -> None:
    """A server begins a transaction in one thread and ends it in another, thousands of times."""
    database = make()
    for _ in range(20):
        _end_elsewhere(database)
    assert len(_open_here.get()) <= 1


@pytest.mark.native
def test_a_transaction_whose_end_is_interrupted_keeps_no_writer_waiting() -> None:
    """A turn is given back over the network; a signal that comes meanwhile must not leave the line closed."""
    database = make()
    database.execute("CREATE TABLE t (n)")
    transaction = database.transaction()
    transaction.execute("INSERT INTO t VALUES (1)")

    class Interrupted:
        def release(self) -> None:
            raise KeyboardInterrupt

    transaction._claimant = Interrupted()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        transaction.rollback()
    assert _in_another_thread(database._writer.line)

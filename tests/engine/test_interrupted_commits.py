"""A commit that ends halfway, by a signal or because its snapshot went, says of each write what is known, and no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.engine.world import Clock, make, reopen, store_of
from virke.core.effects import Generation, ReadOutcome, SwapOutcome
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.programs import Program, Step
from virke.engine.queue import Pending
from virke.errors import NotFound, VirkeError
from virke.stores.base import Consistency, Register, Store
from virke.stores.memory import memory_store

WAIT_S = 30


class Interrupted(BaseException):
    """A signal that ends the call which it meets."""


class Hooked:
    """A register where something happens before or after a swap, once."""

    def __init__(self, inner: Register, consistency: Consistency = Consistency.LINEARIZABLE) -> None:
        self._inner = inner
        self.consistency = consistency
        self.before: list[Callable[[], object]] = []
        self.after: list[Callable[[], object]] = []

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        return self._inner.read(key, known)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        if self.before:
            self.before.pop(0)()
        outcome = self._inner.swap(key, data, base)
        if self.after:
            self.after.pop(0)()
        return outcome

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        return self._inner.remove(key, base)

    def keys(self, prefix: str) -> Iterator[str]:
        return self._inner.keys(prefix)


def interrupt() -> None:
    raise Interrupted


def go_on() -> None:
    """Nothing happens this time."""


def outcomes(db: Database, *sqls: str) -> list[str | None]:
    """What callers are told of programs that were in line together, whose leader was interrupted."""
    writes = [Pending(Program((Step(sql),), 0)) for sql in sqls]
    for write in writes:
        db._writer.queue.enqueue(write)
    with pytest.raises(Interrupted):
        db._writer.queue.lead()
    assert all(write.done for write in writes)
    told = list[str | None]()
    for write in writes:
        try:
            write.results()
            told.append(None)
        except VirkeError as error:
            told.append(error.kind)
    return told


@pytest.mark.parametrize("is_applied", [False, True])
def test_p3_writes_whose_leader_was_interrupted_at_the_swap_are_answered_as_unknown(is_applied: bool) -> None:
    """They ran and have answers, but nothing proves that these are in history."""
    inner = memory_store()
    make(inner).execute("CREATE TABLE t (n)")
    register = Hooked(inner.register)
    db = reopen(Store(inner.url, register, inner.blobs))
    (register.after if is_applied else register.before).append(interrupt)
    assert outcomes(db, "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)") == ["outcome_unknown"] * 2
    assert reopen(inner).query("SELECT count(*) FROM t").rows == [(2 if is_applied else 0,)]


def test_p3_a_write_that_was_committed_before_the_leader_was_interrupted_keeps_its_answer() -> None:
    """Each of the group was committed alone; the first is known to be in history."""
    inner = memory_store()
    make(inner).execute("CREATE TABLE p (id PRIMARY KEY)")
    register = Hooked(inner.register)
    db = reopen(Store(inner.url, register, inner.blobs))
    register.after += [go_on, interrupt]
    alone = "INSERT OR ROLLBACK INTO p VALUES (1)"  # undoes the others' work, so that each is tried alone
    told = outcomes(db, "INSERT INTO p VALUES (1)", alone, "INSERT INTO p VALUES (2)")
    assert told == [None, "sql_error", "outcome_unknown"]
    assert reopen(inner).query("SELECT id FROM p").rows == [(1,), (2,)]


@pytest.fixture
def idle() -> Database:
    """A database of a process that was idle while others rewrote and collected everything that it knew."""
    inner, clock = memory_store(), Clock()
    writer = make(inner, clock=clock)
    writer.execute("CREATE TABLE t (n, filler)")
    writer.execute("INSERT INTO t VALUES (1, randomblob(300000))")
    found = reopen(inner, clock=clock)
    writer.change_settings({"history_days": 0})
    for _ in range(12):
        writer.execute("UPDATE t SET filler = randomblob(300000)")
        clock.pass_s(60)
        writer.upkeep()
        writer.collect(grace_ms=0)
    writer.collect(grace_ms=0)
    return found


def test_a_write_on_a_snapshot_that_was_collected_is_run_on_the_newest_state(idle: Database) -> None:
    assert idle.execute("UPDATE t SET n = n + 1") == 1
    assert reopen(store_of(idle)).query("SELECT n FROM t").rows == [(2,)]


def test_a_read_of_a_version_that_was_collected_meanwhile_is_an_error(idle: Database) -> None:
    """The caller named it: the newest state is not the answer."""
    known = idle._volume.snapshot()
    with pytest.raises(NotFound, match=f"version {known.version} was collected"):
        idle._readers.query_at(known, "SELECT length(filler) FROM t", (), idle._readers.plain)
    assert idle.query("SELECT n FROM t").rows == [(1,)]


@pytest.mark.native
def test_p5_a_strong_read_is_not_proved_by_a_swap_that_began_before_it_was_asked() -> None:
    """Another process committed between that swap and the question; only a swap of its own shows that."""
    inner, asked = memory_store(), set[int]()
    make(inner).run_script("CREATE TABLE t (n); INSERT INTO t VALUES (0)")
    register = Hooked(inner.register, Consistency.EVENTUAL)

    def monotonic() -> float:
        asked.add(threading.get_ident())
        return time.monotonic()

    db = Database(Store(inner.url, register, inner.blobs), "db", environment=Environment(monotonic=monotonic))
    seen: list[object] = []
    reader = threading.Thread(target=lambda: seen.extend(db.query("SELECT n FROM t", consistency="strong").rows))

    def meanwhile() -> None:
        reopen(inner).execute("UPDATE t SET n = n + 10")
        reader.start()
        while reader.ident not in asked:
            time.sleep(0)

    register.after.append(meanwhile)
    assert db.execute("UPDATE t SET n = n + 1") == 1
    reader.join(WAIT_S)
    assert seen == [(11,)]

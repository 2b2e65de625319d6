"""B13: a store that takes one swap a second of one key, through the whole engine and in virtual time."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.engine.virtual_time import FarRegister, VirtualTime
from tests.engine.world import NAME, Clock, make, reopen
from virke.core.effects import Generation, ReadOutcome, SwapOutcome, Swapped
from virke.engine.database import Database
from virke.engine.programs import Program, steps_of
from virke.engine.queue import Pending
from virke.errors import RateLimited, Unavailable
from virke.opening import connect, create
from virke.stores.base import Register, Store
from virke.stores.memory import memory_store

pytestmark = pytest.mark.native  # actors are threads

TRIP_S = 0.05
SECONDS = 120


class OneASecond(FarRegister):
    """Refuses a swap that comes less than a second after the last one that it took."""

    accepted_s = float("-inf")
    """Of all that share the register: one key."""
    refused = 0

    def __init__(
        self, inner: Register, time: VirtualTime, shared: OneASecond | None = None, *, seed: int | None = None
    ) -> None:
        super().__init__(inner, time, TRIP_S, seed)
        self._of = shared or self

    def _swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        one = self._of
        if self._time.now_s - one.accepted_s < 1.0:
            one.refused += 1
            raise RateLimited("one write a second, please")
        outcome = super()._swap(key, data, base)
        if isinstance(outcome, Swapped):
            one.accepted_s = self._time.now_s
        return outcome


def measure(processes: int, seed: int = 0) -> tuple[float, float, float, float]:
    """Commits a second, refused swaps a commit, the 99th of 100 waits, least by most commits of a process."""
    time, inner = VirtualTime(), memory_store()
    with make(inner) as database:
        database.execute("CREATE TABLE t (n)")
        first = database.version
    shared = OneASecond(inner.register, time)
    waits: list[float] = []
    commits = Counter[int]()

    def write(process: int) -> None:
        register = OneASecond(inner.register, time, shared, seed=100 * seed + process)
        with Database(Store(inner.url, register, inner.blobs), NAME, environment=time.environment()) as database:
            until_s = time.now_s + SECONDS
            while time.now_s < until_s:
                began_s = time.now_s
                database.execute("INSERT INTO t VALUES (?)", (process,))
                waits.append(time.now_s - began_s)
                commits[process] += 1

    time.run(*[lambda process=process: write(process) for process in range(processes)])
    with reopen(inner) as database:
        assert database.query("SELECT count(*) FROM t").rows == [(commits.total(),)]
        assert database.version - first >= commits.total()
    waits.sort()
    return (
        commits.total() / SECONDS,
        shared.refused / commits.total(),
        waits[int(len(waits) * 0.99)],
        min(commits.values()) / max(commits.values()),
    )


def test_b13_one_process_commits_nearly_once_a_second_and_is_hardly_ever_refused() -> None:
    rate, refused, p99_s, _ = measure(1)
    assert rate >= 0.9
    assert refused <= 0.1
    assert p99_s <= 1.5


def test_b13_four_processes_share_the_second_and_none_is_left_behind() -> None:
    rate, refused, _, share = measure(4)
    assert rate >= 0.85
    assert refused <= 0.2
    assert share >= 0.5


def test_what_waits_for_the_slot_is_all_in_the_next_commit() -> None:
    """Writes are taken when the swap is sent: what comes while the leader waits rides along."""
    time, inner = VirtualTime(), memory_store()
    with make(inner) as database:
        database.execute("CREATE TABLE t (n)")
    database = Database(
        Store(inner.url, OneASecond(inner.register, time), inner.blobs), NAME, environment=time.environment()
    )
    done: list[Pending] = []
    first = database.version

    def lead() -> None:
        for number in range(3):
            database.execute("INSERT INTO t VALUES (?)", (number,))

    def come() -> None:
        for number in range(20):
            time.sleep(0.1)
            program = Program(steps_of([("INSERT INTO t VALUES (?)", (100 + number,))]), 0)
            if database._writer.queue.enqueue(Pending(program, on_done=done.append)):
                database._writer.queue.lead()

    time.run(lead, come)
    assert len(done) == 20
    assert not any(pending.error for pending in done)
    assert database.version - first <= 6
    assert database.query("SELECT count(*) FROM t").rows == [(23,)]


def test_a_store_that_refuses_swaps_and_shows_nothing_is_down() -> None:
    """It is not waited for as for a pace."""
    clock, inner = Clock(), memory_store()

    class Down(FarRegister):
        is_down = False

        def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
            if self.is_down:
                raise Unavailable("slow down")
            return inner.register.read(key, known)

        def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
            self.swaps += 1
            if self.is_down:
                raise RateLimited("slow down")
            return inner.register.swap(key, data, base)

    register = Down(inner.register, VirtualTime(), 0.0)
    database = make(Store(inner.url, register, inner.blobs), clock=clock)
    database.execute("CREATE TABLE t (n)")
    register.is_down, register.swaps = True, 0
    with pytest.raises(Unavailable):
        database.execute("INSERT INTO t VALUES (1)")
    assert register.swaps <= 4
    register.is_down = False
    clock.pass_s(60)
    assert database.execute("INSERT INTO t VALUES (1)") == 1


def test_a_commit_that_was_uploaded_waits_for_its_slot_in_place() -> None:
    """It is not uploaded again."""
    time, inner = VirtualTime(), memory_store()
    with make(inner) as database:
        database.execute("CREATE TABLE t (n)")
    register = OneASecond(inner.register, time)
    database = Database(Store(inner.url, register, inner.blobs), NAME, environment=time.environment())

    def write() -> None:
        database.execute("INSERT INTO t VALUES (1)")
        database.execute("INSERT INTO t VALUES (randomblob(300000))")

    time.run(write)
    assert register.refused == 1
    assert database.query("SELECT count(*) FROM t").rows == [(2,)]
    assert len({ref.identity for ref in database.snapshot().root.segments}) == 1


def test_a_database_that_exists_is_opened_without_a_write() -> None:
    """`connect(create=True)` and `create(if_not_exists)` read before they write."""
    store = memory_store()
    create("x", store).close()
    counted = FarRegister(store.register, VirtualTime(), 0.0)
    counted._time.sleep = lambda seconds: None  # type: ignore[method-assign]
    for _ in range(2):
        connect("x", Store(store.url, counted, store.blobs), create=True, background=False).close()
        create("x", Store(store.url, counted, store.blobs), if_not_exists=True).close()
    assert counted.swaps == 0
    assert counted.reads > 0

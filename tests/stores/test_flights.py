"""Threads that need the same ranges ask for them once, wait without end for nobody, and hold nobody up."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.stores.cache_place import WAIT_S, AskedBlobs
from tests.stores.conformance import at_once
from virke.core.effects import Absent
from virke.errors import Corrupt, Unavailable
from virke.stores.base import Range
from virke.stores.cached.blobs import CacheCounts, CachedBlobs

Answer = Future[list[bytes | Absent]]
DATA = bytes(range(200))


class Threads:
    """A cache without memory, and threads that read through it."""

    def __init__(self, *, has_ranges: bool = True) -> None:
        self.blobs = AskedBlobs(has_ranges=has_ranges)
        for key in ("x", "y", "z"):
            self.blobs.put_new(key, DATA)
        self.told: list[int] = []
        self.cache = CachedBlobs(self.blobs, memory_bytes=0, on_hits=self.told.append)
        self.pool = ThreadPoolExecutor(8)

    def get(self, *ranges: Range) -> Answer:
        return self.pool.submit(self.cache.get, ranges)

    def held(self, *ranges: Range) -> Answer:
        """A `get` whose request has its answer, and waits."""
        key = ranges[0].key
        self.blobs.hold(key)
        answer = self.get(*ranges)
        self.blobs.until_asked(key)
        return answer


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads()
    yield made
    made.pool.shutdown()


def test_what_another_thread_is_asking_for_is_not_asked_again(threads: Threads) -> None:
    """The second thread asks for what else it needs, and takes any range inside the first one's from that."""
    first = threads.held(Range("x", 10, 50))
    second = threads.held(Range("y", 0, 3), Range("x", 20, 5), Range("x", 60, 0))
    threads.blobs.let_go("y")
    threads.blobs.let_go("x")
    assert first.result(WAIT_S) == [DATA[10:60]]
    assert second.result(WAIT_S) == [DATA[:3], DATA[20:25], b""]
    assert threads.blobs.asked == [[Range("x", 10, 50)], [Range("y", 0, 3)]]
    assert threads.cache.counts == CacheCounts(misses=2, shared=2)


def test_an_object_that_is_coming_whole_serves_every_range(threads: Threads) -> None:
    """One without a length too; beyond its end it is `Corrupt` for whom asked there, and for nobody else."""
    first = threads.held(Range("x", 10))
    second = threads.held(Range("y", 0, 3), Range("x", 20, 5), Range("x", 30))
    third = threads.held(Range("z", 0, 3), Range("x", 199, 5))
    for key in ("z", "y", "x"):
        threads.blobs.let_go(key)
    assert first.result(WAIT_S) == [DATA[10:]]
    assert second.result(WAIT_S) == [DATA[:3], DATA[20:25], DATA[30:]]
    with pytest.raises(Corrupt):
        third.result(WAIT_S)
    assert len(threads.blobs.asked) == 3
    assert threads.cache.counts == CacheCounts(misses=3, shared=2)
    assert sorted(threads.told) == [0, 2]


def test_a_store_without_ranges_is_asked_once_for_an_object() -> None:
    """Whatever ranges of it threads need."""
    threads = Threads(has_ranges=False)
    first = threads.held(Range("x", 10, 1))
    second = threads.held(Range("y", 0, 3), Range("x", 100))
    threads.blobs.let_go("x")
    threads.blobs.let_go("y")
    assert first.result(WAIT_S) == [DATA[10:11]]
    assert second.result(WAIT_S) == [DATA[:3], DATA[100:]]
    assert threads.blobs.asked == [[Range("x")], [Range("y")]]
    threads.pool.shutdown()


class Died(BaseException):
    """What ends a thread and no `except Exception` sees."""


@pytest.mark.parametrize("error", [Unavailable("down"), Died()])
def test_who_waited_for_a_request_that_failed_asks_for_himself(threads: Threads, error: BaseException) -> None:
    """The error is the first one's alone; the other has his answer from a request of his own."""
    first = threads.held(Range("x", 10, 50))
    second = threads.held(Range("y", 0, 3), Range("x", 20, 5))
    threads.blobs.failing["x"] = error
    threads.blobs.let_go("x")
    with pytest.raises(type(error)):
        first.result(WAIT_S)
    threads.blobs.let_go("y")
    assert second.result(WAIT_S) == [DATA[:3], DATA[20:25]]
    assert threads.blobs.asked == [[Range("x", 10, 50)], [Range("y", 0, 3)], [Range("x", 20, 5)]]
    assert threads.cache.counts == CacheCounts(misses=3)


def test_who_waited_in_vain_waits_for_nobody_again(threads: Threads) -> None:
    """Of two who waited for a failed request each asks for himself at once, and not one after the other."""
    first = threads.held(Range("x", 10, 50))
    second = threads.held(Range("y", 0, 3), Range("x", 20, 5))
    third = threads.held(Range("z", 0, 3), Range("x", 20, 5))
    threads.blobs.failing["x"] = Unavailable("down")
    threads.blobs.let_go("x")
    with pytest.raises(Unavailable):
        first.result(WAIT_S)
    threads.blobs.hold("x")
    threads.blobs.let_go("y")
    threads.blobs.until_asked("x")  # the second one asks again, and its answer is held back
    threads.blobs.let_go("z")
    assert third.result(WAIT_S) == [DATA[:3], DATA[20:25]]
    threads.blobs.let_go("x")
    assert second.result(WAIT_S) == [DATA[:3], DATA[20:25]]


def test_absence_is_not_shared(threads: Threads) -> None:
    """An object that came while another's request was under way is there for whom asked after that."""
    first = threads.held(Range("new", 1, 1))
    threads.cache.put_new("new", b"now")
    second = threads.held(Range("y", 0, 3), Range("new", 1, 1))
    threads.blobs.let_go("new")
    threads.blobs.let_go("y")
    assert first.result(WAIT_S) == [Absent()]
    assert second.result(WAIT_S) == [DATA[:3], b"o"]


def test_nobody_else_is_held_up(threads: Threads) -> None:
    """While a request does not answer, other ranges are read, and objects are put and deleted."""
    cache = CachedBlobs(threads.blobs)
    cache.get([Range("x", 0, 10)])
    threads.blobs.hold("x")
    slow = threads.pool.submit(cache.get, [Range("x", 100, 10)])
    threads.blobs.until_asked("x")

    def work() -> list[list[bytes | Absent]]:
        cache.put_new("new", b"now")
        cache.delete(["z"])
        asked = [Range("x", 2, 5), Range("x", 150, 5), Range("y", 2, 5), Range("z", 0, 1), Range("new")]
        return [cache.get([one]) for one in asked]

    others = threads.pool.submit(work)
    assert others.result(WAIT_S) == [[DATA[2:7]], [DATA[150:155]], [DATA[2:7]], [Absent()], [b"now"]]
    assert not slow.done()
    threads.blobs.let_go("x")
    assert slow.result(WAIT_S) == [DATA[100:110]]


def test_sixteen_threads_ask_once_for_what_they_all_need() -> None:
    """Whether they come before, while or after the answer is there, nobody asks twice for a range."""
    blobs = AskedBlobs()
    for n in range(50):
        blobs.put_new(f"o/{n}", DATA)
    cache = CachedBlobs(blobs)

    def work(number: int) -> bool:
        keys = [f"o/{n}" for n in range(50)]
        return all(cache.get([Range(key, number, 16), Range(key, 0, 100)])[1] == DATA[:100] for key in keys)

    assert at_once(work) == [True] * 16
    assert len(blobs.asked) == 50
    assert all(asked == [Range(asked[0].key, 0, 100)] for asked in blobs.asked)
    counts = cache.counts
    assert counts.misses == 100
    assert counts.misses + counts.memory_hits + counts.shared == 16 * 50 * 2

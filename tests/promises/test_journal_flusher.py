"""The thread that pushes in time: it goes on while something is left, whatever the store says, and no wake is lost to its end (P1, P9)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final

import pytest

from virke.errors import Unavailable
from virke.journal import Flusher

WAIT_S: Final = 60

pytestmark = pytest.mark.native


class World:
    """A flusher whose pushes end as they are told: what is left after each, or an error."""

    def __init__(self, *ends: int | Unavailable) -> None:
        self.ends = list(ends)
        self.pushes = 0
        self.pushed = threading.Semaphore(0)
        self.flusher = Flusher()
        self.flusher.start(self.push, lambda: 0.001)

    def push(self) -> int:
        self.pushes += 1
        end = self.ends.pop(0)
        self.pushed.release()
        if isinstance(end, Unavailable):
            raise end
        return end

    def await_end(self) -> None:
        """Until the thread that pushes has ended by itself."""
        for thread in threading.enumerate():
            if thread.name == "virke-flush":
                thread.join(WAIT_S)
                assert not thread.is_alive()


@pytest.mark.parametrize("first", [3, Unavailable("the store is away")], ids=["left", "failed"])
def test_p1_it_pushes_again_until_nothing_is_left_and_then_ends(first: int | Unavailable) -> None:
    world = World(first, 1, 0)
    world.flusher.wake()
    world.await_end()
    assert (world.pushes, world.ends) == (3, [])
    assert world.flusher._thread is None


class Slow:
    """A lock whose block is left late by the thread that pushes: it has decided to end, and still lives."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._meanwhile = meanwhile

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
        if threading.current_thread().name == "virke-flush":
            self._meanwhile()


def test_p1_a_write_that_comes_after_the_thread_decided_to_end_gets_another() -> None:
    """It still lives then, and pushes no more."""
    world = World(0, 0)
    decided, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        decided.set()
        assert go_on.wait(WAIT_S)

    world.flusher._lock = Slow(wait)  # type: ignore[assignment]
    world.flusher.wake()
    assert decided.wait(WAIT_S)
    world.flusher.wake()
    go_on.set()
    world.await_end()
    world.await_end()
    assert world.pushes == 2


def test_p9_a_thread_that_was_stopped_pushes_no_more() -> None:
    world = World(1, 1, 1)
    world.flusher.start(world.push, lambda: WAIT_S)
    world.flusher.wake(at_once=True)
    assert world.pushed.acquire(timeout=WAIT_S)
    world.flusher.stop()
    world.flusher.wake()
    world.await_end()
    assert world.pushes == 1

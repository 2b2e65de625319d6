"""A thread that computes a commit, and others that let it have the interpreter for a moment.

Knows locks and threads; knows no commit.

1. Two threads that run Python at the same time hand the interpreter over at each of SQLite's steps: what takes one of them
   0.4 ms alone took it 2 to 10 next to an event loop that answers reads. A thread that waits here loses nothing that it
   would have had.
2. A wait is bounded, and a commit that takes longer than that is not waited for again.
3. While the commit waits itself, for its store, no thread waits for it.
4. A commit that was waited for is followed by a rest, in which no other is begun (`rest_s`): those who waited, readers, get
   three quarters of the interpreter, where they all ask again at once.
5. It is a courtesy, never a lock: nothing is wrong where both run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

REST_SHARE: Final = 3
"""How long the next commit rests, in times of what the last one computed."""
REST_MOST_S: Final = 0.02


class Undisturbed:
    """Which thread computes a commit of one database at this moment."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._computes: int | None = None
        self._is_long = self._is_awaited = False
        self._computed_s = self._began_s = self._rests_until_s = 0.0

    @contextmanager
    def computing(self) -> Iterator[None]:
        """The block computes."""
        if not self._lock.acquire(blocking=False):  # another commit is about to end
            yield
            return
        self._computes, self._is_long, self._is_awaited = threading.get_ident(), False, False
        self._computed_s, self._began_s = 0.0, self._monotonic()
        try:
            yield
        finally:
            self._computes = None
            now_s = self._monotonic()
            if self._is_awaited:
                computed_s = self._computed_s + now_s - self._began_s
                self._rests_until_s = now_s + min(REST_SHARE * computed_s, REST_MOST_S)
            self._lock.release()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The block, if it is within `computing`, waits for something."""
        if self._computes != threading.get_ident():
            yield
            return
        self._computed_s += self._monotonic() - self._began_s
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()
            self._began_s = self._monotonic()

    def wait(self, most_s: float) -> None:
        """Until nothing computes, at most so long, and once for a commit that takes longer."""
        if self._lock.locked() and not self._is_long:
            self._is_awaited = True
            if self._lock.acquire(timeout=most_s):
                self._lock.release()
            else:
                self._is_long = True

    def rest_s(self) -> float:
        """How long the next commit is not to be begun; less than nothing where that is over."""
        return self._rests_until_s - self._monotonic()

"""A thread that computes a commit, and others that let it have the interpreter for a moment.

Knows locks and threads; knows no commit.

1. Two threads that run Python at the same time hand the interpreter over at each of SQLite's steps: what takes one of them
   0.4 ms alone took it 2 to 10 next to an event loop that answers reads. A thread that waits here loses nothing that it
   would have had.
2. A wait is bounded, and a commit that takes longer than that is not waited for again.
3. While the commit waits itself, for its store, nobody waits for it.
4. It is a courtesy, never a lock: nothing is wrong where both run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Undisturbed:
    """Who computes a commit of one database at this moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._computes: int | None = None
        self._is_long = False

    @contextmanager
    def computing(self) -> Iterator[None]:
        """The block computes."""
        if not self._lock.acquire(blocking=False):  # another commit is about to end
            yield
            return
        self._computes, self._is_long = threading.get_ident(), False
        try:
            yield
        finally:
            self._computes = None
            self._lock.release()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The block, if it is within `computing`, waits for something."""
        if self._computes != threading.get_ident():
            yield
            return
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()

    def wait(self, most_s: float) -> None:
        """Until nothing computes, at most so long, and once for a commit that takes longer."""
        if self._lock.locked() and not self._is_long:
            if self._lock.acquire(timeout=most_s):
                self._lock.release()
            else:
                self._is_long = True

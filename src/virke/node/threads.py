"""The threads of a node's readers: a fixed number, and a line before them that has an end.

Knows executors; knows no request.

1. What is new waits in a line of at most `waiting_max`; beyond that it is `Busy` at once.
2. What was begun is never refused: the next statement of a transaction, the next part of an answer (`going_on`).
3. What ends something waits for no reader (`ending`): a COMMIT or a rollback behind long reads would hold up all who wait
   for its transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from virke.errors import Busy

READERS_MAX: Final = 16
WAITING_MAX: Final = 256
ENDING_MAX: Final = 8
P = ParamSpec("P")
T = TypeVar("T")


class Threads(Executor):
    """An executor for what is new; `going_on` and `ending` are for what is not."""

    def __init__(self, readers: int = READERS_MAX, waiting_max: int = WAITING_MAX) -> None:
        self._readers = readers
        self._waiting_max = waiting_max
        self._pool = ThreadPoolExecutor(readers, "virke-reader")
        self._given = 0
        self._lock = threading.Lock()
        self.going_on: Executor = _GoingOn(self)
        self.ending: Executor = ThreadPoolExecutor(ENDING_MAX, "virke-ending")

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread."""
        return max(0, self._given - self._readers)

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have something new done. Raises `Busy`: too much waits already."""
        if self.waiting >= self._waiting_max:
            raise Busy(f"{self._waiting_max} requests wait here for a reader already")
        return self.go_on(call, *args, **kwargs)

    def go_on(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have something done that was begun."""
        with self._lock:
            self._given += 1
        try:
            future = self._pool.submit(call, *args, **kwargs)
        except BaseException:
            self._count_done(None)
            raise
        future.add_done_callback(self._count_done)
        return future

    def _count_done(self, future: Future[Any] | None) -> None:
        with self._lock:
            self._given -= 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads; what ends something is still done."""
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)
        self.ending.shutdown(wait=wait)


class _GoingOn(Executor):
    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As `Threads.go_on`."""
        return self._threads.go_on(call, *args, **kwargs)

"""A line to stand in for each key, for callers that would otherwise race: first come, first served, and joining it is optional.

Knows keys and waiting. Being first in line promises nothing: that a swap is applied only once is the register's.

1. One thread at a time is first, in the order in which they came.
2. A wait ends after its time, and a caller that gave up delays no other.
3. A fork leaves the line of the child empty.
4. A place that was forgotten is left when the garbage collector comes to it.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from virke.collector import outside
from virke.processes import at_fork
from virke.stores.base import check_key


class ThreadLine:
    """The line of the threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[threading.Lock]] = {}
        _lines.add(self)

    @contextmanager
    def __call__(self, key: str, timeout_s: float) -> Iterator[bool]:
        """Wait at most `timeout_s` to be first; whether one is. The end of the block lets the next one through."""
        check_key(key)
        ticket = threading.Lock()
        ticket.acquire()
        try:
            with self._lock:
                waiting = self._waiting.setdefault(key, deque())
                waiting.append(ticket)
                is_first = len(waiting) == 1
            yield is_first or ticket.acquire(timeout=max(0.0, min(timeout_s, threading.TIMEOUT_MAX)))
        finally:
            outside(partial(self._leave_line, key, ticket))

    def _leave_line(self, key: str, ticket: threading.Lock) -> None:
        with self._lock:
            waiting = self._waiting.get(key, deque())
            if ticket not in waiting:
                return  # this process was forked since
            was_first = waiting[0] is ticket
            waiting.remove(ticket)
            if not waiting:
                del self._waiting[key]
            elif was_first:
                waiting[0].release()

    def forget(self) -> None:
        """Empty all lines."""
        self._lock = threading.Lock()
        self._waiting = {}


_lines: weakref.WeakSet[ThreadLine] = weakref.WeakSet()


def _forget_lines() -> None:
    for line in list(_lines):
        line.forget()


at_fork(in_child=_forget_lines)

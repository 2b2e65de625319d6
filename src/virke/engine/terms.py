"""How one call wants to be answered: how new, how long it may take, and a way to end it from another thread.

Knows connections only as something whose request can be ended; knows no SQL and no store.

1. `Cancel` holds for the call that it was given to: before, during and between the rows of it, but never for the next
   call on the same connection.
2. A call may have less time than the setting `query_timeout_ms` and the server give it, never more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from virke.errors import Invalid, TimedOut
from virke.lazy_dataclasses import dataclass


class Endable(Protocol):
    """What runs a request that can be ended."""

    def expire(self) -> None:
        """From any thread: the time of the request that runs is over."""


class Cancel:
    """A handle with which another thread ends a statement; one for each call.

    `grew` is called with what the rows take that are collected so far, after each MiB or more, and may refuse them by an error.
    """

    def __init__(self, grew: Callable[[int], None] | None = None) -> None:
        self.is_cancelled = False
        self.grew = grew
        self._running: Endable | None = None
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """End the statement as soon as SQLite can be interrupted: it raises `TimedOut`."""
        with self._lock:
            self.is_cancelled = True
            if self._running is not None:
                self._running.expire()

    def attach(self, running: Endable) -> None:
        """This runs the statement from now on; its deadline is set. Raises `TimedOut`: it was cancelled before."""
        with self._lock:
            self.check()
            self._running = running

    def detach(self) -> None:
        """The statement is over: what ran it may run another one."""
        with self._lock:
            self._running = None

    def check(self) -> None:
        """Raise `TimedOut` if it was cancelled."""
        if self.is_cancelled:
            raise TimedOut("the statement was cancelled")


@dataclass(frozen=True, slots=True)
class Terms:
    """What one call asks for besides its statement; None is what the database's settings say."""

    consistency: str | None = None
    bookmark: str | None = None
    timeout_ms: int | None = None
    cancel: Cancel | None = None
    read_only: bool = False
    result_bytes: int | None = None
    """What is left of the answer, where several statements share one."""

    def timeout_s(self, longest_s: float) -> float:
        """How long the statement may take.

        Raises:
            Invalid: longer than `longest_s`, which the setting or the server says, or not a time at all.
        """
        wanted = self.timeout_ms
        if wanted is None:
            return longest_s
        if type(wanted) is not int or not 1 <= wanted <= longest_s * 1000:
            raise Invalid(
                f"timeout_ms must be from 1 to {longest_s * 1000:.0f}, which is query_timeout_ms or the server's limit, "
                f"not {wanted!r}"
            )
        return wanted / 1000

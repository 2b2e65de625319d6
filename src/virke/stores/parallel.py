"""Many requests to a store at once: how a call with many ranges or objects stays one round trip.

Knows threads and nothing of what they do. Not for the edge, where the host runs requests side by side.

1. The caller's thread works too: a single call costs no thread, and a full pool can delay but never block.
2. All calls end before `at_once` answers or raises; of several errors the first one, by position, is raised.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

from virke.processes import at_fork

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

REQUESTS_MAX: Final = 32
"""Requests under way at once, of all stores of this process together (the callers' own come on top)."""
T = TypeVar("T")


@cache
def _thread_pool() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # brings logging: a local store does without both

    return ThreadPoolExecutor(REQUESTS_MAX, thread_name_prefix="virke-store")


at_fork(in_child=_thread_pool.cache_clear)  # threads are not forked


def run_beside(work: Callable[[], object]) -> None:
    """Run `work` in a thread of its own, in a copy of the caller's context; it handles its own errors.

    The end of the process does not wait for it: it is killed, as by any other end.

    Raises:
        RuntimeError: the interpreter is about to end.
    """
    threading.Thread(target=copy_context().run, args=(work,), name="virke-beside", daemon=True).start()


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """What each of `calls` returns, in order. Raises what the first of those that failed raised."""
    if not calls:
        return []
    try:
        others = [_thread_pool().submit(call) for call in calls[1:]]
    except RuntimeError:  # the interpreter is about to end: no more threads
        return [call() for call in calls]
    try:
        first = calls[0]()
    finally:
        for other in others:
            other.exception()  # wait for all, also after an error
    return [first, *(other.result() for other in others)]

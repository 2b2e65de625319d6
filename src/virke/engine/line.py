"""The line before a branch: who may write next, among the threads of this process and the processes of one machine.

Knows what the store offers for it (L1), or a lock of its own where the store has nothing; knows no root and no SQL.

1. Standing in line is for liveness only: safety stays with compare-and-swap. A caller that waited its whole time goes
   on without a place.
2. A thread that has a place is never made to wait for itself.
3. A transaction holds its place from its first write to its end, or until it is forgotten; a group of programs while
   it is committed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Final

from virke.stores.base import Store

Wait = Callable[[str, float], AbstractContextManager[bool]]
"""What a store offers: a line for each key, and how long to wait in it (L1)."""
_Key = tuple[int, Wait, str]
_held: Final[set[_Key]] = set()
"""Thread, line and key of every place that is held: what rule 2 asks."""


class Place:
    """A place in the line until it is left, by any thread; also a context manager."""

    def __init__(self, key: _Key | None, held: ExitStack) -> None:
        self._key = key
        self._held = held

    @property
    def is_first(self) -> bool:
        """Whether it is a place of its own; not after a wait that was over, nor within another place of the thread."""
        return self._key is not None

    def leave(self) -> None:
        """Let the next one through; harmless when done."""
        key, self._key = self._key, None
        if key is not None:
            _held.discard(key)
            self._held.close()

    def __del__(self) -> None:
        self.leave()

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


class Line:
    """One line of one branch; `suffix` distinguishes several lines of a branch."""

    def __init__(self, store: Store, key: str, suffix: str = "") -> None:
        self._key = f"{key}{suffix}"
        self._wait: Wait = store.line or _OwnLine()

    @property
    def is_held_here(self) -> bool:
        """Whether this thread has a place in it already, through whichever object."""
        return (threading.get_ident(), self._wait, self._key) in _held

    def enter(self, wait_s: float) -> Place:
        """A place, once those before have left; after `wait_s` seconds without one."""
        key = (threading.get_ident(), self._wait, self._key)
        if key in _held:
            return Place(None, ExitStack())
        held = ExitStack()
        if not held.enter_context(self._wait(self._key, wait_s)):
            held.close()
            return Place(None, held)
        _held.add(key)
        return Place(key, held)


class _OwnLine:
    """A line of the threads that share one database object, where the store offers none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, key: str, timeout_s: float) -> AbstractContextManager[bool]:
        return self._stand_in_line(timeout_s)

    @contextmanager
    def _stand_in_line(self, timeout_s: float) -> Iterator[bool]:
        is_first = self._lock.acquire(timeout=min(timeout_s, threading.TIMEOUT_MAX))
        try:
            yield is_first
        finally:
            if is_first:
                self._lock.release()

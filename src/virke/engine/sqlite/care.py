"""Statements with long values: SQLite's heap has a limit while they run, and slow functions have faster ones.

Knows SQLite's limits and functions; knows no request. A single step of SQLite's machine can't be interrupted, so its
cost is bounded by the length of what it works on.

1. A statement runs with values of at most `HOT_VALUE_BYTES` first (`SLOW_VALUE_BYTES` if it uses a function of `SLOW`).
   In that length, no function takes longer than a fraction of a second, and no row more memory than `WORK_BYTES`.
2. If that is too little, it runs again under `careful`: with the full length, a limit on SQLite's heap, frequent looks
   at time and memory, and `install_linear` functions in place of SQLite's quadratic ones. It is still the same statement:
   what fails for a length leaves nothing behind.
3. The heap limit is the process's. It leaves room for everything that is careful at the moment.
4. Page caches grow up to a soft limit, which is the process's too: above it each makes room among its own pages. While
   something is careful they hardly grow, so that they leave it its room below the hard limit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import apsw

HOT_VALUE_BYTES: Final = 128 << 10
HOT_COLUMNS: Final = 256
SLOW_VALUE_BYTES: Final = 16 << 10
SLOW: Final = frozenset({"trim", "ltrim", "rtrim", "unhex", "json_patch", "jsonb_patch"})
CAPPED: Final = frozenset({"json_patch", "jsonb_patch"})
CAPPED_VALUE_BYTES: Final = 128 << 10
"""The longest value in a statement that uses a function of `CAPPED`, which is quadratic and has no faster form here."""
CAREFUL_STEPS: Final = 50
LIKE_PATTERN_BYTES: Final = 1000
CAREFUL_PATTERN_BYTES: Final = 128
_SLACK_BYTES: Final = 16 << 20

_lock = threading.Lock()
_careful: list[int] = []
_caches_bytes_max = 0


def limit_caches(bytes_max: int) -> None:
    """Let page caches grow until SQLite's heap has this size (invariant 4)."""
    global _caches_bytes_max
    with _lock:
        _caches_bytes_max = bytes_max
        _set_limits()


def cache_room() -> int:
    """The size of SQLite's heap up to which page caches grow."""
    return _caches_bytes_max


def memory_used() -> int:
    """Bytes of SQLite's heap, that of all connections of the process."""
    return apsw.memory_used()


def _set_limits() -> None:
    """Limits for what is careful now. The soft limit is set last: it follows the hard one down, never up."""
    used = apsw.memory_used()
    apsw.hard_heap_limit(used + sum(_careful) + _SLACK_BYTES if _careful else 0)
    soft = _caches_bytes_max
    if _careful:
        soft = min(soft or used + _SLACK_BYTES, used + _SLACK_BYTES // 2)
    apsw.soft_heap_limit(soft)


@contextmanager
def careful(connection: apsw.Connection, bytes_max: int) -> Iterator[None]:
    """While this lasts, SQLite's heap grows by `bytes_max` at most (invariant 3), and patterns are short."""
    connection.limit(apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, CAREFUL_PATTERN_BYTES)
    with _lock:
        _careful.append(bytes_max)
        _set_limits()
    try:
        yield
    finally:
        with _lock:
            _careful.remove(bytes_max)
            _set_limits()
        connection.limit(apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LIKE_PATTERN_BYTES)

"""SQL's randomness from a source of ours: SQLite's own has one state for the whole process, which nothing can seed.

1. Without a source of ours, `random()` and `randomblob()` are SQLite's own.
2. Triggers, views, defaults and generated columns may call them, as they may call SQLite's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import apsw

from virke.engine.sqlite.opening import Connection
from virke.lazy_patterns import pattern

if TYPE_CHECKING:
    from virke.engine.sqlite.parameters import Value

_LEADING_INTEGER: Final = pattern(r"[ \t\n\v\f\r]*[+-]?[0-9]+")


def draw_random_from(connection: Connection, draw: Callable[[int], bytes]) -> None:
    """Let `random()` and `randomblob(n)` of this connection take their bytes from `draw(length)`."""

    def random(*_: Value) -> int:
        number = int.from_bytes(draw(8), "big", signed=True)
        return number if number > -(1 << 63) else 0  # abs(random()) must not overflow

    def randomblob(*asked: Value) -> bytes:
        length = max(1, integer_of(asked[0]))
        if length > connection.limit(apsw.SQLITE_LIMIT_LENGTH):
            raise apsw.TooBigError("string or blob too big")
        return draw(length)

    flags = apsw.SQLITE_INNOCUOUS  # rule 2
    connection.create_scalar_function("random", random, 0, flags=flags)
    connection.create_scalar_function("randomblob", randomblob, 1, flags=flags)


def forget_randomness() -> None:
    """Let SQLite ask the system again before it draws next: its state would be the same in every copy of this memory."""
    apsw.randomness(0)


def integer_of(value: Value) -> int:
    """A value as SQLite's functions take it for an integer."""
    match value:
        case int() | float():
            return int(min(max(value, -(1 << 63)), (1 << 63) - 1))
        case None:
            return 0
        case str() | bytes():
            text = value if isinstance(value, str) else value.decode("utf-8", "replace")
            found = _LEADING_INTEGER.match(text)
            return int(found[0]) if found else 0

"""How long the values of a statement may be on one connection: short at first, all of it with care (`sqlite.care`).

Knows limits and described statements; knows no pages and no request.

1. A statement runs with short values first, and again with care if that is too little.
2. What the engine itself runs has the full length always: a transaction is never ended by a limit of a statement.
3. Between statements the length is short, so that a text that was run before may be given to SQLite as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from virke.engine import sqlite
from virke.engine.budget import value_bytes, work_bytes
from virke.engine.sqlite import Guard, Statement
from virke.errors import TooLarge

LONG_TEXT: Final = 256 << 10
"""An SQL text above this length is prepared with care: a parse tree takes a hundred times its text."""
LONG_KEPT: Final = 1000
LONG_CHARS_KEPT: Final = 4096
_FULL_LENGTH: Final = frozenset("CREATE DROP ALTER VACUUM PRAGMA ROLLBACK SAVEPOINT RELEASE ANALYZE REINDEX".split())
"""What works on the whole database, or ends a part of a transaction, is not tried with short values first."""
T = TypeVar("T")


class Guarded(Protocol):
    """Does something with SQLite; every error leaves as one of Virke's."""

    def __call__(self, action: Callable[[], T]) -> T:
        """The result of `action`."""


class Lengths:
    """The limits of one connection that depend on the statement."""

    def __init__(
        self, raw: sqlite.Connection, guard: Guard, guarded: Guarded, *, bytes_max: int, work_bytes_min: int
    ) -> None:
        self._raw = raw
        self._guard = guard
        self._guarded = guarded
        self.answer_bytes_max = bytes_max
        """What a request may answer."""
        self._work_bytes_min = work_bytes_min
        self.now = self.bytes_max = value_bytes(bytes_max, least=work_bytes_min)
        """The limit that holds at this moment."""
        self.is_spent = False
        """Whether `spend` made them shorter than a request has them at its beginning."""
        self._long: set[str] = set()
        self._is_linear = False

    def allow(self, bytes_max: int) -> None:
        """Let no value, and no SQL text, be longer than a request may have them that may answer `bytes_max`."""
        if bytes_max != self.answer_bytes_max:
            self.answer_bytes_max = bytes_max
            sqlite.limit_text(self._raw, bytes_max)
            self.bytes_max = value_bytes(bytes_max, least=self._work_bytes_min)
            self._limit_values(min(self.now, self.bytes_max))

    def spend(self, spent: int) -> None:
        """So much of what a request may answer is answered: what it reads from now on is shorter, and takes less."""
        self.is_spent = spent > 0
        self._guard.allow_memory(work_bytes(self.answer_bytes_max, spent, least=self._work_bytes_min))
        self.bytes_max = value_bytes(self.answer_bytes_max, spent, least=self._work_bytes_min)
        self._limit_values(min(self.now, self.bytes_max))

    def restore(self) -> None:
        """The next request has answered nothing yet."""
        self.spend(0)
        self.short()

    def full(self) -> None:
        """Rule 2, until `short`."""
        self._limit_values(self.bytes_max)

    def short(self) -> None:
        """Rule 3."""
        self._limit_values(min(sqlite.HOT_VALUE_BYTES, self.bytes_max))

    def _limit_values(self, length: int) -> None:
        if length != self.now:
            sqlite.limit_values(self._raw, length)
            self.now = length

    def run(self, statement: Statement, action: Callable[[], T], *, is_pinned: bool) -> T:
        """Rule 1. Raises what `action` does."""
        sql = statement.sql
        if statement.keyword in _FULL_LENGTH:
            self.full()
            return self._guarded(action)
        if sql not in self._long and len(sql) <= LONG_TEXT and len(statement.columns) <= sqlite.HOT_COLUMNS:
            self._limit_values(min(statement.value_bytes_max, self.bytes_max))
            try:
                return self._guarded(action)
            except TooLarge as error:
                # a heap limit that another request set; only a pinned read leaves nothing behind that SQLite undoes
                is_others = is_pinned and isinstance(error.__cause__, sqlite.MEMORY_ERRORS)
                is_long = isinstance(error.__cause__, sqlite.TooBigError) and self.now < self.bytes_max
                if not (is_long or is_others):
                    raise
            if is_long:
                self.remember(sql)
        return self._run_carefully(statement, action)

    def remember(self, sql: str) -> None:
        """The values of this statement are long: the next time it is run with care at once."""
        if len(self._long) >= LONG_KEPT:
            self._long.clear()
        if len(sql) <= LONG_CHARS_KEPT:
            self._long.add(sql)

    def is_hot(self, statement: Statement) -> bool:
        """Whether the text may be given to SQLite as it is, again and again, on a pinned connection."""
        return statement.is_hot and statement.sql not in self._long

    def prepare_care(self, statement: Statement) -> None:
        """The full length, as far as the functions of the statement bear it, until `short`."""
        if not self._is_linear:
            self._guarded(lambda: sqlite.install_linear(self._raw))
            self._is_linear = True
        capped = statement.functions & sqlite.CAPPED
        self._limit_values(min(self.bytes_max, sqlite.CAPPED_VALUE_BYTES) if capped else self.bytes_max)

    def _run_carefully(self, statement: Statement, action: Callable[[], T]) -> T:
        self.prepare_care(statement)
        self._guard.look_every(sqlite.CAREFUL_STEPS)
        try:
            with sqlite.careful(self._raw, self._guard.bytes_max):
                return self._guarded(action)
        except TooLarge as error:
            if (capped := statement.functions & sqlite.CAPPED) and isinstance(error.__cause__, sqlite.TooBigError):
                kib = sqlite.CAPPED_VALUE_BYTES >> 10
                raise TooLarge(f"{min(capped)}() takes no value that is longer than {kib} KiB") from error
            raise
        finally:
            self._guard.look_every(sqlite.PROGRESS_STEPS)

"""What a request may answer: one budget for all its results.

Knows rows and what they cost in memory; knows no SQL.

1. A row costs what Python keeps for it: the tuple, a place in it for each value, and each value, be it empty.
2. The results of one request share one budget: a batch of many small results is stopped as one large result is.
3. A request takes at most its limit and `WORK_BYTES`: what is answered, the next value twice (SQLite's and Python's),
   and what SQLite works with. So it may take less of it the more is answered (`work_bytes`, `value_bytes`).
"""

from __future__ import annotations

import marshal
from collections.abc import Callable
from itertools import islice
from sys import getsizeof
from typing import Final

from virke.engine import sqlite
from virke.engine.allowance import OR_RAISE
from virke.engine.sqlite import Cursor, EscapedRows, Row
from virke.errors import TooLarge, VirkeError

ROW_BYTES: Final = 64
VALUE_BYTES: Final = 36
"""A number or NULL: its place in the tuple, and itself."""
TEXT_BYTES: Final = 58
"""A text or blob without its content."""
SPARE_BYTES: Final = 4096
"""Beyond the limit, so that the longest value that can be stored can also be read."""
AT_ONCE_BYTES: Final = 16 << 20
"""As SQLite counts them; Python may take four times as much."""
FREE_BYTES: Final = 4 * AT_ONCE_BYTES
"""A budget from which rows that were fetched at once fit whatever they are."""
_LOOK_EVERY: Final = 1 << 20
Spend = Callable[[int], None]
"""Is called with how many bytes of rows are answered so far."""
_EXACT_FROM: Final = 1 << 20
"""From here on texts are measured: until then a character may be four bytes and count as one."""


class ResultBudget:
    """How many bytes of rows a request may still answer.

    `grew` is called after each further MiB or more with how much is answered so far, and may refuse it by an error.
    """

    __slots__ = ("_told", "bytes_max", "grew", "left")

    def __init__(self, bytes_max: int, grew: Spend | None = None) -> None:
        self.bytes_max = bytes_max
        self.left = bytes_max + SPARE_BYTES
        self.grew = grew
        self._told = 0

    def tell(self, spent: int, *, is_end: bool = False) -> None:
        """So much is answered so far. Raises what `grew` raises."""
        if self.grew is None or spent <= self._told:
            return
        if spent >= self._told + _LOOK_EVERY or (is_end and self._told):  # of what is large all is told
            self._told = spent
            self.grew(spent)

    @property
    def spent(self) -> int:
        """What the results so far cost."""
        return self.bytes_max + SPARE_BYTES - self.left

    def error(self) -> TooLarge:
        """What a request whose rows do not fit is answered."""
        return TooLarge(f"the result is larger than {self.bytes_max >> 20} MiB; ask for less (LIMIT){OR_RAISE}")


def work_bytes(limit_bytes: int, spent: int = 0, *, least: int = sqlite.WORK_BYTES) -> int:
    """What SQLite may take to read for a request of which `spent` bytes are answered (invariant 3); `least` in any case."""
    return max(least, (limit_bytes + least - spent) // 2)


def value_bytes(limit_bytes: int, spent: int = 0, *, least: int = sqlite.WORK_BYTES) -> int:
    """How long its next value may be."""
    return max(min(limit_bytes - spent, work_bytes(limit_bytes, spent, least=least)), 0) + (SPARE_BYTES if spent else 0)


def rows_at_once(columns: int, value_bytes_max: int) -> int:
    """How many rows may be fetched before they are looked at: so many that they take `AT_ONCE_BYTES` at worst."""
    return max(1, AT_ONCE_BYTES // (max(1, columns) * value_bytes_max))


def run_and_collect(
    raw: sqlite.Connection,
    request: tuple[sqlite.Statement, sqlite.Parameters],
    budget: ResultBudget | int,
    at_once: int,
    *,
    spend: Spend | None,
) -> list[Row]:
    """Run a statement with its parameters; its rows, collected as `collect_rows` does, whatever their text is."""
    statement, params = request
    cursor = sqlite.execute(raw, statement, params)
    try:
        return collect_rows(cursor, budget, at_once, spend)
    except UnicodeDecodeError:
        if not sqlite.can_be_spelled_out(statement):
            raise
    return collect_rows(sqlite.EscapedRows(raw, statement, params), budget, at_once, spend)


def collect_rows(
    cursor: Cursor | EscapedRows, budget: ResultBudget | int, at_once: int = 1, spend: Spend | None = None
) -> list[Row]:
    """All rows of a cursor, paid from `budget` (a number: a budget for this result alone), fetched `at_once`.

    `spend` is called about every MiB.

    Raises:
        TooLarge: they cost more than is left. UnicodeDecodeError: see `sqlite.EscapedRows`. The cursor is closed then.
    """
    try:
        if at_once == 1:  # values may be long: no copy is made to count them
            return _pay_and_collect(cursor, [], _shared_budget(budget), spend)
        rows: list[Row] = []
        for row in cursor:
            if rows:  # a result of one row costs a tenth less this way
                rows += [row, *islice(cursor, at_once - 2)]
                break
            rows.append(row)
        if not rows or (len(rows) < at_once and type(budget) is int and budget >= FREE_BYTES):
            return rows  # most results end here
        return _collect_more(cursor, rows, budget, at_once, spend=spend)
    except (UnicodeDecodeError, VirkeError):
        cursor.close(True)  # or its statement goes on, and the connection can't be used for another
        raise


def _shared_budget(budget: ResultBudget | int) -> ResultBudget:
    return budget if isinstance(budget, ResultBudget) else ResultBudget(budget)


def _collect_more(
    cursor: Cursor | EscapedRows, rows: list[Row], budget: ResultBudget | int, at_once: int, *, spend: Spend | None
) -> list[Row]:
    came, total = rows, 0
    while came:
        total += len(marshal.dumps(came)) + len(came) * (ROW_BYTES + len(came[0]) * VALUE_BYTES)
        if len(came) < at_once or total > _EXACT_FROM:
            break
        came = list(islice(cursor, at_once))
        rows += came
    if total > _EXACT_FROM or type(budget) is not int or total > budget:
        return _pay_and_collect(cursor, rows, _shared_budget(budget), spend)
    return rows


def _pay_and_collect(
    cursor: Cursor | EscapedRows, rows: list[Row], budget: ResultBudget, spend: Spend | None
) -> list[Row]:
    """Count what was collected, and collect the rest."""
    left = budget.left - sum(map(cost_of, rows))
    whole = budget.bytes_max + SPARE_BYTES
    look_at = whole - _LOOK_EVERY
    while left >= 0 and (row := next(cursor, None)) is not None:
        rows.append(row)
        left -= cost_of(row)
        if left < look_at:
            look_at = left - _LOOK_EVERY
            budget.tell(whole - left)
            if spend:
                spend(whole - left)
    if left < 0:
        raise budget.error()
    budget.left = left
    budget.tell(whole - left, is_end=True)
    return rows


def cost_of(row: Row) -> int:
    """What Python keeps for a row."""
    total = ROW_BYTES
    for value in row:
        if type(value) is str:
            total += len(value) + TEXT_BYTES if value.isascii() else getsizeof(value) + 8
        elif type(value) is bytes:
            total += len(value) + TEXT_BYTES
        else:
            total += VALUE_BYTES
    return total

"""`generate_series(start, stop, step)`, as SQLite's shell has it (series.c): a table whose rows are numbers.

1. A row is made when it is asked for. A series without an end is ended by the time limit of its request.
2. With a step below 0 the numbers come from `stop` down to `start`; a step of 0 is 1; with a NULL there are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import apsw

from virke.engine.sqlite.randomness import integer_of
from virke.errors import SqlError

if TYPE_CHECKING:
    from virke.engine.sqlite.parameters import Value

NAME: Final = "generate_series"
STOP: Final = (1 << 32) - 1
_START_COLUMN: Final = 1
_PARAMETERS: Final = 3
_SCHEMA: Final = "CREATE TABLE series(value, start HIDDEN, stop HIDDEN, step HIDDEN)"
_EQUALS: Final = apsw.SQLITE_INDEX_CONSTRAINT_EQ
_FEW: Final = 2.0
_MANY: Final = 2147483647.0
_INT64_MAX: Final = (1 << 63) - 1


class Series:
    """The module, as apsw wants it."""

    def Connect(self, connection: apsw.Connection, *names: str) -> tuple[str, Table]:
        """Its columns, and the table."""
        connection.vtab_config(apsw.SQLITE_VTAB_INNOCUOUS)
        return _SCHEMA, Table()

    Create = Connect


class Table:
    """The table; it has no state."""

    def BestIndex(
        self, constraints: Sequence[tuple[int, int]], orders: Sequence[tuple[int, bool]]
    ) -> tuple[list[tuple[int, bool] | None], int, None, bool, float]:
        """Take what the parameters are to be; `used` has a bit for each that is given."""
        places: dict[int, int] = {}
        for at, (column, operator) in enumerate(constraints):
            if column >= _START_COLUMN and operator == _EQUALS:
                places.setdefault(column - _START_COLUMN, at)
        taken: list[tuple[int, bool] | None] = [None] * len(constraints)
        for number, parameter in enumerate(sorted(places)):
            taken[places[parameter]] = number, True
        used = sum(1 << parameter for parameter in places)
        return taken, used, None, False, _FEW if used & 1 and used & 2 else _MANY

    def Open(self) -> Cursor:
        """A cursor."""
        return Cursor()

    def Disconnect(self) -> None:
        """Nothing is held."""

    Destroy = Disconnect


class Cursor:
    """One walk over a series."""

    def __init__(self) -> None:
        self._numbers: range = range(0)
        self._at = 0
        self._given = (0, STOP, 1)

    def Filter(self, used: int, name: str | None, arguments: Sequence[Value]) -> None:
        """Begin a series. Raises `SqlError`: it has no start."""
        given: list[int | None] = [None, STOP, 1]
        parameters = [parameter for parameter in range(_PARAMETERS) if used >> parameter & 1]
        for parameter, value in zip(parameters, arguments, strict=True):
            given[parameter] = None if value is None else integer_of(value)
        if not used & 1:
            raise SqlError("generate_series() needs its first argument")
        self._at, self._numbers = 0, range(0)
        start, stop, step = given
        if start is None or stop is None or step is None:
            return
        self._given = start, stop, step or 1
        self._numbers = range(start, stop + 1, step or 1) if step >= 0 else range(stop, start - 1, step)

    def Eof(self) -> bool:
        """Whether it is over."""
        # not `len`, which a range of more than 2^63 numbers does not have
        return not self._numbers or self._at > (self._numbers[-1] - self._numbers.start) // self._numbers.step

    def Column(self, number: int) -> int:
        """The number, or a parameter."""
        return self._given[number - _START_COLUMN] if number >= _START_COLUMN else self._numbers[self._at]

    def Rowid(self) -> int:
        """Which row it is."""
        return min(self._at + 1, _INT64_MAX)

    def Next(self) -> None:
        """Go to the next."""
        self._at += 1

    def Close(self) -> None:
        """Nothing is held."""

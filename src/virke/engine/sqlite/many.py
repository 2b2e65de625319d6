"""One statement that writes, with many rows of parameters, at the speed of SQLite's own loop.

Knows statements, rows and their check; knows no limits: the caller has a look between the rows.

1. What is wrong with the parameters of any row is the error, whichever row SQLite refuses first: SQLite finds it in rows that
   are lists or tuples of values that were made `plain`, and then all are looked at (`check`); others are looked at before.
2. `run` goes on where it was stopped: with the row at which SQLite failed.
3. Rows affected are those of the statement itself, not those of triggers, of actions of foreign keys, or of what a virtual
   table keeps. SQLite says them row by row, at the price of a fifth of an INSERT: where there are no others, its total will do.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from operator import length_hint
from typing import Final

from virke.engine.sqlite.opening import Connection
from virke.engine.sqlite.parameters import Parameters, check_parameters
from virke.engine.sqlite.raw_text import execute
from virke.engine.sqlite.statement import Statement

ROWS_BETWEEN_LOOKS: Final = 100
TOTALLED_FROM_ROWS: Final = 500
"""Of fewer it is not worth asking the schema."""
_SEQUENCES: Final = frozenset({tuple, list})
_COUNTED: Final = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE", "WITH"})
"""After these, if they write, SQLite says how many rows they changed, none included; after others what was said before."""
_CHANGING_OTHERS: Final = """
SELECT 1 FROM (SELECT sql FROM sqlite_schema UNION ALL SELECT sql FROM temp.sqlite_schema)
WHERE sql LIKE '%trigger%' OR sql LIKE '%virtual%' OR sql LIKE '%replace%' LIMIT 1
"""


class ManyRows:
    """A statement and the rows that it is still to be run with. Raises `Invalid`: as `check_parameters`."""

    def __init__(
        self, connection: Connection, statement: Statement, rows: Sequence[Parameters], look: Callable[[], None]
    ) -> None:
        self.affected = 0
        self._connection = connection
        self._statement = statement
        self._rows = rows
        self._look = look
        self._at = 0
        self._changes: Callable[[], int] = connection.changes if statement.keyword in _COUNTED else lambda: 0
        if not _SEQUENCES.issuperset(map(type, rows)):
            self.check()

    def check(self) -> None:
        """Raise what is wrong with the parameters of the first row with which something is."""
        for params in self._rows:
            check_parameters(self._statement, params)

    def run(self) -> None:
        """Run the statement with the rows that are left. Raises what SQLite and the look do."""
        given = self._totalled_rows if self._changes_no_others() else self._counted_rows
        while self._at < len(self._rows):
            try:
                with closing(given()) as left:
                    for _ in self._connection.executemany(self._statement.runs, left):
                        pass  # RETURNING
            except BufferError:  # a view with gaps, of which SQLite's library says no more
                self.check()
                raise
            except UnicodeEncodeError:
                for _ in execute(self._connection, self._statement, self._rows[self._at]):
                    pass
                self.affected += self._changes()
                self._at += 1

    def _changes_no_others(self) -> bool:
        """Whether the total is that of the statement itself; no for many statements for which it would be."""
        text = self._statement.sql.upper()
        is_plain = self._statement.keyword == "INSERT" and "REPLACE" not in text and "CONFLICT" not in text
        if not is_plain or len(self._rows) < TOTALLED_FROM_ROWS:
            return False
        return not self._connection.execute(_CHANGING_OTHERS).fetchall()

    def _counted_rows(self) -> Generator[Parameters, None, None]:
        """The rows one by one; SQLite asks for the next one when it is done with one."""
        changes, rows, affected, at = self._changes, self._rows, self.affected, self._at
        try:
            while at < len(rows):
                self._look()
                for params in rows[at : at + ROWS_BETWEEN_LOOKS]:
                    yield params
                    affected += changes()
                    at += 1
        finally:
            self.affected, self._at = affected, at

    def _totalled_rows(self) -> Generator[Parameters, None, None]:
        """As `_counted_rows`."""
        total, rows, at = self._connection.total_changes, self._rows, self._at
        before = total()
        given: Iterator[Parameters] = iter(())
        some = rows[:0]
        try:
            while at < len(rows):
                self._look()
                some = rows[at : at + ROWS_BETWEEN_LOOKS]
                given = iter(some)
                yield from given
                at += len(some)
                some = rows[:0]
        finally:
            self.affected += total() - before
            self._at = at + len(some) - length_hint(given) - bool(some)

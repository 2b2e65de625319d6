"""The rows of one statement, one at a time: results of any size in bounded memory.

Knows one reading connection, which is its own until it is closed; knows no store.

1. A row is read when it is asked for; nothing is collected.
2. The statement may run for the time limit of a query in all. The time that the caller takes between rows does not count.
3. `interrupt` ends it, between two rows or within one, and never what its connection runs later.
4. The connection goes back when the rows end, an error comes, `close` is called, or the iterator is forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from virke.collector import outside
from virke.engine.freshness import Shown
from virke.engine.results import bookmark_of
from virke.engine.terms import Cancel
from virke.errors import Invalid, TimedOut

if TYPE_CHECKING:
    from virke.engine.connection import Connection
    from virke.engine.results import Request
    from virke.engine.sqlite import Row


class Rows:
    """An iterator over rows; use it as a context manager, or call `close`, unless it is read to its end."""

    _is_cut_off = False

    def __init__(
        self,
        connection: Connection,
        request: Request,
        shown: Shown,
        *,
        done: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
        cancel: Cancel | None = None,
    ) -> None:
        self._connection: Connection | None = None
        self._cancel = cancel or Cancel()
        self._shown = shown
        self._done = done
        self._monotonic = monotonic
        self._left_s = shown.timeout_s
        statement = connection.prepare_single(request[0])
        self.columns = list(statement.columns)
        self.decltypes = [column.decltype for column in statement.described]
        connection.guard.deadline = monotonic() + self._left_s
        self._cancel.attach(connection)
        try:
            self._cursor = connection.open_stream(statement, request[1])
        except BaseException:
            self._cancel.detach()
            raise
        self._connection = connection

    @property
    def version(self) -> int:
        """The version that is read."""
        return self._shown.root.head.version

    @property
    def bookmark(self) -> str:
        """Send it with a later read, and that read sees nothing older."""
        return bookmark_of(self._shown.root)

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        """The next row. Raises what SQLite, the guard or the time limit says; then the rows are closed."""
        if not (rows := self.take(1)):
            raise StopIteration
        return rows[0]

    def take(self, limit: int) -> list[Row]:
        """The next rows, as many as that; fewer are the last ones. Raises as `__next__`."""
        connection = self._connection
        if connection is None:
            if self._is_cut_off:
                raise Invalid("the transaction ended before all of these rows were read")
            return []
        began_at = self._monotonic()
        connection.guard.deadline = began_at + self._left_s
        try:
            self._cancel.check()  # after the deadline, which a cancel that comes from here on replaces
            rows = connection.next_rows(self._cursor, limit)
        except TimedOut:
            self.close()
            self._cancel.check()
            raise
        except BaseException:
            self.close()
            raise
        self._left_s -= self._monotonic() - began_at
        if len(rows) < limit:
            self.close()
        return rows

    def interrupt(self) -> None:
        """End the statement from another thread: the next row is `TimedOut`."""
        self._cancel.cancel()

    def cut_off(self) -> None:
        """End it where it is: unless that is its end, the next row is `Invalid`."""
        if self._connection is not None:
            self.close()
            self._is_cut_off = True

    def close(self) -> None:
        """Give the connection back; harmless when done."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.is_open:  # it may have been forgotten along with these rows
            outside(partial(self._give_back, connection))

    def _give_back(self, connection: Connection) -> None:
        self._cancel.detach()
        connection.close_stream(self._cursor)
        self._done()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_connection", None) is not None:
            self.close()

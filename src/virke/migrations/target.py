"""What migrations run against: a database, or a rehearsal on an overlay that is dropped.

A rehearsal knows one snapshot and one connection of its own; it has no way to commit anything to a store.

1. Both offer the same calls, so that a rehearsal obeys the rules of the real run: the same code runs on both.
2. Transactions of a rehearsal follow each other: each sees what the one before it left.
3. A rehearsal writes nothing to the store, and reads only the pages that its statements touch.
4. No transaction of a rehearsal sees temporary tables or modes of the one before it, as in a database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from virke.engine.budget import ResultBudget
from virke.engine.connection import Connection
from virke.engine.programs import run_script
from virke.engine.results import QueryResult, result_of
from virke.engine.sqlite import NO_DEADLINE
from virke.engine.units import Unit

if TYPE_CHECKING:
    from virke.engine.database import Database
    from virke.engine.snapshot import Snapshot
    from virke.engine.sqlite import OnConnect, Parameters

_STATEMENT: Final = Unit("statement")


@runtime_checkable
class Elsewhere(Protocol):
    """A database whose process carries migrations out by itself."""

    def migrate_files(self, files: Sequence[tuple[str, str]], *, dry_run: bool, undo: int | None) -> Sequence[int]:
        """Apply these files (name and text), rehearse them, or take the last `undo` back; the numbers of those that were done."""


class Step(Protocol):
    """An open transaction."""

    def query(self, sql: str, params: Parameters = ()) -> QueryResult:
        """Run one statement and return its rows."""

    def execute(self, sql: str, params: Parameters = ()) -> int:
        """Run one statement; returns the rows affected."""

    def run_script(self, sql: str, params: Parameters = ()) -> QueryResult:
        """Run several statements; the result has the sum of rows affected."""


class Target(Protocol):
    """What can be queried and changed by transactions."""

    def query(self, sql: str, params: Parameters = ()) -> QueryResult:
        """Run one statement that reads and return its rows."""

    def transaction(self, *, immediate: bool = False, foreign_keys: bool | None = None) -> AbstractContextManager[Step]:
        """Begin a transaction with foreign keys on, off, or (None) as the caller has them; see `Database.transaction`."""


@contextmanager
def open_rehearsal(database: Database) -> Iterator[Rehearsal]:
    """A rehearsal on the newest state of `database`, dropped at the end of the `with` block."""
    made = Rehearsal(database.snapshot(), foreign_keys=database.foreign_keys, on_connect=database.on_connect)
    try:
        yield made
    finally:
        made.close()


class Rehearsal:
    """Transactions on an overlay over one snapshot, which no commit will ever hold."""

    def __init__(self, snapshot: Snapshot, *, foreign_keys: bool, on_connect: OnConnect | None = None) -> None:
        environment, settings = snapshot.volume.environment, snapshot.root.settings
        self._root = snapshot.root
        self._foreign_keys = foreign_keys
        self._monotonic = environment.monotonic
        self._now_ms = environment.now_ms
        self._timeout_s = settings.query_timeout_ms / 1000
        self._result_bytes = settings.max_result_mb << 20
        self._connection = Connection(
            snapshot, value_bytes_max=self._result_bytes, monotonic=self._monotonic, on_connect=on_connect
        )

    def query(self, sql: str, params: Parameters = ()) -> QueryResult:
        """Run one statement that reads, on what the transactions so far left."""
        self._connection.guard.deadline = self._monotonic() + self._timeout_s
        columns, rows = self._connection.fetch(sql, params, self._result_bytes)
        return result_of(columns, rows, self._root)

    @contextmanager
    def transaction(self, *, immediate: bool = False, foreign_keys: bool | None = None) -> Iterator[Step]:
        """A transaction that the next ones see, unless the block is left by an exception; no other writer is here."""
        connection = self._connection
        connection.raw.pragma("foreign_keys", self._foreign_keys if foreign_keys is None else foreign_keys)
        connection.control("BEGIN IMMEDIATE")
        connection.start_request()
        try:
            connection.vfs.now_ms = self._now_ms()
            yield _Rehearsed(self)
            connection.control("COMMIT")
        finally:
            connection.unpin()  # rolls back what was not committed
            connection.end_request()

    def run(self, sql: str, params: Parameters, *, script: bool) -> QueryResult:
        """Run SQL in the open transaction; what fails leaves nothing behind, and takes savepoints of its own along."""
        connection = self._connection
        _STATEMENT.begin(connection)
        try:
            connection.guard.deadline = self._monotonic() + self._timeout_s
            budget = ResultBudget(self._result_bytes)
            if script:
                columns, rows, affected = run_script(connection, sql, params, budget)
            else:
                columns, rows, affected = connection.change(sql, params, budget)
            _STATEMENT.keep(connection)
        except BaseException:
            if connection.raw.in_transaction:
                _STATEMENT.undo(connection)
            raise
        finally:
            connection.guard.deadline = NO_DEADLINE
        return result_of(columns, rows, self._root, rows_affected=affected)

    def close(self) -> None:
        """Drop the overlay."""
        self._connection.close()


class _Rehearsed:
    """The open transaction of a rehearsal."""

    def __init__(self, owner: Rehearsal) -> None:
        self._owner = owner

    def query(self, sql: str, params: Parameters = ()) -> QueryResult:
        return self._owner.run(sql, params, script=False)

    def execute(self, sql: str, params: Parameters = ()) -> int:
        return self.query(sql, params).rows_affected

    def run_script(self, sql: str, params: Parameters = ()) -> QueryResult:
        return self._owner.run(sql, params, script=True)

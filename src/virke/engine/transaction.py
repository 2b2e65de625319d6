"""An interactive transaction: reads and writes on one snapshot, committed by one swap or not at all.

State: open → committed | rolled back. Knows its own connection; the database gives it one and takes it back.

1. Every read and write sees the snapshot of the beginning plus its own writes (P4).
2. `commit` succeeds only if nobody changed a page since: else `Conflict`, and nothing of it is in history. Upkeep and
   settings change references and no pages; after them the same pages are committed on the newer root.
3. Leaving the `with` block by an exception rolls back.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final

from virke.core.change import plan_change
from virke.core.commit import Committed, Conflicted
from virke.core.ids import Version
from virke.core.root import Answer, RootAt, has_same_pages
from virke.engine.committing import Committing, error_of, settled
from virke.engine.connection import Connection
from virke.engine.results import QueryResult
from virke.engine.sqlite import keyword
from virke.engine.volume import SnapshotGone, Volume
from virke.engine.writer import Write, Writer, change_of, execute
from virke.errors import Conflict, Invalid

if TYPE_CHECKING:
    from virke.engine.sqlite import Parameters

ATTEMPTS: Final = 16
_MARKS: Final = frozenset({"SAVEPOINT", "RELEASE", "ROLLBACK"})


class Transaction:
    """Use as a context manager; see the module's rules."""

    def __init__(
        self,
        volume: Volume,
        writer: Writer,
        committing: Committing,
        connection: Connection,
        *,
        base: RootAt,
        done: Callable[[Connection], None],
        key: bytes | None,
    ) -> None:
        self._volume = volume
        self._writer = writer
        self._committing = committing
        self._connection: Connection | None = connection
        self._base = base
        self._done = done
        self._key = key
        self._rows = 0
        self._time_ms = volume.environment.now_ms()
        connection.guard.allow_transactions = False
        connection.move(volume.snapshot_of(base.root))
        connection.control("BEGIN IMMEDIATE")
        connection.start_request()

    @property
    def version(self) -> int:
        """The version that this transaction reads; after `commit`, the one that it made."""
        return self._base.root.head.version

    def query(self, sql: str, params: Parameters = ()) -> QueryResult:
        """Run one statement of any kind and return its rows. Raises `SqlError`, `Invalid`, `Denied`, `TimedOut`."""
        return self._run(Write([(sql, params)], self._time_ms))

    def execute(self, sql: str, params: Parameters = ()) -> int:
        """Run one statement; returns the rows affected. Raises as `query`."""
        return self.query(sql, params).rows_affected

    def run_script(self, sql: str, params: Parameters = ()) -> QueryResult:
        """Run several statements; the result has the rows of the last one and the sum of rows affected."""
        return self._run(Write([(sql, params)], self._time_ms, script=True))

    def _run(self, write: Write) -> QueryResult:
        connection = self._open()
        is_mark = not write.script and keyword(write.requests[0][0]) in _MARKS  # its own savepoint outlives the call
        try:
            if not is_mark:
                connection.control("SAVEPOINT virke_statement")
            result = execute(connection, write, self._base, self._volume)[0]
            if not is_mark:
                connection.control("RELEASE virke_statement")
        except SnapshotGone as error:
            self.rollback()
            raise Conflict("the snapshot of this transaction was collected; run it again") from error
        except BaseException:
            if not connection.raw.in_transaction:
                self.rollback()
            elif not is_mark:
                connection.control("ROLLBACK TO virke_statement; RELEASE virke_statement")
            raise
        self._rows += result.rows_affected
        return result

    def commit(self) -> int:
        """Commit; returns the version that holds the transaction (its snapshot's if nothing was written).

        If an earlier transaction with its idempotency key is in history, this one is dropped and that one's version
        returned.

        Raises:
            Conflict: another commit came first; run the transaction again.
            OutcomeUnknown, Unavailable: see `virke.errors`.
        """
        connection = self._open()
        try:
            if self._key and (known := self._base.root.answer_to(self._key)):
                return known[0]
            connection.control("COMMIT")
            verdict = self._commit_pages(connection)
            if isinstance(verdict, Conflicted):
                self._writer.conflicts += 1
                raise error_of(verdict)
            return verdict.root.head.version
        finally:
            self._end()

    def _commit_pages(self, connection: Connection) -> Committed | Conflicted:
        """Commit the pages that were written, again while only references or settings changed (rule 2)."""
        for _ in range(ATTEMPTS):
            verdict = self._try(connection)
            if isinstance(verdict, Committed):
                return verdict
            now = self._volume.branch.latest()
            if not has_same_pages(now.root, self._base.root):
                break
            self._base = now
        return verdict

    def _try(self, connection: Connection) -> Committed | Conflicted:
        """One attempt on the base; a transaction that wrote nothing is where it began."""
        dirty = connection.file.change(Version(self._base.root.head.version + 1))
        if dirty is None:
            return Committed(self._base.root, self._base)
        self._volume.driver.blobs(self._base.root.tier)  # or the error that says which store is missing
        changed = change_of(dirty, self._volume, (Answer(self._key, self._rows),) if self._key else ())
        with self._committing.lead:
            plan = plan_change(self._base.root, self._volume.environment.commit_id(), changed)
            verdict = settled(self._committing.commit(self._base, plan, pages=changed.pages))
        if isinstance(verdict, Committed):
            self._base = RootAt(verdict.root, self._base.generation)
        return verdict

    def rollback(self) -> None:
        """Forget everything; harmless when the transaction is over."""
        if self._connection is not None:
            self._end()

    def _open(self) -> Connection:
        if self._connection is None:
            raise Invalid("the transaction is over")
        return self._connection

    def _end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.unpin()
            connection.end_request()
            connection.move(connection.file.snapshot)  # the overlay goes
            self._done(connection)

    def __enter__(self) -> Transaction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._connection is not None:
            self.commit()
        else:
            self.rollback()

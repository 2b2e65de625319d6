"""An interactive transaction: reads and writes on one snapshot, committed by one swap or not at all.

State: open → committed | rolled back. Knows its own connection; the database gives it one and takes it back.

1. Every read and write sees the snapshot of the beginning plus its own writes (P4).
2. `commit` succeeds only if no page was changed since: else `Conflict`, and nothing of it is in history. Upkeep and
   settings change references and no pages; after them the same pages are committed on the newer root.
3. Leaving the `with` block by an exception rolls back.
4. From its first write to its end it holds the line of the branch (`engine/line`), so that writers of this process,
   and on a local store those of other processes, wait for it instead of making it lose. `immediate` holds it from the
   beginning, as BEGIN IMMEDIATE does.
5. It waits for others' turns, when it begins to write and when it commits; one that lost takes a turn, if it says
   `immediate` (`run_transaction` does), and gives it back if it changes nothing.
6. A write of the same thread past an open transaction is an error at that line: it would make the transaction lose.
   An adapter that carries a task's calls to other threads says so with `inside`.
7. One that only reads has a state that reads see (`view`), holds no line, and refuses what would change something.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Final

from virke.core.commit import Committed, Conflicted
from virke.core.ids import Version
from virke.core.root import RootAt, has_same_pages
from virke.engine import keyed
from virke.engine.committing import error_of, won_or_lost
from virke.engine.connection import Connection
from virke.engine.executing import execute_program
from virke.engine.freshness import Shown
from virke.engine.layers import Pages
from virke.engine.line import Place
from virke.engine.programs import Program, Step, step_of_rows, steps_of
from virke.engine.queue import Pending
from virke.engine.results import QueryResult, Request, requests_of
from virke.engine.rows import Rows
from virke.engine.snapshot import SnapshotGone
from virke.engine.sqlite import check_text, keyword, plain
from virke.engine.storing import change_of, commit_change
from virke.engine.taking_turns import Claimant
from virke.engine.units import Unit
from virke.engine.writer import Writer
from virke.errors import Conflict, Denied, Invalid
from virke.scopes import Scope

if TYPE_CHECKING:
    from virke.engine.sqlite import Description, Parameters

ATTEMPTS: Final = 16
_STATEMENTS: Final = Unit("statement")
_MARKS: Final = frozenset({"SAVEPOINT", "RELEASE", "ROLLBACK"})
_INTERACTIVE: Final = b"interactive tx.."
"""Stands for the hash of the request, which an interactive transaction does not know before its end."""
_open_here: ContextVar[tuple[Transaction, ...]] = ContextVar("virke_open_transactions", default=())


class Transaction:
    """Use as a context manager; see the module's rules."""

    def __init__(
        self,
        writer: Writer,
        connection: Connection,
        *,
        base: RootAt,
        done: Callable[[Connection], None],
        view: Pages | None = None,
        key: bytes | None = None,
        foreign_keys: bool = False,
        places: Sequence[Place] = (),
        claimant: Claimant | None = None,
        is_in_line: bool = False,
        scope: Scope = Scope.ADMIN,
    ) -> None:
        self._writer = writer
        self._claimant = claimant
        self._volume = writer.volume
        self._connection: Connection | None = connection
        self._base = base
        self._done = done
        self._key = key
        self._foreign_keys = foreign_keys
        self._scope = scope
        self._view = view
        self._lock = threading.Lock()
        """Held while the connection is interrupted, so that it is still this transaction's."""
        self._places = list(places)
        self._is_in_line = is_in_line
        self._has_read = self._writes = False
        self._rows = 0
        self._streams: weakref.WeakSet[Rows] = weakref.WeakSet()
        self._time_ms = writer.volume.environment.now_ms()
        self._began_s = writer.volume.environment.monotonic()
        self._begin_on_root(base)

    def _begin_on_root(self, base: RootAt) -> None:
        """Begin on a root; what was written before is dropped."""
        connection = self._live_connection()
        connection.reads_only = self.read_only
        connection.guard.scope = Scope.ADMIN
        connection.move(self._view or self._volume.snapshot_of(base.root))
        connection.lengths.allow(self._volume.result_bytes(base.root))
        connection.raw.pragma("foreign_keys", self._foreign_keys)
        connection.guard.on_look = self._claimant.renew_if_due if self._claimant else None
        connection.control("BEGIN" if self.read_only else "BEGIN IMMEDIATE")
        connection.start_request()
        connection.guard.allow(self._scope)
        self._base = base

    @property
    def read_only(self) -> bool:
        """Whether it may only read."""
        return self._view is not None

    @property
    def is_over(self) -> bool:
        """Whether it has ended: committed, rolled back, or taken back by SQLite itself."""
        return self._connection is None

    @property
    def version(self) -> int:
        """The version that this transaction reads; after `commit`, the one that it made."""
        return self._base.root.head.version

    def begins_as(self, other: Transaction) -> bool:
        """Whether both began on the same pages; turns and settings make versions of their own, and change none."""
        return has_same_pages(self._base.root, other._base.root)

    def query(self, sql: str, params: Parameters = ()) -> QueryResult:
        """Run one statement of any kind and return its rows. Raises `SqlError`, `Invalid`, `Denied`, `TimedOut`."""
        return self.run_steps(steps_of([(sql, params)]))[0]

    def query_rows(self, sql: str, params: Parameters = ()) -> Rows:
        """The rows of one reading statement, in parts, as they are at this moment.

        They have to be read, or closed, before the transaction ends. Raises as `query`; `Denied`: it writes.
        """
        check_text(sql)
        connection = self._live_connection()
        if not connection.prepare_single(sql).read_only:
            raise Denied("query_rows takes statements that read; use query")
        self._has_read = True
        root, connection.vfs.now_ms = self._base.root, self._time_ms
        timeout_s = self._volume.time_limit_ms(root) / 1000
        shown = Shown(connection.file.snapshot, root, 0.0, timeout_s, self._volume.result_bytes(root))
        monotonic = self._volume.environment.monotonic
        rows = Rows(connection, (sql, plain(params)), shown, done=lambda: None, monotonic=monotonic)
        self._streams.add(rows)
        return rows

    def execute(self, sql: str, params: Parameters = ()) -> int:
        """Run one statement; returns the rows affected. Raises as `query`."""
        return self.query(sql, params).rows_affected

    def run_script(self, sql: str, params: Parameters = ()) -> QueryResult:
        """Run several statements; the result has the rows of the last one and the sum of rows affected."""
        return self.run_steps(steps_of([(sql, params)], is_script=True))[0]

    def executemany(self, sql: str, rows: Iterable[Parameters]) -> int:
        """Run one statement with each row of parameters; returns the rows affected. Raises as `query`."""
        step = step_of_rows(sql, rows)
        return self.run_steps((step,))[0].rows_affected if step.rows else 0

    def batch(self, statements: Sequence[str | Request]) -> list[QueryResult]:
        """Run statements, all or none of them; one result for each. Raises as `query`."""
        steps = steps_of(requests_of(statements))
        return self.run_steps(steps) if steps else []

    def describe(self, sql: str) -> Description:
        """What SQLite says of one statement, without running it. Raises `SqlError`, `Invalid`, `Denied`."""
        check_text(sql)
        return self._live_connection().prepare_single(sql).description

    def interrupt(self) -> None:
        """End the statement that runs now, from another thread: it raises `TimedOut`.

        Where it was writing, SQLite takes back the whole transaction, which is over then.
        """
        with self._lock:
            if self._connection is not None:
                self._connection.interrupt()

    def run_steps(self, steps: tuple[Step, ...]) -> list[QueryResult]:
        """Run steps, all or none of them; one result for each. Raises as `query`."""
        connection = self._live_connection()
        words = {keyword(step.sql) for step in steps if not step.is_script}
        is_mark = len(steps) == 1 and bool(words & _MARKS)  # its own savepoint outlives the call
        if not is_mark:
            self._get_in_line(steps)
        try:
            if not is_mark:
                _STATEMENTS.begin(connection)
            program = Program(steps, self._time_ms, scope=self._scope)
            answers = execute_program(connection, Pending(program), self._base, self._volume)
            if not is_mark:
                _STATEMENTS.keep(connection)
        except SnapshotGone as error:
            self.rollback()
            raise Conflict(
                "the snapshot of this transaction was collected; run it again (run_transaction does that)"
            ) from error
        except BaseException:
            if not connection.raw.in_transaction:
                self.rollback()
            elif not is_mark:
                _STATEMENTS.undo(connection)
            raise
        results = [answer for answer in answers if isinstance(answer, QueryResult)]
        self._rows += sum(result.rows_affected for result in results)
        return results

    def _get_in_line(self, steps: tuple[Step, ...]) -> None:
        """Before the first write: hold the line, and begin on the newest state if nothing was read of an older one."""
        connection = self._live_connection()
        if not self._writes:
            self._writes = not self.read_only and any(
                step.is_script or not connection.prepare_single(step.sql).read_only for step in steps
            )
            if self._writes and not self._is_in_line:
                self._is_in_line = True
                self._places.append(self._writer.line.enter(self._base.root.settings.query_timeout_ms / 1000))
                if not self._has_read:
                    if self._volume.branch.has_moved():  # by those of other processes that were first in line
                        self._volume.branch.refresh()
                    if not has_same_pages((now := self._newest()).root, self._base.root):
                        self._begin_on_root(now)
        self._has_read = True

    def commit(self) -> int:
        """Commit; returns the version that holds the transaction (its snapshot's if nothing was written).

        If an earlier transaction with its idempotency key is in history, this one is dropped and that one's version
        returned.

        Raises:
            Conflict: another commit came first; run the transaction again.
            OutcomeUnknown, Unavailable: see `virke.errors`.
        """
        connection = self._live_connection()
        self._cut_off()
        try:
            if self._key and (known := self._find_answer(connection, self._key)):
                return known
            connection.control("COMMIT")
            verdict = self._commit_pages(connection)
            turns, environment = self._writer.committing.turns, self._volume.environment
            if isinstance(verdict, Conflicted):
                self._writer.conflicts += 1
                turns.lost_s = environment.monotonic() - self._began_s
                raise error_of(verdict)
            turns.lost_s = None
            return verdict.root.head.version
        finally:
            self._end_transaction()

    def _find_answer(self, connection: Connection, key: bytes) -> int:
        """The version of the transaction with this key that is in history; 0 if there is none: then this one is it."""
        root = self._base.root
        known = keyed.find_answer(connection, key, _INTERACTIVE, now_ms=self._time_ms, root=root)
        if known is None:
            self._keep_answer(connection, key)
            return 0
        return int(str(known[0].rows[0][0])) if known[0].rows else root.head.version

    def _keep_answer(self, connection: Connection, key: bytes) -> None:
        root = self._base.root
        answer = QueryResult(["version"], [(root.head.version + 1,)], root, rows_affected=self._rows)
        keyed.keep_answer(connection, key, _INTERACTIVE, now_ms=self._time_ms, results=[answer])

    def _commit_pages(self, connection: Connection) -> Committed | Conflicted:
        """Commit the pages that were written, again while only references or settings changed (rule 2)."""
        verdict: Committed | Conflicted = Conflicted(self._base)
        for _ in range(ATTEMPTS):
            now = self._newest() if connection.file.is_dirty else self._base
            if not has_same_pages(now.root, self._base.root):
                return Conflicted(now)
            if now.root.head == self._base.root.head:
                verdict = self._try_commit(connection)
                if isinstance(verdict, Committed):
                    return verdict
                continue
            self._base = now
            if self._key:  # it names the version that it would be
                connection.control("BEGIN IMMEDIATE")
                self._keep_answer(connection, self._key)
                connection.control("COMMIT")
        return verdict

    def _try_commit(self, connection: Connection) -> Committed | Conflicted:
        """One attempt on the base; a transaction that wrote nothing is where it began."""
        dirty = connection.file.change(Version(self._base.root.head.version + 1))
        if dirty is None:
            return Committed(self._base.root, self._base)
        self._volume.driver.blobs(self._base.root.tier)  # or the error that says which store is missing
        changed = change_of(dirty, self._volume, rest_ms=self._claimant.rest_ms if self._claimant else 0)
        claimant, committing = self._claimant, self._writer.committing
        if self._key:  # its answer names the version, so no turn may be renewed in between
            claimant = None
        with committing.lead, claimant.leading() if claimant else nullcontext():
            verdict = won_or_lost(commit_change(self._volume, committing, self._base, changed, claimant=claimant))
        if isinstance(verdict, Committed):
            self._base = RootAt(verdict.root, self._base.generation)
        return verdict

    def _newest(self) -> RootAt:
        """The newest root, once no foreign turn is in the way."""
        return self._claimant.ready() if self._claimant else self._volume.branch.latest()

    def rollback(self) -> None:
        """Forget everything; harmless when the transaction is over."""
        if self._connection is not None:
            self._end_transaction()

    def _live_connection(self) -> Connection:
        if self._connection is None:
            raise Invalid("the transaction is over")
        return self._connection

    def _cut_off(self) -> None:
        for rows in list(self._streams):
            rows.cut_off()

    def _end_transaction(self) -> None:
        self._cut_off()
        with self._lock:
            connection, self._connection = self._connection, None
        try:
            if self._claimant:
                self._claimant.release()
        finally:  # a signal may come while the store is asked
            for place in reversed(self._places):
                place.leave()
        if connection is not None:
            connection.guard.scope = Scope.ADMIN
            connection.unpin()
            connection.end_request()
            connection.move(connection.file.snapshot)  # the overlay goes
            connection.reads_only, connection.guard.on_look = False, None
            self._done(connection)

    def __enter__(self) -> Transaction:
        still_open = (one for one in _open_here.get() if not one.is_over)  # some end in other threads
        _open_here.set((*still_open, self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _open_here.set(tuple(one for one in _open_here.get() if one is not self))
        self.finish(is_good=kind is None)

    def finish(self, *, is_good: bool) -> None:
        """What the end of a `with` block does: commit, or roll back; harmless when the transaction is over."""
        if is_good and not self.is_over:
            self.commit()
        else:
            self.rollback()

    def blocks(self, writer: object) -> bool:
        """Whether a write through `writer` would make this transaction lose."""
        return self._connection is not None and self._writer is writer and not self.read_only


@contextmanager
def inside_transactions(transactions: tuple[Transaction, ...]) -> Iterator[None]:
    """For this call, the thread counts as one in which these transactions are open."""
    token = _open_here.set(transactions)
    try:
        yield
    finally:
        _open_here.reset(token)


def check_no_open_transaction(writer: object) -> None:
    """Raise `Invalid` if this thread (or task) is inside a transaction that a write through `writer` would break."""
    here = _open_here.get()
    if here and any(transaction.blocks(writer) for transaction in here):
        raise Invalid(
            "a transaction is open here: this write would make it lose; "
            "use the transaction's own methods, or write after it"
        )

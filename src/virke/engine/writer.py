"""Group commit and re-execution: requests in, one swap of the root, answers out.

Knows requests, one writing connection and the commit protocol; knows no threads but its callers'.

1. Whoever finds no leader becomes it and takes along everything that waits: what arrives while a swap is in flight is
   the next commit. `commit_window_ms` lets the leader wait a little longer, and so do gaps for other nodes (`fairness`).
2. Each request runs in its own savepoint: its error is its own, the others commit.
3. Nobody is answered before the swap that holds their write is proved (P1), or before the state that their error or
   empty result was computed on is proved to be the newest.
4. A lost race runs every request again on the new root, with the same instant for the clock; after `max_attempts`
   each gets `Conflict`.
5. A request whose idempotency key the ring remembers is answered from it and not run (P2).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from virke.core.change import Change, plan_change
from virke.core.commit import Committed, Conflicted
from virke.core.ids import ID_BYTES, Version
from virke.core.root import Answer, JournalMark, RootAt
from virke.engine import sqlite
from virke.engine.budget import ResultBudget
from virke.engine.committing import Committing, settled
from virke.engine.connection import Connection
from virke.engine.results import QueryResult, Request
from virke.engine.vfs import Dirty
from virke.engine.volume import SnapshotGone, Volume
from virke.errors import Conflict, Invalid, OutcomeUnknown, SqlError, TooLarge, Unavailable, VirkeError
from virke.stores.receipt import Receipt, writing

GROUP_MAX: Final = 512
_SAVEPOINT: Final = "virke_request"


@dataclass(slots=True, eq=False)
class Write:
    """One request to write: its statements form one unit, all or nothing.

    `script` runs each text as many statements. `mark` says which journal entry this is. `receipt` is written if somebody
    wants one. `results` or `error` is the answer.
    """

    requests: Sequence[Request]
    time_ms: int
    key: bytes | None = None
    script: bool = False
    many: bool = False
    mark: JournalMark | None = None
    receipt: Receipt | None = None
    results: list[QueryResult] | None = None
    error: VirkeError | None = None
    done: bool = field(default=False)

    def rows_affected(self) -> int:
        """The sum over all results."""
        return sum(result.rows_affected for result in self.results or ())


def hash_key(key: str) -> bytes:
    """What the ring keeps of an idempotency key. Raises `Invalid`: it is no text."""
    if not isinstance(key, str):
        raise Invalid(f"an idempotency key must be text, not {type(key).__name__}")
    return blake2b(key.encode(errors="surrogatepass"), digest_size=ID_BYTES).digest()


class Writer:
    """The one writing connection of a database in this process, and the queue before it."""

    def __init__(self, volume: Volume, committing: Committing, connect: Callable[[], Connection]) -> None:
        self._volume = volume
        self._connect = connect
        self._connection: Connection | None = None
        self._queue: list[Write] = []
        self._queue_lock = threading.Lock()
        self._committing = committing
        self.conflicts = 0
        self.foreign_keys = False
        self._closed = False

    def submit(self, write: Write) -> list[QueryResult]:
        """Commit one write, alone or with others; returns its results as of the version that holds it.

        Raises:
            VirkeError: what went wrong; nothing of this write is in history, unless it is `OutcomeUnknown`.
        """
        with self._queue_lock:
            self._queue.append(write)
        with self._committing.lead:
            while not write.done:  # more than GROUP_MAX may wait before it
                self._commit_waiting()
        if write.error is not None:
            raise write.error
        assert write.results is not None, "a write without error has results"
        return write.results

    def _commit_waiting(self) -> None:
        root, environment = self._volume.branch.latest().root, self._volume.environment
        gap_s = self._committing.fairness.gap_s(root, environment.monotonic(), environment.jitter())
        window_ms = root.settings.commit_window_ms
        if wait_s := max(window_ms / 1000 if isinstance(window_ms, int) else 0.0, gap_s):
            environment.sleep(wait_s)
        with self._queue_lock:
            writes, self._queue = self._queue[:GROUP_MAX], self._queue[GROUP_MAX:]
        receipts = [write.receipt for write in writes if write.receipt]
        together = Receipt() if receipts else None
        try:
            with writing(together):
                self.commit(writes)
        except VirkeError as error:
            for write in writes:
                if not write.done:
                    write.error = error
        except BaseException:
            for write in writes:
                if not write.done:
                    write.error = write.error or OutcomeUnknown("the commit was interrupted; ask the data")
            raise
        finally:
            if together:
                for receipt in receipts:
                    receipt.take(together, len(writes))
            for write in writes:
                write.done = True

    def commit(self, writes: list[Write], before_swap: Callable[[list[Write]], None] | None = None) -> None:
        """Answer every write (the caller leads). Raises what concerns all of them alike.

        `before_swap` is told what became of each write in this attempt, before it can get into history.
        """
        attempts = self._volume.branch.latest().root.settings.max_attempts
        for attempt in range(attempts):
            if attempt:
                self.conflicts += 1
            try:
                if isinstance(self._try(writes, before_swap), Committed):
                    return
            except SnapshotGone:
                self._volume.branch.refresh()
            except _GroupFailed:
                self._commit_each(writes, before_swap)
                return
        raise Conflict(f"lost the race to other writers {attempts} times; run the transaction again")

    def _commit_each(self, writes: list[Write], before_swap: Callable[[list[Write]], None] | None) -> None:
        """One commit for each write, in order; the first that can't be brought into history stops all later ones."""
        for number, write in enumerate(writes):
            try:
                self.commit([write], before_swap)
                write.done = True
            except VirkeError as error:
                write.error, write.results = error, None
                for later in writes[number + 1 :]:
                    why = f"nothing was changed: a write before it failed first ({error.message})"
                    later.error, later.results = Unavailable(why), None
                return

    def _try(self, writes: list[Write], before_swap: Callable[[list[Write]], None] | None) -> Committed | Conflicted:
        """One attempt on the newest root known."""
        base = self._volume.branch.latest()
        connection = self._writing(base)
        for write in writes:
            write.results, write.error = None, None
        if len(writes) > 1 and any(stands_alone(write.requests) for write in writes):
            raise _GroupFailed
        alone = stands_alone(writes[0].requests)
        dirty = (self._run_alone if alone else self._run_all)(connection, base, writes)
        if before_swap:
            before_swap(writes)
        verdict = self._settle(connection, base, dirty, writes)
        if isinstance(verdict, Committed) and alone and not writes[0].error:
            self.foreign_keys = bool(connection.raw.pragma("foreign_keys"))
        return verdict

    def _settle(
        self, connection: Connection, base: RootAt, dirty: Dirty | None, writes: list[Write]
    ) -> Committed | Conflicted:
        """Bring what was run into history, or prove that nothing had to be."""
        if dirty is None:
            return self._committing.prove_newest(base)
        answers = tuple(Answer(w.key or b"", w.rows_affected()) for w in _unique(writes))
        changed = change_of(dirty, self._volume, answers, _marks(writes))
        plan = plan_change(base.root, self._volume.environment.commit_id(), changed)
        verdict = settled(self._committing.commit(base, plan, pages=changed.pages, in_row=True))
        if isinstance(verdict, Conflicted):
            return verdict
        with suppress(VirkeError):  # it is history: what can't be read now is read when somebody needs it
            connection.file.accept(self._volume.snapshot_of(verdict.root))
        for write in writes:
            for result in write.results or ():
                result.at(verdict.root)
        return verdict

    def _run_all(self, connection: Connection, base: RootAt, writes: list[Write]) -> Dirty | None:
        connection.control("BEGIN IMMEDIATE")
        try:
            for write in writes:
                self._run(connection, base, write, writes)
            self._end(connection, writes)
        except BaseException:
            connection.unpin()
            raise
        return connection.file.change(Version(base.root.head.version + 1))

    def _run(self, connection: Connection, base: RootAt, write: Write, group: list[Write]) -> None:
        twin = (
            next((w for w in group if w.key == write.key and w is not write and w.results), None) if write.key else None
        )
        if twin:
            write.results = twin.results
            return
        if (known := _known(write, base)) is not None:
            write.results = known
            return
        connection.control(f"SAVEPOINT {_SAVEPOINT}")
        connection.start_request()
        try:
            write.results = execute(connection, write, base, self._volume)
            connection.control(f"RELEASE {_SAVEPOINT}")
        except SnapshotGone:
            raise
        except VirkeError as error:
            write.error, write.results = error, None
            if len(group) > 1 and isinstance(error, TooLarge):  # perhaps together only
                raise _GroupFailed from error
            if connection.raw.in_transaction:
                connection.control(f"ROLLBACK TO {_SAVEPOINT}; RELEASE {_SAVEPOINT}")
            elif len(group) > 1:  # SQLite rolled back everybody's work (INSERT OR ROLLBACK, an interrupt): each alone
                raise _GroupFailed from error
            else:
                connection.control("BEGIN IMMEDIATE")
        finally:
            connection.end_request()

    def _end(self, connection: Connection, writes: list[Write]) -> None:
        """COMMIT in SQLite; a deferred constraint speaks up here, and only one write can be the one it means."""
        if all(write.error for write in writes):  # an empty COMMIT would give an empty database its first page
            connection.move(connection.file.snapshot)
            return
        try:
            connection.control("COMMIT")
        except (SqlError, TooLarge) as error:  # SQLite may write only now
            if len(writes) > 1:
                raise _GroupFailed from error
            writes[0].error, writes[0].results = error, None
            connection.move(connection.file.snapshot)

    def _run_alone(self, connection: Connection, base: RootAt, writes: list[Write]) -> Dirty | None:
        """VACUUM and PRAGMA, which refuse a transaction or have no effect in one; what follows them in a script is one."""
        write = writes[0]
        if (known := _known(write, base)) is not None:
            write.results = known
            return None
        connection.start_request()
        try:
            write.results = execute(connection, write, base, self._volume)
            if connection.raw.in_transaction:
                connection.control("COMMIT")
        except SnapshotGone:
            raise
        except VirkeError as error:
            write.error, write.results = error, None
            connection.move(connection.file.snapshot)
            return None
        finally:
            connection.end_request()
        return connection.file.change(Version(base.root.head.version + 1))

    def _writing(self, base: RootAt) -> Connection:
        self._volume.driver.blobs(base.root.tier)  # or the error that says which store is missing
        connection = self._connection
        if self._closed:
            raise Invalid(f"database {self._volume.name!r} is closed")
        if connection is None:
            connection = self._connection = self._connect()
        connection.guard.allow_transactions = False
        connection.limit_values(base.root.settings.max_result_mb << 20)
        connection.move(self._volume.snapshot_of(base.root))
        connection.raw.pragma("foreign_keys", self.foreign_keys)
        return connection

    def close(self) -> None:
        """Close the writing connection; what still waits in line is refused."""
        with self._committing.lead:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class _GroupFailed(Exception):
    """These writes can't be committed together: each tries alone."""


def stands_alone(requests: Sequence[Request]) -> bool:
    """Whether these statements can't be committed together with others."""
    return len(requests) == 1 and sqlite.keyword(requests[0][0]) in sqlite.ALONE


def _known(write: Write, base: RootAt) -> list[QueryResult] | None:
    """The answer to a write that is in history already; empty for one of a journal."""
    if write.key and (known := base.root.answer_to(write.key)):
        return [QueryResult([], [], base.root, rows_affected=known[1].rows)]
    if write.mark and base.root.pushed(write.mark.journal_id) >= write.mark.sequence:
        return []
    return None


def _unique(writes: list[Write]) -> list[Write]:
    """Applied writes that have an idempotency key, one for each key."""
    return list({write.key: write for write in reversed(writes) if write.key and not write.error}.values())


def _marks(writes: list[Write]) -> tuple[JournalMark, ...]:
    """The last mark of each journal: everything up to it was run, in order."""
    last = {write.mark.journal_id: write.mark for write in writes if write.mark}
    return tuple(last.values())


def change_of(dirty: Dirty, volume: Volume, answers: tuple[Answer, ...], marks: tuple[JournalMark, ...] = ()) -> Change:
    """What is to be committed: the pages that a connection wrote, and what the root shall remember with them."""
    return Change(
        dirty.pages,
        dirty.page_size,
        dirty.page_count,
        dirty.checksum,
        time_ms=volume.environment.now_ms(),
        answers=answers,
        marks=marks,
        part_bytes=volume.part_bytes,
    )


def execute(connection: Connection, write: Write, base: RootAt, volume: Volume) -> list[QueryResult]:
    """Run the statements of one write on a connection; the results are not true before the commit."""
    settings = base.root.settings
    connection.vfs.now_ms = write.time_ms
    if write.mark:  # it was answered, and kept within the time: now it takes what it takes
        connection.guard.deadline = sqlite.NO_DEADLINE
    else:
        connection.guard.deadline = volume.environment.monotonic() + settings.query_timeout_ms / 1000
    budget = ResultBudget(settings.max_result_mb << 20)
    if write.many:
        return [_execute_many(connection, write, base)]
    results = []
    for sql, params in write.requests:
        run = connection.script if write.script else connection.change
        columns, rows, affected = run(sql, params, budget)
        rowid = connection.raw.last_insert_rowid() if affected else None
        results.append(QueryResult(columns, rows, base.root, rows_affected=affected, last_insert_rowid=rowid))
    return results


def _execute_many(connection: Connection, write: Write, base: RootAt) -> QueryResult:
    affected = connection.many(write.requests[0][0], [params for _, params in write.requests])
    return QueryResult([], [], base.root, rows_affected=affected, last_insert_rowid=connection.raw.last_insert_rowid())

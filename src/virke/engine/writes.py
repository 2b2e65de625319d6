"""The ways of a write: through the journal or straight to the store, as a program or as an interactive transaction.

Knows the writer, deferred writes and the connections that transactions borrow; knows no store.

1. What is pending in the journal comes before a write that goes straight to the store.
2. A read-only database refuses every write, and pushes nothing. A transaction that only reads sees what reads see.
3. After a write is in history nothing that fails may stand in the place of its answer (P13).
4. Transactions of one process line up at their beginning, for at most `BEGIN_WAIT_S`: one that reads before it writes
   would lose to another that did the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from virke.core.root import NOT_TOLD, RootAt
from virke.core.turntaking import LOSSES
from virke.engine.connection import Connection
from virke.engine.deferred import Deferred
from virke.engine.freshness import Freshness
from virke.engine.layers import Pages
from virke.engine.line import Line, Place
from virke.engine.programs import Program, Step, hash_key
from virke.engine.queue import Pending
from virke.engine.results import Flushed, QueryResult
from virke.engine.taking_turns import Claimant
from virke.engine.terms import Cancel
from virke.engine.transaction import Transaction, check_no_open_transaction
from virke.engine.writer import Writer
from virke.errors import Busy, Conflict, Denied, Invalid, ReadOnly, VirkeError
from virke.scopes import Scope
from virke.stores.receipt import Receipt, current_receipt, writing_receipt

TRANSACTION_CONNECTIONS_KEPT: Final = 4
BEGIN_WAIT_S: Final = 1.0
T = TypeVar("T")


class Writes:
    """What changes one database from this process."""

    def __init__(
        self,
        writer: Writer,
        deferred: Deferred | None,
        freshness: Freshness,
        *,
        connect: Callable[[], Connection],
        read_only: bool,
    ) -> None:
        self._writer = writer
        self._branch = writer.volume.branch
        self._environment = writer.volume.environment
        self._deferred = deferred
        self._freshness = freshness
        self._connect = connect
        self.after_commit: Callable[[], None] = lambda: None
        """Called after each write; set by the database that these writes belong to."""
        self._read_only = read_only
        self._begin_line = Line(self._branch.store, self._branch.key, ".begin")
        self._idle: list[Connection] = []
        self._foreign_keys: bool | None = None
        self.is_closed = False
        self.why_closed = "is closed"

    @property
    def foreign_keys(self) -> bool:
        """The mode of the next program: what `PRAGMA foreign_keys` set, else the database's setting."""
        if self._foreign_keys is None:
            return self._branch.latest().root.settings.foreign_keys == "on"
        return self._foreign_keys

    def run(
        self,
        steps: tuple[Step, ...],
        key: str | None,
        *,
        meta: bool = False,
        counts_only: bool = False,
        timeout_ms: int | None = None,
        scope: Scope = Scope.ADMIN,
        foreign_keys: bool | None = None,
        cancel: Cancel | None = None,
    ) -> list[QueryResult]:
        """Run steps as one program; `counts_only`: the caller is answered the rows affected. Raises as `Database.run`.

        `foreign_keys` None is this database object's mode, which a PRAGMA among the steps changes.
        """
        self.check_allowed()
        program = Program(
            steps,
            self._environment.now_ms(),
            self.foreign_keys if foreign_keys is None else foreign_keys,
            hash_key(key) if key else None,
            timeout_ms=timeout_ms,
            scope=scope,
        )
        receipt = Receipt() if meta else current_receipt()
        began_at = self._environment.monotonic()
        pending = Pending(program, receipt=receipt, cancel=cancel)
        if self._deferred and self._is_deferred() and not program.stands_alone:
            with writing_receipt(receipt):
                results = self._deferred.submit(program, counts_only=counts_only)
            self._freshness.expire()  # the same root, and more above it
        else:
            if self._deferred:
                with writing_receipt(receipt):
                    self.push_pending(may_skip=not self._is_deferred())
            self._writer.queue.finish(pending)
            results = pending.results()
        if foreign_keys is None and pending.foreign_keys != program.foreign_keys:
            self._foreign_keys = pending.foreign_keys
        elapsed_s = self._environment.monotonic() - began_at
        self.after_commit()
        results = results or [QueryResult([], [], self._branch.latest().root)]
        return [one.with_receipt(receipt, elapsed_s) for one in results] if meta and receipt else results

    def enqueue(
        self,
        program: Program,
        on_done: Callable[[Pending], None],
        *,
        grew: Callable[[int], None] | None = None,
        receipt: Receipt | None = None,
    ) -> Callable[[], None] | None:
        """Put a program in line without waiting; what has to be called, in a thread, to lead, or None if another thread does.

        `on_done` is called once, by whichever thread leads, when it is done. With `durability=deferred` there is no line:
        what is returned runs this one program.
        """
        self.check_allowed()
        pending = Pending(program, receipt=receipt or current_receipt(), on_done=on_done, grew=grew)
        if self._deferred and self._is_deferred() and not program.keeps_going:  # the journal keeps no errors of steps
            return partial(self._run_deferred, pending)
        return self._lead_queue if self._writer.queue.enqueue(pending) else None

    def _lead_queue(self) -> None:
        try:
            self.push_pending(may_skip=not self._is_deferred())
        except VirkeError as error:
            self._writer.queue.refuse(error)
            return
        self._writer.queue.lead()
        self.after_commit()

    def _run_deferred(self, pending: Pending) -> None:
        assert self._deferred is not None, "it is deferred"
        try:
            if pending.program.stands_alone:
                self.push_pending()
                self._writer.queue.finish(pending)
                return
            pending.answers = list(self._deferred.submit(pending.program))
            self._freshness.expire()
        except VirkeError as error:
            pending.error = error
        self.after_commit()
        pending.done = True
        pending.tell()

    def check_allowed(self) -> None:
        """Raise unless this connection may write at this moment, from this thread."""
        if self.is_closed:
            raise Invalid(f"database {self._branch.name!r} {self.why_closed}")
        if self._read_only:
            raise ReadOnly("this connection is read-only; nothing was changed")
        check_no_open_transaction(self._writer)

    def transaction(
        self,
        *,
        key: str | None,
        read_only: bool,
        immediate: bool,
        foreign_keys: bool | None,
        scope: Scope = Scope.ADMIN,
        bookmark: str | None = None,
        wait_s: float | None = None,
    ) -> Transaction:
        """Begin an interactive transaction on the newest state, or, to read, on the state that reads see.

        With `wait_s` an immediate one that is not first in line after that time is `Busy`, and never goes on without a place.
        """
        if self.is_closed:
            raise Invalid(f"database {self._branch.name!r} {self.why_closed}")
        mode = self.foreign_keys if foreign_keys is None else foreign_keys
        if read_only or self._read_only or scope < Scope.WRITE:
            if key or immediate:
                raise Invalid("a transaction that only reads takes no idempotency_key, and is never immediate")
            shown = self._freshness.current(bookmark=bookmark)
            base = RootAt(shown.root, NOT_TOLD)
            return self._begun_transaction(
                base, view=shown.view, done=self._keep_connection, foreign_keys=mode, scope=scope
            )
        places = [self._begin_line.enter(BEGIN_WAIT_S if wait_s is None else min(wait_s, BEGIN_WAIT_S))]
        try:
            self.push_pending()
            if immediate:
                longest_s = self._branch.latest().root.settings.query_timeout_ms / 1000
                places.append(self._writer.line.enter(longest_s if wait_s is None else wait_s))
                if wait_s is not None and not places[-1].is_first:
                    raise Busy("another transaction is writing, and it did not end in time; nothing was changed")
            base, hashed = self._branch.refresh(), hash_key(key) if key else None
            lost_s = self._writer.committing.turns.lost_s if immediate else None
            claimant = self._writer.committing.claim(losses=0 if lost_s is None else LOSSES, work_s=lost_s or 0.0)
            if immediate:
                base = claimant.ready()
        except BaseException:
            for place in reversed(places):
                place.leave()
            raise
        try:
            return self._begun_transaction(
                base,
                done=self._give_back,
                key=hashed,
                foreign_keys=mode,
                places=places,
                is_in_line=immediate,
                claimant=claimant,
                scope=scope,
            )
        except BaseException:
            claimant.release()
            for place in reversed(places):
                place.leave()
            raise

    def _begun_transaction(
        self,
        base: RootAt,
        *,
        done: Callable[[Connection], None],
        foreign_keys: bool,
        view: Pages | None = None,
        key: bytes | None = None,
        places: Sequence[Place] = (),
        claimant: Claimant | None = None,
        is_in_line: bool = False,
        scope: Scope,
    ) -> Transaction:
        """A transaction on an idle connection, which stays idle if it can't begin."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            connection.unpin()
            return Transaction(
                self._writer,
                connection,
                base=base,
                view=view,
                done=done,
                key=key,
                foreign_keys=foreign_keys,
                places=places,
                claimant=claimant,
                is_in_line=is_in_line,
                scope=scope,
            )
        except BaseException:
            connection.reads_only, connection.guard.on_look, connection.guard.scope = False, None, Scope.ADMIN
            self._keep_connection(connection)
            raise

    def run_transaction(self, fn: Callable[[Transaction], T], *, key: str | None) -> T:
        """Run `fn` in a transaction, again after each lost race; see `Database.run_transaction`."""
        attempts = self._branch.latest().root.settings.max_attempts
        for attempt in range(attempts):
            try:
                with self.transaction(
                    key=key, read_only=False, immediate=attempt > 0, foreign_keys=None
                ) as transaction:
                    return fn(transaction)
            except Conflict:
                if attempt == attempts - 1:
                    raise
                self._environment.pause(attempt)
        raise AssertionError("the last attempt returns or raises")

    def _keep_connection(self, connection: Connection) -> None:
        if len(self._idle) < TRANSACTION_CONNECTIONS_KEPT and not self.is_closed:
            self._idle.append(connection)
        else:
            connection.close()

    def _give_back(self, connection: Connection) -> None:
        self._keep_connection(connection)
        if not self.is_closed:
            self.after_commit()

    def _is_deferred(self) -> bool:
        return self._branch.latest().root.settings.durability == "deferred"

    def push_pending(self, *, may_skip: bool = False) -> None:
        """Bring what is pending in the journal into history first (rule 1); see `Deferred.push_before`."""
        if self._deferred and not self._read_only:
            self._deferred.push_before(may_skip=may_skip)

    def flush(self) -> Flushed:
        """Push all pending writes; see `Database.flush`."""
        if self._deferred is None:
            return Flushed(0, 0, self._branch.latest().root.head.version)
        if self._read_only:
            if self._deferred.journal.pending_count():
                raise Denied("this connection is read-only: the pending writes stay pending")
            return Flushed(0, 0, self._branch.latest().root.head.version)
        return self._deferred.flush()

    def close(self) -> None:
        """Release the connections."""
        self.is_closed = True
        self._writer.close()
        if self._deferred:
            self._deferred.close()
        self._close_transactions()

    def close_idle(self) -> None:
        """Close the connections that no call uses at this moment."""
        self._writer.close_idle()
        self._close_transactions()

    def shrink_idle(self) -> None:
        """Page caches of connections that write are small."""

    def _close_transactions(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

"""Group commit and re-execution: programs in, one swap of the root, answers out.

Knows programs, one writing connection and `committing`; knows no threads but its callers'.

1. The leader takes along everything that waits, and what arrives while it runs the programs of several: what arrives
   while a swap is in flight is the next commit.
2. Before that it waits a little (`company`): for those that it just answered to come back (`commit_window_ms`), for
   other nodes (`fairness`), for reads of this process (`undisturbed`).
3. Each program runs in its own savepoint: its error is its own, the others commit. Programs with other modes, and
   those that stand alone, are other commits.
4. No program is answered before the swap that holds its write is proved (P1), or before the state that its error or
   empty result was computed on is proved to be the newest.
5. A lost race runs every program again on the new root, with the same instant for the clock; after `max_attempts`
   each gets `Conflict`. A race lost to a root with the same pages (a turn, a fence, settings) only plans them again.
   A group that keeps losing takes a turn (`taking_turns`, P15).
6. A program that outgrows memory is run again in room, where the place has any (`in_room`): that is not an attempt. If
   others committed meanwhile it would have lost, and counts so for its turn: what is that large loses again without one.
7. A program whose idempotency key was seen is answered from the table of keyed requests and not run (P2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final

from virke.core.change import may_go_on
from virke.core.commit import Committed, Conflicted, TooSoon
from virke.core.root import JournalMark, RootAt, has_same_pages
from virke.engine.committing import ATTEMPTS, Committing, error_of, won_or_lost
from virke.engine.company import GROUP_MAX, Company
from virke.engine.connection import Connection
from virke.engine.executing import execute_program
from virke.engine.groups import GroupFailed, fit_together, is_pushed, last_marks
from virke.engine.line import Line
from virke.engine.queue import Pending, Queue, tell_all
from virke.engine.results import QueryResult
from virke.engine.room import NeedsRoom
from virke.engine.snapshot import SnapshotGone
from virke.engine.storing import change_of, commit_change
from virke.engine.streaming import Written
from virke.engine.taking_turns import Claimant
from virke.engine.units import Unit, begin_write, commit_write
from virke.engine.vfs import Dirty
from virke.engine.volume import Volume
from virke.engine.writer_connections import Connect, WriterConnections
from virke.errors import Conflict, OutcomeUnknown, SqlError, TimedOut, TooLarge, Unavailable, VirkeError
from virke.stores.receipt import Receipt, writing_receipt

_REQUEST: Final = Unit("request")


class Writer:
    """The one writing connection of a branch in this process, and the queue before it."""

    def __init__(
        self,
        volume: Volume,
        committing: Committing,
        line: Line,
        *,
        connect: Connect,
        connect_in_room: Connect | None = None,
    ) -> None:
        self.volume = volume
        self.committing = committing
        self.line = line
        self.connections = WriterConnections(volume, committing, connect, connect_in_room)
        self.queue = Queue(self._commit_waiting)
        self.company = Company(volume, committing, self.queue)
        self.conflicts, self.groups = 0, Counter[int]()  # attempts that lost; commits, by how many programs each had
        self.before_telling: Callable[[], None] = lambda: None
        """Called before those who gave `on_done` are told; set by what puts the database together."""

    def _commit_waiting(self) -> None:
        """See to the programs at the head of the line. They are taken when the commit begins: what waits rides along."""
        settings, environment = self.volume.branch.latest().root.settings, self.volume.environment
        if environment.allowance is None:  # else one request runs at a time, and no company comes
            self.company.wait(settings.commit_window_ms)
        timeout_s = environment.wait_s(settings.query_timeout_ms / 1000)
        with ExitStack() as answering, self.line.enter(timeout_s):
            self._commit_in_slot(environment.monotonic() + timeout_s, answering)

    def _commit_in_slot(self, until_s: float, answering: ExitStack) -> None:
        """Commit what waits once the store's pace allows it; it is taken then, not before."""
        pacing = self.committing.pacing
        while True:
            is_time = pacing.await_slot(until_s)
            with self.committing.lead:
                if is_time and not pacing.has_slot():  # upkeep came first
                    continue
                answering.enter_context(self.volume.driver.undisturbed.computing())  # until all are answered
                group = self.queue.take(GROUP_MAX, fit_together)
                began_at = self.volume.environment.monotonic()
                try:
                    self._commit_group(group)
                finally:
                    self.company.committed(len(group), self.volume.environment.monotonic() - began_at)
                    self.queue.end(group)
                    answering.callback(tell_all, group, self.before_telling)
                return

    def _commit_group(self, group: list[Pending]) -> None:
        together = Receipt()
        try:
            with writing_receipt(together):
                self.commit(group, takes_along=True)
        except VirkeError as error:
            for pending in group:
                if not pending.done:
                    pending.error, pending.answers = error, None
        except BaseException:
            for pending in group:
                if not pending.done:
                    pending.error = pending.error or OutcomeUnknown("the commit was interrupted; ask the data")
            raise
        finally:
            for pending in group:
                if pending.receipt:
                    pending.receipt.take(together, len(group))

    def commit(
        self,
        group: list[Pending],
        before_swap: Callable[[list[Pending]], None] | None = None,
        *,
        takes_along: bool = False,
    ) -> None:
        """Answer every program (the caller leads). Raises what concerns all of them alike.

        `before_swap` learns what became of each in this attempt, before it can get into history. With `takes_along`
        what waits in the queue joins the group when it has to wait for the store's pace, and while it is run.
        """
        claimant = self.committing.claim(leads=True)
        try:
            self._commit_as(claimant, group, before_swap, takes_along=takes_along)
        finally:
            self.connections.leave_room()
            claimant.release()

    def _commit_as(
        self,
        claimant: Claimant,
        group: list[Pending],
        before_swap: Callable[[list[Pending]], None] | None,
        *,
        takes_along: bool,
    ) -> None:
        attempts, attempt = self.volume.branch.latest().root.settings.max_attempts, 0
        until_s = self.committing.gives_up_at()
        refused: TooSoon | None = None
        while attempt < attempts:
            try:
                match self._try_group(claimant, group, before_swap, takes_along=takes_along):
                    case Committed():
                        self.groups[len(group)] += 1
                        return
                    case TooSoon() as verdict:  # not an attempt
                        refused = verdict
                        if not self.committing.pacing.await_slot(until_s):
                            raise error_of(verdict)
                        if takes_along:
                            group += self.queue.take(GROUP_MAX - len(group), fit_together, group[0].program)
                        continue
                    case Conflicted():
                        self.conflicts += 1
            except SnapshotGone:
                self.volume.branch.refresh()
            except NeedsRoom:
                self.connections.enter_room()
                continue
            except GroupFailed:
                self._commit_each(group, before_swap)
                return
            except TimedOut as error:
                if refused is None:
                    raise
                raise error_of(refused) from error  # the store's refusals took its time: it may be sent again
            attempt += 1
        raise Conflict(
            f"gave up after {attempts} attempts because other writers kept committing first; nothing was changed, "
            "run it again (run_transaction does that)"
        )

    def _commit_each(self, group: list[Pending], before_swap: Callable[[list[Pending]], None] | None) -> None:
        """One commit for each program, in order; the first that can't be brought into history stops all later ones."""
        for number, pending in enumerate(group):
            try:
                self.commit([pending], before_swap)
                pending.done = True
            except VirkeError as error:
                pending.error, pending.answers = error, None
                for later in group[number + 1 :]:
                    why = f"not applied, because an earlier write in the queue failed: {error.message}"
                    later.error, later.answers = Unavailable(why), None
                return

    def _try_group(
        self,
        claimant: Claimant,
        group: list[Pending],
        before_swap: Callable[[list[Pending]], None] | None,
        *,
        takes_along: bool,
    ) -> Committed | Conflicted | TooSoon:
        """One attempt on the newest root known."""
        first = group[0].program
        if any(not fit_together(first, pending.program) for pending in group[1:]):
            raise GroupFailed
        base = claimant.ready()
        connection = self.connections.on(base, foreign_keys=first.foreign_keys)
        for pending in group:
            pending.answers, pending.error = None, None
        began_s = self.volume.environment.monotonic()
        connection.guard.on_look = claimant.renew_if_due if claimant.has_turn else None
        try:
            if first.stands_alone:
                dirty = self._run_alone(connection, base, group)
            else:
                dirty = self._run_all(connection, base, group, takes_along=takes_along)
        except NeedsRoom:
            if self._is_behind(base):
                claimant.lost()
            raise
        finally:
            connection.guard.on_look = None
        claimant.work_s = max(claimant.work_s, self.volume.environment.monotonic() - began_s)
        if before_swap:
            before_swap(group)
        verdict = self._settle(connection, base, dirty, group, claimant=claimant)
        claimant.work_s = self.volume.environment.monotonic() - began_s  # with what storing took
        if isinstance(verdict, Committed) and first.stands_alone and not group[0].error:
            group[0].foreign_keys = bool(connection.raw.pragma("foreign_keys"))
        return verdict

    def _is_behind(self, base: RootAt) -> bool:
        """Whether others are known to have changed pages since `base`."""
        with suppress(Unavailable):  # the next attempt meets that, too
            self.volume.branch.refresh()
        return not has_same_pages(self.volume.branch.latest().root, base.root)

    def _settle(
        self,
        connection: Connection,
        base: RootAt,
        dirty: Dirty | Written | None,
        group: list[Pending],
        *,
        claimant: Claimant,
    ) -> Committed | Conflicted | TooSoon:
        """Bring what was run into history, or prove that nothing had to be."""
        if dirty is None:
            if all(isinstance(pending.error, Unavailable) for pending in group):
                return Committed(base.root, base)  # that the store fails is true of every state: it is not asked again
            proved = self.committing.prove_newest(base)
            if isinstance(proved, Conflicted):
                claimant.lost()
            return proved
        verdict = self._swap(base, dirty, claimant, last_marks(group))
        if not isinstance(verdict, Committed):
            return verdict
        if isinstance(dirty, Dirty):
            with suppress(VirkeError):  # it is history: what can't be read now is read when it is needed
                connection.file.accept(self.volume.snapshot_of(verdict.root))
        for pending in group:
            for answer in pending.answers or ():
                if isinstance(answer, QueryResult):
                    answer.with_root(verdict.root)
        return verdict

    def _swap(
        self, base: RootAt, dirty: Dirty | Written, claimant: Claimant, marks: tuple[JournalMark, ...]
    ) -> Committed | Conflicted | TooSoon:
        """Commit pages that were computed on `base`; again, without running anything, while no page was changed since."""
        if isinstance(dirty, Written):
            send = partial(self.connections.commit, written=dirty, claimant=claimant, marks=marks)
        else:
            changed = change_of(dirty, self.volume, marks, rest_ms=claimant.rest_ms)
            planned = partial(commit_change, self.volume, self.committing, change=changed, claimant=claimant)
            send = partial(planned, in_row=True, may_be_too_soon=True)
        now, has_tried = claimant.ready(), False  # a turn of ours may have been renewed, or have expired
        for _ in range(ATTEMPTS):
            if now.root.head != base.root.head and not may_go_on(base.root, now.root):
                if not has_tried:
                    claimant.lost()
                return Conflicted(now)
            verdict = send(base=now)
            if isinstance(verdict, TooSoon) or isinstance(won_or_lost(verdict), Committed):
                assert isinstance(verdict, Committed | TooSoon)
                return verdict
            claimant.lost()
            now, has_tried = claimant.ready(), True
        return Conflicted(now)

    def _run_all(
        self, connection: Connection, base: RootAt, group: list[Pending], *, takes_along: bool
    ) -> Dirty | Written | None:
        is_alone = len(group) == 1  # it has no savepoint, so nobody may join it
        begin_write(connection)
        try:
            for pending in self.company.and_joining(group) if takes_along and not is_alone else group:
                self._run_program(connection, base, pending, is_alone=is_alone)
            self._end_in_sqlite(connection, group)
        except BaseException:
            connection.unpin()
            raise
        return self.connections.changed(connection, base)

    def _run_program(self, connection: Connection, base: RootAt, pending: Pending, *, is_alone: bool) -> None:
        """Run one program, in its savepoint if others are in the transaction; with an error it leaves nothing."""
        if is_pushed(pending, base):
            pending.answers = []
            return
        unit = None if is_alone and not pending.program.has_transactions else _REQUEST  # None: undone with all of it
        if unit:
            unit.begin(connection)
        connection.start_request()
        try:
            pending.answers = execute_program(connection, pending, base, self.volume)
            if unit:
                unit.keep(connection)
        except SnapshotGone:
            raise
        except VirkeError as error:
            if is_alone and isinstance(error, NeedsRoom):
                raise
            pending.error, pending.answers = error, None
            if not is_alone and isinstance(error, TooLarge):  # perhaps together only
                raise GroupFailed from error
            if connection.raw.in_transaction:
                if unit:
                    unit.undo(connection)
            elif not is_alone:  # SQLite rolled back all programs' work (INSERT OR ROLLBACK, an interrupt): each alone
                raise GroupFailed from error
            else:
                connection.control("BEGIN IMMEDIATE")
        finally:
            connection.end_request()

    def _end_in_sqlite(self, connection: Connection, group: list[Pending]) -> None:
        """COMMIT in SQLite; a deferred constraint speaks up here, and only one program can be the one it means."""
        if all(pending.error for pending in group):  # an empty COMMIT would give an empty database its first page
            connection.move(connection.file.snapshot)
            return
        try:
            commit_write(connection)
        except (SqlError, TooLarge) as error:
            if len(group) > 1:
                raise GroupFailed from error
            if isinstance(error, NeedsRoom):
                raise
            group[0].error, group[0].answers = error, None
            connection.move(connection.file.snapshot)

    def _run_alone(self, connection: Connection, base: RootAt, group: list[Pending]) -> Dirty | Written | None:
        """VACUUM and PRAGMA, which refuse a transaction or ignore one; what follows them in a script is one."""
        pending = group[0]
        self.connections.forget_foreign_keys()  # it may set them
        if is_pushed(pending, base):
            pending.answers = []
            return None
        connection.start_request()
        try:
            pending.answers = execute_program(connection, pending, base, self.volume)
            if connection.raw.in_transaction:
                connection.control("COMMIT")
        except (SnapshotGone, NeedsRoom):
            raise
        except VirkeError as error:
            pending.error, pending.answers = error, None
            connection.move(connection.file.snapshot)
            return None
        finally:
            connection.end_request()
        return self.connections.changed(connection, base)

    def close_idle(self) -> None:
        """Close the writing connection, unless a commit uses it at this moment; the next commit opens another."""
        if self.committing.lead.acquire(blocking=False):
            try:
                self.connections.close_usual()
            finally:
                self.committing.lead.release()

    def close(self) -> None:
        """Close the writing connection; what still waits in line is refused."""
        with self.committing.lead:
            self.connections.close()

"""Deferred durability: answered when the node's journal has it, pushed to the store later.

Knows the journal as a protocol, the writer and one connection that runs ahead of the root; knows no files.

1. A write is answered only after the journal has it durably; the journal forgets it only when history has it, or when
   it was rejected and is kept as such. It is never dropped.
2. Pushing runs the journalled statements again, in order, with the instant of their request, on the newest root.
   The root's mark says how far a journal was pushed, so that a push that was killed is never applied twice.
3. What became of each write is in the journal before the swap that may make it so.
4. Reads on this node see the pending writes on top of the newest root it knows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from virke.core.change import ANSWERS_KEPT
from virke.core.root import JournalMark, Root
from virke.engine.committing import Committing
from virke.engine.connection import Connection
from virke.engine.programs import Program
from virke.engine.queue import Pending
from virke.engine.results import Flushed, QueryResult, RejectedWrite
from virke.engine.vfs import Pages
from virke.engine.volume import SnapshotGone, Volume
from virke.engine.writer import Writer, execute
from virke.errors import Conflict, VirkeError

PUSH_MAX: Final = ANSWERS_KEPT
"""Writes of one commit: the root keeps no more answers."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One journalled write, in the order of `sequence`, and the database (by id) that it was meant for."""

    sequence: int
    program: Program
    database_id: bytes


class Journal(Protocol):
    """A durable list of writes that the store does not have yet. One per database and node."""

    @property
    def journal_id(self) -> bytes:
        """16 bytes that name this journal for ever."""

    def newest(self) -> int:
        """The last sequence number that was given away; 0 if none was."""

    def append(self, program: Program, database_id: bytes) -> int:
        """Keep a program durably; returns its sequence number."""

    def pending(self) -> list[Entry]:
        """All that is not pushed or rejected, ascending."""

    def pending_count(self) -> int:
        """How many `pending` would return."""

    def note(self, outcomes: Sequence[tuple[int, str | None]]) -> None:
        """Before a swap: what each write's fate will be if it succeeds (None: applied, else why rejected)."""

    def settle(self, up_to: int) -> tuple[int, int]:
        """After the swap: carry out the notes up to a sequence number; returns how many were applied and rejected."""

    def reject(self, sequences: Sequence[int], reason: str) -> None:
        """Set these writes aside."""

    def rejected(self) -> list[RejectedWrite]:
        """All rejected writes that are kept."""

    def appending(self) -> AbstractContextManager[None]:
        """Held by whoever appends, across processes: `newest` stays as it is."""

    def pushing(self) -> AbstractContextManager[None]:
        """Held by whoever pushes, across processes."""

    def close(self) -> None:
        """Release files."""


class Deferred:
    """The pending writes of one database in this process."""

    def __init__(
        self,
        volume: Volume,
        committing: Committing,
        writer: Writer,
        *,
        journal: Journal,
        connect: Callable[[], Connection],
    ) -> None:
        self._volume = volume
        self._committing = committing
        self._writer = writer
        self.journal = journal
        self._connect = connect
        self._lock = threading.RLock()
        self._ahead: Connection | None = None
        self._layer: Pages | None = None
        self._below: Root | None = None
        self._newest = 0
        """The last entry of the journal that the layer knows of: other processes append too."""
        self._own: set[int] = set()
        """What this process appended, until it is known what became of it."""

    def submit(self, program: Program) -> list[QueryResult]:
        """Run a program ahead of the root, journal it, answer. Raises what SQLite says; then nothing is journalled."""
        with self._lock:
            try:
                return self._submit(program)
            except SnapshotGone:  # the root has moved on: once more, above the newest one
                self._layer = None
                return self._submit(program)

    def _submit(self, program: Program) -> list[QueryResult]:
        self._ready()  # what has to be fetched is fetched before others have to wait
        with self.journal.appending():
            ahead = self._ready()
            before, self._layer = self._layer, None  # if it is not kept, `ahead` has to forget it
            try:
                results = self._run(ahead, Pending(program))
            except VirkeError:
                self._layer = before  # it left nothing
                raise
            layer = ahead.file.layer()
            self._newest = self.journal.append(program, self._volume.branch.latest().root.database_id)
            self._own.add(self._newest)
            self._layer = layer
            return results

    def view(self, root: Root) -> Pages | None:
        """What reads of `root` should see: the pending writes over it; None if nothing is pending."""
        with self._lock:
            if root is not self._below:
                self._layer = None
            if self._layer is not None or self._pending():
                self._ready()
            return self._layer

    def _ready(self) -> Connection:
        """The connection ahead, with every pending write run on a root: the newest known, or the one that it ran on."""
        if self._ahead is None:
            self._ahead = self._connect()
            self._ahead.guard.allow_transactions = False
        newest, entries = self.journal.newest(), list[Entry]()
        if self._layer is None:
            entries = self._pending()
            self._below = root = (
                self._volume.branch.latest().root
            )  # after the entries: what was pushed meanwhile is in it
            self._ahead.move(self._volume.snapshot_of(root))
            self._ahead.lengths.allow(root.settings.max_result_mb << 20)
            self._catch_up(self._ahead, root, entries)
        elif newest != self._newest and self._below:  # another process appended
            entries = [one for one in self._pending() if one.sequence > self._newest]
            self._catch_up(self._ahead, self._below, entries)
        self._newest = max([newest, *(entry.sequence for entry in entries)])
        return self._ahead

    def _catch_up(self, ahead: Connection, root: Root, entries: list[Entry]) -> None:
        self._layer = None
        pushed = root.pushed(self.journal.journal_id) if entries else 0
        for entry in entries:
            if entry.sequence <= pushed or entry.database_id != root.database_id:
                continue  # it is there already, or belongs to another one
            try:
                self._run(ahead, self._marked(entry))  # a mark: it takes what time it takes
            except VirkeError as error:
                if isinstance(error, SnapshotGone) or error.is_stores:
                    raise
                continue  # it will be rejected when it is pushed, and shown by status
        self._layer = ahead.file.layer()

    def _pending(self) -> list[Entry]:
        """All that is pending. What another process pushed of this one's is in the newest root known from here on."""
        entries = self.journal.pending()
        if gone := self._own - {entry.sequence for entry in entries}:
            if self._volume.branch.latest().root.pushed(self.journal.journal_id) < max(gone):
                self._see_newest()
            self._own -= gone
        return entries

    def _see_newest(self) -> None:
        if not self._volume.branch.is_linearizable:  # a plain read may be behind
            self._committing.confirm()
        else:
            self._volume.branch.refresh()

    def _run(self, ahead: Connection, pending: Pending) -> list[QueryResult]:
        ahead.raw.pragma("foreign_keys", pending.program.foreign_keys)
        ahead.control("BEGIN IMMEDIATE")
        ahead.start_request()
        try:
            answers = execute(ahead, pending, self._volume.branch.latest(), self._volume)
            ahead.control("COMMIT")
        except BaseException:
            ahead.unpin()
            raise
        finally:
            ahead.end_request()
        return [answer for answer in answers if isinstance(answer, QueryResult)]

    def push(self) -> Flushed:
        """Bring every pending write into history, or to the rejected ones.

        Raises:
            Unavailable, Conflict, OutcomeUnknown: nothing is lost, push again.
        """
        if not self.journal.pending_count():
            return Flushed(0, 0, self._volume.branch.refresh().root.head.version)
        with self.journal.pushing():
            applied, rejected = self._finish_killed_push()
            rejected += self._reject_foreign()
            waiting = self.journal.pending()
            for start in range(0, len(waiting), PUSH_MAX):
                entries = waiting[start : start + PUSH_MAX]
                done = self._push(entries, [self._marked(entry) for entry in entries])
                applied, rejected = applied + done[0], rejected + done[1]
            with self._lock:
                self._layer = None
        return Flushed(applied, rejected, self._volume.branch.latest().root.head.version)

    def _reject_foreign(self) -> int:
        """Set aside what was meant for a database that was deleted, when this one got its name."""
        mine = self._volume.branch.latest().root.database_id
        foreign = [entry.sequence for entry in self.journal.pending() if entry.database_id != mine]
        if foreign:
            self.journal.reject(foreign, "the database was deleted before this write was pushed")
        return len(foreign)

    def _push(self, entries: list[Entry], writes: list[Pending]) -> tuple[int, int]:
        sequences = {id(write): entry.sequence for entry, write in zip(entries, writes, strict=True)}
        noted: dict[int, str | None] = {}

        def before_swap(tried: list[Pending]) -> None:
            for write in tried:
                if write.error and write.error.is_stores:
                    raise write.error  # no fault of the write: it stays pending
            # No results and no error: history has it already, with the fate that was noted then.
            fates = [(write, write.error.message if write.error else None) for write in tried if write.answers != []]
            noted.update((sequences[id(write)], reason) for write, reason in fates)
            self.journal.note([(sequences[id(write)], reason) for write, reason in fates])

        with self._committing.lead:
            self._writer.commit(writes, before_swap)
        for write in writes:
            if (
                write.error and noted.get(sequences[id(write)]) != write.error.message
            ):  # not its own fault, but its swap's
                self._finish_killed_push()  # it and all later ones stay pending
                raise write.error
        return self.journal.settle(entries[-1].sequence)

    def _marked(self, entry: Entry) -> Pending:
        mark = JournalMark(self.journal.journal_id, entry.sequence, entry.program.time_ms)
        return Pending(entry.program, mark=mark)

    def _finish_killed_push(self) -> tuple[int, int]:
        """A push that was killed after its swap: its notes are true, carry them out."""
        root = self._volume.branch.refresh().root
        return self.journal.settle(root.pushed(self.journal.journal_id))

    def close(self) -> None:
        """Close the connection ahead and the journal."""
        with self._lock:
            if self._ahead is not None:
                self._ahead.close()
                self._ahead = None
        self.journal.close()


def push_all(deferred: Deferred, attempts: int = 3) -> Flushed:
    """Push, again after a lost race."""
    for _ in range(attempts - 1):
        try:
            return deferred.push()
        except Conflict:
            continue
    return deferred.push()

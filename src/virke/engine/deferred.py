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
from typing import Protocol

from virke.core.root import JournalMark, Root
from virke.engine.connection import Connection
from virke.engine.results import Flushed, QueryResult, RejectedWrite
from virke.engine.vfs import Pages
from virke.engine.volume import SnapshotGone, Volume
from virke.engine.writer import Write, Writer, execute
from virke.errors import Conflict, OutcomeUnknown, Unavailable, VirkeError


@dataclass(frozen=True, slots=True)
class Entry:
    """One journalled write, in the order of `sequence`."""

    sequence: int
    write: Write


class Journal(Protocol):
    """A durable list of writes that the store does not have yet. One per database and node."""

    @property
    def journal_id(self) -> bytes:
        """16 bytes that name this journal for ever."""

    def append(self, write: Write) -> int:
        """Keep `write` durably; returns its sequence number."""

    def pending(self) -> list[Entry]:
        """All that is not pushed or rejected, ascending."""

    def pending_count(self) -> int:
        """How many `pending` would return."""

    def note(self, outcomes: Sequence[tuple[int, str | None]]) -> None:
        """Before a swap: what each write's fate will be if it succeeds (None: applied, else why rejected)."""

    def settle(self, up_to: int) -> tuple[int, int]:
        """After the swap: carry out the notes up to a sequence number; returns how many were applied and rejected."""

    def rejected(self) -> list[RejectedWrite]:
        """All rejected writes that are kept."""

    def pushing(self) -> AbstractContextManager[None]:
        """Held by whoever pushes, across processes."""

    def close(self) -> None:
        """Release files."""


class Deferred:
    """The pending writes of one database in this process."""

    def __init__(self, volume: Volume, writer: Writer, journal: Journal, connect: Callable[[], Connection]) -> None:
        self._volume = volume
        self._writer = writer
        self.journal = journal
        self._connect = connect
        self._lock = threading.RLock()
        self._ahead: Connection | None = None
        self._layer: Pages | None = None
        self._below: Root | None = None

    def submit(self, write: Write) -> list[QueryResult]:
        """Run a write ahead of the root, journal it, answer. Raises what SQLite says; then nothing is journalled."""
        with self._lock:
            ahead = self._ready()
            results = self._run(ahead, write)
            try:
                self.journal.append(write)
            except BaseException:
                self._layer = None
                raise
            self._layer = ahead.file.layer()
            return results

    def view(self, root: Root) -> Pages | None:
        """What reads of `root` should see: the pending writes over it; None if nothing is pending."""
        with self._lock:
            if root is not self._below:
                self._layer = None
            if self._layer is None and self.journal.pending_count():
                self._layer = self._ready().file.layer()
            return self._layer

    def _ready(self) -> Connection:
        """The connection ahead, with every pending write run on the newest root known."""
        if self._ahead is None:
            self._ahead = self._connect()
            self._ahead.guard.allow_transactions = False
        if self._layer is None:
            self._below = self._volume.latest().root
            self._ahead.move(self._volume.snapshot_of(self._below))
            for entry in self.journal.pending():
                try:
                    self._run(self._ahead, entry.write)
                except SnapshotGone:
                    raise
                except VirkeError:
                    continue  # it will be rejected when it is pushed, and shown by status
        return self._ahead

    def _run(self, ahead: Connection, write: Write) -> list[QueryResult]:
        ahead.plain("BEGIN IMMEDIATE")
        try:
            results = execute(ahead, write, self._volume.latest(), self._volume)
            ahead.plain("COMMIT")
        except BaseException:
            ahead.unpin()
            raise
        return results

    def push(self) -> Flushed:
        """Bring every pending write into history, or to the rejected ones.

        Raises:
            Unavailable, Conflict, OutcomeUnknown: nothing is lost, push again.
        """
        with self.journal.pushing():
            applied, rejected = self._finish_killed_push()
            entries = self.journal.pending()
            if entries:
                writes = [self._marked(entry) for entry in entries]
                done = self._push(entries, writes)
                applied, rejected = applied + done[0], rejected + done[1]
            with self._lock:
                self._layer = None
        return Flushed(applied, rejected, self._volume.latest().root.head.version)

    def _push(self, entries: list[Entry], writes: list[Write]) -> tuple[int, int]:
        sequences = {id(write): entry.sequence for entry, write in zip(entries, writes, strict=True)}

        def before_swap(tried: list[Write]) -> None:
            self.journal.note([(sequences[id(write)], write.error.message if write.error else None) for write in tried])

        with self._writer.lead:
            self._writer.commit(writes, before_swap)
        for write in writes:
            if isinstance(write.error, Unavailable | Conflict | OutcomeUnknown):  # it and all later ones stay pending
                self._finish_killed_push()
                raise write.error
        return self.journal.settle(entries[-1].sequence)

    def _marked(self, entry: Entry) -> Write:
        write = entry.write
        write.mark = JournalMark(self.journal.journal_id, entry.sequence, write.time_ms)
        return write

    def _finish_killed_push(self) -> tuple[int, int]:
        """A push that was killed after its swap: its notes are true, carry them out."""
        root = self._volume.refresh().root
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

"""Deferred durability: answered when the node's journal has it, pushed to the store later.

Knows the journal as a protocol, the writer and one connection that runs ahead of the root; knows no files.

1. A write is answered only after the journal has it durably; the journal forgets it only when history has it, or when
   it was rejected and is kept as such. It is never dropped.
2. With each write the journal keeps what was answered, the pages that answer it, the randomness that it drew and the
   modes that it ran with (engine/entry.py): what is pushed is what was answered, or is rejected (engine/pushing.py).
3. Reads on this node see the pending writes on top of the newest root it knows.
4. A write is run on a state that is at most `max_staleness_ms` old. While the store can't be asked it is run on the
   newest state known, and held against history when it is pushed; an error is not reported from such a state.
5. A journal that is damaged, or can't be reached, blocks no read: reads see the root alone, and `status` says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from virke.core.root import Root
from virke.engine.answers import SEED_BYTES, FirstRun, kept_answers
from virke.engine.connection import Connection
from virke.engine.entry import (
    NO_ENTRY,
    Base,
    Contents,
    DamagedJournal,
    Entry,
    Flusher,
    Journal,
    UnreachableJournal,
    chain_length,
    merged_patch,
)
from virke.engine.executing import execute_program
from virke.engine.layers import Layer, Pages, Patch
from virke.engine.programs import Answer, Program
from virke.engine.pushing import Pushing, push_all, standing_of
from virke.engine.queue import Pending
from virke.engine.results import Flushed, QueryResult, RejectedWrite
from virke.engine.snapshot import SnapshotGone
from virke.engine.writer import Writer
from virke.errors import Unavailable, VirkeError

VIEW_TRIES: Final = 8


class Deferred:
    """The pending writes of one database in this process."""

    def __init__(
        self,
        writer: Writer,
        *,
        journal: Journal,
        connect: Callable[[], Connection],
        flusher: Flusher | None = None,
    ) -> None:
        self._volume = writer.volume
        self._committing = writer.committing
        self.journal = journal
        self._pushing = Pushing(writer, journal)
        self._connect = connect
        self._flusher = flusher
        self.after_push: Callable[[], None] = lambda: None
        """Called after each push; set by what puts the database together."""
        self._lock = threading.RLock()
        self._ahead: Connection | None = None
        self._layer: Layer | None = None
        self._below: Root | None = None
        self._state: Base | None = None
        """What the layer is; None once an entry in it was run again: it is then no state that pages may stand on."""
        self._newest = 0
        """The last entry of the journal that the layer knows of: other processes append too."""
        self._own: set[int] = set()
        """What this process appended, until it is known what became of it."""
        self._seen = (NO_ENTRY, 0)
        """A journal, and its last entry that left it and is known to be in the newest root known."""
        self._foreign_keys: bool | None = None
        """As the connection ahead has them."""
        self._asked_at = float("-inf")
        self._trouble: str | None = None

    # Writing

    def submit(self, program: Program, *, counts_only: bool = False) -> list[QueryResult]:
        """Run a program ahead of the root, journal it, answer; `counts_only`: its caller is answered the rows affected.

        Raises:
            VirkeError: what SQLite says; nothing is journalled. DamagedJournal, UnreachableJournal: neither.
            Unavailable: it failed, on a state that is older than promised, because the store does not answer.
        """
        unseen = self._look_if_stale()
        with self._lock:
            try:
                results = self._submit_above_newest(program, counts_only=counts_only)
            except VirkeError as error:
                if unseen is None or error.is_stores:
                    raise
                raise unseen from error
        if self._flusher:
            self._flusher.wake()
        return results

    def _submit_above_newest(self, program: Program, *, counts_only: bool) -> list[QueryResult]:
        for _ in range(VIEW_TRIES - 1):
            try:
                return self._submit_program(program, counts_only=counts_only)
            except SnapshotGone:  # the root, or the journal, has moved on
                self._layer = None
        return self._submit_program(program, counts_only=counts_only)

    def _look_if_stale(self) -> Unavailable | None:
        """Ask for the newest root if the known one is too old; the error if the store does not answer."""
        branch, now = self._volume.branch, self._volume.environment.monotonic()
        age_s = branch.latest().root.settings.max_staleness_ms / 1000
        if now < branch.checked_at + age_s:
            return None
        try:
            if now < self._asked_at + age_s:  # it did not answer a moment ago
                return Unavailable("the store did not answer; the state that is known may be too old for this write")
            self._asked_at = now
            branch.refresh()
        except Unavailable as error:
            return error
        return None

    def _submit_program(self, program: Program, *, counts_only: bool) -> list[QueryResult]:
        self._make_ready()  # what has to be fetched is fetched before others have to wait
        with self.journal.appending():
            ahead = self._make_ready()
            random_bytes = self._volume.environment.random_bytes
            first_run = FirstRun(random_bytes(SEED_BYTES))
            pending = Pending(program, first_run=first_run)
            answers = self._run_on_layer(ahead, pending)
            if ahead.file.is_dirty:  # else there is nothing that could be pushed
                self._journal_program(
                    ahead, program, replace(first_run, answers=kept_answers(answers), counts_only=counts_only)
                )
            return pending.results()

    def _journal_program(self, ahead: Connection, program: Program, first_run: FirstRun) -> None:
        """Journal what was run, and make it part of the layer."""
        entry_id = self._volume.environment.random_bytes(len(NO_ENTRY))
        patch, layer = ahead.file.patch(), self._layer
        self._layer = None  # if it is not kept, `ahead` has to forget it
        self._newest = self.journal.append(
            program,
            self._volume.branch.latest().root.database_id,
            first_run=first_run,
            entry_id=entry_id,
            base=self._state,
            patch=patch if self._state else None,
        )
        self._own.add(self._newest)
        self._layer = layer
        self._take_into_layer(ahead, patch, entry_id)

    def _run_on_layer(self, ahead: Connection, pending: Pending) -> list[Answer]:
        """Run a program on top of the layer; an error leaves nothing of it."""
        foreign_keys = pending.program.foreign_keys
        if self._foreign_keys != foreign_keys:
            ahead.raw.pragma("foreign_keys", foreign_keys)
            self._foreign_keys = foreign_keys
        ahead.control("BEGIN IMMEDIATE")
        ahead.start_request()
        try:
            pending.answers = answers = execute_program(ahead, pending, self._volume.branch.latest(), self._volume)
            ahead.control("COMMIT")
            return answers
        except BaseException:
            ahead.unpin()
            ahead.file.undo()
            raise
        finally:
            ahead.end_request()

    def _take_into_layer(self, ahead: Connection, patch: Patch, entry_id: bytes) -> None:
        """What was run becomes part of the layer."""
        assert self._layer is not None, "it was run on a layer"
        self._layer = Layer(self._layer, patch)
        ahead.file.accept(self._layer)
        self._state = self._state and Base(self._state.commit_id, entry_id)

    # Reading

    def view(self, root: Root) -> Pages | None:
        """What reads of `root` should see: the pending writes over it; None if nothing is pending."""
        with self._lock:
            if root is not self._below:
                self._layer = None
            try:
                if self._layer is not None or self._read_journal().pending:
                    self._make_ready()
                self._trouble = None
            except (DamagedJournal, UnreachableJournal) as error:
                self._layer, self._trouble = None, error.message
            return self._layer

    def report(self) -> tuple[int, tuple[RejectedWrite, ...], str | None]:
        """How many writes are pending, which were rejected, and what is wrong with the journal."""
        try:
            return self.journal.pending_count(), tuple(self.journal.rejected()), self._trouble
        except (DamagedJournal, UnreachableJournal) as error:
            return 0, (), error.message

    def _make_ready(self) -> Connection:
        """The connection ahead, with every pending write run on a root: the newest known, or the one that it ran on."""
        if self._ahead is None:
            self._ahead = self._connect()
        if self._layer is not None and self._below is self._volume.branch.latest().root:
            if self.journal.newest() == self._newest:
                return self._ahead
            contents, next_entry = self._read_journal(), self._newest + 1  # another process appended
            has_all = contents.ids.keys() >= set(range(next_entry, contents.newest + 1))
            if has_all and self._below is self._volume.branch.latest().root:
                self._catch_up(self._ahead, self._below, contents, above=self._newest)
                return self._ahead
        contents = self._read_journal()
        root = self._volume.branch.latest().root  # after the journal: what was pushed meanwhile is in it
        self._start_layer(self._ahead, root)
        self._catch_up(self._ahead, root, contents)
        return self._ahead

    def _start_layer(self, ahead: Connection, root: Root) -> None:
        """An empty layer over a root."""
        snapshot = self._volume.snapshot_of(root)
        head = snapshot.head
        self._layer = Layer(snapshot, Patch({}, head.page_size, head.page_count, head.page_count))
        self._below, self._state = root, self._pushing.base_of(root)
        ahead.move(self._layer)
        ahead.lengths.allow(root.settings.max_result_mb << 20)

    def _catch_up(self, ahead: Connection, root: Root, contents: Contents, *, above: int = 0) -> None:
        """Bring what is pending into the layer: by its pages as far as they stand on it, else by running it again."""
        layer, self._layer = self._layer, None
        assert layer is not None, "there is a layer to put it on"
        said = standing_of(root, contents)
        waiting = [
            one
            for one in contents.pending
            if one.sequence > above and said.is_open(one.sequence) and one.database_id == root.database_id
        ]
        count = chain_length(waiting, self._state)
        if self._state and (patch := merged_patch(self.journal.patches(waiting[:count]))):
            layer = Layer(layer, patch)
            ahead.move(layer)
            self._state = Base(self._state.commit_id, waiting[count - 1].entry_id)
        self._layer = layer
        for entry in waiting[count:]:
            self._run_again(ahead, entry)
        self._newest = contents.newest

    def _run_again(self, ahead: Connection, entry: Entry) -> None:
        self._state = None
        try:
            self._run_on_layer(ahead, self._pushing.pending_of(entry))  # a mark: it takes what time it takes
        except VirkeError as error:
            if isinstance(error, SnapshotGone) or error.is_stores:
                self._layer = None
                raise
            return  # it will be rejected when it is pushed, and shown by status
        self._take_into_layer(ahead, ahead.file.patch(), entry.entry_id)

    def _read_journal(self) -> Contents:
        """The journal. What another process pushed of it is in the newest root known from here on."""
        contents = self.journal.read()
        gone = self._own - {entry.sequence for entry in contents.pending}
        left = (contents.journal_id, max(contents.settled, *gone, 0))
        if left[0] != self._seen[0] or left[1] > self._seen[1]:
            if self._volume.branch.latest().root.pushed(contents.journal_id) < left[1]:
                self._see_newest()
            self._seen = left
        self._own -= gone
        return contents

    def _see_newest(self) -> None:
        if not self._volume.branch.is_linearizable:  # a plain read may be behind
            self._committing.confirm()
        else:
            self._volume.branch.refresh()

    # Pushing

    def start(self) -> None:
        """Begin to push in the background: what is pending already at once, and then in time."""
        if self._flusher is None:
            return
        self._flusher.start(
            self._flush_in_time, lambda: self._volume.branch.latest().root.settings.flush_interval_ms / 1000
        )
        if self.report()[0]:
            self._flusher.wake(at_once=True)

    def _flush_in_time(self) -> int:
        self.flush()
        return self.journal.pending_count()

    def flush(self) -> Flushed:
        """Push all pending writes. Raises `Unavailable`, `Conflict`, `OutcomeUnknown`: nothing is lost, push again."""
        flushed = self._push_pending()
        self.after_push()
        return flushed

    def push_before(self, *, may_skip: bool = False) -> None:
        """Push what is pending before something that has to come after it.

        With `may_skip`, a journal that can't be read is passed over, unless this process has written to it: then there
        is nothing that the caller was answered and that it could miss.
        """
        try:
            if self.journal.pending_count():
                self._push_pending()
        except (DamagedJournal, UnreachableJournal) as error:
            self._trouble = error.message
            if self._own or not may_skip:
                raise

    def _push_pending(self) -> Flushed:
        try:
            return push_all(self._pushing)
        finally:
            with self._lock:
                self._layer = None

    def stop(self) -> None:
        """Push nothing more in the background."""
        if self._flusher:
            self._flusher.stop()

    def close(self) -> None:
        """Close the connection ahead and the journal."""
        with self._lock:
            if self._ahead is not None:
                self._ahead.close()
                self._ahead = None
        self.journal.close()

"""Bringing a journal's pending writes into history: by their pages where nothing came between, else by running them again.

Knows the journal as a protocol, the writer, and how roots mark what was pushed; knows no files.

1. Before the swap that may make it so, the journal has what becomes of each write. The root's mark names the last entry
   pushed, so that a push that was killed is recognised: its notes are carried out, and nothing is applied twice.
2. Pages are committed only on the state that they stand on: history gets exactly what was answered. Anywhere else the
   statements are run again, with the instant and the random bytes of the first time, and what does not answer the same
   is rejected with its reason.
3. A mark that names another entry than this journal has at that number was left by a copy of it (a cloned machine, a
   restored folder). This one takes another name and goes on. What the copy may have pushed too is not run: it is
   rejected as unknown, or forgotten if the copy is known to have settled it.
4. A journal that the root no longer mentions, although marks were dropped after it noted a write: that write is rejected
   as unknown, not run again.
5. A write that the root calls pushed, though this push has not brought it there, stops the push: the mark is looked at
   again before anything else is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from itertools import takewhile
from typing import Final

from virke.core.change import plan_change
from virke.core.commit import Conflicted
from virke.core.ids import Version
from virke.core.root import JournalMark, Root, RootAt
from virke.engine.committing import won_or_lost
from virke.engine.connection import OVERLAY_BYTES_MAX
from virke.engine.entry import NO_ENTRY, Base, Contents, Entry, Journal, chain_length, merged_patch
from virke.engine.queue import Pending
from virke.engine.results import Flushed
from virke.engine.snapshot import SnapshotGone
from virke.engine.storing import change_of
from virke.engine.vfs import PagedFile
from virke.engine.writer import Writer
from virke.errors import Conflict, OutcomeUnknown, VirkeError
from virke.lazy_dataclasses import dataclass

PUSH_MAX: Final = 1024
"""Writes of one commit."""
MARK_MOVES_MAX: Final = 8
UNKNOWN: Final = (
    "it is not known whether this write is in history, because {why}; look at the data, and run it again if it is not"
)
_COPY: Final = "another copy of this journal was pushed"
_DROPPED: Final = "too many other journals were pushed since it was tried"
_RESTORED: Final = "it was pushed before the journal became what it is now"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a root says of a journal's entries.

    Those up to `applied` are in history, or rejected, as they were noted. Those up to `shared` are settled by another
    copy of the journal. What may or may not be in history is in `unknown`, and `why`. `is_copy`: the mark is not ours.
    """

    applied: int = 0
    shared: int = 0
    unknown: frozenset[int] = field(default_factory=frozenset)
    why: str = ""
    is_copy: bool = False

    def is_open(self, sequence: int) -> bool:
        """Whether this entry has to be run."""
        return sequence > max(self.applied, self.shared) and sequence not in self.unknown


def mark_of(root: Root, journal_id: bytes) -> JournalMark | None:
    """How far a root says that a journal was pushed."""
    return next((mark for mark in root.journals if mark.journal_id == journal_id), None)


def standing_of(root: Root, journal: Contents) -> Standing:
    """What `root` says of a journal's pending entries (rules 3 and 4)."""
    mark = mark_of(root, journal.journal_id)
    if mark is None:
        lost = frozenset(one.sequence for one in journal.pending if one.is_noted and root.marks_dropped > one.noted_at)
        return Standing(unknown=lost, why=_DROPPED)
    at = mark.sequence
    if at < journal.settled or (at == journal.settled and _same_entry(mark.entry_id, journal.settled_id)):
        return Standing()
    if at == journal.settled:
        return Standing(is_copy=True)
    found, shared = journal.ids.get(at), min(at, journal.copied_at)
    if found is None and mark.entry_id == NO_ENTRY and at <= journal.newest:
        found = NO_ENTRY  # of the first release
    if found is not None and _same_entry(found, mark.entry_id):
        restored = [one.sequence for one in journal.pending if shared < one.sequence <= at and not one.is_noted]
        return Standing(at, shared, unknown=frozenset(restored), why=_RESTORED)
    if shared:
        return Standing(shared=shared, is_copy=True)
    doubtful = frozenset(one.sequence for one in journal.pending if one.sequence < at)
    return Standing(unknown=doubtful, why=_COPY, is_copy=True)


def _same_entry(one: bytes, other: bytes) -> bool:
    return one == other or NO_ENTRY in (one, other)


class _MarkMoved(Exception):
    """The root has a mark of this journal that this push did not make (rule 5)."""


class Pushing:
    """Pushes one journal into one branch."""

    def __init__(self, writer: Writer, journal: Journal) -> None:
        self._volume = writer.volume
        self._committing = writer.committing
        self._writer = writer
        self._journal = journal
        self._contents = Contents()
        """The journal, as the push began with it."""
        self._pushed: tuple[bytes, Base] | None = None
        """The root that our last push by pages made, and the state that it holds."""

    def base_of(self, root: Root) -> Base:
        """The state that a root holds."""
        if self._pushed is not None and self._pushed[0] == root.head.commit_id:
            return self._pushed[1]
        return Base(root.head.commit_id)

    def push(self) -> Flushed:
        """Bring every pending write into history, or to the rejected ones.

        Raises:
            Unavailable, Conflict, OutcomeUnknown: nothing is lost, push again.
        """
        if not self._journal.pending_count():
            return Flushed(0, 0, self._volume.branch.refresh().root.head.version)
        with self._journal.pushing():
            applied, rejected = self._reconcile_entries()
            waiting, moves = list(self._contents.pending), 0
            while waiting:
                part = self._next_part(waiting)
                try:
                    done = self._push_part(part)
                    waiting = waiting[len(part) :]
                except _MarkMoved:
                    moves += 1
                    if moves > MARK_MOVES_MAX:
                        raise Conflict("another copy of this journal is pushed at the same time; try again") from None
                    done = self._reconcile_entries()
                    waiting = list(self._contents.pending)
                applied, rejected = applied + done[0], rejected + done[1]
        return Flushed(applied, rejected, self._volume.branch.latest().root.head.version)

    def _next_part(self, waiting: list[Entry]) -> list[Entry]:
        """What is pushed together: entries that a copy has too go first, under the name that both have."""
        copied_at = self._contents.copied_at
        if copied_at and waiting[0].sequence > copied_at:
            self._journal.rename()
            self._contents, copied_at = self._journal.read(), 0
        part = [one for one in waiting[:PUSH_MAX] if not copied_at or one.sequence <= copied_at]
        return list(takewhile(lambda one: one.program.foreign_keys == part[0].program.foreign_keys, part))

    # What the root says

    def _reconcile_entries(self) -> tuple[int, int]:
        """Do what the newest root says of the journal's entries; returns how many turned out applied and rejected."""
        root, journal = self._volume.branch.refresh().root, self._journal
        self._contents = contents = journal.read()
        said = standing_of(root, contents)
        settles = said.applied > contents.settled
        applied, rejected = journal.settle(said.applied) if settles else (0, 0)
        left = [one for one in contents.pending if not (one.is_noted and one.sequence <= said.applied)]
        shared = [one.sequence for one in left if one.sequence <= said.shared]
        foreign = [one.sequence for one in left if said.is_open(one.sequence) and one.database_id != root.database_id]
        if said.unknown:
            journal.reject(sorted(said.unknown), UNKNOWN.format(why=said.why))
        if shared:
            journal.drop(shared)
        if foreign:  # the database was deleted, and this one got its name
            journal.reject(foreign, "the database was deleted before this write was pushed")
        if said.is_copy:
            journal.rename()
        if settles or said.unknown or shared or foreign or said.is_copy:
            self._contents = journal.read()
        return applied + len(shared), rejected + len(said.unknown) + len(foreign)

    # One commit

    def _push_part(self, entries: list[Entry]) -> tuple[int, int]:
        last = entries[-1]
        mark = JournalMark(self._contents.journal_id, last.sequence, last.program.time_ms, last.entry_id)
        try:
            if not self._push_pages(entries, mark):
                self._push_statements(entries)
        except OutcomeUnknown:
            raise
        except VirkeError:
            self._forget_notes(entries)
            raise
        return self._journal.settle(last.sequence)

    def _forget_notes(self, entries: Sequence[Entry]) -> None:
        """A push ended with an error that proves that nothing was changed since its last swap."""
        mark = mark_of(self._volume.branch.latest().root, self._contents.journal_id)
        done = mark.sequence if mark is not None and mark.entry_id in {one.entry_id for one in entries} else 0
        self._journal.forget_notes([one.sequence for one in entries if one.sequence > done])

    def _push_pages(self, entries: list[Entry], mark: JournalMark) -> bool:
        """Commit the pages that were answered; False if they do not stand on the newest root, or it has moved since."""
        self._committing.claim(may_take=False).ready()
        with self._committing.lead:
            base = self._volume.branch.latest()
            state = self.base_of(base.root)
            if chain_length(entries, state) < len(entries):
                return False
            try:
                return self._commit_pages(base, entries, mark)
            except SnapshotGone:
                return False

    def _commit_pages(self, base: RootAt, entries: list[Entry], mark: JournalMark) -> bool:
        patch = merged_patch(self._journal.patches(entries))
        if patch is None:
            return False
        file = PagedFile(self._volume.snapshot_of(base.root), OVERLAY_BYTES_MAX)
        file.put(patch)
        dirty = file.change(Version(base.root.head.version + 1))
        if dirty is None:
            return False
        self._journal.note([(one.sequence, None) for one in entries], base.root.head.version)
        change = change_of(dirty, self._volume, (mark,))
        plan = plan_change(base.root, self._volume.environment.commit_id(), change)
        verdict = won_or_lost(self._committing.commit(base, plan, pages=change.pages, in_row=True))
        if isinstance(verdict, Conflicted):
            return False
        held = Base(self.base_of(base.root).commit_id, entries[-1].entry_id)
        self._pushed = (plan.root.head.commit_id, held)
        return True

    def _push_statements(self, entries: list[Entry]) -> None:
        group = [self.pending_of(entry) for entry in entries]
        sequences = {id(pending): entry.sequence for entry, pending in zip(entries, group, strict=True)}
        noted: dict[int, str | None] = {}

        def before_swap(tried: list[Pending]) -> None:
            for pending in tried:
                if pending.error and pending.error.is_stores:
                    raise pending.error  # no fault of the write: it stays pending
                if pending.answers == []:  # the root calls it pushed
                    raise _MarkMoved
            fates = [(sequences[id(one)], one.error.message if one.error else None) for one in tried]
            noted.update(fates)
            self._journal.note(fates, self._volume.branch.latest().root.head.version)

        with self._committing.lead:
            self._writer.commit(group, before_swap)
        for pending in group:
            if pending.error and noted.get(sequences[id(pending)]) != pending.error.message:
                self._reconcile_entries()  # the fault is not its own, but its swap's: it and all later ones stay pending
                raise pending.error

    def pending_of(self, entry: Entry) -> Pending:
        """An entry's program, as it is run again."""
        mark = JournalMark(self._contents.journal_id, entry.sequence, entry.program.time_ms, entry.entry_id)
        return Pending(entry.program, mark=mark, first_run=entry.first_run)


def push_all(pushing: Pushing, attempts: int = 3) -> Flushed:
    """Push, again after a lost race."""
    for _ in range(attempts - 1):
        try:
            return pushing.push()
        except Conflict:
            continue
    return pushing.push()

"""What a journal keeps of a deferred write: what was asked, what was answered, and the pages that answered it.

Pure values. Knows writes and pages; knows no file and no root but by its commit id.

1. Pages stand on a base: the commit of a root, and the last of the entries whose pages were put on it. They may be
   committed only where that base is what history has (`chain_length`); anywhere else the statements are run again. A
   state that holds an entry run again is not a base: two processes may have run it on different ones.
2. A write that is run again must answer what it answered before (engine/answers.py), or it counts as rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from typing import Final, Protocol

from virke.core.ids import ID_BYTES, PageNo
from virke.engine.answers import FirstRun
from virke.engine.layers import Patch
from virke.engine.programs import Program
from virke.engine.results import RejectedWrite
from virke.engine.snapshot import SnapshotGone
from virke.errors import Corrupt, Unavailable
from virke.lazy_dataclasses import dataclass

NO_ENTRY: Final = bytes(ID_BYTES)
"""In the place of an entry's id: the root itself, or an entry of the first release, which had no ids."""
PATCH_BYTES_MAX: Final = 1 << 20
"""A write that changed more is kept by its statements alone."""


class DamagedJournal(Corrupt):
    """The journal, or an entry of it, is not what was written: nothing of it is run until it is set aside."""


class UnreachableJournal(Unavailable):
    """The journal can't be read or written now; nothing was changed."""


class EntryGone(SnapshotGone):
    """Another process has settled the entry meanwhile: start over on the newest root."""


@dataclass(frozen=True, slots=True)
class Base:
    """A state: the root of that commit, with the pages of this journal's entries up to `previous` on it."""

    commit_id: bytes
    previous: bytes = NO_ENTRY


@dataclass(frozen=True, slots=True)
class Entry:
    """One journalled write, in the order of `sequence`, and the database (by id) that it was meant for.

    `first_run` is None for entries of the first release. `base` is None where no pages are kept. `noted_at` is the version of the root on which a push that may have
    succeeded was tried last; 0 if none was.
    """

    sequence: int
    program: Program
    database_id: bytes
    first_run: FirstRun | None = None
    entry_id: bytes = NO_ENTRY
    base: Base | None = None
    is_noted: bool = False
    noted_at: int = 0


@dataclass(frozen=True, slots=True)
class Contents:
    """A journal as of one moment: its pending entries, ascending, and what decides which of them history has.

    `newest` is the last sequence number that was given away, `ids` are those of pending and rejected entries by sequence
    number. `settled` is the last entry that was settled, `settled_id` its id (`NO_ENTRY` if that is not known). Entries
    up to `copied_at` are also another journal's, of which this one is a copy; 0 if it is none.
    """

    journal_id: bytes = NO_ENTRY
    newest: int = 0
    pending: tuple[Entry, ...] = ()
    ids: Mapping[int, bytes] = field(default_factory=dict)
    settled: int = 0
    settled_id: bytes = NO_ENTRY
    copied_at: int = 0


def chain_length(entries: Sequence[Entry], state: Base | None) -> int:
    """How many of the first entries can be applied to `state` by their pages; None is a state that none stands on."""
    for number, entry in enumerate(entries):
        if state is None or entry.base != state:
            return number
        state = Base(state.commit_id, entry.entry_id)
    return len(entries)


def merged_patch(patches: Iterable[Patch]) -> Patch | None:
    """Patches, each on top of the one before, as one; None if there are none."""
    whole: Patch | None = None
    pages: dict[PageNo, bytes] = {}
    for patch in patches:
        floor = patch.floor
        if whole is not None:
            if floor < whole.page_count:
                pages = {number: data for number, data in pages.items() if number <= floor}
            floor = min(floor, whole.floor)
        pages |= patch.pages
        whole = Patch(pages, patch.page_size, patch.page_count, floor)
    return whole


class Journal(Protocol):
    """A durable list of writes that the store does not have yet. One per database and node.

    Raises:
        DamagedJournal, UnreachableJournal: from every method.
    """

    def newest(self) -> int:
        """The last sequence number that was given away; 0 if none was."""

    def append(
        self,
        program: Program,
        database_id: bytes,
        *,
        first_run: FirstRun | None = None,
        entry_id: bytes | None = None,
        base: Base | None = None,
        patch: Patch | None = None,
    ) -> int:
        """Keep a program durably, what it answered, and the pages that it changed; returns its sequence number."""

    def read(self) -> Contents:
        """All that it has, as of one moment."""

    def patches(self, entries: Sequence[Entry]) -> Iterator[Patch]:
        """The pages of entries that have a base, one after another. Raises `EntryGone`."""

    def pending_count(self) -> int:
        """How many writes are neither pushed nor rejected."""

    def note(self, outcomes: Sequence[tuple[int, str | None]], version: int) -> None:
        """Before a swap of the root of `version`: each write's fate if it succeeds (None: applied, else why rejected)."""

    def forget_notes(self, sequences: Sequence[int]) -> None:
        """The swap did not happen, and never will."""

    def settle(self, up_to: int) -> tuple[int, int]:
        """After the swap: carry out the notes up to an entry; returns how many were applied and rejected."""

    def drop(self, sequences: Sequence[int]) -> None:
        """Forget entries that another copy of this journal has settled."""

    def reject(self, sequences: Sequence[int], reason: str) -> None:
        """Set these writes aside."""

    def rename(self) -> None:
        """Become another journal, of which no root says anything."""

    def rejected(self) -> list[RejectedWrite]:
        """All rejected writes that are kept."""

    def appending(self) -> AbstractContextManager[None]:
        """Held by whoever appends, across processes: `newest` stays as it is."""

    def pushing(self) -> AbstractContextManager[None]:
        """Held by whoever pushes, across processes."""

    def close(self) -> None:
        """Release files."""


class Flusher(Protocol):
    """What pushes in time, in the background."""

    def start(self, flush: Callable[[], int], interval_s: Callable[[], float]) -> None:
        """Push with `flush`, which says how many writes are still pending, every `interval_s()` seconds."""

    def wake(self, *, at_once: bool = False) -> None:
        """Something is pending: see to it, in time or now."""

    def stop(self) -> None:
        """Push nothing more."""

"""Committing pages that come as a stream: how imports, and programs that need room, become one commit in bounded memory.

Knows pages and their checksum, and hands them over to be stored (`storing`); knows the paged file that SQL wrote, and no SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import groupby
from typing import Final

from virke.core.change import Change, tier_for
from virke.core.commit import Conflicted, Verdict
from virke.core.ids import PageCount, PageNo, Version
from virke.core.page import header_page_size, lock_page, page_hash, stamped_page, with_later_schema
from virke.core.root import JournalMark, RootAt, has_same_pages
from virke.engine.committing import Committing, won_or_lost
from virke.engine.snapshot import Snapshot
from virke.engine.storing import Storing
from virke.engine.taking_turns import Claimant
from virke.engine.vfs import PagedFile
from virke.engine.volume import Volume
from virke.errors import Conflict

LOST: Final = "another commit came first; nothing was changed, run it again"


class Written:
    """What SQL wrote over a snapshot, as a stream of pages that can be asked for more than once."""

    def __init__(self, file: PagedFile) -> None:
        self._file = file
        self._patch = file.patch(copies=False)
        self.page_size = header_page_size(file.xRead(100, 0)) if self._patch.page_count else self._patch.page_size
        self.page_count = file.xFileSize() // self.page_size

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """Those that were written, and zeros for those that came into being and were not, ascending, without the lock page.

        All of them, if their size is another.
        """
        file, old, size, count = self._file, self._file.snapshot.head, self.page_size, self.page_count
        has_old = size == old.page_size == self._patch.page_size
        kept = min(self._patch.floor, old.page_count) if has_old else 0
        written = sorted(self._patch.pages) if has_old else []
        for number, _ in groupby(merge(written, range(kept + 1, count + 1))):
            if number <= count and number != lock_page(size):
                yield number, file.xRead(size, (number - 1) * size)


class PageStream:
    """One streamed commit on one base."""

    def __init__(
        self,
        volume: Volume,
        committing: Committing,
        base: RootAt,
        *,
        page_size: int,
        page_count: int,
        claimant: Claimant,
        marks: tuple[JournalMark, ...] = (),
    ) -> None:
        self._volume = volume
        self._marks = marks
        self._base = base
        self._page_size = page_size
        self._page_count = page_count
        self._claimant = claimant
        self._checksum = 0
        belongs = tier_for(base.root, page_size * page_count)
        tier = belongs if belongs in volume.branch.store.blobs else base.root.tier
        volume.driver.blobs(tier)  # or the error that says which store is missing
        self.storing = Storing(volume, committing, base, claimant, tier=tier)
        self._old = volume.snapshot_of(base.root)
        self._keeps_pages = page_size == self._old.page_size and self._old.page_count > 0

    def commit(self, pages: Iterable[tuple[int, bytes]], progress: Callable[[int], None] | None = None) -> int:
        """Store all pages, then swap; returns the new version.

        Raises:
            Conflict: another commit came first. Unavailable: the store failed. Either way nothing is changed.
        """
        verdict = won_or_lost(self.verdict(pages, progress))
        if isinstance(verdict, Conflicted):
            raise Conflict(LOST)
        return verdict.root.head.version

    def verdict(self, pages: Iterable[tuple[int, bytes]], progress: Callable[[int], None] | None = None) -> Verdict:
        """As `commit`; what became of it. Raises `Unavailable`: the store failed. And whatever `pages` does."""
        if self._keeps_pages:
            self._checksum = self._base.root.head.checksum ^ self._hash_of_cut_pages()
        return self.storing.commit(self._hashed_pages(pages, progress), self._page_count, self._planned_change)

    def _planned_change(self) -> Change:
        count, now_ms = PageCount(self._page_count), self._volume.environment.now_ms()
        rest_ms = self._claimant.rest_ms
        return Change({}, self._page_size, count, self._checksum, now_ms, marks=self._marks, rest_ms=rest_ms)

    def _hashed_pages(
        self, pages: Iterable[tuple[int, bytes]], progress: Callable[[int], None] | None
    ) -> Iterator[tuple[PageNo, bytes]]:
        version = Version(self._base.root.head.version + 1)
        old_count = self._old.page_count if self._keeps_pages else 0
        for number, data in pages:
            page = self._first_page(data, version) if number == 1 else data
            old = self._old.page(number) if number <= old_count else None
            if page == old:
                self.storing.keep_turn()  # there may be millions of them before the next that is stored
            else:
                self._checksum ^= page_hash(number, page) ^ (page_hash(number, old) if old else 0)
                yield PageNo(number), page
            if progress and not number % 256:
                progress(number)

    def _first_page(self, data: bytes, version: Version) -> bytes:
        """Page 1 as it is stored; its schema cookie makes every connection read the schema again."""
        page = stamped_page(data, version)
        return with_later_schema(page, self._old.page(1)) if self._old.page_count else page

    def _hash_of_cut_pages(self) -> int:
        """The hashes of the old pages beyond the new end."""
        total, skip = 0, lock_page(self._page_size)
        for number in range(self._page_count + 1, self._old.page_count + 1):
            if number != skip:
                total ^= page_hash(number, self._old.page(number))
        return total


def base_of(volume: Volume, snapshot: Snapshot) -> RootAt:
    """The root to commit on, if `snapshot` still shows its pages (upkeep may have moved it on).

    Raises:
        Conflict: the database moved past the snapshot.
    """
    base = volume.branch.latest()
    if not has_same_pages(base.root, snapshot.root):
        raise Conflict(LOST)
    return base

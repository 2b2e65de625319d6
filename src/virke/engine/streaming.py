"""Committing pages that come as a stream: how imports become one commit, in bounded memory.

Knows segments and the commit protocol; knows neither files nor SQL.

1. Parts are stored as they fill up, a few at once; the swap comes last. A killed import leaves garbage, never a change.
2. The stream is one state in one segment, behind the inline commits that the root carried; its hot pages come last.
3. A turn may be renewed while pages are stored: then the root moves, and nothing else in it. What was stored goes on on
   the root that has the renewed turn; any other root is a lost race, and is noticed at the next page.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from typing import Final

from virke.core.change import Change, copy_inline, identity_of, next_root, tier_for
from virke.core.commit import Conflicted, Plan
from virke.core.effects import Effect, Outcome
from virke.core.hot import HotPages
from virke.core.ids import CommitId, PageCount, PageNo, Version
from virke.core.packing import SegmentWriter
from virke.core.page import lock_page, page_hash, stamped, with_later_schema
from virke.core.root import Root, RootAt, has_same_pages
from virke.core.segment import Ref
from virke.core.turntaking import moved_turn_only
from virke.core.upload import Upload
from virke.engine.committing import Committing, settled
from virke.engine.snapshot import Snapshot
from virke.engine.taking_turns import Claimant
from virke.engine.volume import Volume
from virke.errors import Conflict

LOST: Final = "another commit came first; nothing was changed, run it again"


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
    ) -> None:
        self._volume = volume
        self._committing = committing
        self._base = base
        self._page_size = page_size
        self._page_count = page_count
        self._claimant = claimant
        self._checksum = 0
        belongs = tier_for(base.root, page_size * page_count)
        self._tier = belongs if belongs in volume.branch.store.blobs else base.root.tier
        volume.driver.blobs(self._tier)  # or the error that says which store is missing
        self._old = volume.snapshot_of(base.root)
        self._keeps_pages = page_size == self._old.page_size and self._old.page_count > 0

    def commit(self, pages: Iterable[tuple[int, bytes]], progress: Callable[[int], None] | None = None) -> int:
        """Store all pages, then swap; returns the new version.

        Raises:
            Conflict: another commit came first. Unavailable: the store failed. Either way nothing is changed.
        """
        volume, root = self._volume, self._base.root
        if self._keeps_pages:
            self._checksum = root.head.checksum ^ self._cut()
        commit_id = volume.environment.commit_id()
        writer = SegmentWriter(
            identity_of(root, commit_id),
            self._tier,
            volume.part_bytes[self._tier],
            is_plain=self._tier in volume.branch.store.plain,
        )
        upload = Upload(self._tier)
        try:
            new, ref = volume.driver.run(self._write(writer, upload, commit_id, self._hashed(pages, progress)))
        except BaseException:
            volume.driver.remove([upload.removal()])
            raise
        new = replace(new, tier=self._tier, segments=(*root.segments, ref), inline=())
        plan = Plan(new, uploaded=(upload.removal(),))
        if isinstance(settled(self._committing.commit(self._base, plan)), Conflicted):
            raise Conflict(LOST)
        return new.head.version

    def _write(
        self, writer: SegmentWriter, upload: Upload, commit_id: CommitId, pages: Iterator[tuple[PageNo, bytes]]
    ) -> Generator[Effect, Outcome, tuple[Root, Ref]]:
        """Upload the segment; the root that would name it, and its reference."""
        hot = HotPages(self._page_count)
        yield from upload.put(copy_inline(writer, self._base.root.inline))
        yield from upload.put(writer.pages(self._page_size, hot.cold(pages)))
        yield from upload.finish()
        self._keep_turn()
        count, now_ms = PageCount(self._page_count), self._volume.environment.now_ms()
        change = Change({}, self._page_size, count, self._checksum, now_ms, rest_ms=self._claimant.rest_ms)
        new = next_root(self._base.root, commit_id, change)
        yield from upload.put(hot.finish(writer, new.head))
        parts, ref = writer.finish(())
        yield from upload.put(parts)
        yield from upload.finish()
        return new, ref

    def _hashed(
        self, pages: Iterable[tuple[int, bytes]], progress: Callable[[int], None] | None
    ) -> Iterator[tuple[PageNo, bytes]]:
        version = Version(self._base.root.head.version + 1)
        old_count = self._old.page_count if self._keeps_pages else 0
        for number, data in pages:
            self._keep_turn()
            page = self._first(data, version) if number == 1 else data
            if number <= old_count:
                self._checksum ^= page_hash(number, self._old.page(number))
            self._checksum ^= page_hash(number, page)
            yield PageNo(number), page
            if progress and not number % 256:
                progress(number)

    def _keep_turn(self) -> None:
        """Renew the turn, if there is one and it is time. Raises `Conflict`: another commit came first."""
        self._claimant.renew_if_due()
        now = self._volume.branch.latest()
        if now is not self._base:
            if not moved_turn_only(self._base.root, now.root):
                raise Conflict(LOST)
            self._base = now

    def _first(self, data: bytes, version: Version) -> bytes:
        """Page 1 as it is stored; its schema cookie tells every connection to read the schema again."""
        page = stamped(data, version)
        return with_later_schema(page, self._old.page(1)) if self._old.page_count else page

    def _cut(self) -> int:
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

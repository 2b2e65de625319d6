"""Committing pages that come as a stream: how imports become one commit, in bounded memory.

Knows segments and the commit protocol; knows neither files nor SQL.

1. Parts are stored as they fill up; the swap comes last. A killed import leaves garbage, never a change.
2. The stream is one group of one segment, behind the inline commits that the root carried.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace

from virke.core.change import Change, copy_inline, identity_of, next_root, tier_for
from virke.core.commit import Plan, store_objects
from virke.core.effects import Delete, Effect, Outcome, PutNew
from virke.core.ids import PageCount, PageNo, Version
from virke.core.packing import SegmentWriter
from virke.core.page import lock_page, page_hash, stamped, with_later_schema
from virke.core.root import RootAt
from virke.engine.outcome import commit_plan
from virke.engine.volume import Snapshot, Volume
from virke.errors import Conflict, Unavailable


class PageStream:
    """One streamed commit on one base."""

    def __init__(self, volume: Volume, base: RootAt, *, page_size: int, page_count: int) -> None:
        self._volume = volume
        self._base = base
        self._page_size = page_size
        self._page_count = page_count
        self._checksum = 0
        belongs = tier_for(base.root, page_size * page_count)
        self._tier = belongs if belongs in volume.store.blobs else base.root.tier
        self._keys: list[str] = []
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
        part_bytes = min(volume.driver.blobs(self._tier).part_bytes_max, 16 << 20)
        writer = SegmentWriter(identity_of(root, commit_id), self._tier, part_bytes)
        try:
            self._put(copy_inline(writer, root.inline))
            self._put(writer.pages(self._page_size, self._hashed(pages, progress)))
            change = Change(
                {}, self._page_size, PageCount(self._page_count), self._checksum, volume.environment.now_ms()
            )
            new = next_root(root, commit_id, change)
            writer.end_group(new.head)
            parts, ref = writer.finish(())
            self._put(iter(parts))
        except BaseException:
            volume.driver.run(self._removal())
            raise
        new = replace(new, tier=self._tier, segments=(*root.segments, ref), inline=())
        plan = Plan(new, uploaded=(Delete(self._tier, tuple(self._keys)),))
        if not commit_plan(volume, self._base, plan):
            raise Conflict("another commit came first; nothing was changed, run it again")
        return new.head.version

    def _hashed(
        self, pages: Iterable[tuple[int, bytes]], progress: Callable[[int], None] | None
    ) -> Iterator[tuple[PageNo, bytes]]:
        version = Version(self._base.root.head.version + 1)
        old_count = self._old.page_count if self._keeps_pages else 0
        for number, data in pages:
            page = self._first(data, version) if number == 1 else data
            if number <= old_count:
                self._checksum ^= page_hash(number, self._old.page(number))
            self._checksum ^= page_hash(number, page)
            yield PageNo(number), page
            if progress and not number % 256:
                progress(number)

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

    def _put(self, parts: Iterator[tuple[str, bytes]]) -> None:
        tier = self._tier
        for key, data in parts:
            self._keys.append(key)
            failed = self._volume.driver.run(store_objects((PutNew(tier, key, data),)))
            if failed:
                raise Unavailable(f"the store did not take the data, nothing was changed: {failed}")

    def _removal(self) -> Generator[Effect, Outcome, None]:
        yield Delete(self._tier, tuple(self._keys))


def base_of(volume: Volume, snapshot: Snapshot) -> RootAt:
    """The root to commit on, if `snapshot` still shows it.

    Raises:
        Conflict: the database moved past the snapshot.
    """
    base = volume.latest()
    if base.root.head.version != snapshot.root.head.version:
        raise Conflict("another commit came first; nothing was changed, run it again")
    return base

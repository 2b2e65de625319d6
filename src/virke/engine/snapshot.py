"""One version of a database: its pages, as of a root or an earlier version in it.

Knows the volume that has its pages; knows no SQL.

1. A snapshot never changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from virke.core.ids import PageNo
from virke.core.page import lock_page
from virke.core.pagemap import PageMap
from virke.core.root import Root
from virke.core.segment import Head
from virke.errors import Conflict

if TYPE_CHECKING:
    from virke.engine.volume import Volume

READ_AHEAD_PAGES: Final = 512


class SnapshotGone(Conflict):
    """The snapshot's objects were collected while it was read: start over on the newest root."""


def snapshot_gone() -> SnapshotGone:
    """What a reader whose snapshot was collected is answered."""
    return SnapshotGone("the snapshot was collected while it was read; start over")


class Snapshot:
    """One version of the database, whole and unchanging."""

    __slots__ = ("head", "lineage", "map", "root", "volume")

    def __init__(self, volume: Volume, root: Root, page_map: PageMap) -> None:
        self.volume = volume
        self.lineage = volume.branch.lineage_of(root)
        """Equal for all snapshots of one history (see `layers.Pages`)."""
        self.root = root
        self.map = page_map
        self.head: Head = page_map.head

    @property
    def version(self) -> int:
        """The version that this snapshot shows."""
        return self.head.version

    def as_root(self) -> Root:
        """The root that it was read from, with this version's head: what results of it carry."""
        return replace(self.root, head=self.head)

    @property
    def page_size(self) -> int:
        """Bytes of a page."""
        return self.head.page_size

    @property
    def page_count(self) -> int:
        """Pages, the lock page included."""
        return self.head.page_count

    def page(self, number: int) -> bytes:
        """The bytes of page `number` (1-based); the lock page reads as zeros.

        Raises:
            Corrupt: the page is missing or damaged.
        """
        if number == lock_page(self.head.page_size):
            return bytes(self.head.page_size)
        return self.volume.page(self, PageNo(number))

    def run(self, number: int) -> dict[PageNo, bytes]:
        """As `page`, with those behind it that are in one frame with it, as of this version."""
        if number == lock_page(self.head.page_size):
            return {PageNo(number): bytes(self.head.page_size)}
        return self.volume.run(self, PageNo(number))

    def page_here(self, number: int) -> bytes | None:
        """As `page`, if the bytes are in memory; it never waits."""
        if number == lock_page(self.head.page_size):
            return bytes(self.head.page_size)
        return self.volume.page_here(self, PageNo(number))

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """All stored pages, ascending, with read-ahead; the lock page is left out."""
        skip = lock_page(self.head.page_size)
        for start in range(1, self.head.page_count + 1, READ_AHEAD_PAGES):
            stop = min(start + READ_AHEAD_PAGES, self.head.page_count + 1)
            numbers = [PageNo(number) for number in range(start, stop) if number != skip]
            yield from zip(numbers, self.volume.pages(self, numbers), strict=True)

"""What a file can be made of: a snapshot, or layers of pages over one that no root holds yet.

Knows pages and heads; knows no SQLite, no store and no root.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from virke.core.ids import PageCount, PageNo
from virke.core.segment import Head
from virke.lazy_dataclasses import dataclass


class Pages(Protocol):
    """What a file needs of a snapshot."""

    @property
    def head(self) -> Head:
        """Page size, page count and checksum."""

    @property
    def lineage(self) -> object:
        """Equal for snapshots of one history, in which every change of the schema raised the schema cookie."""

    def page(self, number: PageNo) -> bytes:
        """The bytes of one page."""

    def run(self, number: PageNo) -> dict[PageNo, bytes]:
        """One page, and those behind it that came with it: what a scan asks for next."""

    def page_here(self, number: PageNo) -> bytes | None:
        """The bytes of one page if they are in memory; it never waits."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Pages written over a state, and how long it is after; pages beyond `floor` that are not among them are zeros."""

    pages: Mapping[PageNo, bytes]
    page_size: int
    page_count: int
    floor: int


class Layer:
    """A snapshot and committed overlays above it that no root holds yet: what deferred writes left to read.

    Layers that were laid one on another share their lineage: the schema cookie distinguishes them. Any other may turn
    out to be another history.
    """

    __slots__ = ("_below", "_floor", "_pages", "head", "lineage")

    def __init__(self, below: Pages, patch: Patch) -> None:
        old, pages, floor = below.head, dict(patch.pages), patch.floor
        if isinstance(below, Layer):
            pages = {number: data for number, data in below._pages.items() if number <= floor} | pages
            floor = min(floor, below._floor)
        self.head = Head(old.version, old.commit_id, old.time_ms, patch.page_size, PageCount(patch.page_count), 0)
        self.lineage: object = below.lineage if isinstance(below, Layer) else object()
        self._below: Pages = below._below if isinstance(below, Layer) else below
        self._pages: dict[PageNo, bytes] = pages
        self._floor: int = floor

    def page(self, number: PageNo) -> bytes:
        """The bytes of one page."""
        data = self._pages.get(number)
        if data is not None:
            return data
        return self._below.page(number) if number <= self._floor else bytes(self.head.page_size)

    def run(self, number: PageNo) -> dict[PageNo, bytes]:
        """The page alone: those behind it may be of another layer."""
        return {number: self.page(number)}

    def page_here(self, number: PageNo) -> bytes | None:
        """The bytes of one page if they are in memory; it never waits."""
        below = number in self._pages or number > self._floor
        return self.page(number) if below else self._below.page_here(number)

"""The page map: page → where its bytes lie, as of one version.

Pure and immutable once built. Knows roots and indexes; reads nothing.

1. The newest commit at or below the version that has the page wins: inline first, then segments from the newest.
2. Every page up to the page count is somewhere, but the lock page: a page that is nowhere is `Corrupt`,
   never zeros (P7). Commits write every page that came into being, so no older page can shine through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from virke.core.ids import PageNo, Version
from virke.core.index import Index
from virke.core.root import Inline, Root
from virke.core.segment import Frame, Head, Ref
from virke.errors import Corrupt


@dataclass(frozen=True, slots=True)
class InRoot:
    """The page's frame lies in the root itself."""

    commit: Inline
    frame: Frame
    slot: int


@dataclass(frozen=True, slots=True)
class InSegment:
    """The page's frame lies in a segment."""

    ref: Ref
    index: Index
    frame: Frame
    slot: int


Place = InRoot | InSegment


class PageMap:
    """One version's map over `segments` (with their indexes) and `inline` commits, oldest first."""

    __slots__ = ("_inline", "_last", "_segments", "head")

    def __init__(self, head: Head, segments: tuple[tuple[Ref, Index], ...], inline: tuple[Inline, ...]) -> None:
        self.head = head
        self._segments = segments[::-1]
        self._last: tuple[int, Frame] | None = None
        """Where the last page was found, if the segment has each page once: neighbours are there, or in newer segments."""
        self._inline: dict[PageNo, Inline] = {}
        for commit in inline:
            if commit.head.version <= head.version:
                self._inline.update(dict.fromkeys(commit.places, commit))

    def locate(self, page: PageNo) -> Place:
        """Where `page` lies.

        Raises:
            Corrupt: nowhere, although the database has that many pages. Away: entries that say so are not here.
        """
        if commit := self._inline.get(page):
            return InRoot(commit, *commit.places[page])
        version, last = self.head.version, self._last
        for number, (ref, index) in enumerate(self._segments):
            if last and last[0] == number and page in last[1].pages:
                return InSegment(ref, index, last[1], last[1].pages.index(page))
            if ref.lo <= version and (place := index.find(page, version)):
                if index.is_one_state:
                    self._last = number, place[0]
                return InSegment(ref, index, *place)
        raise Corrupt(f"page {page} of {self.head.page_count} is in no segment")

    def changed_since(self, other: PageMap) -> set[PageNo]:
        """Pages that lie elsewhere in `other`; only meaningful when both maps share most segments."""
        mine, theirs = self._places(), other._places()
        return {page for page, place in mine.items() if theirs.get(page) != place}

    def _places(self) -> dict[PageNo, tuple[object, ...]]:
        places: dict[PageNo, tuple[object, ...]] = {}
        for ref, index in reversed(self._segments):
            for page, (frame, slot) in index.pages(self.head.version).items():
                places[page] = (ref.identity, frame.part, frame.offset, slot)
        for page, commit in self._inline.items():
            frame, slot = commit.places[page]
            places[page] = (commit.head.commit_id, frame.offset, slot)
        return places


def page_map(root: Root, indexes: Mapping[Ref, Index]) -> PageMap:
    """The map of `root`'s newest version; `indexes` has all of its segments."""
    return PageMap(root.head, tuple((ref, indexes[ref]) for ref in root.segments), root.inline)


def heads(root: Root, segments: tuple[tuple[Ref, Index], ...]) -> dict[Version, Head]:
    """Every version that changed pages and that `segments` and the root still tell apart."""
    found = {group.head.version: group.head for _, index in segments for group in index.groups}
    found |= {commit.head.version: commit.head for commit in root.inline}
    found[root.head.version] = root.head
    return found

"""The page map: page → where its bytes are, as of one version.

Pure and immutable once built. Knows roots and indexes; reads nothing.

1. The newest commit at or below the version that has the page wins: inline first, then segments from the newest.
2. Every page up to the page count is somewhere, but the lock page: a page that is nowhere is `Corrupt`,
   never zeros (P7). Commits write every page that came into being, so no older page can shine through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from virke.core.ids import PageNo, Version
from virke.core.index import Index
from virke.core.inline import Inline
from virke.core.root import Root
from virke.core.segment import Frame, Head, Ref
from virke.errors import Corrupt
from virke.lazy_dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InRoot:
    """The page's frame is in the root itself."""

    commit: Inline
    frame: Frame
    slot: int


@dataclass(frozen=True, slots=True)
class InSegment:
    """The page's frame is in a segment."""

    ref: Ref
    index: Index
    frame: Frame
    slot: int


Place = InRoot | InSegment
NEWER_MAX: Final = 2
FOUND_MAX: Final = 2048
"""Places that are kept for the next who asks; a scan asks for each page once."""


class PageMap:
    """One version's map over `segments` (with their indexes) and `inline` commits, oldest first."""

    __slots__ = ("_commits", "_found", "_inline", "_last", "_segments", "head")

    def __init__(
        self,
        head: Head,
        segments: tuple[tuple[Ref, Index], ...],
        inline: tuple[Inline, ...],
        *,
        before: PageMap | None = None,
    ) -> None:
        """`before`: the map of an earlier root, perhaps; what that root carried inline and this one too is not gone through again."""
        self.head = head
        self._segments = segments[::-1]
        self._last: tuple[int, Frame] | None = None
        """Where the last page was found, if the segment has each page once: neighbours are there, or in newer segments."""
        self._inline: dict[PageNo, Inline] = {}
        self._commits = tuple([commit for commit in inline if commit.version <= head.version])
        known = before._commits if before else ()
        if before and self._commits[: len(known)] == known:
            self._inline = before._inline.copy()
        else:
            known = ()
        for commit in self._commits[len(known) :]:
            self._inline.update(dict.fromkeys(commit.pages, commit))
        self._found: dict[PageNo, InSegment] = {}
        """Pages that were asked for, shared by the maps of one row of segments: a commit asks for a page again and again."""
        if before and self._is_of_all() and before._is_of_all() and _same_segments(self._segments, before._segments):
            self._found = before._found

    def _is_of_all(self) -> bool:
        """Whether no segment brings anything that is newer than this version."""
        return not self._segments or self._segments[0][0].hi <= self.head.version

    def locate(self, page: PageNo) -> Place:
        """Where `page` is.

        Raises:
            Corrupt: nowhere, although the database has that many pages. Away: entries that say so are not here.
        """
        if commit := self._inline.get(page):
            return InRoot(commit, *commit.places[page])
        if found := self._found.get(page):
            return found
        version, last = self.head.version, self._last
        for number, (ref, index) in enumerate(self._segments):
            if last and last[0] == number and page in last[1].pages:
                return InSegment(ref, index, last[1], last[1].pages.index(page))
            if ref.lo <= version and (place := index.find(page, version)):
                if index.is_one_state:
                    self._last = number, place[0]
                found = InSegment(ref, index, *place)
                if len(self._found) < FOUND_MAX:
                    self._found[page] = found
                return found
        raise Corrupt(f"page {page} of {self.head.page_count} is in no segment")

    def behind(self, place: InSegment) -> Iterator[tuple[PageNo, int]]:
        """Pages behind the one at `place` in its frame, up to one that is newer elsewhere, and their places in it.

        None where more than `NEWER_MAX` segments are newer: to look into them costs more than it saves. Raises `Away`.
        """
        version = self.head.version
        newer: list[Index] = []
        for ref, index in self._segments:
            if index is place.index:
                break
            if ref.lo <= version:
                newer.append(index)
        if len(newer) > NEWER_MAX:
            return
        frame, mine = place.frame, None if place.index.is_one_state else place.index
        for slot in range(place.slot + 1, len(frame.pages)):
            page = frame.pages[slot]
            if page in self._inline or any(index.find(page, version) for index in newer):
                return
            if mine is not None and not ((found := mine.find(page, version)) and found[0] == frame):
                return
            yield page, slot

    def changed_since(self, other: PageMap) -> set[PageNo]:
        """Pages that are elsewhere in `other`; only meaningful when both maps share most segments."""
        mine, theirs = self._page_places(), other._page_places()
        return {page for page, place in mine.items() if theirs.get(page) != place}

    def _page_places(self) -> dict[PageNo, tuple[object, ...]]:
        places: dict[PageNo, tuple[object, ...]] = {}
        for ref, index in reversed(self._segments):
            for page, (frame, slot) in index.pages(self.head.version).items():
                places[page] = (ref.identity, frame.part, frame.offset, slot)
        for page, commit in self._inline.items():
            frame, slot = commit.places[page]
            places[page] = (commit.head.commit_id, frame.offset, slot)
        return places


def _same_segments(segments: Sequence[tuple[Ref, Index]], others: Sequence[tuple[Ref, Index]]) -> bool:
    return len(segments) == len(others) and all(one[1] is other[1] for one, other in zip(segments, others, strict=True))


def page_map(root: Root, indexes: Mapping[Ref, Index]) -> PageMap:
    """The map of `root`'s newest version; `indexes` has all of its segments."""
    return PageMap(root.head, tuple((ref, indexes[ref]) for ref in root.segments), root.inline)


def heads_by_version(root: Root, segments: tuple[tuple[Ref, Index], ...]) -> dict[Version, Head]:
    """Every version that changed pages and that `segments` and the root still tell apart."""
    found = {group.head.version: group.head for _, index in segments for group in index.groups}
    found |= {commit.head.version: commit.head for commit in root.inline}
    found[root.head.version] = root.head
    return found

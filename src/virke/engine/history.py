"""What history keeps: which versions there are, when each was made, and which pages changed between two of them.

Knows roots, segments and their indexes; reads no page's bytes and knows no SQL.

1. Only versions that changed pages are distinguished; one in between (upkeep, settings) shows the state of the one before it.
2. Nothing is read from the store but indexes, newest first, and no more of them than the answer needs.
3. A page that no version between two wrote is the same in both, wherever merges have put it since.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from virke.core.extensions import restores_in
from virke.core.finding import bring_entries
from virke.core.ids import PageNo, Version
from virke.core.index import Index
from virke.core.inline import Inline
from virke.core.moments import Moment, as_iso_utc, read_at
from virke.core.page import PAGE_COUNT_MAX
from virke.core.reach import checked_version, empty_head, older_than_history
from virke.core.root import Root
from virke.core.segment import Head, Ref
from virke.engine.results import VersionEntry
from virke.engine.volume import Volume
from virke.errors import Invalid, NotFound
from virke.lazy_dataclasses import dataclass

if TYPE_CHECKING:
    from virke.core.moments import At

LIMIT_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    """A version that changed pages: its state, and what says which; None if that is not kept any more."""

    head: Head
    brought_by: Inline | tuple[Index, int] | None


class History:
    """The history of one branch, as of the newest root that is known."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume

    def versions(self, limit: int) -> list[VersionEntry]:
        """The last `limit` versions that changed pages, newest first. Raises `Invalid`, `Unavailable`, `Corrupt`."""
        if type(limit) is not int or not 1 <= limit <= LIMIT_MOST:
            raise Invalid(f"limit is a whole number from 1 to {LIMIT_MOST}, not {limit!r}")
        root = self._volume.branch.latest().root
        restores = restores_in(root.extensions)
        found: list[VersionEntry] = []
        for known in self._known_versions(root):
            if len(found) == limit:
                break
            head, of = known.head, restores.get(known.head.version)
            found.append(
                VersionEntry(
                    version=head.version,
                    time_ms=head.time_ms,
                    size_bytes=head.page_count * head.page_size,
                    pages_changed=self._pages_in(known),
                    made_by="create" if head.version == 1 else "write" if of is None else "restore",
                    restored_version=of,
                )
            )
        return found

    def version_of(self, at: At) -> int:
        """The version that `at` means: of a time, the newest one that was there then.

        Raises:
            Invalid: it is neither a version nor a time. NotFound: history does not reach back so far, or it is in the future.
        """
        now_ms = self._volume.environment.now_ms()
        meant = read_at(at, now_ms)
        root = self._volume.branch.latest().root
        if not isinstance(meant, Moment):
            return checked_version(root, meant)
        if meant.time_ms > max(now_ms, root.head.time_ms):
            raise NotFound(f"{meant.text} is in the future", hint=f"the newest version is {root.head.version}")
        if meant.time_ms >= root.head.time_ms:
            return root.head.version
        for known in self._known_versions(root):
            if known.head.time_ms <= meant.time_ms:
                return known.head.version
        if root.horizon.version <= 1:
            raise NotFound(f"the database was created at {as_iso_utc(root.created_ms)}, after {meant.text}")
        raise older_than_history(
            root, f"the state of {meant.text}", f", of {as_iso_utc(self._oldest_head(root).time_ms)}"
        )

    def _oldest_head(self, root: Root) -> Head:
        known = list(self._known_versions(root))
        return known[-1].head if known else root.head

    def _known_versions(self, root: Root) -> Iterator[_Known]:
        """The versions that changed pages, newest first, back to the first that is kept."""
        oldest = max(root.horizon.version, 1)
        for commit in reversed(root.inline):
            yield _Known(commit.head, commit)
        for known in self._in_segments(root, root.segments):
            if known.head.version >= oldest:
                yield known
        if root.horizon.version <= 1:
            yield _Known(empty_head(root, Version(1)), None)

    def _in_segments(self, root: Root, refs: Sequence[Ref]) -> Iterator[_Known]:
        """The versions that segments hold; a merge is looked into as long as its inputs are kept."""
        wanted = [ref for ref in refs if ref.hi >= root.horizon.version]
        indexes = self._volume.indexes(tuple(wanted))
        for ref, index in zip(reversed(wanted), reversed(indexes), strict=True):
            if index.inputs and ref.hi > root.horizon.version:
                yield from self._in_segments(root, index.inputs)
            elif index.inputs:
                yield _Known(index.groups[-1].head, None)
            else:
                for number in range(len(index.groups) - 1, -1, -1):
                    if number == 0 or index.groups[number - 1].head.version != index.groups[number].head.version:
                        yield _Known(index.groups[number].head, (index, number))

    def _pages_in(self, known: _Known) -> int | None:
        match known.brought_by:
            case Inline():
                return len(known.brought_by.places)
            case (index, number):
                self._volume.driver.run(bring_entries(index))
                version = known.head.version
                alike = [at for at in range(number, len(index.groups)) if index.groups[at].head.version == version]
                return sum(len(frame.pages) for at in alike for frame in index.frames(at))
            case None:
                return 0 if known.head.version == 1 else None

    def changed(
        self, root: Root, since: Version, until: Version, *, first: int = 1, last: int = PAGE_COUNT_MAX
    ) -> set[PageNo]:
        """The pages from `first` to `last` that were written after version `since`, up to version `until`.

        Raises:
            Unavailable, Corrupt: an index can't be read; also because `since` was collected meanwhile.
        """
        found = self._changed_in(root.segments, since, until, span=(first, last))
        for commit in root.inline:
            if since < commit.head.version <= until:
                found.update(page for page in commit.places if first <= page <= last)
        return found

    def _changed_in(self, refs: Sequence[Ref], since: Version, until: Version, *, span: tuple[int, int]) -> set[PageNo]:
        found: set[PageNo] = set()
        wanted = tuple(ref for ref in refs if ref.hi > since and ref.lo <= until)
        for ref, index in zip(wanted, self._volume.indexes(wanted), strict=True):
            if index.inputs and not since < ref.lo <= ref.hi <= until:
                found |= self._changed_in(index.inputs, since, until, span=span)
                continue
            self._volume.driver.run(bring_entries(index, *span))
            for number, group in enumerate(index.groups):
                if since < group.head.version <= until:
                    for frame in index.frames(number, *span):
                        found.update(page for page in frame.pages if span[0] <= page <= span[1])
        return found

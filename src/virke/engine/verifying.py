"""Verifying a database: every stored byte of it, what SQLite says of its newest state, and which version is the newest whole one.

Knows the walk over stored objects (core/verifying), snapshots and connections; changes nothing.

1. A damage that the newest root does not need any more, because upkeep and collection went on meanwhile, is not reported: it is all read again.
2. The newest state is checked three ways: each frame's checksum, the checksum over all pages that its commit wrote, and
   SQLite's `integrity_check`.
3. The newest whole version has no page in a damaged frame, and passes `integrity_check`. Where SQLite finds a fault in whole
   frames, the versions before are taken to be faulty from some version on: that one is found by halving.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from virke.core.ids import PageNo, Version
from virke.core.index import Index
from virke.core.page import lock_page, page_hash, stored_pages
from virke.core.pagemap import InRoot, PageMap
from virke.core.reach import empty_head
from virke.core.root import Root
from virke.core.segment import Frame, Ref
from virke.core.verifying import Damage, Findings, check_inline, check_segment, fresh_index, needed_segments
from virke.engine.connection import Connection
from virke.engine.snapshot import SnapshotGone, snapshot_gone
from virke.engine.sqlite import OnConnect
from virke.engine.volume import Volume
from virke.errors import Corrupt, NotFound, SqlError
from virke.lazy_dataclasses import dataclass

VALUE_BYTES_MAX: Final = 1 << 30
ATTEMPTS: Final = 3
_CHECK: Final = "PRAGMA integrity_check(20)"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read of a database, and what was found: nothing in `damages` means that it is whole.

    `newest_whole` is the newest version that can be read whole; None if there is none in history. `pages` are those of the newest version.
    """

    version: int
    newest_whole: int | None
    damages: tuple[Damage, ...]
    objects: int
    frames: int
    pages: int
    bytes: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing was found."""
        return not self.damages


def verify_database(
    volume: Volume, *, on_connect: OnConnect | None = None, progress: Progress | None = None
) -> Verified:
    """Read and check all of a database; `volume` need not have a readable newest version.

    Raises:
        Corrupt: the root itself can't be read. Unavailable. Conflict: what was read was collected again and again.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return _Verifying(volume, volume.branch.refresh().root, on_connect).run(progress)
        except (SnapshotGone, NotFound):
            continue
    return _Verifying(volume, volume.branch.refresh().root, on_connect).run(progress)


class _Verifying:
    """One reading of everything that one root needs."""

    def __init__(self, volume: Volume, root: Root, on_connect: OnConnect | None) -> None:
        self._volume = volume
        self._on_connect = on_connect
        self._findings = Findings()
        self._root = root
        self._checksum, self._pages = 0, 0
        self._indexes: dict[Ref, Index | None] = {}
        """Those that looking back has read; None for one that can't be read."""

    def run(self, progress: Progress | None = None) -> Verified:
        """Read and check everything. Raises `Unavailable`; `SnapshotGone`: it was collected meanwhile."""
        root, run = self._root, self._volume.driver.run
        segments = run(needed_segments(root, self._findings))
        newest = self._newest_map(dict(segments))
        done, total = 0, sum(ref.stored_bytes for ref, _ in segments)

        def report(count: int) -> None:
            nonlocal done
            done = min(done + count, total)
            if progress:
                progress(done, total)

        def seen(ref: Ref, frame: Frame, pages: Sequence[bytes]) -> None:
            for number, data in zip(frame.pages, pages, strict=True):
                if newest is not None and number <= root.head.page_count:
                    place = newest.locate(number)
                    if not isinstance(place, InRoot) and place.ref == ref and _same_place(place.frame, frame):
                        self._count_page(number, data)

        def seen_inline(frame: Frame, version: int, pages: Sequence[bytes]) -> None:
            for number, data in zip(frame.pages, pages, strict=True):
                if newest is not None and number <= root.head.page_count:
                    place = newest.locate(number)
                    if isinstance(place, InRoot) and place.commit.head.version == version and place.frame is frame:
                        self._count_page(number, data)

        check_inline(root, self._findings, seen_inline)
        for _, index in segments:
            if index is not None:
                run(check_segment(index, self._findings, seen, report))
        segments.clear()
        self._check_is_needed()
        whole = self._look_back()
        findings = self._findings
        return Verified(
            version=root.head.version,
            newest_whole=whole,
            damages=tuple(findings.damages),
            objects=findings.objects + 1,
            frames=findings.frames,
            pages=root.head.page_count,
            bytes=findings.bytes,
        )

    def _newest_map(self, indexes: dict[Ref, Index | None]) -> PageMap | None:
        """Where the newest version's pages are; None if an index that says so can't be read, or says it of no place."""
        pairs = [(ref, index) for ref in self._root.segments if (index := indexes[ref]) is not None]
        if len(pairs) < len(self._root.segments):
            return None
        made, head = PageMap(self._root.head, tuple(pairs), self._root.inline), self._root.head
        skip = lock_page(head.page_size)
        try:
            for number in range(1, head.page_count + 1):
                if number != skip:
                    made.locate(PageNo(number))
        except Corrupt as error:
            self._findings.damages.append(Damage("state", self._key, error.message))
            return None
        return made

    def _count_page(self, number: int, data: bytes) -> None:
        if number != lock_page(self._root.head.page_size):
            self._checksum ^= page_hash(number, data)
            self._pages += 1

    @property
    def _key(self) -> str:
        return self._volume.branch.key

    def _check_is_needed(self) -> None:
        """Raise `SnapshotGone` if something is damaged that the newest root does not need (rule 1)."""
        if not self._findings.damages:
            return
        newest = self._volume.branch.refresh().root
        if newest.head.version != self._root.head.version:
            needed = {ref for ref, _ in self._volume.driver.run(needed_segments(newest, Findings()))}
            if not needed.issuperset(self._findings.owners.values()):
                raise snapshot_gone()

    def _look_back(self) -> int | None:
        """The newest whole version, after the newest one was checked as a whole."""
        head, findings = self._root.head, self._findings
        whole = self._readable_version(head.version)
        counted = self._checksum, self._pages
        wanted = head.checksum, stored_pages(head.page_count, head.page_size)
        is_mapped = whole == head.version and not any(one.kind == "state" for one in findings.damages)
        if is_mapped and counted != wanted:
            what = f"the pages of version {head.version} are not those that its commit counted"
            findings.damages.append(Damage("state", self._key, what))
        if whole is None:
            return None
        found = self._complaints_of_sqlite(whole)
        if not found:
            return whole
        findings.damages += [Damage("sql", self._key, f"version {whole}: {one}") for one in found]
        return self._sound_before(whole)

    def _sound_before(self, faulty: Version) -> Version | None:
        """The newest readable version before `faulty` that SQLite finds no fault in."""
        step, bad, good = 1, faulty, None
        while good is None:
            probe = self._readable_version(Version(max(bad - step, 0)))
            if probe is None:
                return None
            if self._complaints_of_sqlite(probe):
                bad, step = probe, step * 2
            else:
                good = probe
        while True:
            probe = self._readable_version(Version((good + bad) // 2))
            if probe is None or probe <= good:
                return good
            if self._complaints_of_sqlite(probe):
                bad = probe
            else:
                good = probe

    def _complaints_of_sqlite(self, version: Version) -> list[str]:
        """What SQLite's check says of a version; empty if all is well."""
        is_newest = version == self._root.head.version
        snapshot = self._volume.snapshot_of(self._root) if is_newest else self._volume.snapshot_at(version)
        if not snapshot.page_count:
            return []
        connection = Connection(
            snapshot,
            value_bytes_max=VALUE_BYTES_MAX,
            monotonic=self._volume.environment.monotonic,
            on_connect=self._on_connect,
        )
        try:
            connection.pin(snapshot)
            environment = self._volume.environment
            connection.begin_request(now_ms=environment.now_ms(), deadline=float("inf"), result_bytes=VALUE_BYTES_MAX)
            found = [str(text) for (text,) in connection.internal(_CHECK)]
        except (Corrupt, SqlError) as error:
            return [error.message]
        finally:
            connection.close()
        return [] if found == ["ok"] else found

    def _readable_version(self, newest: Version) -> Version | None:
        """The newest version up to `newest` that has no page in a damaged frame; None if history has none."""
        version, oldest = newest, max(self._root.horizon.version, 1)
        while version >= oldest:
            before = self._unreadable_since(version)
            if before is None:
                return version
            version = Version(before - 1)
        return None

    def _unreadable_since(self, version: Version) -> Version | None:
        """From which version on to `version` the same damage is in the way; None if none is."""
        root, findings = self._root, self._findings
        if not findings.bad_frames and not findings.bad_segments:
            return None
        try:
            pairs = self._as_of(root.segments, version)
        except _Unreadable as error:
            return error.since
        heads = [group.head for _, index in pairs for group in index.groups if group.head.version <= version]
        heads += [commit.head for commit in root.inline if commit.version <= version]
        if root.head.version <= version:
            heads.append(root.head)
        page_map = PageMap(heads[-1] if heads else empty_head(root, version), pairs, root.inline)
        for pages in findings.bad_frames.values():
            for page in pages:
                if page <= page_map.head.page_count and (since := self._damaged_since(page_map, page)):
                    return since
        return None

    def _damaged_since(self, page_map: PageMap, page: PageNo) -> Version | None:
        """Since when a page has been in the damaged frame that holds it; None if its frame is whole."""
        place = page_map.locate(page)
        if isinstance(place, InRoot):
            version = place.commit.head.version
            return version if ("", place.frame.offset + (version << 32)) in self._findings.bad_frames else None
        ref, frame = place.ref, place.frame
        if (ref.identity.part_key(frame.part), frame.offset) not in self._findings.bad_frames:
            return None
        if place.index.inputs:
            return ref.hi  # before it, the inputs are read instead
        for number, group in enumerate(place.index.groups):
            if any(_same_place(one, frame) for one in place.index.frames(number, page, page)):
                return group.head.version
        return ref.lo

    def _as_of(self, refs: Sequence[Ref], version: Version) -> tuple[tuple[Ref, Index], ...]:
        """Segments that show `version`, a merge that spans it replaced by its inputs. Raises `_Unreadable`."""
        found: list[tuple[Ref, Index]] = []
        for ref in refs:
            if ref.lo > version:
                continue
            if ref in self._findings.bad_segments:
                raise _Unreadable(ref.lo)
            if (index := self._indexes.get(ref)) is None:
                try:
                    index = self._indexes[ref] = self._volume.driver.run(fresh_index(ref))
                except Corrupt:
                    raise _Unreadable(ref.lo) from None
            if ref.hi > version and index.inputs:
                found.extend(self._as_of(index.inputs, version))
            else:
                found.append((ref, index))
        return tuple(found)


class _Unreadable(Exception):
    """An index that can't be read is in the way, from version `since` on."""

    def __init__(self, since: Version) -> None:
        super().__init__()
        self.since = since


def _same_place(one: Frame, other: Frame) -> bool:
    return (one.part, one.offset) == (other.part, other.offset)

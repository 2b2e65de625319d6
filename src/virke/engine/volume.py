"""The pages of one branch: snapshots of its roots, the indexes of its segments, and a byte-bounded cache of frames.

Knows segments and the driver, and asks the branch which root is the newest; knows no SQL. Shared by all connections of
a database in one process.

1. A snapshot never changes. Its pages come from immutable objects, verified when decoded.
2. A missing object is `Corrupt` only if the newest root still needs it; if the root moved on, it is `SnapshotGone`.
3. What is on a disk of this machine and is not compressed is read as it is asked for: its cache is the system's, and
   the memory is SQLite's.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeGuard

from virke.core.codec import STORED
from virke.core.commit import Plan
from virke.core.effects import Absent, Tier
from virke.core.ids import PageNo, Version
from virke.core.index import Away, Index
from virke.core.pagemap import InRoot, InSegment, PageMap, Place
from virke.core.reach import checked_version, empty_head
from virke.core.reading import read_decoded
from virke.core.root import Root
from virke.core.segment import Ref, decode_frame, decode_plain
from virke.engine.branch import Branch
from virke.engine.fetching import Fetching
from virke.engine.frames import Cached, FrameKey
from virke.engine.indexes import Indexes, Pairs
from virke.engine.locating import Locating
from virke.engine.memory import PROCESS, Memory
from virke.engine.snapshot import Snapshot, snapshot_gone
from virke.engine.whole_parts import WholeParts, unbounded_parts
from virke.errors import Corrupt
from virke.stores.base import Range
from virke.stores.receipt import current_receipt

PART_BYTES_MAX: Final = 8 << 20  # of what is written; parts of any size are read


class Volume:
    """The state that all connections of one database share."""

    def __init__(self, branch: Branch, *, memory: Memory = PROCESS) -> None:
        self.branch = branch
        self.name = branch.name
        self.environment = branch.environment
        self.driver = branch.driver
        self.longest_ms: int | None = None
        """What a server lets a request take at most, where the setting `query_timeout_ms` says more."""
        self._snapshot: Snapshot | None = None
        self.memory, self.owner = memory, memory.new_owner()
        memory.apply()
        self._frames = memory.frames
        weakref.finalize(self, self._frames.leave, self.owner).atexit = False
        self.whole = frozenset(tier for tier, blobs in branch.store.blobs.items() if not blobs.has_ranges)
        """The tiers whose stores have no ranges: their parts move as a whole."""
        allowance = branch.environment.allowance
        self.recent_bytes = allowance.limits.recent_bytes if allowance else 0
        """How much of recent segments' indexes its roots carry, and whether they are asked."""
        self._has_committed = False
        left = allowance.left_in if allowance else unbounded_parts
        self._parts = WholeParts(branch.driver, memory.frames, self.owner, self.whole, left=left)
        self._locating = Locating(branch.driver, self._parts, self._is_gone)
        self._indexes = Indexes(branch.driver, memory.frames, self.owner, self.whole)
        self._fetching = Fetching(
            branch.driver, self.environment, memory.frames, owner=self.owner, indexes=self._indexes, parts=self._parts
        )
        self.part_bytes = {
            tier: min(blobs.part_bytes_max, PART_BYTES_MAX) for tier, blobs in branch.store.blobs.items()
        }

    def time_limit_ms(self, root: Root) -> int:
        """How long a request may take: what the setting says, or the server if that is less."""
        limit_ms = root.settings.query_timeout_ms
        return limit_ms if self.longest_ms is None else min(limit_ms, self.longest_ms)

    def result_bytes(self, root: Root) -> int:
        """What a request may answer: what the setting says, or its allowance if that is less."""
        limit_bytes, allowance = root.settings.max_result_mb << 20, self.environment.allowance
        return limit_bytes if allowance is None else min(limit_bytes, allowance.limits.result_bytes)

    # Snapshots

    def snapshot(self) -> Snapshot:
        """The snapshot of the newest root known."""
        return self.snapshot_of(self.branch.latest().root)

    def snapshot_of(self, root: Root) -> Snapshot:
        """The snapshot of `root`; the newest one is kept."""
        current = self._snapshot
        if current is not None and current.root is root:
            return current
        try:
            pairs = self._indexes.newest(root) if self.recent_bytes else self._indexes.of(root.segments)
        except Corrupt as error:
            if self.branch.refresh().root.head.version > root.head.version:
                raise snapshot_gone() from error
            raise
        made = Snapshot(self, root, PageMap(root.head, pairs, root.inline, before=current.map if current else None))
        if self.branch.latest().root is root:
            self._snapshot = made
        return made

    def snapshot_at(self, version: int) -> Snapshot:
        """The newest root's database as of an earlier version, from what history keeps.

        Raises:
            NotFound: the version is in the future, or older than the history that is kept.
        """
        root = self.branch.latest().root
        pairs = self._as_of(root.segments, checked_version(root, version))
        found = [group.head for _, index in pairs for group in index.groups if group.head.version <= version]
        found += [commit.head for commit in root.inline if commit.version <= version]
        if root.head.version <= version:
            found.append(root.head)
        head = found[-1] if found else empty_head(root, Version(version))
        return Snapshot(self, root, PageMap(head, pairs, root.inline))

    def _as_of(self, refs: Sequence[Ref], version: Version) -> Pairs:
        """Segments for `version`: a merge that spans it is replaced by its inputs."""
        found: list[tuple[Ref, Index]] = []
        for ref, index in self._indexes.of(tuple(ref for ref in refs if ref.lo <= version)):
            if ref.hi > version and index.inputs:
                found.extend(self._as_of(index.inputs, version))
            else:
                found.append((ref, index))
        return tuple(found)

    def indexes(self, refs: tuple[Ref, ...]) -> tuple[Index, ...]:
        """The indexes of segments, from the store where they are not known yet."""
        return tuple(index for _, index in self._indexes.of(refs))

    def piece(self, ref: Ref, part: int) -> tuple[int, bytes] | None:
        """What memory has of a segment's part in one piece, and where it begins; None if nothing."""
        return self._indexes.piece(ref, part)

    # Frames

    def page(self, snapshot: Snapshot, number: PageNo) -> bytes:
        """One page of a snapshot, through the cache of decoded frames."""
        if receipt := current_receipt():
            receipt.add_pages(1)
        place = self._locating.locate(snapshot, number)
        if self._is_near(place):
            size, raw = snapshot.head.page_size, self._near_pages(snapshot, place)
            return raw[place.slot * size : (place.slot + 1) * size]
        return self._frame_pages(snapshot, place)[place.slot]

    def run(self, snapshot: Snapshot, number: PageNo) -> dict[PageNo, bytes]:
        """One page of a snapshot, and those behind it in its frame that are of this snapshot; the receipt has one page."""
        if receipt := current_receipt():
            receipt.add_pages(1)
        place = self._locating.locate(snapshot, number)
        slots: list[tuple[PageNo, int]] = []
        slots.append((number, place.slot))
        if isinstance(place, InSegment):
            with suppress(Away):  # the scan asks for the next page itself
                slots += snapshot.map.behind(place)
        if self._is_near(place):
            size, raw = snapshot.head.page_size, self._near_pages(snapshot, place)
            return {page: raw[slot * size : (slot + 1) * size] for page, slot in slots}
        pages = self._frame_pages(snapshot, place)
        return {page: pages[slot] for page, slot in slots}

    def _frame_pages(self, snapshot: Snapshot, place: Place) -> list[bytes]:
        key = self._frame_key(place)
        cached = self._frames.find(key)
        if isinstance(cached, list):
            return cached
        if cached is None and isinstance(place, InSegment):
            cached = self._indexes.cut(place.ref, place.frame)
        pages = self._load_frame(snapshot, place, cached)
        self._frames.keep({key: pages})
        return pages

    def _is_near(self, place: Place) -> TypeGuard[InSegment]:
        """Whether it is in a file of this machine that is not compressed (rule 3)."""
        return (
            isinstance(place, InSegment) and place.frame.codec == STORED and place.ref.tier in self.branch.store.plain
        )

    def _near_pages(self, snapshot: Snapshot, place: InSegment) -> bytes:
        """The pages of a frame of such a file, one after another."""
        size, near, key = snapshot.head.page_size, self.memory.near, self._frame_key(place)
        raw = near.get(key)
        if raw is None:
            asked = Range(place.ref.identity.part_key(place.frame.part), place.frame.offset, place.frame.length)
            [data] = self.driver.get(place.ref.tier, [asked])
            if isinstance(data, Absent):
                raise self._missing_error(snapshot, place)
            try:
                raw = decode_plain(place.frame, data, size, asked.key)
            except Corrupt:  # of a copy, perhaps: `read` asks the store itself
                return b"".join(self._fetch_and_decode(snapshot, [place])[0])
            near.keep(key, raw)
        return raw

    def page_here(self, snapshot: Snapshot, number: PageNo) -> bytes | None:
        """One page of a snapshot if it is in memory, decoded or not; never waits, and fetches nothing ahead."""
        try:
            place = snapshot.map.locate(number)
        except Away:
            return None
        cached = self._frames.find_here(self._frame_key(place))
        if cached is None and isinstance(place, InSegment):
            cached = self._indexes.cut(place.ref, place.frame)
            if cached is None:
                return None
        pages = cached if isinstance(cached, list) else self._decoded_frame(snapshot, place, cached or b"")
        if pages is not cached:
            self._frames.keep({self._frame_key(place): pages})
        return pages[place.slot]

    def pages(self, snapshot: Snapshot, numbers: Sequence[PageNo]) -> list[bytes]:
        """Many pages at once: missing frames are fetched in one round, and not kept."""
        places = self._locating.locate_all(snapshot, numbers)
        unique = {self._frame_key(place): place for place in places}
        decoded = dict(zip(unique, self._fetch_and_decode(snapshot, list(unique.values())), strict=True))
        return [decoded[self._frame_key(place)][place.slot] for place in places]

    def _load_frame(self, snapshot: Snapshot, place: Place, encoded: bytes | None) -> list[bytes]:
        """The pages of the frame at `place`; `encoded` are its bytes if they were read ahead."""
        if isinstance(place, InSegment):
            encoded = encoded or self._fetching.bring(snapshot.head.page_size, place)
            if encoded is None:
                raise self._missing_error(snapshot, place)
            self._fetching.go_on(snapshot.head.page_size, place)
        try:
            return self._decoded_frame(snapshot, place, encoded or b"")
        except Corrupt:  # of a copy, perhaps: `read` asks the store itself
            return self._fetch_and_decode(snapshot, [place])[0]

    def _decoded_frame(self, snapshot: Snapshot, place: Place, encoded: bytes) -> list[bytes]:
        """The pages of the frame at `place`, whose bytes in a segment are `encoded`."""
        if isinstance(place, InRoot):
            return self._fetch_and_decode(snapshot, [place])[0]
        return decode_frame(place.frame, encoded, snapshot.head.page_size, place.index.what)

    def cache_committed(self, plan: Plan, pages: Mapping[PageNo, bytes]) -> None:
        """Keep what a commit of this process has stored, so that nothing of it is read back from the store.

        `pages` are the pages that it changed; what else its segment holds are commits that were inline before.
        """
        root, is_first = plan.root, not self._has_committed
        kept: dict[FrameKey, Cached] = {}
        self._has_committed = True
        if plan.puts and root.inline and self.recent_bytes and is_first:
            self._indexes.keep(root.segments[-1], [put.data for put in plan.puts])
        elif plan.puts:
            ref = root.segments[-1]
            index = self._indexes.learn(ref, {put.key: put.data for put in plan.puts})
            for number, group in enumerate(index.groups):
                offset = 0
                for frame in index.frames(number):
                    known: Cached
                    if group.head == root.head:
                        known = [pages[page] for page in frame.pages]
                    else:
                        known = self._frames.peek((self.owner, group.head.commit_id, -1, 0, offset)) or []
                    if known:
                        kept[self._fetching.key_of(ref, frame)] = known
                    offset += frame.length
        if root.inline and root.inline[-1].version == root.head.version and root.inline[-1].head == root.head:
            commit = root.inline[-1]
            kept |= {
                (self.owner, commit.head.commit_id, -1, 0, frame.offset): [pages[page] for page in frame.pages]
                for frame in commit.frames
            }
        self._frames.keep(kept)

    def _fetch_and_decode(self, snapshot: Snapshot, places: Sequence[Place]) -> list[list[bytes]]:
        """Fetch (in one round for each tier) and decode the frames of `places`."""
        decoded: dict[int, list[bytes]] = {}
        for n, place in enumerate(places):
            if isinstance(place, InRoot):
                frame, what = place.frame, f"root of {self.name}"
                data = place.commit.data[frame.offset : frame.offset + frame.length]
                decoded[n] = decode_frame(frame, data, snapshot.head.page_size, what)
        for tier in Tier:
            mine = {
                n: place for n, place in enumerate(places) if isinstance(place, InSegment) and place.ref.tier is tier
            }
            if mine:
                decoded |= zip(mine, self._read_frames(snapshot, tier, list(mine.values())), strict=True)
        return [decoded[n] for n in range(len(places))]

    def _read_frames(self, snapshot: Snapshot, tier: Tier, places: list[InSegment]) -> Iterator[list[bytes]]:
        kept = self._brought_frames(places) if tier in self.whole else {}
        ranges = [_range_of_place(place) for place in places]

        def decode(at: int, data: bytes) -> list[bytes]:
            return decode_frame(places[at].frame, data, snapshot.head.page_size, ranges[at][0])

        found: dict[int, list[bytes] | Absent] = {}
        for at, data in kept.items():
            with suppress(Corrupt):  # of a copy, perhaps
                found[at] = decode(at, data)
        rest = [at for at in range(len(places)) if at not in found]
        if rest:
            asked = [ranges[at] for at in rest]
            found |= zip(
                rest, self.driver.run(read_decoded(tier, asked, lambda at, data: decode(rest[at], data))), strict=True
            )
        for at, place in enumerate(places):
            pages = found[at]
            if isinstance(pages, Absent):
                raise self._missing_error(snapshot, place)
            yield pages

    def _brought_frames(self, places: list[InSegment]) -> dict[int, bytes]:
        """The encoded bytes of frames of a store without ranges, by their number in `places`; one round for each segment."""
        wanted: dict[Ref, set[int]] = {}
        for place in places:
            wanted.setdefault(place.ref, set()).add(place.frame.part)
        came = {ref: self._parts.bring(ref, sorted(parts)) for ref, parts in wanted.items()}
        found: dict[int, bytes] = {}
        for at, place in enumerate(places):
            part, frame = came[place.ref].get(place.frame.part), place.frame
            if part is not None:
                found[at] = part[frame.offset : frame.offset + frame.length]
        return found

    def _frame_key(self, place: Place) -> FrameKey:
        if isinstance(place, InRoot):
            return self.owner, place.commit.head.commit_id, -1, 0, place.frame.offset
        return self._fetching.key_of(place.ref, place.frame)

    def close(self) -> None:
        """Let the frames go."""
        self._frames.leave(self.owner)
        self._frames.keep({})
        self.memory.near.leave(self.owner)

    def _missing_error(self, snapshot: Snapshot, place: InSegment) -> Exception:
        if self._is_gone(snapshot, place.ref):
            return snapshot_gone()
        return Corrupt(f"object {place.ref.identity.part_key(place.frame.part)} is missing")

    def _is_gone(self, snapshot: Snapshot, ref: Ref) -> bool:
        """Whether the newest root needs a segment of a snapshot no more."""
        now = self.branch.refresh().root
        return ref not in now.segments and now.head.version != snapshot.root.head.version


def _range_of_place(place: InSegment) -> tuple[str, int, int]:
    return place.ref.identity.part_key(place.frame.part), place.frame.offset, place.frame.length

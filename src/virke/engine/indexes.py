"""The indexes of the segments that a database's roots name, and the pieces of segments that were read along with them.

Knows segments, frames and the driver; of roots it knows the copies that they carry, and no page.

1. The indexes that are missing are read in one round.
2. What is before an index, and every part of a store without ranges, is kept as it came, in one piece; a frame is cut
   out of it when a page of it is asked for.
3. Only indexes in the object tier may be summed up late (core/index, rule 5): those of the KV tier are copied when a database is
   promoted, with a new sum.
4. A copy in a root (core/recent) is for the newest version alone: what asks for an index is given the segment's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from virke.core.carried import frames_in
from virke.core.codec import crc32
from virke.core.effects import Absent, Tier
from virke.core.finding import with_tables
from virke.core.index import Index, Stub, decode_index
from virke.core.reading import read_decoded
from virke.core.recent import Key, indexes_in, key_of
from virke.core.root import Root
from virke.core.segment import Frame, Ref
from virke.engine.driver import Driver
from virke.engine.frames import FrameCache
from virke.engine.whole_parts import part_key
from virke.errors import Corrupt

TAIL_BYTES: Final = 256 << 10
"""Read before an index along with it: hot pages of a large segment, all of a small one."""
TAIL_BYTES_MIN: Final = 128 << 10
"""At least so much of it, however long the index is."""
WITH_INDEX_BYTES: Final = 480_000
"""An index and what is before it: with a root and a leaf's frame a cold lookup moves less than 500 KB (B10) up to 1 GB."""
Pairs = tuple[tuple[Ref, Index], ...]


class Indexes:
    """The indexes that one open database knows; `whole`: tiers whose parts move as a whole."""

    def __init__(self, driver: Driver, frames: FrameCache, owner: int, whole: frozenset[Tier]) -> None:
        self._driver = driver
        self._frames = frames
        self._owner = owner
        self._whole = whole
        self._known: dict[Ref, Index] = {}
        self._paired: tuple[tuple[Ref, ...], Pairs] = ((), ())
        self._copied: dict[Ref, Index] = {}
        self._newest: tuple[tuple[Ref, ...], Pairs] = ((), ())
        self._carried: dict[Key, dict[tuple[int, int], bytes]] = {}
        """Frames that the newest root carries."""

    def learn(self, ref: Ref, objects: Mapping[str, bytes]) -> Index:
        """The index of a segment that this process stored, with all entries; from now on it is known."""
        index = decode_index(objects[ref.index_key][ref.index_offset : _index_end(ref)], ref)
        if isinstance(index, Stub):
            places = [(objects[ref.identity.part_key(place.part)], place) for place in index.places]
            index = index.with_tables([data[place.offset : place.offset + place.length] for data, place in places])
        for block, place in index.missing():
            data = objects[ref.identity.part_key(place.part)]
            index.take(block, data[place.offset : place.offset + place.length])
        self._known = {**self._known, ref: index}
        return index

    def keep(self, ref: Ref, parts: Sequence[bytes]) -> None:
        """The parts of a spill of a sandbox's first commit: the root carries a copy of its index, and to decode that is left to a later merge."""
        for number, data in enumerate(parts):
            if ref.tier in self._whole or number == ref.parts - 1:
                start = self._piece_start(ref) if number == ref.parts - 1 else 0
                self._frames.keep({part_key(self._owner, ref, number, start): data[start:]})

    def forget(self) -> None:
        """Know none any more: they are read again."""
        self._known, self._copied, self._carried = {}, {}, {}
        self._paired = self._newest = ((), ())

    def newest(self, root: Root) -> Pairs:
        """Its segments, and what finds the pages of its newest version: indexes that are known, copies that it carries, or what is read."""
        refs = root.segments
        if refs is self._newest[0]:
            return self._newest[1]
        known, copied = self._known, self._copied
        missing = tuple(ref for ref in refs if ref not in known and ref not in copied)
        made = indexes_in(root.extensions, missing, root.head) if missing else {}
        known = self._with_read(known, [ref for ref in missing if ref not in made], refs)
        self._copied = made | {ref: copied[ref] for ref in refs if ref in copied}
        self._carried = frames_in(root.extensions)
        found = {**self._copied, **known}
        self._newest = refs, tuple((ref, found[ref]) for ref in refs)
        return self._newest[1]

    def of(self, refs: tuple[Ref, ...]) -> Pairs:
        """Segments and their indexes; those that are not known yet are read, in one round for each tier."""
        before, pairs = self._paired
        if refs is before:
            return pairs
        known = self._known
        known = self._with_read(known, [ref for ref in refs if ref not in known], refs)
        pairs = tuple((ref, known[ref]) for ref in refs)
        self._paired = refs, pairs
        return pairs

    def _with_read(self, known: dict[Ref, Index], missing: Sequence[Ref], used: Sequence[Ref]) -> dict[Ref, Index]:
        """Those that are known, and those that were `missing`; if they become many, those of `used` alone are kept."""
        before = known
        if missing:
            known = {**known, **{ref: index for tier in Tier for ref, index in self._read_indexes(tier, missing)}}
        if len(known) > 4 * len(used) + 64:
            known = {ref: known[ref] for ref in used if ref in known}
        if known is not before:
            self._known = known
        return known

    def _read_indexes(self, tier: Tier, refs: Sequence[Ref]) -> Iterator[tuple[Ref, Index]]:
        """The indexes of those segments that are in `tier`, in one round; what is before them comes along, and is kept."""
        here = [ref for ref in refs if ref.tier is tier]
        ranges = [(ref.index_key, start := self._piece_start(ref), _index_end(ref) - start) for ref in here]

        def decode(at: int, data: bytes) -> Index | Stub:
            ref, start = here[at], ranges[at][1]
            index = decode_index(data, ref, ref.index_offset - start, may_be_late=tier is Tier.OBJECT)
            self._frames.keep({part_key(self._owner, ref, ref.parts - 1, start): data})
            return index

        for ref, index in zip(here, self._driver.run(read_decoded(tier, ranges, decode)) if here else (), strict=True):
            if isinstance(index, Absent):
                raise Corrupt(f"segment {ref.index_key} is missing")
            yield ref, self._driver.run(with_tables(index)) if isinstance(index, Stub) else index

    def _piece_start(self, ref: Ref) -> int:
        """Where that begins of a segment's last part which is read with its index."""
        if ref.tier in self._whole:
            return 0
        tail = min(TAIL_BYTES, max(TAIL_BYTES_MIN, WITH_INDEX_BYTES - ref.index_length))
        return max(0, ref.index_offset - tail)

    def cut(self, ref: Ref, frame: Frame) -> bytes | None:
        """The encoded bytes of a frame, if they are in a piece that is kept, or in the root."""
        if self._carried and (held := self._carried.get(key_of(ref))) is not None:
            found = held.get((frame.part, frame.offset), b"")
            if len(found) == frame.length and crc32(found) == frame.crc:
                return found
        start, piece = self.piece(ref, frame.part) or (frame.offset + 1, b"")
        if frame.offset < start:
            return None
        return piece[frame.offset - start : frame.offset - start + frame.length]

    def piece(self, ref: Ref, part: int) -> tuple[int, bytes] | None:
        """What is kept of a part in one piece, and where it begins; None if nothing is."""
        if ref.tier not in self._whole and part != ref.parts - 1:
            return None
        start = self._piece_start(ref) if part == ref.parts - 1 else 0
        piece = self._frames.find_here(part_key(self._owner, ref, part, start))
        return (start, piece) if isinstance(piece, bytes) else None


def _index_end(ref: Ref) -> int:
    return ref.index_offset + ref.index_length

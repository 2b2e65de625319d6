"""Copies of recent segments' indexes, carried by the root: a reader that knows nothing finds their pages without reading them.

Pure. Byte layout: docs/format.md (an extension of the root). Knows references and indexes; decides nothing about a root.

1. A copy says what the segment's own index says, and nothing else; a reader that has none, or can't read it, reads the index.
2. It is of one segment for ever: of the id, the ordinal and the checksum of the index in its reference. So one that a writer left in a root
   whose segments are others means nothing there.
3. `WHOLE` is the index as it is, held against the reference's checksum. `NEWEST` is a table of frames, oldest first, without those of
   which no page is the newest: of a spill, whose index has a group for each commit, and of a merge, whose index names what it replaced
   and lists blocks. It answers for the segment's newest version alone.
4. All copies of a root together have at most so many bytes as the writer says; the newest segments come first.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from virke.core import codec
from virke.core.blocks import Place
from virke.core.codec import crc32
from virke.core.entries import Found, Number
from virke.core.extensions import RECENT, Extension
from virke.core.ids import ID_BYTES, PageNo, Version
from virke.core.index import Group, Index, Stub, decode_index
from virke.core.page import PAGE_COUNT_MAX
from virke.core.segment import FRAME_PAGES_MAX, FRAME_RAW_MAX, Frame, Head, Ref
from virke.core.wire import Reader, Writer, number_column
from virke.errors import Corrupt

RAW_MAX: Final = 1 << 20
FRAMES_MAX: Final = 512
"""Of a merged segment: a table of more frames takes a step of upkeep too long to make."""
WHOLE, NEWEST = range(2)
_SMALL_BYTES: Final = 1 << 10
"""To inflate a table of fewer costs more than its bytes in a root."""
_FRAME_BYTES: Final = struct.calcsize(">HHIIIB")
_PAGE: Final = struct.Struct(">I")
_PART: Final = struct.Struct(">H")
assert _FRAME_BYTES == 17
Key = tuple[bytes, int, int]


class Copy(NamedTuple):
    """What a root carries of one segment's index."""

    kind: int
    data: bytes


def key_of(ref: Ref) -> Key:
    """Of which segment a copy is (rule 2)."""
    return ref.identity.commit_id, ref.identity.ordinal, ref.index_crc


def newest_of(frames: Sequence[Frame]) -> Copy:
    """The copy for those frames, of a spill in the order of its commits."""
    left: set[PageNo] = set()
    kept: list[Frame] = []
    for frame in reversed(frames):
        if not left.issuperset(frame.pages):
            left.update(frame.pages)
            kept.append(frame)
    kept.reverse()
    count = len(kept)
    raw = b"".join(
        (
            struct.pack(f">{count}H", *(len(frame.pages) for frame in kept)),
            struct.pack(f">{count}H", *(frame.part for frame in kept)),
            struct.pack(f">{count}I", *(frame.offset for frame in kept)),
            struct.pack(f">{count}I", *(frame.length for frame in kept)),
            struct.pack(f">{count}I", *(frame.crc for frame in kept)),
            bytes(frame.codec for frame in kept),
            *(struct.pack(f">{len(frame.pages)}I", *frame.pages) for frame in kept),
        )
    )
    kind, data = codec.encode(raw) if len(raw) > _SMALL_BYTES else (codec.STORED, raw)
    out = Writer()
    out.varint(count)
    out.u8(kind)
    out.varint(len(raw))
    out.u32(crc32(data))
    out.blob(data)
    return Copy(NEWEST, out.bytes())


def copy_of(index: bytes, ref: Ref) -> Copy:
    """The copy for a merged segment with that index: a table of its frames, or the index as it is where entries are not in it, or many."""
    found = decode_index(index, ref)
    if isinstance(found, Stub) or not found.is_one_state or found.missing() or found.frame_count() > FRAMES_MAX:
        return Copy(WHOLE, index)
    return newest_of([frame for group in range(len(found.groups)) for frame in found.frames(group)])


def copies_in(extensions: tuple[Extension, ...]) -> dict[Key, Copy]:
    """The copies that a root carries; none where they are of a later Virke."""
    data = next((each.data for each in extensions if each.type_number == RECENT), b"")
    source = Reader(data, "copies of indexes")
    found: dict[Key, Copy] = {}
    try:
        while source.left:
            key = source.raw(ID_BYTES), source.u8(), source.u32()
            found[key] = Copy(source.u8(), source.blob(len(data)))
    except Corrupt:
        return {}
    return found


def with_copies(
    extensions: tuple[Extension, ...], segments: Sequence[Ref], made: Mapping[Key, Copy], bytes_max: int | None = None
) -> tuple[Extension, ...]:
    """The same with copies for `segments` alone: those of before, and those that were `made`, within `bytes_max` (rule 4)."""
    others = tuple(each for each in extensions if each.type_number != RECENT)
    known = {**copies_in(extensions), **made}
    total = 0
    kept: list[bytes] = []
    for ref in reversed(segments):
        if (copy := known.get(key_of(ref))) is not None and (bytes_max is None or total + len(copy.data) <= bytes_max):
            out = Writer()
            out.raw(ref.identity.commit_id)
            out.u8(ref.identity.ordinal)
            out.u32(ref.index_crc)
            out.u8(copy.kind)
            out.blob(copy.data)
            kept.append(out.bytes())
            total += len(kept[-1])
    if not kept:
        return others
    return tuple(sorted([*others, Extension(RECENT, b"".join(kept))], key=lambda each: each.type_number))


def indexes_in(extensions: tuple[Extension, ...], segments: Sequence[Ref], head: Head) -> dict[Ref, Index]:
    """What the copies say of `segments`, for a reader of the newest version, whose head is `head`."""
    copies = copies_in(extensions)
    found: dict[Ref, Index] = {}
    for ref in segments if copies else ():
        copy = copies.get(key_of(ref))
        try:
            if copy is not None and (index := _copied_index(copy, ref, head)) is not None:
                found[ref] = index
        except Corrupt:  # rule 1
            continue
    return found


def _copied_index(copy: Copy, ref: Ref, head: Head) -> Index | None:
    if copy.kind == WHOLE:
        index = decode_index(copy.data, ref)
        return None if isinstance(index, Stub) else index
    return _newest_index(copy.data, ref, head) if copy.kind == NEWEST else None


def _newest_index(data: bytes, ref: Ref, head: Head) -> Index:
    what = "copy of a segment's index"
    source = Reader(data, what)
    count, kind, raw_bytes, crc = source.varint(RAW_MAX), source.u8(), source.varint(RAW_MAX), source.u32()
    encoded = source.blob(len(data))
    source.done()
    if not count or not codec.can_hold(kind, len(encoded), raw_bytes):
        raise Corrupt(f"{what}: it promises more than its bytes can hold")
    raw = codec.decode(kind, encoded, crc=crc, raw_bytes=raw_bytes, what=what)
    return _NewestFrames(ref, head, raw, count)


class _NewestFrames(Index):
    """Frames, of which the last one that has a page has its newest bytes; what `Index` makes of an encoded one is not made."""

    def __init__(self, ref: Ref, head: Head, raw: bytes, count: int) -> None:
        """`raw`: the columns of `count` frames; `head`: of the version that is read. Raises `Corrupt`."""
        self.ref, self.identity, self.inputs = ref, ref.identity, ()
        if len(raw) < count * _FRAME_BYTES:
            raise Corrupt(f"{self.what}: its copy is cut short")
        state = Head(ref.hi, head.commit_id, ref.hi_time_ms, head.page_size, head.page_count, head.checksum)
        self.groups = (Group(state),)
        self.is_one_state = False
        counts = number_column(raw[: 2 * count], "H")
        self._ends = array("I", accumulate(counts))
        self._raw, self._count = raw, count
        self._pages = raw[_FRAME_BYTES * count :]
        """Four bytes each: to search them as bytes takes no step for each page."""
        most = min(FRAME_PAGES_MAX, max(1, FRAME_RAW_MAX // head.page_size))
        if 0 in counts or max(counts) > most or len(self._pages) != _PAGE.size * self._ends[-1]:
            raise Corrupt(f"{self.what}: impossible frame in its copy")

    def find(self, page: PageNo, version: Version) -> Found | None:
        """The newest frame that has `page`."""
        del version
        wanted = _PAGE.pack(page)
        at = self._pages.rfind(wanted)
        while at % _PAGE.size:  # across two pages' numbers, or not there
            if at < 0:
                return None
            at = self._pages.rfind(wanted, 0, at + _PAGE.size - 1)
        at //= _PAGE.size
        number = bisect_right(self._ends, at)
        return self._frame_at(number), at - (self._ends[number - 1] if number else 0)

    def frames(self, group: int, first: int = 1, last: int = PAGE_COUNT_MAX) -> Iterator[Frame]:
        """All of them."""
        del group, first, last
        return map(self._frame_at, range(self._count))

    def missing(self, first: int = 1, last: int = PAGE_COUNT_MAX) -> list[tuple[Number, Place]]:
        """Nothing is."""
        del first, last
        return []

    def frame_count(self) -> int:
        """How many there are."""
        return self._count

    def after(self, frame: Frame) -> Iterator[Frame]:
        """Those behind `frame`, and then those before it: it is a small segment."""
        frames = list(self.frames(0))
        at = frames.index(frame)
        return iter((*frames[at + 1 :], *frames[:at]))

    def _frame_at(self, number: int) -> Frame:
        begin, end = self._ends[number - 1] if number else 0, self._ends[number]
        pages = tuple(map(PageNo, number_column(self._pages[_PAGE.size * begin : _PAGE.size * end])))
        raw, count = self._raw, self._count
        [part] = _PART.unpack_from(raw, 2 * (count + number))
        offset, length, crc = (_PAGE.unpack_from(raw, column * count + 4 * number)[0] for column in (4, 8, 12))
        return Frame(pages, part, offset, length, crc, raw[16 * count + number])

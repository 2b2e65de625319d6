"""A block of frame entries: which pages some frames of a segment hold, and where their bytes are; in both formats.

Pure. Byte layout: docs/format.md. A block is decoded whole, a frame of it is made when it is asked for.

1. Pages ascend within a block, and no page is in two frames.
2. Of format 2 the frames of a block are in one part, one after another, so that only their lengths are written.
3. Nothing is allocated before its size was checked against the bytes that are there.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Final, NamedTuple, Protocol

from virke.core import codec
from virke.core.codec import crc32
from virke.core.ids import PageNo
from virke.core.segment import FRAME_PAGES_MAX, FRAME_RAW_MAX, Frame, read_frame
from virke.core.wire import Reader, number_column, running_sums
from virke.errors import Corrupt

FRAMES_MAX: Final = 128
RAW_MAX: Final = 1 << 20
FRAME_BYTES: Final = struct.calcsize(">HIIB")
PAGE_BYTES: Final = struct.calcsize(">I")
_SMALL_BYTES: Final = 48
"""One frame of a few pages: it does not shrink, and each commit of a spill has a block of its own."""
_CRC: Final = struct.Struct(">I")
assert (FRAME_BYTES, PAGE_BYTES) == (11, 4)
"""What a frame, and each of its pages, takes in a block of format 2 before it is compressed."""
BLOCKS_WITH_FRAMES: Final = 64
"""Of so many blocks of an index the frames that were made are kept, those of 256 MB; all frames of a database take 2 % of its size."""
Found = tuple[Frame, int]
"""A frame, and a page's place in it."""
Number = tuple[int, int]
"""Of a group of an index, and of a block in it."""


class Block(NamedTuple):
    """A run of frame entries of one group: its span of pages, and how its entries are encoded.

    `part` and `start` are where its first frame is; format 1 does not say, and they are -1.
    """

    first: PageNo
    last: PageNo
    frames: int
    part: int
    start: int
    codec: int
    raw_bytes: int
    crc: int


class Entries(Protocol):
    """The entries of a block, decoded."""

    def find(self, page: PageNo) -> Found | None:
        """The frame that has `page`."""

    def __iter__(self) -> Iterator[Frame]:
        """All frames, ascending."""

    def end(self) -> int:
        """Where the last frame ends in its part."""

    def forget_frames(self) -> None:
        """Let the frames go that were made; the next that asks for one makes it again."""


class FirstEntries:
    """Entries of format 1."""

    __slots__ = ("_firsts", "_frames")

    def __init__(self, frames: tuple[Frame, ...]) -> None:
        self._frames = frames
        self._firsts = [frame.pages[0] for frame in frames]

    def find(self, page: PageNo) -> Found | None:
        """The frame that has `page`."""
        at = bisect_right(self._firsts, page) - 1
        frame = self._frames[at]
        return (frame, frame.pages.index(page)) if at >= 0 and page in frame.pages else None

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    def end(self) -> int:
        """Where the last frame ends in its part."""
        return self._frames[-1].offset + self._frames[-1].length

    def forget_frames(self) -> None:
        """They are all that there is."""


class Columns:
    """Entries of format 2: a column for each field."""

    __slots__ = (
        "_bytes",
        "_codecs",
        "_crcs",
        "_ends",
        "_made",
        "_most",
        "_page_size",
        "_pages",
        "_part",
        "_start",
        "_what",
    )

    def __init__(self, block: Block, raw: bytes, page_size: int, what: str) -> None:
        """Raises `Corrupt`."""
        count = block.frames
        many, left = divmod(len(raw) - count * FRAME_BYTES, PAGE_BYTES)
        if left or many < count:
            raise Corrupt(f"{what}: index block is cut short")
        ends = running_sums(array("I", number_column(raw[: 2 * count], "H")), 1)
        lengths = running_sums(number_column(raw[2 * count : 6 * count]), 0)
        pages = running_sums(number_column(raw[11 * count :]), 1)
        if ends is None or lengths is None or pages is None or ends[-1] != many:
            raise Corrupt(f"{what}: impossible frame")
        if pages[0] != block.first or pages[-1] != block.last:
            raise Corrupt(f"{what}: index block does not cover its span")
        self._pages, self._ends, self._bytes = pages, ends, lengths
        self._crcs = raw[6 * count : 10 * count]
        self._codecs = raw[10 * count : 11 * count]
        self._most = min(FRAME_PAGES_MAX, max(1, FRAME_RAW_MAX // page_size))
        self._part = block.part
        self._start = block.start
        self._page_size = page_size
        self._what = what
        self._made: dict[int, Frame] = {}

    def find(self, page: PageNo) -> Found | None:
        """The frame that has `page`. Raises `Corrupt`."""
        at = bisect_left(self._pages, page)
        if at == len(self._pages) or self._pages[at] != page:
            return None
        number = bisect_right(self._ends, at)
        return self._frame_at(number), at - (self._ends[number - 1] if number else 0)

    def __iter__(self) -> Iterator[Frame]:
        return map(self._frame_at, range(len(self._ends)))

    def end(self) -> int:
        """Where the last frame ends in its part."""
        return self._start + self._bytes[-1]

    def forget_frames(self) -> None:
        """Let the frames go that were made."""
        self._made = {}

    def _frame_at(self, number: int) -> Frame:
        if (made := self._made.get(number)) is None:
            begin, offset = (self._ends[number - 1], self._bytes[number - 1]) if number else (0, 0)
            end, length, kind = self._ends[number], self._bytes[number] - offset, self._codecs[number]
            if end - begin > self._most or not codec.can_hold(kind, length, (end - begin) * self._page_size):
                raise Corrupt(f"{self._what}: a frame promises more than its bytes can hold, or less")
            pages = tuple(map(PageNo, self._pages[begin:end]))
            [crc] = _CRC.unpack_from(self._crcs, _CRC.size * number)
            made = self._made[number] = Frame(pages, self._part, self._start + offset, length, crc, kind)
        return made


class Decoded:
    """The entries of an index's blocks that were decoded, and the frames of those that were asked for last."""

    __slots__ = ("_entries", "_with_frames")

    def __init__(self, known: Mapping[Number, Entries]) -> None:
        self._entries = dict(known)
        self._with_frames: dict[Number, Entries] = {}
        """Those that were asked for, the first to have been first."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, number: Number) -> bool:
        return number in self._entries

    def __setitem__(self, number: Number, entries: Entries) -> None:
        self._entries[number] = entries
        self._with_frames.pop(number, None)
        self._note(number, entries)

    def get(self, number: Number) -> Entries | None:
        """The entries of a block; None if they were not decoded."""
        entries = self._entries.get(number)
        if entries is not None and number not in self._with_frames:
            self._note(number, entries)
        return entries

    def _note(self, number: Number, entries: Entries) -> None:
        """This block is asked for; the one whose turn it is loses its frames."""
        self._with_frames[number] = entries
        if len(self._with_frames) > BLOCKS_WITH_FRAMES:
            with suppress(StopIteration, RuntimeError, KeyError):  # another thread was first
                self._with_frames.pop(next(iter(self._with_frames))).forget_frames()


def encode_entries(frames: list[Frame]) -> tuple[Block, bytes]:
    """One block for up to `FRAMES_MAX` frames that are in one part, one after another; and its encoded entries."""
    first = frames[0]
    counts = [len(frame.pages) for frame in frames]
    pages = [page for frame in frames for page in frame.pages]
    gaps = [pages[0], *(later - earlier for earlier, later in pairwise(pages))]
    count = len(frames)
    if count == 1:  # as of most commits of a spill: columns of one row are the row
        raw = struct.pack(f">HIIB{len(gaps)}I", len(gaps), first.length, first.crc, first.codec, *gaps)
    else:
        raw = b"".join(
            (
                struct.pack(f">{count}H", *counts),
                struct.pack(f">{count}I", *(frame.length for frame in frames)),
                struct.pack(f">{count}I", *(frame.crc for frame in frames)),
                bytes(frame.codec for frame in frames),
                struct.pack(f">{len(gaps)}I", *gaps),
            )
        )
    kind, data = codec.encode(raw) if len(raw) > _SMALL_BYTES else (codec.STORED, raw)
    block = Block(pages[0], pages[-1], count, first.part, first.offset, kind, len(raw), crc32(data))
    return block, data


def decode_entries(block: Block, data: bytes, page_size: int, what: str) -> Entries:
    """The entries of a block.

    Raises:
        Corrupt: the bytes are not the ones that were written.
    """
    raw = codec.decode(block.codec, data, crc=block.crc, raw_bytes=block.raw_bytes, what=what)
    if block.part >= 0:
        return Columns(block, raw, page_size, what)
    source, before, frames = Reader(raw, what), PageNo(0), []
    for _ in range(block.frames):
        frame = read_frame(source, before, page_size)
        before = frame.pages[-1]
        frames.append(frame)
    source.done()
    if frames[0].pages[0] != block.first or before != block.last:
        raise Corrupt(f"{what}: index block does not cover its span")
    return FirstEntries(tuple(frames))

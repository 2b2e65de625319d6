"""The blocks of a segment's index: which pages the entries of each span, and where those entries are; in both formats.

Pure. Byte layout: docs/format.md. Knows columns of a table; knows neither segments nor what is in an entry.

1. Blocks ascend within a group, and none is in a part that the segment does not have.
2. What a row promises is checked when it is asked for: whoever looks one page up pays for one row.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from virke.core import codec
from virke.core.entries import FRAMES_MAX, RAW_MAX, Block
from virke.core.ids import PageNo
from virke.core.page import PAGE_COUNT_MAX
from virke.core.wire import running_sums
from virke.errors import Corrupt


class Place(NamedTuple):
    """Some bytes of a segment: `length` at `offset` of part `part`."""

    part: int
    offset: int
    length: int


class Listed(NamedTuple):
    """A block, and its encoded entries or where they are."""

    block: Block
    entries: bytes | Place
    offset: int = 0
    """Of entries in an index of format 2: where they begin among all that are in it."""


class Blocks(Protocol):
    """The blocks of one group, ascending."""

    firsts: Sequence[int]
    lasts: Sequence[int]
    frame_count: int
    is_here: bool
    """Whether all entries are in the index."""

    def __getitem__(self, at: int) -> Listed:
        """One of them."""


class ListedBlocks:
    """Blocks in a list."""

    def __init__(self, listed: Sequence[Listed]) -> None:
        self.firsts: Sequence[int] = [one.block.first for one in listed]
        self.lasts: Sequence[int] = [one.block.last for one in listed]
        self.frame_count = sum(one.block.frames for one in listed)
        self.is_here = all(isinstance(one.entries, bytes) for one in listed)
        self._listed = listed

    def __getitem__(self, at: int) -> Listed:
        return self._listed[at]


class Rows:
    """The blocks of one group, as columns of the table."""

    def __init__(self, columns: Sequence[array[int]], inside: memoryview, *, parts: int, what: str) -> None:
        """`inside`: the entries that are in the index. `parts`: how many the segment has. Raises `Corrupt`."""
        gaps, spans, frames, part, _, far = columns[:6]
        self._columns = columns
        self._inside = inside
        self._what = what
        edges = array("I", bytes(8 * len(gaps)))
        edges[::2], edges[1::2] = gaps, spans
        ascending = running_sums(edges, 0)
        if ascending is None or 0 in gaps or (gaps and (ascending[-1] > PAGE_COUNT_MAX or part[-1] >= parts)):
            raise Corrupt(f"{what}: index blocks are not in order")
        self.firsts: Sequence[int] = ascending[::2]
        self.lasts: Sequence[int] = ascending[1::2]
        self.frame_count = sum(frames)
        self.is_here = not any(far)

    def __getitem__(self, at: int) -> Listed:
        """Raises `Corrupt`."""
        _, _, frames, part, start, far, offset, length, raw_bytes, crc, kind = (column[at] for column in self._columns)
        if not 0 < frames <= FRAMES_MAX or raw_bytes > RAW_MAX or far > 1:
            raise Corrupt(f"{self._what}: impossible index blocks")
        if not codec.can_hold(kind, length, raw_bytes):
            raise Corrupt(f"{self._what}: an index block promises more than its bytes can hold")
        first, last = PageNo(self.firsts[at]), PageNo(self.lasts[at])
        block = Block(first, last, frames, part, start, kind, raw_bytes, crc)
        if far:
            return Listed(block, Place(part, offset, length))
        return Listed(block, bytes(self._inside[offset : offset + length]), offset)

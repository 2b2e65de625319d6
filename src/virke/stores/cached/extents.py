"""Extents: what is known of immutable objects, in the pieces that it came in, and in memory within a budget.

Knows that the bytes under one key never change. Knows no store, no disk and no request. An extent is some bytes of
one object; a span says where they are, and whether they reach the object's end.

1. An extent answers every range inside it; extents side by side answer a range that spans them.
2. An extent that reaches the object's end answers ranges without a length too, and `Corrupt` beyond that end.
   One that reaches from the first byte to the end is the whole object.
3. Of one object no extent is inside another: what a new one adds is kept, what it makes superfluous goes.
   In memory no byte is held twice; on disk, where several processes write, it may be for a while.
4. Memory holds at most `bytes_max` after every call; an extent counts its bytes and `EXTENT_BYTES` more. What was
   used longest ago goes first, and what does not fit alone is not kept and pushes nothing out.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from virke.lazy_dataclasses import dataclass
from virke.stores.base import Range, byte_bounds

BEYOND: Final = 1 << 63
"""Beyond the end of every object."""
EXTENT_BYTES: Final = 768
"""What an extent costs besides its bytes, its share of the index included."""


class Span(NamedTuple):
    """Where bytes are in their object: from `start` up to `end`; `last` if the object ends there."""

    start: int
    end: int
    last: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Extent:
    """The bytes of an object at a span."""

    key: str
    span: Span
    data: bytes

    def cut(self, size_bytes: int) -> list[Extent]:
        """The same in extents of at most `size_bytes` each."""
        start, end, last = self.span
        if end - start <= size_bytes:
            return [self]
        cuts = range(start, end, size_bytes)
        spans = [Span(at, min(at + size_bytes, end), last and at + size_bytes >= end) for at in cuts]
        return [self.part(span) for span in spans]

    def part(self, span: Span) -> Extent:
        """What of it is at `span`."""
        if span == self.span:
            return self
        return Extent(self.key, span, self.data[span.start - self.span.start : span.end - self.span.start])


# Spans of one object, sorted, none inside another


def spans_holding(spans: Sequence[Span], asked: Range) -> tuple[int, int] | None:
    """Which of `spans` answer `asked` together, as the bounds of a slice; None if they don't.

    They answer a range beyond the end too, if they know the end: `read` raises `Corrupt` then.
    """
    offset, length = asked.offset, asked.length
    stop = BEYOND if length is None else offset + length
    first = at = bisect_right(spans, (offset, BEYOND, True)) - 1
    if at < 0 or stop < offset:
        return None
    _, end, last = spans[at]
    if offset > end and not last:
        return None
    while end < stop and not last:
        at += 1
        if at == len(spans) or spans[at][0] > end:
            return None
        _, end, last = spans[at]
    return first, at + 1


def fit_span(spans: Sequence[Span], new: Span) -> tuple[Span | None, slice]:
    """What of `new` is to be kept next to `spans` (None: nothing of it is new), and which of them to drop for it."""
    first = stop = bisect_left(spans, (new.start, -1, False))
    while stop < len(spans) and _is_inside(spans[stop], new):
        stop += 1
    start, end, last = new
    if first:
        start = min(max(start, spans[first - 1].end), end)
    if stop < len(spans) and spans[stop].start < end:
        end, last = max(spans[stop].start, start), False
    kept = Span(start, end, last)
    if (start == end and not last) or any(_is_inside(kept, span) for span in spans[max(0, first - 1) : stop + 1]):
        return None, slice(first, first)
    return kept, slice(first, stop)


def _is_inside(span: Span, other: Span) -> bool:
    return other.start <= span.start and span.end <= other.end and (other.last or not span.last)


def pruned_spans(spans: Sequence[Span]) -> list[Span]:
    """`spans`, sorted, without those that are inside another."""
    kept: list[Span] = []
    for span in sorted(spans):
        while kept and kept[-1].start == span.start:
            kept.pop()  # sorted after it, so `span` is at least as long
        if not kept or span[1:] > kept[-1][1:]:  # it reaches further, or knows that this is the end
            kept.append(span)
    return kept


def read_extents(asked: Range, extents: Sequence[Extent]) -> bytes:
    """The bytes of `asked` from the extents that `holding` chose. Raises `Corrupt` beyond the object's end."""
    at = asked.offset
    stop = BEYOND if asked.length is None else at + asked.length
    if stop > (end := extents[-1].span.end):
        at, stop = byte_bounds(asked, end)
    if len(extents) == 1:
        start = extents[0].span.start
        return extents[0].data[at - start : stop - start]
    parts = []
    for extent in extents:
        start, end, _ = extent.span
        parts.append(extent.data[at - start : stop - start])
        at = end
    return b"".join(parts)


class Extents:
    """The extents of one object (invariants 1 to 3)."""

    __slots__ = ("_extents", "_spans")

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._extents: list[Extent] = []

    def __bool__(self) -> bool:
        return bool(self._spans)

    def holding(self, asked: Range) -> Sequence[Extent] | None:
        """The extents that answer `asked` together, None if they don't."""
        found = spans_holding(self._spans, asked)
        return None if found is None else self._extents[found[0] : found[1]]

    def find(self, asked: Range) -> bytes | None:
        """The bytes of `asked`, None if they are not all here. Raises `Corrupt` beyond the object's end."""
        held = self.holding(asked)
        return None if held is None else read_extents(asked, held)

    def add(self, extent: Extent) -> tuple[Extent | None, list[Extent]]:
        """Take in an extent; what of it was kept (None: nothing), and which others were dropped for it."""
        span, superfluous = fit_span(self._spans, extent.span)
        dropped = self._extents[superfluous]
        kept = None if span is None else extent.part(span)
        self._spans[superfluous] = [] if kept is None else [kept.span]
        self._extents[superfluous] = [] if kept is None else [kept]
        return kept, dropped

    def remove(self, extent: Extent) -> None:
        """Drop an extent that is here."""
        at = bisect_left(self._spans, extent.span)
        del self._spans[at], self._extents[at]

    def __iter__(self) -> Iterator[Extent]:
        return iter(self._extents)


class Memory:
    """The extents of many objects within a budget of bytes (invariant 4); threads may share it."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._objects: dict[str, Extents] = {}
        self._used: OrderedDict[Extent, None] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """What it holds now, as the budget counts it."""
        return self._bytes

    def find(self, asked: Range) -> bytes | None:
        """The bytes of `asked`, None if they are not all here. Raises `Corrupt` beyond the object's end."""
        with self._lock:
            known = self._objects.get(asked.key)
            held = None if known is None else known.holding(asked)
            if held is None:
                return None
            for extent in held:
                self._used.move_to_end(extent)
        return read_extents(asked, held)

    def keep(self, extent: Extent) -> None:
        """Keep what of `extent` is not here yet, if it fits into the budget at all."""
        if _cost_of_extent(extent) > self._bytes_max or not (extent.data or extent.span.last):
            return
        with self._lock:
            kept, dropped = self._objects.setdefault(extent.key, Extents()).add(extent)
            for one in dropped:
                del self._used[one]
                self._bytes -= _cost_of_extent(one)
            if kept is not None:
                self._used[kept] = None
                self._bytes += _cost_of_extent(kept)
            while self._bytes > self._bytes_max:
                self._drop_extent(next(iter(self._used)))

    def forget(self, key: str) -> None:
        """Drop all that is here of one object."""
        with self._lock:
            for extent in tuple(self._objects.get(key, ())):
                self._drop_extent(extent)

    def _drop_extent(self, extent: Extent) -> None:
        del self._used[extent]
        self._bytes -= _cost_of_extent(extent)
        known = self._objects[extent.key]
        known.remove(extent)
        if not known:
            del self._objects[extent.key]


def _cost_of_extent(extent: Extent) -> int:
    return len(extent.data) + EXTENT_BYTES

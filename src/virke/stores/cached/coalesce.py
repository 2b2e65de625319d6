"""Which requests bring ranges that are missing: neighbours together, large ones in parts, nothing twice.

Pure. Knows ranges and sizes; knows neither the store nor the cache.

1. Each asked range is inside the requests for its key that follow each other without a gap between them.
2. Neighbours with at most `gap_bytes` between them become one request while that stays within `piece_bytes`. No request
   reaches beyond what was asked for, so it is `Corrupt` only if a range that was asked for is.
3. A longer range is cut into equal parts of at most `piece_bytes`, which the store can fetch at once; one that is
   longer than any object (`object_bytes_max`) is for the store to refuse, and passed on as it is.
4. Of ranges without a length the first one of a key is passed on as it is; what is inside it is not asked for again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from virke.stores.base import Range
from virke.stores.cached.extents import BEYOND


def coalesced_ranges(asked: Iterable[Range], *, gap_bytes: int, piece_bytes: int, object_bytes_max: int) -> list[Range]:
    """The requests for `asked`, by key and offset."""
    by_key: dict[str, list[Range]] = {}
    for one in asked:
        by_key.setdefault(one.key, []).append(one)
    found: list[Range] = []
    for key, ranges in by_key.items():
        rest = min((one.offset for one in ranges if one.length is None), default=BEYOND)
        spans = sorted((one.offset, one.offset + (one.length or 0)) for one in ranges if one.offset < rest)
        parts = (part for span in spans for part in _parts_of_span(span, piece_bytes, object_bytes_max))
        found += [Range(key, start, end - start) for start, end in _joined_parts(parts, gap_bytes, piece_bytes)]
        if rest < BEYOND:
            found.append(Range(key, rest))
    return found


def whole_objects(asked: Iterable[Range]) -> list[Range]:
    """The requests for `asked` of a store that only moves whole objects: each key once."""
    return [Range(key) for key in dict.fromkeys(one.key for one in asked)]


def _parts_of_span(span: tuple[int, int], piece_bytes: int, object_bytes_max: int) -> Iterator[tuple[int, int]]:
    start, end = span
    size = end - start
    if size <= piece_bytes or size > object_bytes_max:
        yield span
        return
    step = -(-size // -(-size // piece_bytes))
    for at in range(start, end, step):
        yield at, min(at + step, end)


def _joined_parts(parts: Iterable[tuple[int, int]], gap_bytes: int, piece_bytes: int) -> Sequence[tuple[int, int]]:
    """What is new of each part, joined to what came before where that is near and small enough."""
    joined: list[tuple[int, int]] = []
    for start, end in parts:
        if not joined:
            joined.append((start, end))
            continue
        begun, done = joined[-1]
        if end <= done:
            continue  # a span that begins no later reaches further
        start = max(start, done)
        if start - done <= gap_bytes and end - begun <= piece_bytes:
            joined[-1] = begun, end
        else:
            joined.append((start, end))
    return joined

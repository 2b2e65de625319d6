"""What to fetch along with a frame that is missing: how many round trips a cold query needs.

Knows frames and where they lie; knows neither the store nor the cache. Its own state is a guess and may be lost.

1. A first miss of a segment fetches one frame. Later ones fetch `GROWTH` times as much each: in a segment that the
   cache can hold, whatever is missing; in a larger one only what follows, and as long as misses follow each other (a
   scan). So a lookup stays small, and a query that needs much of a segment takes a handful of rounds.
2. No frame is fetched twice for this reason: what is cached is passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from virke.core.segment import Frame, Index, Ref

FIRST_BYTES: Final = 32 << 10
MOST_BYTES: Final = 8 << 20
GROWTH: Final = 4
NEAR_PAGES: Final = 64
SEGMENTS_MAX: Final = 256


class ReadAhead:
    """How far to read ahead in each segment."""

    def __init__(self, small_bytes: int) -> None:
        self._small_bytes = small_bytes
        self._seen: dict[Ref, tuple[int, int]] = {}

    def runs(self, ref: Ref, index: Index, missing: Frame, is_cached: Callable[[Frame], bool]) -> list[list[Frame]]:
        """The frames to fetch in one round, `missing` among them: each run lies in one piece of one part."""
        expected, window = self._seen.get(ref, (0, -1))
        follows = 0 <= missing.pages[0] - expected <= NEAR_PAGES
        if window >= 0 and (follows or ref.stored_bytes <= self._small_bytes):
            window = min(max(window * GROWTH, FIRST_BYTES), MOST_BYTES)
        else:
            window = 0
        chosen, left = [missing], window
        for frame in index.after(missing) if window else ():
            left -= frame.length
            if left < 0:
                break
            if is_cached(frame):
                left += frame.length
            else:
                chosen.append(frame)
        if len(self._seen) >= SEGMENTS_MAX:
            self._seen.clear()
        self._seen[ref] = chosen[-1].pages[-1] + 1, window
        return _contiguous(chosen)


def _contiguous(frames: list[Frame]) -> list[list[Frame]]:
    runs: list[list[Frame]] = []
    part = end = -1
    for frame in sorted(frames, key=lambda frame: (frame.part, frame.offset)):
        if (frame.part, frame.offset) != (part, end):
            runs.append([])
        runs[-1].append(frame)
        part, end = frame.part, frame.offset + frame.length
    return runs

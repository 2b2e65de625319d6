"""What to fetch along with a frame that is missing, and what before it is asked for: how many rounds a query waits for.

Knows frames and where they lie; knows neither the store nor the cache. Its own state is a guess and may be lost.

1. A first miss of a segment fetches one frame. Later ones fetch `GROWTH` times as much each: in a segment that the
   cache can hold, whatever is missing; in a larger one only what follows, and as long as misses follow each other (a
   scan). So a lookup stays small, and a query that needs much of a segment takes a handful of rounds.
2. A scan is kept one window ahead: when it enters what was fetched last, the window behind that is wanted (`next`).
3. No frame is fetched twice for this reason: what is cached, or under way, is passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from virke.core.segment import Frame, Index, Ref

FIRST_BYTES: Final = 32 << 10
MOST_BYTES: Final = 8 << 20
AHEAD_FROM_BYTES: Final = 128 << 10
GROWTH: Final = 4
SCAN_STEPS: Final = 2
NEAR_PAGES: Final = 64
SEGMENTS_MAX: Final = 256
IsHere = Callable[[Frame], bool]
"""Whether a frame is cached or under way."""


@dataclass(slots=True)
class _Course:
    """How a segment is being read.

    The page where it should go on, bytes read ahead, misses that followed each other, the frame wanted last, and the
    page where what was wanted last begins.
    """

    expected: int
    window: int
    steps: int
    last: Frame
    entered_from: int


class ReadAhead:
    """How far to read ahead in each segment."""

    def __init__(self, small_bytes: int) -> None:
        self._small_bytes = small_bytes
        self._seen: dict[Ref, _Course] = {}

    def missed(self, ref: Ref, index: Index, missing: Frame, is_here: IsHere) -> list[Frame]:
        """The frames to fetch in one round, `missing` first."""
        course = self._seen.get(ref)
        window = steps = 0
        if course is not None:
            steps = course.steps + 1 if 0 <= missing.pages[0] - course.expected <= NEAR_PAGES else 0
            if steps or ref.stored_bytes <= self._small_bytes:
                window = min(max(course.window * GROWTH, FIRST_BYTES), MOST_BYTES)
        chosen = [missing, *_following(index, missing, window, is_here)]
        if len(self._seen) >= SEGMENTS_MAX:
            self._seen.clear()
        last = chosen[-1]
        self._seen[ref] = _Course(last.pages[-1] + 1, window, steps, last, missing.pages[0])
        return chosen

    def next(self, ref: Ref, index: Index, frame: Frame, is_here: IsHere) -> list[Frame]:
        """The frames to fetch beside the query, now that it has come to `frame`; none unless it is a scan."""
        course = self._seen.get(ref)
        if course is None or course.steps < SCAN_STEPS or course.window < AHEAD_FROM_BYTES:
            return []
        if not course.entered_from <= frame.pages[0] < course.expected:
            return []
        chosen = _following(index, course.last, course.window, is_here)
        if not chosen or chosen[-1].pages[-1] < course.expected:  # the end, or back at the start
            course.steps = 0
            return []
        course.window = min(course.window * GROWTH, MOST_BYTES)
        course.entered_from = course.expected
        course.expected, course.last = chosen[-1].pages[-1] + 1, chosen[-1]
        return chosen


def _following(index: Index, frame: Frame, window: int, is_here: IsHere) -> list[Frame]:
    """Frames behind `frame`, `window` bytes of those that are not here."""
    chosen: list[Frame] = []
    for other in index.after(frame) if window else ():
        if is_here(other):
            continue
        window -= other.length
        if window < 0:
            break
        chosen.append(other)
    return chosen


def runs(frames: list[Frame]) -> list[list[Frame]]:
    """Frames that lie one after another in a part, together: each run is one range."""
    found: list[list[Frame]] = []
    part = end = -1
    for frame in sorted(frames, key=lambda frame: (frame.part, frame.offset)):
        if (frame.part, frame.offset) != (part, end):
            found.append([])
        found[-1].append(frame)
        part, end = frame.part, frame.offset + frame.length
    return found

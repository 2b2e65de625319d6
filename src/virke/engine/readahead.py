"""What to fetch along with a frame that is missing, and what before it is asked for: how many rounds a query waits for.

Knows frames and where they are; knows neither the store nor the cache. Its own state is a guess and may be lost.

1. A first miss of a segment fetches one frame. Later ones fetch `GROWTH` times as much each: in a segment that the
   cache can hold, whatever is missing; in a larger one only what is behind, and as long as misses follow each other
   (a scan). So a lookup stays small, and a query that needs much of a segment takes a handful of rounds.
2. A scan is kept `AHEAD_WINDOWS` windows ahead: when it enters one of them, one more is wanted (`next`), so that the
   line is never idle for the length of a round trip. A miss that makes it a scan wants one (`begin`), which comes with its own frames.
3. Several courses are followed in one segment: a scan that looks up interior pages on its way goes on.
4. No frame is fetched twice for this reason: what is cached, or under way, is passed over.
5. Each run of frames is a request of its own where the store has ranges. Whoever has few requests left says how many
   may be for what is read ahead: what goes beyond waits for the next miss.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import inf
from typing import Final

from virke.core.effects import Tier
from virke.core.index import Index
from virke.core.segment import Frame, Ref
from virke.lazy_dataclasses import dataclass

FIRST_BYTES: Final = 128 << 10
MOST_BYTES: Final = 8 << 20
AHEAD_FROM_BYTES: Final = 128 << 10
GROWTH: Final = 8
SCAN_STEPS: Final = 2
"""Misses that follow one another. Fewer would read ahead for who wants the first rows of a table (`tests/clients/test_datasette`)."""
NEAR_BYTES: Final = 128 << 10
COURSES_MAX: Final = 4
AHEAD_MOST_BYTES: Final = 4 << 20
"""Of what is fetched and inflated in the background."""
AHEAD_WINDOWS: Final = 3
SEGMENTS_MAX: Final = 256
IsHere = Callable[[Frame], bool]
"""Whether a frame is cached or under way."""


@dataclass(slots=True)
class _Course:
    """One way through a segment.

    Bytes that were read ahead last, misses that followed each other, the frame that was missed last and the last one
    wanted, and the places (part and offset) where windows begin that the scan has not come to.
    """

    window: int
    steps: int
    first: Frame
    last: Frame
    ahead: list[tuple[int, int]]

    def leads_to(self, frame: Frame) -> bool:
        """Whether `frame` is right behind the last one; what comes behind a group, as hot pages do, is not the scan's."""
        if frame.pages[0] < self.last.pages[-1]:
            return False
        if (frame.part, frame.offset) == (self.last.part + 1, 0):
            return True
        return frame.part == self.last.part and 0 <= frame.offset - _end_of_frame(self.last) <= NEAR_BYTES

    def has(self, frame: Frame) -> bool:
        """Whether `frame` is among what was wanted since the last miss."""
        return _place_of_frame(self.first) <= _place_of_frame(frame) <= _place_of_frame(self.last)


class ReadAhead:
    """How far to read ahead in each segment."""

    def __init__(self, small_bytes: int, room: Callable[[Tier], float] = lambda tier: inf) -> None:
        """`room`: how many more requests to a tier one miss may spend on what is read ahead."""
        self._small_bytes = small_bytes
        self._room = room
        self._courses: dict[Index, list[_Course]] = {}

    def missed(self, ref: Ref, index: Index, missing: Frame, is_here: IsHere) -> list[Frame]:
        """The frames to fetch in one round, `missing` first."""
        known = self._courses.get(index, [])
        course = next((one for one in known if one.leads_to(missing)), None)
        steps = course.steps + 1 if course else 0
        if course is None and known and ref.stored_bytes <= self._small_bytes:
            course = known[0]
        window = min(max(course.window * GROWTH, FIRST_BYTES), MOST_BYTES) if course else 0
        chosen = _first_runs([missing, *_following_frames(index, missing, window, is_here)], 1 + self._room(ref.tier))
        if len(self._courses) >= SEGMENTS_MAX:
            self._courses.clear()
        made = _Course(window, steps, missing, chosen[-1], [])
        self._courses[index] = [made, *(one for one in known if one is not course)][:COURSES_MAX]
        return chosen

    def begin(self, index: Index, missing: Frame, is_here: IsHere) -> list[Frame]:
        """A window to fetch in the background along with what `missed` chose; none unless it is a scan."""
        return self._next_frames(index, missing, is_here, 1)

    def next(self, index: Index, frame: Frame, is_here: IsHere) -> list[Frame]:
        """One more window to fetch in the background, now that it has come to `frame`; none unless it is a scan.

        To be asked again until it is none.
        """
        return self._next_frames(index, frame, is_here, AHEAD_WINDOWS)

    def _next_frames(self, index: Index, frame: Frame, is_here: IsHere, windows: int) -> list[Frame]:
        for course in self._courses.get(index, ()):
            if course.steps >= SCAN_STEPS and course.window >= AHEAD_FROM_BYTES and course.has(frame):
                course.ahead = [start for start in course.ahead if start > _place_of_frame(frame)]
                return _go_on(course, index, is_here) if len(course.ahead) < windows else []
        return []


def _go_on(course: _Course, index: Index, is_here: IsHere) -> list[Frame]:
    window = min(course.window * GROWTH, AHEAD_MOST_BYTES)
    chosen = _following_frames(index, course.last, window, is_here)
    if not chosen or _place_of_frame(chosen[0]) < _place_of_frame(course.last):
        course.steps = 0  # the end, or back at the start
        return []
    course.window, course.last = window, chosen[-1]
    course.ahead.append(_place_of_frame(chosen[0]))
    return chosen


def _place_of_frame(frame: Frame) -> tuple[int, int]:
    return frame.part, frame.offset


def _end_of_frame(frame: Frame) -> int:
    return frame.offset + frame.length


def _following_frames(index: Index, frame: Frame, window: int, is_here: IsHere) -> list[Frame]:
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


def _first_runs(frames: list[Frame], runs_max: float) -> list[Frame]:
    """Frames up to the end of that run."""
    for number, (last, frame) in enumerate(pairwise(frames), 1):
        if _place_of_frame(frame) != (last.part, _end_of_frame(last)):
            runs_max -= 1
            if runs_max <= 0:
                return frames[:number]
    return frames


def runs_of_frames(frames: list[Frame]) -> list[list[Frame]]:
    """Frames that follow one another in a part, together: each run is one range."""
    found: list[list[Frame]] = []
    part = end = -1
    for frame in sorted(frames, key=lambda frame: (frame.part, frame.offset)):
        if (frame.part, frame.offset) != (part, end):
            found.append([])
        found[-1].append(frame)
        part, end = frame.part, _end_of_frame(frame)
    return found

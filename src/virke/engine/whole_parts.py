"""Segments in stores without ranges: a part that was moved is kept whole, and a scan reads parts ahead.

Knows parts and how many more of them the request may read; knows neither frames nor pages.

1. What came is kept, in the budget of the frames (`frames`), so that no part moves twice in a request while there is room.
2. A lookup moves the part it needs. From the third miss on, those that follow each other in a segment are a scan: each moves
   `GROWTH` times as many parts as the one before, `PARTS_MOST` at most and never more than a share of what the request may
   still read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

from virke.core.effects import Absent, Tier
from virke.core.segment import Ref
from virke.engine.driver import Driver
from virke.engine.frames import FrameCache, FrameKey
from virke.stores.base import Range

GROWTH: Final = 2
SCAN_STEPS: Final = 1
"""Two misses in neighbouring parts may be chance, three are a scan."""
PARTS_MOST: Final = 16
LEFT_SHARE: Final = 4
"""A scan reads ahead at most so large a part (a quarter) of what its request may still read."""
SEGMENTS_MAX: Final = 256
WHOLE: Final = -1
"""In the place of a frame's offset in the key of a part that is kept from its first byte on."""


def part_key(owner: int, ref: Ref, part: int, start: int = 0) -> FrameKey:
    """Under which key the bytes of a part, from `start` on, are kept among the frames."""
    return owner, ref.identity.commit_id, ref.identity.ordinal, part, WHOLE - start


def unbounded_parts(tier: Tier) -> int:
    """How many parts a request may read where it may read what it likes."""
    return 1 << 30


class WholeParts:
    """The parts of one database's segments, each moved as a whole."""

    def __init__(
        self, driver: Driver, frames: FrameCache, owner: int, tiers: frozenset[Tier], *, left: Callable[[Tier], int]
    ) -> None:
        """`tiers`: those whose parts move as a whole. `left`: how many more parts the request that runs now may read from a tier."""
        self._driver = driver
        self.tiers = tiers
        self._left = left
        self._frames = frames
        self._owner = owner
        self._scans: dict[Ref, tuple[int, int]] = {}
        """By segment: the last part of the newest window, and how many misses followed each other."""

    def here(self, ref: Ref, part: int) -> bytes | None:
        """A part that is in memory."""
        found = self._frames.find_here(part_key(self._owner, ref, part))
        return found if isinstance(found, bytes) else None

    def room_ahead(self, tier: Tier) -> int:
        """How many more reads of a tier one miss may spend on what is read ahead."""
        return self._left(tier) // LEFT_SHARE

    def bring(self, ref: Ref, wanted: Collection[int]) -> dict[int, bytes]:
        """The parts `wanted` of a segment, those that are missing in one round; without those that do not exist."""
        found = {part: data for part in wanted if (data := self.here(ref, part)) is not None}
        missing = [part for part in wanted if part not in found]
        if missing:
            asked = [*missing, *self._parts_ahead(ref, missing)]
            came = self.fetch(ref, asked)
            found |= {part: came[part] for part in missing if part in came}
        return found

    def fetch(self, ref: Ref, parts: Sequence[int], *, fresh: bool = False) -> dict[int, bytes]:
        """These parts from the store, in one round; kept."""
        ranges = [Range(ref.identity.part_key(part), fresh=fresh) for part in parts]
        answers = zip(parts, self._driver.get(ref.tier, ranges), strict=True)
        came = {part: data for part, data in answers if not isinstance(data, Absent)}
        self._frames.keep({part_key(self._owner, ref, part): data for part, data in came.items()})
        return came

    def _parts_ahead(self, ref: Ref, missing: Sequence[int]) -> list[int]:
        """Parts to move along with those that are missing (rule 2)."""
        first, last = min(missing), max(missing)
        before, steps = self._scans.get(ref, (ref.parts, 0))
        steps = steps + 1 if first == before + 1 else 0
        room = max(0, min(GROWTH ** max(0, steps - SCAN_STEPS), PARTS_MOST) - len(missing))
        room = min(room, self.room_ahead(ref.tier))
        found = [
            part
            for part in range(last + 1, min(last + 1 + room, ref.parts))
            if not self._frames.has(part_key(self._owner, ref, part))
        ]
        if len(self._scans) >= SEGMENTS_MAX:
            self._scans.clear()
        self._scans[ref] = (found[-1] if found else last), steps
        return found

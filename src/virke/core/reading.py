"""Reading immutable objects: what came damaged is read once more, from the store itself.

Pure: a generator of effects. Knows neither what the bytes mean nor who keeps copies of them.

1. A copy (a cache on disk, a CDN) may be damaged where the store is not: nothing is `Corrupt` before the store itself
   was asked past all of them. A caller that keeps a copy replaces it by what came then.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from virke.core.effects import Absent, Effect, Get, Outcome, Tier
from virke.errors import Corrupt, Unavailable

T = TypeVar("T")


def read_decoded(
    tier: Tier, ranges: Sequence[tuple[str, int, int]], decode: Callable[[int, bytes], T]
) -> Generator[Effect, Outcome, list[T | Absent]]:
    """What `decode` makes of each range, given its number and bytes; `Absent` where there is no object.

    Raises:
        Unavailable: the store did not answer. Corrupt: `decode` refuses what the store itself holds.
    """
    found: list[T | Absent] = []
    for number, data in enumerate((yield from _get_ranges(Get(tier, tuple(ranges))))):
        try:
            found.append(data if isinstance(data, Absent) else decode(number, data))
        except Corrupt:
            [again] = yield from _get_ranges(Get(tier, (ranges[number],), fresh=True))
            found.append(again if isinstance(again, Absent) else decode(number, again))
    return found


def _get_ranges(effect: Get) -> Generator[Effect, Outcome, list[bytes | Absent]]:
    answer = yield effect
    if not isinstance(answer, list):
        raise Unavailable("the store did not answer a read")
    return answer

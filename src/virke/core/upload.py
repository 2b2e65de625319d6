"""Parts of a segment on their way to the store, a few at once.

Pure: a generator of effects. Knows keys and bytes; knows no pages.

1. At most `at_once` parts are held: memory is bounded, and a round trip stores several.
2. `keys` are all that were sent: who can't name the segment deletes them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Final

from virke.core.commit import store_objects
from virke.core.effects import Delete, Effect, Outcome, PutNew, Tier
from virke.errors import Unavailable

AT_ONCE: Final = 4


class Upload:
    """The parts of one segment."""

    def __init__(self, tier: Tier, at_once: int = AT_ONCE) -> None:
        self.keys: list[str] = []
        self._tier = tier
        self._at_once = at_once
        self._waiting: list[PutNew] = []

    def put(self, parts: Iterable[tuple[str, bytes]]) -> Generator[Effect, Outcome, None]:
        """Send what is enough for a round, keep the rest. Raises `Unavailable`: the store did not take it."""
        for key, data in parts:
            self.keys.append(key)
            self._waiting.append(PutNew(self._tier, key, data))
            if len(self._waiting) == self._at_once:
                yield from self.finish()

    def finish(self) -> Generator[Effect, Outcome, None]:
        """Send what waits. Raises `Unavailable`."""
        waiting, self._waiting = tuple(self._waiting), []
        if waiting and (failed := (yield from store_objects(waiting))):
            raise Unavailable(f"the store did not take the data, nothing was changed: {failed}")

    def removal(self) -> Delete:
        """The effect that removes what was sent."""
        return Delete(self._tier, tuple(self.keys))

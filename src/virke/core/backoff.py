"""The back-off: how often a store that fails is asked, and how long each wait is (decision 0052).

Pure: numbers in, seconds out, and what a protocol does between two tries. What may be asked again, and by which layer, is
for callers to know.

1. The waits double. Half of each is fixed and half is random: callers that failed together part, and all the waits of a
   call together last at least half of the sum of the longest, which is longer than a breaker stays open (`stores.breaker`).
2. A store that says when to come back (`Retry-After`) is not asked before that.
3. A wait that would end after `total_s` is not begun: the call fails instead.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from virke.core.effects import BackOff, Effect, Lost, Outcome, OutOfTime, ReadRoot
from virke.lazy_dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often one request is sent at most, and how long is waited before each repeat and for all of them."""

    tries: int = 5
    first_s: float = 0.1
    longest_s: float = 2.0
    total_s: float = 15.0

    def wait_s(
        self, failed: int, *, chance: float, spent_s: float = 0.0, retry_after_s: float | None = None
    ) -> float | None:
        """How long to wait after the `failed`-th failure (1, 2 …) before the next try; None: there is none.

        `chance` is random, 0 to 1; `spent_s` passed since the first try was begun.
        """
        if failed >= self.tries:
            return None
        doubled: float = min(self.first_s * 2 ** (failed - 1), self.longest_s)
        wait_s = max(doubled * (0.5 + chance / 2), retry_after_s or 0.0)
        return None if spent_s + wait_s > self.total_s else wait_s


BACKOFF: Final = Backoff()
"""That of every store: five requests, and 0.75 to 1.5 s of waiting unless the store asks for more."""


def tries_again(failed: int, retry_after_s: float | None) -> Generator[Effect, Outcome, bool]:
    """Wait after the `failed`-th failure of the store; False: it was the last try."""
    return failed < BACKOFF.tries and not isinstance((yield BackOff(failed, retry_after_s)), OutOfTime)


def read_root(key: str | None, failed: int) -> Generator[Effect, Outcome, tuple[Outcome, int]]:
    """What a register shows, after so many failures of the store; and how many there were then. `Lost`: it stays silent."""
    while isinstance(seen := (yield ReadRoot(key)), Lost):
        failed += 1
        if not (yield from tries_again(failed, seen.retry_after_s)):
            break
    return seen, failed

"""How long a deployment waits for Fastly's API: the back-off of core/backoff, and more time than a query has (decision 0052)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Final

from virke.core.backoff import Backoff
from virke.lazy_dataclasses import dataclass

DEPLOYING: Final = Backoff(tries=6, longest_s=3.0, total_s=90.0)
"""A refusal for the rate names up to a minute."""


@dataclass(slots=True)
class Attempt:
    """One try; `retry_after_s` is set to what its answer says of the next one."""

    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """The tries of one request; clock (monotonic), sleep and chance (0 to 1) can be injected."""

    backoff: Backoff = DEPLOYING
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic

    def attempts(self) -> Iterator[Attempt]:
        """Each try after its wait, until their number or the time is used up."""
        began_s, failed = self.clock(), 0
        while True:
            attempt = Attempt()
            yield attempt
            failed += 1
            spent_s = self.clock() - began_s
            wait_s = self.backoff.wait_s(
                failed, chance=self.chance(), spent_s=spent_s, retry_after_s=attempt.retry_after_s
            )
            if wait_s is None:
                return
            self.sleep(wait_s)

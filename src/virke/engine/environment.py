"""What the engine takes from the outside besides the store: clock, randomness and sleep, so that tests can inject them.

1. `now_ms` is the wall clock and may jump; `monotonic` never goes back and is used for all waiting and ageing.
2. `spawn` runs work in the background, in a copy of its context; None where there are no threads (the edge).
3. `allowance` is what one request may cost; None where it may cost what it likes. All waiting goes through `wait`.
4. `opened_ahead` are connections that wait to be used, each once: where a process starts for one request, they were opened before it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import field
from functools import cache, partial
from typing import TYPE_CHECKING, Final

from virke.core.ids import ID_BYTES, TAG_BYTES, CommitId
from virke.engine.allowance import Allowance
from virke.lazy_dataclasses import dataclass

if TYPE_CHECKING:
    from virke.engine.bare import Bare

_DOUBLINGS_MAX: Final = 16


def _drawn_once() -> Callable[[], bytes]:
    """A tag that is drawn when it is first asked for, not when a program is loaded: a snapshot of that may start often."""
    return cache(partial(os.urandom, TAG_BYTES))


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Environment:
    """Clock (Unix milliseconds and monotonic seconds), randomness, sleep (seconds), work in the background, own tag, costs."""

    now_ms: Callable[[], int] = _wall_ms
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random_bytes: Callable[[int], bytes] = os.urandom
    spawn: Callable[[Callable[[], object]], None] | None = None
    tag: Callable[[], bytes] = field(default_factory=_drawn_once)
    allowance: Allowance | None = None
    opened_ahead: list[Bare] = field(default_factory=list)

    def commit_id(self) -> CommitId:
        """96 fresh random bits, and the tag by which this process knows its own commits (core/pace)."""
        return CommitId(self.random_bytes(ID_BYTES - TAG_BYTES) + self.tag())

    def pause(self, attempt: int, *, first_s: float = 0.01, longest_s: float = 0.5) -> None:
        """Wait before the next of several attempts (0, 1, 2 …): twice as long each time, with jitter."""
        self.wait(self.backoff_s(attempt, first_s=first_s, longest_s=longest_s))

    def wait(self, seconds: float) -> None:
        """Wait so long, or as long as the request still may. Raises `Unavailable`: it may not wait any more."""
        self.sleep(seconds if self.allowance is None else self.allowance.wait(seconds))

    def wait_s(self, most_s: float) -> float:
        """How long a request may wait that begins now, at most `most_s`."""
        return most_s if self.allowance is None else self.allowance.wait_s(most_s)

    def backoff_s(self, attempt: int, *, first_s: float = 0.01, longest_s: float = 0.5) -> float:
        """How long `pause` waits."""
        doubled: float = first_s * 2 ** min(attempt, _DOUBLINGS_MAX)
        return min(doubled, longest_s) * self.jitter()

    def jitter(self) -> float:
        """A random factor from 0.5 to 1.5."""
        return 0.5 + int.from_bytes(self.random_bytes(8), "big") / 2**64

"""What one request may cost where it may not cost what it likes: at the edge, whose platform ends it otherwise.

Knows numbers, and the clock of the processor's time that the place gives; knows no store and no SQL.

1. A request is refused before it costs more: `TooLarge` for what it reads, answers or writes, `TimedOut` for its
   processor's time. Both come before the swap, so nothing was changed, and both name the way out: a node, or the command.
2. A commit that was begun is brought to its end: finding out whether a swap was applied is never refused (P3). That the
   request can afford it is asked before its first object is sent.
3. All its waits together last `wait_s` at most. Then a caller that waits for others gets `Unavailable`, and one that only
   waits between two attempts makes the next one at once.
4. One object of this counts one request at a time: `begin` is called at the beginning of each. Where there is none (a
   node, an embedded database) nothing is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from virke.core.effects import Tier
from virke.errors import TimedOut, TooLarge, Unavailable, VirkeError
from virke.lazy_dataclasses import dataclass

WAY_OUT: Final = "a node (`virke serve`) or the command (`virke db`) can do it"
OR_RAISE: Final = " or raise max_result_mb"
"""The end of a message about memory where a setting says how much there is."""
LESS: Final = "ask for less, or in several requests: no setting raises what one request may take here"
"""The hint of limits of the place; what an error says elsewhere, to raise a setting, does not help here."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost. Bytes are of memory, except `read_bytes`, which come from the store."""

    lookups: int
    """Reads of the KV store: of roots, tokens and parts."""
    requests: int
    """Requests to object storage, reads and writes."""
    read_bytes: int
    cpu_ms: float
    commit_cpu_ms: float
    """What a write may have used up when its commit begins: the rest is for the commit."""
    wait_s: float
    frames_bytes: int
    caches_bytes: int
    """SQLite's page caches."""
    work_bytes: int
    """What SQLite takes to sort and group, besides."""
    result_bytes: int
    written_bytes: int
    """The pages that one transaction changes."""
    segments_max: int
    """A write that would add one more waits for upkeep: who opens the database reads the index of each."""
    recent_bytes: int
    """How much of recent segments' indexes a root carries, for who knows nothing yet (core/recent)."""
    step_lookups: int
    """What one step of upkeep may read, be it of the KV store or of object storage."""
    step_decoded_bytes: int
    """How many bytes of pages one step may take out of frames, if it puts none into new ones."""
    step_encoded_bytes: int
    """How many of them it may put into new ones, if it took none out; what stays as it is, or is not compressed, hardly counts."""
    step_copies: int
    """How many parts of a segment one step moves to object storage as they are."""


class Allowance:
    """What the request that runs now may still cost."""

    def __init__(self, limits: Limits, *, cpu_ms: Callable[[], float]) -> None:
        self.limits = limits
        self._cpu_ms = cpu_ms
        self._is_committing = False
        self._began_ms = 0.0
        """Not asked for yet: while a component is built there is no clock."""
        self._fill_limits()

    def begin(self) -> None:
        """A request begins now, with all that it may cost."""
        self._fill_limits()
        self._began_ms = self._cpu_ms()

    def _fill_limits(self) -> None:
        limits = self.limits
        self._lookups, self._requests, self._bytes = limits.lookups, limits.requests, limits.read_bytes
        self._wait_s = limits.wait_s

    @property
    def lookups_left(self) -> int:
        """How many more reads of the KV store are allowed."""
        return max(self._lookups, 0)

    @property
    def requests_left(self) -> int:
        """How many more requests to object storage are allowed."""
        return max(self._requests, 0)

    @property
    def read_bytes_left(self) -> int:
        """How many more bytes may come from the store."""
        return max(self._bytes, 0)

    def left_in(self, tier: Tier) -> int:
        """How many more parts of a segment may be read from a tier."""
        return self.lookups_left if tier is Tier.KV else self.requests_left

    @property
    def cpu_used_ms(self) -> float:
        """The processor's time that this request has used."""
        return self._cpu_ms() - self._began_ms

    # What the stores ask (`stores.bounded`)

    def ask(self, tier: Tier, count: int) -> None:
        """So many reads of the KV store, or requests to object storage, are about to be made.

        Raises:
            TooLarge: they are too many. TimedOut: the processor's time is used up.
        """
        if not self._is_committing:
            self.check_time()
            if count > self.left_in(tier):
                raise self._too_many(tier)
            if self._bytes <= 0:
                mib = self.limits.read_bytes / (1 << 20)
                raise self._too_large(f"it reads more than {mib:g} MiB from the store")
        if tier is Tier.KV:
            self._lookups -= count
        else:
            self._requests -= count

    def take(self, size_bytes: int) -> None:
        """So many bytes came."""
        self._bytes -= size_bytes

    # The processor's time

    @property
    def is_out_of_time(self) -> bool:
        """Whether its processor's time is used up."""
        return self.cpu_used_ms > self.limits.cpu_ms

    def check_time(self) -> None:
        """Raise `TimedOut` if its processor's time is used up."""
        if self.is_out_of_time:
            raise self.timed_out()

    def timed_out(self) -> TimedOut:
        """What a request that took too long is answered."""
        return TimedOut(
            f"the request took more of the processor's time than it may here ({self.limits.cpu_ms:g} ms); "
            f"nothing was changed, and {WAY_OUT}",
            hint=LESS,
        )

    # Commits

    def check_commit(self, puts: int, *, segments: int, adds: bool) -> None:
        """Raise unless the request can afford a commit that stores so many objects in object storage.

        `segments` the root will name; `adds`: one more than before.
        """
        if self._is_committing:
            return
        if adds and segments > self.limits.segments_max:
            raise Unavailable(
                "upkeep is behind with what was written here; nothing was changed, send it again in a moment",
                hint="each request does a step of it; `virke db upkeep` does all of it",
            )
        if self.cpu_used_ms > self.limits.commit_cpu_ms:
            raise TimedOut(
                f"the write took more of the processor's time than it may here ({self.limits.commit_cpu_ms:g} ms before "
                f"its commit); nothing was changed, and {WAY_OUT}",
                hint=LESS,
            )
        if puts > self.requests_left:
            raise self._too_many(Tier.OBJECT)

    @contextmanager
    def committing(self) -> Iterator[None]:
        """While this lasts nothing is refused (rule 2)."""
        before, self._is_committing = self._is_committing, True
        try:
            yield
        finally:
            self._is_committing = before

    # Upkeep

    @property
    def has_time_for_step(self) -> bool:
        """Whether there is enough of the processor's time for a step, its commit included."""
        return self.cpu_used_ms <= self.limits.commit_cpu_ms

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """While this lasts a step of upkeep is taken, whose reads and bytes are not the request's."""
        before = self._lookups, self._requests, self._bytes
        limits = self.limits
        self._lookups = limits.step_lookups
        self._requests = limits.step_lookups
        self._bytes = limits.read_bytes
        try:
            yield
        finally:
            self._lookups, self._requests, self._bytes = before

    # Waiting

    def wait_s(self, most_s: float) -> float:
        """How long the request may still wait, at most `most_s`."""
        return max(0.0, min(most_s, self._wait_s))

    def wait(self, seconds: float) -> float:
        """Wait so long, or as long as it still may: how long that is. Raises `Unavailable`: it may not wait any more."""
        if self._wait_s <= 0 < seconds:
            raise Unavailable(
                f"the request waited {self.limits.wait_s:g} s for others; nothing was changed, send it again in a moment"
            )
        waits_s = self.wait_s(seconds)
        self._wait_s -= waits_s
        return waits_s

    # Errors

    def explain(self, error: VirkeError) -> VirkeError:
        """The same error, with the way out if it is one of a limit."""
        if isinstance(error, TooLarge | TimedOut) and WAY_OUT not in error.message:
            hints = {"hint": LESS} if isinstance(error, TooLarge) else {}  # query_timeout_ms is a setting here as well
            message = error.message.removesuffix(OR_RAISE).rstrip(",")
            return type(error)(f"{message}; {WAY_OUT}", **error.context | hints)
        return error

    def _too_many(self, tier: Tier) -> TooLarge:
        if tier is Tier.KV:
            return self._too_large(f"it needs more than {self.limits.lookups} lookups in the KV store")
        return self._too_large(f"it needs more than {self.limits.requests} requests to object storage")

    def _too_large(self, why: str) -> TooLarge:
        return TooLarge(
            f"the request is too large for this place: {why}; nothing was changed, and {WAY_OUT}",
            hint="ask for less: an index, or a LIMIT, makes a query read fewer pages",
        )

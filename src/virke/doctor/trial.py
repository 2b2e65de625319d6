"""What one check works with: the store, keys that no other program uses, time, and the steps that checks share.

Knows the contract of stores; knows no check.

1. A check writes under keys that were handed out for it, and under no other.
2. A trial ends: whoever repeats or waits asks `is_over`. A change that came too soon waits for its turn all the same.
3. An eventual place is asked again until it shows what was written; a linearizable one is asked once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Final, TypeVar

from virke.core.effects import Absent, Generation, Lost, Mismatch, PutOutcome, Record, SwapOutcome, Swapped, Tier
from virke.doctor.traces import TracedRegister, Traces
from virke.doctor.verdict import Refuted, Unproved
from virke.engine.environment import Environment
from virke.errors import RateLimited
from virke.stores.base import Blobs, Consistency, Range, Store

THREADS: Final = 16
_BEGIN_S: Final = 30.0
TURNS_MAX: Final = 30
TURN_S: Final = 1.0
"""What a store that takes so many changes of one key a second is given, unless it says how long."""
TURN_MOST_S: Final = 10.0
_PAUSES_S: Final = {Consistency.LINEARIZABLE: (0.002, 0.25), Consistency.EVENTUAL: (0.05, 2.0)}
"""The first pause and the longest, before jitter."""
T = TypeVar("T")


class Trial:
    """One attempt at one check, of at most `seconds_max` where it repeats or waits."""

    def __init__(
        self, store: Store, traces: Traces, environment: Environment, *, seconds_max: float, large: bool = False
    ) -> None:
        self.store = store
        self.register = TracedRegister(store.register, traces, partial(wait_for_turn, environment))
        self.environment = environment
        self.large = large
        self.seconds_max = seconds_max
        self._traces = traces
        self._ends = environment.monotonic() + seconds_max

    @property
    def is_eventual(self) -> bool:
        """Whether the register may answer old values."""
        return self.register.consistency is Consistency.EVENTUAL

    # Keys

    def register_key(self) -> str:
        """A key of the register that was never used."""
        return self._traces.register_key()

    def object_key(self, tier: Tier) -> str:
        """A key of an object that was never used."""
        return self._traces.object_key(tier)

    # Time

    @property
    def is_over(self) -> bool:
        """Whether to stop repeating."""
        return self.environment.monotonic() >= self._ends

    def pause(self, attempt: int, consistency: Consistency | None = None) -> None:
        """Wait before the next of several attempts (0, 1, 2 …), with jitter; as long as suits the register, or another."""
        first_s, longest_s = _PAUSES_S[consistency or self.register.consistency]
        self.environment.pause(attempt, first_s=first_s, longest_s=longest_s)

    def until(self, ask: Callable[[], T], holds: Callable[[T], bool], consistency: Consistency) -> T:
        """What `ask` answers: once, or on an eventual place again and again until it `holds` or time is up."""
        answer, attempt = ask(), 0
        while consistency is Consistency.EVENTUAL and not holds(answer) and not self.is_over:
            self.pause(attempt, consistency)
            answer, attempt = ask(), attempt + 1
        return answer

    def together(self, work: Callable[[int], T], threads: int = THREADS) -> list[T]:
        """The results of `work(0)`, `work(1)` …, begun at one moment in as many threads."""
        barrier = Barrier(threads)

        def begun(number: int) -> T:
            barrier.wait(_BEGIN_S)
            return work(number)

        with ThreadPoolExecutor(threads, thread_name_prefix="virke-doctor") as pool:
            try:
                return [*pool.map(begun, range(threads))]
            except BaseException:
                self._ends = 0.0  # the others stop too
                raise

    # Steps that checks share; each raises `Refuted` if the store does something else, `Unproved` if it does not say

    def applied(self, key: str, data: bytes, base: Generation | None) -> Generation:
        """The generation after a swap that has to be applied."""
        match self.register.swap(key, data, base):
            case Swapped(generation):
                return self.shown(key, data).generation if generation is None else generation
            case Lost(reason):
                raise Unproved(f"the answer to a swap was lost: {reason}")
            case _:
                raise Refuted(f"a {'creation' if base is None else 'swap with the right generation'} was refused")

    def removed(self, key: str, base: Generation) -> None:
        """A register that has to go, and to be seen gone."""
        match self.register.remove(key, base):
            case Mismatch():
                raise Refuted("a removal with the right generation was refused")
            case Lost(reason):
                raise Unproved(f"the answer to a removal was lost: {reason}")
        now = self.until(lambda: self.register.read(key), lambda now: now == Absent(), self.register.consistency)
        if now != Absent():
            raise Refuted(f"a removed register is still read: {outcome_text(now)}")

    def shown(self, key: str, data: bytes) -> Record:
        """The record of a register that has to hold `data`."""

        def holds(outcome: object) -> bool:
            return isinstance(outcome, Record) and outcome.data == data

        found = self.until(lambda: self.register.read(key), holds, self.register.consistency)
        if isinstance(found, Record) and found.data == data:
            return found
        late = f" after {self.seconds_max:g} s" if self.is_eventual else ""
        raise Refuted(f"a read does not show what was written{late}: {outcome_text(found)}")

    def untouched(self, key: str, data: bytes, generation: Generation) -> None:
        """A register that still has to hold `data` at `generation`. Swaps it: that alone proves it on an eventual store."""
        now = self.shown(key, data)
        if now.generation != generation and not self.is_eventual:
            raise Refuted("the call that was refused changed the generation")
        match self.register.swap(key, data + b"!", generation):
            case Mismatch():
                raise Refuted("the call that was refused changed the register")
            case Lost(reason):
                raise Unproved(f"the answer to a swap was lost: {reason}")

    def stored(self, tier: Tier, key: str, data: bytes) -> None:
        """Put an object that has to be taken."""
        match self.blobs(tier).put_new(key, data):
            case Lost(reason):
                raise Unproved(f"the answer to a put was lost: {reason}")

    def got(self, tier: Tier, ranges: Sequence[Range], expected: Sequence[bytes | Absent]) -> None:
        """Ranges that have to be answered so."""
        blobs, wanted = self.blobs(tier), [*expected]
        answers = self.until(lambda: blobs.get(ranges), lambda found: found == wanted, blobs.consistency)
        if len(answers) != len(wanted):
            raise Refuted(f"{len(wanted)} ranges were asked for, {len(answers)} answered")
        for asked, want, answer in zip(ranges, wanted, answers, strict=True):
            if answer != want:
                raise Refuted(f"bytes {_span_text(asked)} of an object: {_difference_text(answer, want)}")

    def blobs(self, tier: Tier) -> Blobs:
        """The objects of a tier that the store has."""
        return self.store.blobs[tier]


def wait_for_turn(environment: Environment, error: RateLimited, attempt: int) -> bool:
    """Wait before a change is tried again that came too soon; False after `TURNS_MAX` times."""
    if attempt >= TURNS_MAX:
        return False
    longest_s = min(error.retry_after_s or TURN_S, TURN_MOST_S)
    environment.pause(attempt, first_s=longest_s / 8, longest_s=longest_s / 4)  # a rate is measured no finer than this
    return True


def check_refused(outcome: SwapOutcome | PutOutcome, what: str) -> None:
    """Return if the store refused `what`. Raises `Refuted` if it was done, `Unproved` if that is unknown."""
    match outcome:
        case Mismatch():
            return
        case Lost(reason):
            raise Unproved(f"the answer to {what} was lost: {reason}")
        case _:
            raise Refuted(f"{what} was applied")


def outcome_text(outcome: object) -> str:
    """An outcome in a few words."""
    match outcome:
        case Record(data, _):
            return f"it answers {data[:32]!r}"
        case _:
            return f"it answers {type(outcome).__name__.lower()}"


def _span_text(asked: Range) -> str:
    return f"{asked.offset} to {'the end' if asked.length is None else asked.offset + asked.length}"


def _difference_text(answer: bytes | Absent, want: bytes | Absent) -> str:
    match answer, want:
        case (bytes(), bytes()) if len(answer) == len(want):
            return "other bytes than were written"
        case (bytes(), bytes()):
            return f"{len(answer)} bytes instead of {len(want)}"
        case (bytes(), _):
            return f"{len(answer)} bytes where nothing should be"
        case _:
            return "the object is not there"

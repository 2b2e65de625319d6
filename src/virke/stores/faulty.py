"""A store that fails on purpose: at planned operations, or by seeded chance.

Knows every way in which a store may let its caller down without breaking its contract, and no other.

1. Operations are counted from 1 over the register and the blobs of all tiers together, and per call.
2. Nothing here is a time or a thread: equal plans (or seeds) and equal calls give equal faults.
3. A fault that can't happen to a call (a stale swap, a read delivered twice) passes it by.
4. A stale read answers what the register really held before, and only a store that says `eventual` has them.
5. What is delivered late is delivered unchanged, base generation included; its answer goes nowhere.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, replace
from typing import Final, NoReturn, TypeVar

from virke.core.effects import (
    Absent,
    Generation,
    Lost,
    PutOutcome,
    ReadOutcome,
    Record,
    SwapOutcome,
    Tier,
    Unchanged,
)
from virke.errors import Invalid, Unavailable, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.stores.base import Blobs, Call, Consistency, Listed, Range, Register, Store, put_each

T = TypeVar("T")
_WRITES: Final = frozenset({Call.SWAP, Call.REMOVE, Call.PUT, Call.DELETE})


class Crash(BaseException):
    """The process died here. No `except Exception` may live through it."""


@dataclass(frozen=True, slots=True)
class CrashBefore:
    """Die before the request is sent."""


@dataclass(frozen=True, slots=True)
class CrashAfter:
    """Die when the request was carried out, before its answer is seen."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """`Unavailable`, and nothing is carried out."""


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """The request is carried out, its answer lost (`Lost`; `Unavailable` where the call has no such outcome)."""


@dataclass(frozen=True, slots=True)
class LoseRequest:
    """The same answer, but the request never arrives."""


@dataclass(frozen=True, slots=True)
class DeliverLate:
    """The answer is lost, and the request arrives only before the `after`-th following operation."""

    after: int


@dataclass(frozen=True, slots=True)
class DeliverTwice:
    """The request is answered, and arrives once more before the `after`-th following operation."""

    after: int


@dataclass(frozen=True, slots=True)
class ReadStale:
    """The register answers what it held `back` changes ago (or the oldest that is known)."""

    back: int


Fault = CrashBefore | CrashAfter | Refuse | LoseAnswer | LoseRequest | DeliverLate | DeliverTwice | ReadStale


@dataclass(frozen=True, slots=True)
class At:
    """`fault` at the `n`-th operation, or at the `n`-th of one kind of call."""

    n: int
    fault: Fault
    call: Call | None = None


@dataclass(frozen=True, slots=True)
class Chances:
    """The probability of each fault, per operation that it can happen to."""

    crash_before: float = 0.0
    crash_after: float = 0.0
    refuse: float = 0.0
    lose_answer: float = 0.0
    lose_request: float = 0.0
    deliver_late: float = 0.0
    deliver_twice: float = 0.0
    read_stale: float = 0.0


NONE: Final = Chances()


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of the log: what was asked, of which keys, how many bytes it sent, and what befell it."""

    n: int
    call: Call
    key: str
    size_bytes: int
    fault: Fault | None


class FaultyStore:
    """`inner` with faults; pass `.store` on, read `.log`.

    Raises:
        Invalid: stale reads were planned without `eventual`, or the chances are above 1 together.
    """

    def __init__(
        self,
        inner: Store,
        plan: Sequence[At] = (),
        *,
        seed: int = 0,
        chances: Chances = NONE,
        eventual: bool = False,
    ) -> None:
        if not eventual and (chances.read_stale or any(isinstance(at.fault, ReadStale) for at in plan)):
            raise Invalid("stale reads need eventual=True")
        if sum(astuple(chances)) > 1:
            raise Invalid(f"the chances are above 1 together: {chances}")
        self.seed = seed
        self.log: list[Operation] = []
        self._plan = {(at.n, at.call): at.fault for at in plan}
        self._chances = chances
        self._random = random.Random(seed)
        self._counts: Counter[Call] = Counter()
        self._late: list[tuple[int, Callable[[], object]]] = []
        self._lock = threading.Lock()
        blobs: dict[Tier, Blobs] = {tier: _FaultyBlobs(one, self) for tier, one in inner.blobs.items()}
        register = _FaultyRegister(inner.register, self, eventual=eventual)
        watch = None if eventual else inner.watch  # a stamp would say of a stale read that it is the newest
        self.store = replace(
            inner,
            register=register,
            blobs=blobs,
            watch=watch,
            watch_ended=watch and inner.watch_ended,
            stamp_of=watch and inner.stamp_of,
        )

    def __repr__(self) -> str:
        return f"FaultyStore(seed={self.seed}, {self._chances}, plan={self._plan}, {len(self.log)} operations)"

    def deliver_late(self) -> None:
        """Deliver now all that is still under way."""
        self._deliver_due(until=None)

    def perform(
        self,
        call: Call,
        key: str,
        request: Callable[[], T],
        *,
        lost: Callable[[str], T],
        size_bytes: int = 0,
        stale: Callable[[int], T] | None = None,
    ) -> T:
        """Carry out `request` as one operation, with the fault that is due; `lost` is the answer that never came."""
        n, fault = self._begin_operation(call, key, size_bytes)
        self._deliver_due(until=n)
        what = f"operation {n}, {call.value} of {key!r}"
        match fault:
            case CrashBefore():
                raise Crash(f"before {what}")
            case CrashAfter():
                request()
                raise Crash(f"after {what}")
            case Refuse():
                raise Unavailable(f"refused: {what}")
            case LoseAnswer():
                request()
                return lost(f"answer lost: {what}")
            case LoseRequest():
                return lost(f"request lost: {what}")
            case DeliverLate(after):
                self._deliver_later(n + after, request)
                return lost(f"request late: {what}")
            case DeliverTwice(after):
                answer = request()
                self._deliver_later(n + after, request)
                return answer
            case ReadStale(back) if stale is not None:
                return stale(back)
            case _:
                return request()

    def _begin_operation(self, call: Call, key: str, size_bytes: int) -> tuple[int, Fault | None]:
        with self._lock:
            n = len(self.log) + 1
            self._counts[call] += 1
            chance = self._draw()
            fault = self._plan.get((self._counts[call], call)) or self._plan.get((n, None)) or chance
            if fault is not None and not _can_befall(fault, call):
                fault = None
            self.log.append(Operation(n, call, key, size_bytes, fault))
            return n, fault

    def _draw(self) -> Fault | None:
        """A fault by chance; draws as many numbers for every operation, so that a seed means one sequence."""
        at, after, back = self._random.random(), self._random.randint(1, 6), self._random.randint(1, 3)
        faults: tuple[Fault, ...] = (
            CrashBefore(),
            CrashAfter(),
            Refuse(),
            LoseAnswer(),
            LoseRequest(),
            DeliverLate(after),
            DeliverTwice(after),
            ReadStale(back),
        )
        for fault, chance in zip(faults, astuple(self._chances), strict=True):
            if at < chance:
                return fault
            at -= chance
        return None

    def _deliver_later(self, n: int, request: Callable[[], object]) -> None:
        with self._lock:
            self._late.append((n, request))

    def _deliver_due(self, until: int | None) -> None:
        with self._lock:
            due = [request for n, request in self._late if until is None or n <= until]
            self._late = [(n, request) for n, request in self._late if until is not None and n > until]
        for request in due:
            with suppress(VirkeError):
                request()


def _can_befall(fault: Fault, call: Call) -> bool:
    match fault:
        case DeliverLate() | DeliverTwice():
            return call in _WRITES
        case ReadStale():
            return call is Call.READ
        case _:
            return True


def _raise_unavailable(reason: str) -> NoReturn:
    raise Unavailable(reason)


class _FaultyRegister:
    def __init__(self, inner: Register, faults: FaultyStore, *, eventual: bool) -> None:
        self._inner = inner
        self._faults = faults
        self._eventual = eventual
        self._history: dict[str, list[ReadOutcome]] = {}
        self._lock = threading.Lock()

    @property
    def consistency(self) -> Consistency:
        return Consistency.EVENTUAL if self._eventual else self._inner.consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        def stale(back: int) -> ReadOutcome:
            self._observe_register(key)
            history = self._history[key]
            outcome = history[max(0, len(history) - 1 - back)]
            return Unchanged() if isinstance(outcome, Record) and outcome.generation == known else outcome

        def request() -> ReadOutcome:
            return self._inner.read(key, known)

        return self._faults.perform(Call.READ, key, request, lost=_raise_unavailable, stale=stale)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        def request() -> SwapOutcome:
            return self._observed_swap(key, lambda: self._inner.swap(key, data, base))

        return self._faults.perform(Call.SWAP, key, request, lost=Lost, size_bytes=len(data))

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        def request() -> SwapOutcome:
            return self._observed_swap(key, lambda: self._inner.remove(key, base))

        return self._faults.perform(Call.REMOVE, key, request, lost=Lost)

    def keys(self, prefix: str) -> Iterator[str]:
        return iter(
            self._faults.perform(Call.KEYS, prefix, lambda: list(self._inner.keys(prefix)), lost=_raise_unavailable)
        )

    def _observed_swap(self, key: str, request: Callable[[], SwapOutcome]) -> SwapOutcome:
        self._observe_register(key)
        try:
            return request()
        finally:
            self._observe_register(key)

    def _observe_register(self, key: str) -> None:
        """Remember what the register holds, for stale reads to come."""
        if not self._eventual:
            return
        with self._lock:
            history = self._history.setdefault(key, [])
            outcome = self._inner.read(key)
            if not history or history[-1] != outcome:
                history.append(outcome)


class _FaultyBlobs:
    def __init__(self, inner: Blobs, faults: FaultyStore) -> None:
        self._inner = inner
        self._faults = faults

    @property
    def consistency(self) -> Consistency:
        return self._inner.consistency

    @property
    def has_ranges(self) -> bool:
        return self._inner.has_ranges

    @property
    def part_bytes_max(self) -> int:
        return self._inner.part_bytes_max

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        def request() -> PutOutcome:
            return self._inner.put_new(key, data)

        return self._faults.perform(Call.PUT, key, request, lost=Lost, size_bytes=len(data))

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        """Write many objects. Raises as `put_new`; then some may be there."""
        return put_each(self, objects)

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        keys = " ".join(dict.fromkeys(asked.key for asked in ranges))
        return self._faults.perform(Call.GET, keys, lambda: self._inner.get(ranges), lost=_raise_unavailable)

    def delete(self, keys: Sequence[str]) -> None:
        self._faults.perform(Call.DELETE, " ".join(keys), lambda: self._inner.delete(keys), lost=_raise_unavailable)

    def list(self, prefix: str) -> Iterator[Listed]:
        return iter(
            self._faults.perform(Call.LIST, prefix, lambda: [*self._inner.list(prefix)], lost=_raise_unavailable)
        )

"""Counting requests, bytes and time: what the budgets are checked against, and what receipts are made of.

Knows the calls of the contract and nothing of why they are made. `counting` reports each call to a function;
`CountingStore` adds them up.

1. One call counts as one request, however many ranges or keys it carries; those count as items.
2. A request counts when it is made, also if it fails; bytes down, time and failures count when it ended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from typing import Final, TypeVar

from virke.core.effects import Absent, Generation, Lost, PutOutcome, ReadOutcome, Record, SwapOutcome, Tier
from virke.lazy_dataclasses import dataclass
from virke.stores.base import Blobs, Call, Consistency, Listed, Range, Register, Store


@dataclass(frozen=True, slots=True)
class Tally:
    """Requests of one kind, what they carried, bytes to and from the store, and nanoseconds spent waiting."""

    requests: int = 0
    items: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    waited_ns: int = field(default=0, compare=False)
    failures: int = field(default=0, compare=False)
    """Those whose answer was an error, or never came."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.requests + other.requests,
            self.items + other.items,
            self.bytes_up + other.bytes_up,
            self.bytes_down + other.bytes_down,
            self.waited_ns + other.waited_ns,
            self.failures + other.failures,
        )


LOST: Final = -1
"""In place of bytes: the answer did not come."""
T = TypeVar("T")
Add = Callable[[Call, Tally], None]
"""Told of each call: once when it is made, once when it ended."""


def counting_store(
    inner: Store, add: Add, is_wanted: Callable[[], bool] = lambda: True, *, is_metered: bool | None = None
) -> Store:
    """`inner`, whose every call is reported to `add`; reads of objects only while that is wanted. `is_metered` as in `Store`, None: as it was."""
    blobs: dict[Tier, Blobs] = {tier: _CountedBlobs(one, add, is_wanted) for tier, one in inner.blobs.items()}
    register = _CountedRegister(inner.register, add)
    return replace(
        inner, register=register, blobs=blobs, is_metered=inner.is_metered if is_metered is None else is_metered
    )


class CountingStore:
    """`inner` with counters; pass `.store` on, read `.of(call)` and `.total`."""

    def __init__(self, inner: Store) -> None:
        self._tallies: dict[Call, Tally] = {}
        self._lock = threading.Lock()
        self.store = counting_store(inner, self.add)

    @property
    def total(self) -> Tally:
        """All calls together."""
        return sum(self._tallies.values(), Tally())

    def of(self, *calls: Call) -> Tally:
        """The calls of these kinds together."""
        return sum((self._tallies.get(call, Tally()) for call in calls), Tally())

    def by_call(self) -> dict[str, Tally]:
        """What each kind of call came to, by its name; of those that were made."""
        with self._lock:
            return {call.value: tally for call, tally in self._tallies.items()}

    def reset(self) -> None:
        """Count from nothing again."""
        with self._lock:
            self._tallies = {}

    def add(self, call: Call, tally: Tally) -> None:
        """Count `tally` for `call`."""
        with self._lock:
            self._tallies[call] = self._tallies.get(call, Tally()) + tally


@contextmanager
def _counted_call(add: Add, call: Call, items: int, bytes_up: int = 0) -> Iterator[list[int]]:
    """One call; what is put into the list are bytes down, or `LOST`."""
    add(call, Tally(requests=1, items=items, bytes_up=bytes_up))
    down: list[int] = []
    began, failures = time.perf_counter_ns(), 1
    try:
        yield down
        failures = LOST in down
    finally:
        size = sum(size for size in down if size != LOST)
        add(call, Tally(bytes_down=size, waited_ns=time.perf_counter_ns() - began, failures=int(failures)))


def _noted_loss(outcome: T, down: list[int]) -> T:
    if isinstance(outcome, Lost):
        down.append(LOST)
    return outcome


class _CountedRegister:
    def __init__(self, inner: Register, add: Add) -> None:
        self._inner = inner
        self._add = add

    @property
    def consistency(self) -> Consistency:
        return self._inner.consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        with _counted_call(self._add, Call.READ, 1) as down:
            outcome = self._inner.read(key, known)
            if isinstance(outcome, Record):
                down.append(len(outcome.data))
            return outcome

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        with _counted_call(self._add, Call.SWAP, 1, len(data)) as down:
            return _noted_loss(self._inner.swap(key, data, base), down)

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        with _counted_call(self._add, Call.REMOVE, 1) as down:
            return _noted_loss(self._inner.remove(key, base), down)

    def keys(self, prefix: str) -> Iterator[str]:
        with _counted_call(self._add, Call.KEYS, 0):
            return self._inner.keys(prefix)


class _CountedBlobs:
    def __init__(self, inner: Blobs, add: Add, is_wanted: Callable[[], bool]) -> None:
        self._inner = inner
        self._add = add
        self._is_wanted = is_wanted

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
        with _counted_call(self._add, Call.PUT, 1, len(data)) as down:
            return _noted_loss(self._inner.put_new(key, data), down)

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        with _counted_call(self._add, Call.PUT, len(objects), sum(len(data) for _, data in objects)) as down:
            return _noted_loss(self._inner.put_all(objects), down)

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        if not self._is_wanted():
            return self._inner.get(ranges)
        with _counted_call(self._add, Call.GET, len(ranges)) as down:
            answers = self._inner.get(ranges)
            down += [len(one) for one in answers if isinstance(one, bytes)]
            return answers

    def delete(self, keys: Sequence[str]) -> None:
        with _counted_call(self._add, Call.DELETE, len(keys)):
            self._inner.delete(keys)

    def list(self, prefix: str) -> Iterator[Listed]:
        with _counted_call(self._add, Call.LIST, 0):
            return self._inner.list(prefix)

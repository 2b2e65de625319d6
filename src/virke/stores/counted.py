"""Counting requests, bytes and time: what the budgets are checked against, and what receipts are made of.

Knows the calls of the contract and nothing of why they are made. `counting` reports each call to a function;
`CountingStore` adds them up.

1. One call counts as one request, however many ranges or keys it carries; those count as items.
2. A request counts when it is made, also if it fails; bytes down and time count when it ended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from virke.core.effects import Absent, Generation, PutOutcome, ReadOutcome, Record, SwapOutcome, Tier
from virke.stores.base import Blobs, Call, Consistency, Listed, Range, Register, Store


@dataclass(frozen=True, slots=True)
class Tally:
    """Requests of one kind, what they carried, bytes to and from the store, and nanoseconds spent waiting."""

    requests: int = 0
    items: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    waited_ns: int = field(default=0, compare=False)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.requests + other.requests,
            self.items + other.items,
            self.bytes_up + other.bytes_up,
            self.bytes_down + other.bytes_down,
            self.waited_ns + other.waited_ns,
        )


Add = Callable[[Call, Tally], None]
"""Told of each call: once when it is made, once when it ended."""


def counting(inner: Store, add: Add, is_wanted: Callable[[], bool] = lambda: True) -> Store:
    """`inner`, whose every call is reported to `add`; reads of objects only while that is wanted."""
    blobs: dict[Tier, Blobs] = {tier: _CountedBlobs(one, add, is_wanted) for tier, one in inner.blobs.items()}
    return replace(inner, register=_CountedRegister(inner.register, add), blobs=blobs)


class CountingStore:
    """`inner` with counters; pass `.store` on, read `.of(call)` and `.total`."""

    def __init__(self, inner: Store) -> None:
        self._tallies: dict[Call, Tally] = {}
        self._lock = threading.Lock()
        self.store = counting(inner, self.add)

    @property
    def total(self) -> Tally:
        """All calls together."""
        return sum(self._tallies.values(), Tally())

    def of(self, *calls: Call) -> Tally:
        """The calls of these kinds together."""
        return sum((self._tallies.get(call, Tally()) for call in calls), Tally())

    def reset(self) -> None:
        """Count from nothing again."""
        with self._lock:
            self._tallies = {}

    def add(self, call: Call, tally: Tally) -> None:
        """Count `tally` for `call`."""
        with self._lock:
            self._tallies[call] = self._tallies.get(call, Tally()) + tally


@contextmanager
def _made(add: Add, call: Call, items: int, bytes_up: int = 0) -> Iterator[list[int]]:
    """One call; what is put into the list are bytes down."""
    add(call, Tally(requests=1, items=items, bytes_up=bytes_up))
    down: list[int] = []
    began = time.perf_counter_ns()
    try:
        yield down
    finally:
        add(call, Tally(bytes_down=sum(down), waited_ns=time.perf_counter_ns() - began))


class _CountedRegister:
    def __init__(self, inner: Register, add: Add) -> None:
        self._inner = inner
        self._add = add

    @property
    def consistency(self) -> Consistency:
        return self._inner.consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        with _made(self._add, Call.READ, 1) as down:
            outcome = self._inner.read(key, known)
            if isinstance(outcome, Record):
                down.append(len(outcome.data))
            return outcome

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        with _made(self._add, Call.SWAP, 1, len(data)):
            return self._inner.swap(key, data, base)

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        with _made(self._add, Call.REMOVE, 1):
            return self._inner.remove(key, base)

    def keys(self, prefix: str) -> Iterator[str]:
        with _made(self._add, Call.KEYS, 0):
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
        with _made(self._add, Call.PUT, 1, len(data)):
            return self._inner.put_new(key, data)

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        with _made(self._add, Call.PUT, len(objects), sum(len(data) for _, data in objects)):
            return self._inner.put_all(objects)

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        if not self._is_wanted():
            return self._inner.get(ranges)
        with _made(self._add, Call.GET, len(ranges)) as down:
            answers = self._inner.get(ranges)
            down += [len(one) for one in answers if isinstance(one, bytes)]
            return answers

    def delete(self, keys: Sequence[str]) -> None:
        with _made(self._add, Call.DELETE, len(keys)):
            self._inner.delete(keys)

    def list(self, prefix: str) -> Iterator[Listed]:
        with _made(self._add, Call.LIST, 0):
            return self._inner.list(prefix)

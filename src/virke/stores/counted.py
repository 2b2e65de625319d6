"""A store that counts requests and bytes: what the budgets are checked against.

Knows the calls of the contract and nothing of why they are made.

1. One call counts as one request, however many ranges or keys it carries; those count as items.
2. A request counts when it is made, also if it fails; bytes down count when they came.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from virke.core.effects import Absent, Generation, PutOutcome, ReadOutcome, Record, SwapOutcome, Tier
from virke.stores.base import Blobs, Call, Consistency, Listed, Range, Register, Store


@dataclass(frozen=True, slots=True)
class Tally:
    """Requests of one kind, what they carried, and bytes to and from the store."""

    requests: int = 0
    items: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.requests + other.requests,
            self.items + other.items,
            self.bytes_up + other.bytes_up,
            self.bytes_down + other.bytes_down,
        )


class CountingStore:
    """`inner` with counters; pass `.store` on, read `.of(call)` and `.total`."""

    def __init__(self, inner: Store) -> None:
        self._tallies: dict[Call, Tally] = {}
        self._lock = threading.Lock()
        blobs: dict[Tier, Blobs] = {tier: _CountedBlobs(one, self) for tier, one in inner.blobs.items()}
        self.store = Store(inner.url, _CountedRegister(inner.register, self), blobs)

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


class _CountedRegister:
    def __init__(self, inner: Register, counts: CountingStore) -> None:
        self._inner = inner
        self._counts = counts

    @property
    def consistency(self) -> Consistency:
        return self._inner.consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        self._counts.add(Call.READ, Tally(requests=1, items=1))
        outcome = self._inner.read(key, known)
        if isinstance(outcome, Record):
            self._counts.add(Call.READ, Tally(bytes_down=len(outcome.data)))
        return outcome

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        self._counts.add(Call.SWAP, Tally(requests=1, items=1, bytes_up=len(data)))
        return self._inner.swap(key, data, base)

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        self._counts.add(Call.REMOVE, Tally(requests=1, items=1))
        return self._inner.remove(key, base)

    def keys(self, prefix: str) -> Iterator[str]:
        self._counts.add(Call.KEYS, Tally(requests=1))
        return self._inner.keys(prefix)


class _CountedBlobs:
    def __init__(self, inner: Blobs, counts: CountingStore) -> None:
        self._inner = inner
        self._counts = counts

    @property
    def part_bytes_max(self) -> int:
        return self._inner.part_bytes_max

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        self._counts.add(Call.PUT, Tally(requests=1, items=1, bytes_up=len(data)))
        return self._inner.put_new(key, data)

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        size = sum(len(data) for _, data in objects)
        self._counts.add(Call.PUT, Tally(requests=1, items=len(objects), bytes_up=size))
        return self._inner.put_all(objects)

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        self._counts.add(Call.GET, Tally(requests=1, items=len(ranges)))
        answers = self._inner.get(ranges)
        self._counts.add(Call.GET, Tally(bytes_down=sum(len(one) for one in answers if isinstance(one, bytes))))
        return answers

    def delete(self, keys: Sequence[str]) -> None:
        self._counts.add(Call.DELETE, Tally(requests=1, items=len(keys)))
        self._inner.delete(keys)

    def list(self, prefix: str) -> Iterator[Listed]:
        self._counts.add(Call.LIST, Tally(requests=1))
        return self._inner.list(prefix)

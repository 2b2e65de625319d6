"""A store in memory that moves whole objects, as a KV store does, and counts what a request costs: rounds, lookups, bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from virke.core.effects import Absent, Generation, PutOutcome, ReadOutcome, Record, SwapOutcome, Tier
from virke.stores.base import Blobs, Consistency, Listed, Range, Register, Store, byte_bounds
from virke.stores.memory import memory_store


@dataclass(slots=True)
class Cost:
    """What was asked since it was last reset."""

    rounds: int = 0
    lookups: int = 0
    bytes_down: int = 0
    writes: int = 0
    read: Counter[str] = field(default_factory=Counter)
    """How often each object was read."""

    def reset(self) -> None:
        """Count from nothing again."""
        self.rounds = self.lookups = self.bytes_down = self.writes = 0
        self.read.clear()


class WholeBlobs:
    """Blobs whose every read moves the whole object, once for each key of a call."""

    has_ranges = False

    def __init__(self, inner: Blobs, cost: Cost, part_bytes_max: int) -> None:
        self._inner = inner
        self._cost = cost
        self.part_bytes_max = part_bytes_max

    @property
    def consistency(self) -> Consistency:
        return self._inner.consistency

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        self._cost.writes += 1
        self._cost.rounds += 1
        return self._inner.put_new(key, data)

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        self._cost.writes += len(objects)
        self._cost.rounds += 1
        return self._inner.put_all(objects)

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        keys = list(dict.fromkeys(asked.key for asked in ranges))
        came = dict(zip(keys, self._inner.get([Range(key) for key in keys]), strict=True))
        self._cost.rounds += 1
        self._cost.lookups += len(keys)
        self._cost.read.update(keys)
        self._cost.bytes_down += sum(len(data) for data in came.values() if isinstance(data, bytes))
        return [_cut(asked, came[asked.key]) for asked in ranges]

    def delete(self, keys: Sequence[str]) -> None:
        self._inner.delete(keys)

    def list(self, prefix: str) -> Iterator[Listed]:
        return self._inner.list(prefix)


def _cut(asked: Range, data: bytes | Absent) -> bytes | Absent:
    if isinstance(data, Absent):
        return data
    start, end = byte_bounds(asked, len(data))
    return data[start:end]


class _CountedRegister:
    def __init__(self, inner: Register, cost: Cost) -> None:
        self._inner = inner
        self._cost = cost

    @property
    def consistency(self) -> Consistency:
        return self._inner.consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        self._cost.rounds += 1
        self._cost.lookups += 1
        outcome = self._inner.read(key, known)
        if isinstance(outcome, Record):
            self._cost.bytes_down += len(outcome.data)
        return outcome

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        self._cost.rounds += 1
        self._cost.writes += 1
        return self._inner.swap(key, data, base)

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        return self._inner.remove(key, base)

    def keys(self, prefix: str) -> Iterator[str]:
        return self._inner.keys(prefix)


def whole_store(*, part_bytes_max: int = 256 << 10) -> tuple[Store, Cost]:
    """A new store with a KV tier alone, and what it counts."""
    inner, cost = memory_store(kv_bytes_max=25_000_000), Cost()
    blobs: dict[Tier, Blobs] = {Tier.KV: WholeBlobs(inner.blobs[Tier.KV], cost, part_bytes_max)}
    store = replace(inner, register=_CountedRegister(inner.register, cost), blobs=blobs, watch=None, stamp_of=None)
    return replace(store, line=None), cost

"""What the edge gives a request, on any machine: a KV store without ranges that is counted, and a clock of the processor.

Knows the engine, the memory store and the limits of the edge; knows no WebAssembly. One `Sandbox` serves one request at a
time; another one on the same store is another sandbox, which knows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tests.engine.world import NAME, Clock
from virke.core.effects import Absent, Generation, PutOutcome, ReadOutcome, Record, SwapOutcome, Tier
from virke.edge.limits import LIMITS
from virke.engine.allowance import Allowance, Limits
from virke.engine.database import Database
from virke.stores.base import Blobs, Consistency, Listed, Range, Register, Store
from virke.stores.memory import memory_store

PART_BYTES = 256 << 10


@dataclass(slots=True)
class Counts:
    """What one request asked of the store."""

    lookups: int = 0
    requests: int = 0
    swaps: int = 0
    puts: int = 0
    bytes: int = 0


class _Kv:
    """Blobs of which only whole objects can be had, each by a lookup; or, as `requests`, those with ranges."""

    def __init__(self, inner: Blobs, counts: Counts, *, has_ranges: bool) -> None:
        self._inner, self._counts, self._has_ranges = inner, counts, has_ranges

    @property
    def consistency(self) -> Consistency:
        return self._inner.consistency

    @property
    def has_ranges(self) -> bool:
        return self._has_ranges

    @property
    def part_bytes_max(self) -> int:
        return PART_BYTES

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        self._counts.puts += 1
        self._counts.requests += self._has_ranges
        return self._inner.put_new(key, data)

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        self._counts.puts += len(objects)
        self._counts.requests += len(objects) * self._has_ranges
        return self._inner.put_all(objects)

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        if self._has_ranges:
            self._counts.requests += len(ranges)
            answers = self._inner.get(ranges)
            self._counts.bytes += sum(len(one) for one in answers if isinstance(one, bytes))
            return answers
        keys = list(dict.fromkeys(asked.key for asked in ranges))
        self._counts.lookups += len(keys)
        self._counts.bytes += sum(
            len(one) for one in self._inner.get([Range(key) for key in keys]) if isinstance(one, bytes)
        )
        return self._inner.get(ranges)

    def delete(self, keys: Sequence[str]) -> None:
        self._inner.delete(keys)

    def list(self, prefix: str) -> Iterator[Listed]:
        raise AssertionError("nothing that runs at the edge makes a LIST")


class _Roots:
    def __init__(self, inner: Register, counts: Counts) -> None:
        self._inner, self._counts = inner, counts

    @property
    def consistency(self) -> Consistency:
        return self._inner.consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        self._counts.lookups += 1
        outcome = self._inner.read(key)  # a KV store has no conditional read
        if isinstance(outcome, Record):
            self._counts.bytes += len(outcome.data)
        return outcome

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        self._counts.swaps += 1
        return self._inner.swap(key, data, base)

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        self._counts.swaps += 1
        return self._inner.remove(key, base)

    def keys(self, prefix: str) -> Iterator[str]:
        raise AssertionError("nothing that runs at the edge makes a LIST")


def kv_store(inner: Store | None = None, *, tiers: Sequence[Tier] = tuple(Tier)) -> Store:
    """What sandboxes share: a store of which `Sandbox` makes its own view."""
    store = inner or memory_store(kv_bytes_max=PART_BYTES)
    return replace(store, blobs={tier: store.blobs[tier] for tier in tiers}, line=None, watch=None, stamp_of=None)


class Sandbox:
    """One sandbox at the edge, on a store that it shares with others."""

    def __init__(self, shared: Store, *, limits: Limits = LIMITS, clock: Clock | None = None, name: str = NAME) -> None:
        self.counts = Counts()
        self.clock = clock or Clock()
        self.cpu_ms = 0.0
        self.cpu_step_ms = 0.0
        """How much of the processor's time passes with each look at it."""
        self._shared, self._name = shared, name
        blobs: dict[Tier, Blobs] = {
            tier: _Kv(one, self.counts, has_ranges=tier is Tier.OBJECT) for tier, one in shared.blobs.items()
        }
        self.store = replace(shared, register=_Roots(shared.register, self.counts), blobs=blobs)
        self.allowance = Allowance(limits, cpu_ms=self._look)
        self.environment = replace(self.clock.environment, allowance=self.allowance)
        self._database: Database | None = None

    def _look(self) -> float:
        self.cpu_ms += self.cpu_step_ms
        return self.cpu_ms

    @contextmanager
    def request(self) -> Iterator[Database]:
        """One request: what it asks of the store is counted from nothing."""
        for name in Counts.__slots__:
            setattr(self.counts, name, 0)
        self.allowance.begin()
        if self._database is None:
            self._database = Database(self.store, self._name, environment=self.environment)
        yield self._database

"""A store whose calls take a known time on a clock of their own: latency without waiting for it.

One call is one round trip, plus its bytes over the bandwidth of its direction. Nothing sleeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from virke.core.effects import Absent, Generation, PutOutcome, ReadOutcome, Record, SwapOutcome, Tier
from virke.stores.base import Blobs, Consistency, Listed, Range, Register, Store


@dataclass(frozen=True, slots=True)
class Line:
    """How far away a store is: milliseconds for a round trip, megabytes a second, both for reading and for writing."""

    name: str
    read_ms: float
    read_mb_s: float
    write_ms: float
    write_mb_s: float


class DelayedStore:
    """`inner` at the end of `line`; pass `.store` on, read `.waited_ms` and `.moved_bytes`."""

    def __init__(self, inner: Store, line: Line) -> None:
        self._line = line
        self.waited_ms = 0.0
        self.moved_bytes = 0
        self.requests = 0
        blobs: dict[Tier, Blobs] = {tier: _DelayedBlobs(one, self) for tier, one in inner.blobs.items()}
        self.store = Store(inner.url, _DelayedRegister(inner.register, self), blobs)

    def reset(self) -> None:
        """Set the clock and the counters to nothing."""
        self.waited_ms, self.moved_bytes, self.requests = 0.0, 0, 0

    def read(self, size_bytes: int) -> None:
        """Wait for one reading round trip."""
        self._wait(self._line.read_ms, self._line.read_mb_s, size_bytes)

    def write(self, size_bytes: int) -> None:
        """Wait for one writing round trip."""
        self._wait(self._line.write_ms, self._line.write_mb_s, size_bytes)

    def _wait(self, round_ms: float, mb_s: float, size_bytes: int) -> None:
        self.waited_ms += round_ms + size_bytes / mb_s / 1000
        self.moved_bytes += size_bytes
        self.requests += 1


class _DelayedRegister:
    def __init__(self, inner: Register, line: DelayedStore) -> None:
        self._inner = inner
        self._line = line

    @property
    def consistency(self) -> Consistency:
        return self._inner.consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        outcome = self._inner.read(key, known)
        self._line.read(len(outcome.data) if isinstance(outcome, Record) else 0)
        return outcome

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        self._line.write(len(data))
        return self._inner.swap(key, data, base)

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        self._line.write(0)
        return self._inner.remove(key, base)

    def keys(self, prefix: str) -> Iterator[str]:
        self._line.read(0)
        return self._inner.keys(prefix)


class _DelayedBlobs:
    def __init__(self, inner: Blobs, line: DelayedStore) -> None:
        self._inner = inner
        self._line = line

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
        self._line.write(len(data))
        return self._inner.put_new(key, data)

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        outcome = self._inner.put_all(objects)
        self._line.write(sum(len(data) for _, data in objects))
        return outcome

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        answers = self._inner.get(ranges)
        self._line.read(sum(len(one) for one in answers if isinstance(one, bytes)))
        return answers

    def delete(self, keys: Sequence[str]) -> None:
        self._line.write(0)
        self._inner.delete(keys)

    def list(self, prefix: str) -> Iterator[Listed]:
        self._line.read(0)
        return self._inner.list(prefix)

"""A wrapper that asks, before each read of a store, whether the request may still cost that.

Knows the calls of the contract and nothing of who may what. Writes of the KV store are not asked for: how much one request
writes is bounded where the pages are.

1. A refusal comes before the call: nothing was sent.
2. In the KV tier each object is one lookup however many ranges of it are asked for; in the object tier each range is
   one request, and so is each object that is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from virke.core.effects import Absent, Generation, PutOutcome, ReadOutcome, Record, SwapOutcome, Tier
from virke.stores.base import Blobs, Consistency, Listed, Range, Register, Store


class Meter(Protocol):
    """The store that counts."""

    def ask(self, tier: Tier, count: int) -> None:
        """So many reads of the KV store, or requests to object storage, are about to be made. Raises: they may not."""

    def take(self, size_bytes: int) -> None:
        """So many bytes came."""


def bounded_store(inner: Store, meter: Meter) -> Store:
    """`inner`, whose reads `meter` has to allow; one that has a meter already is left as it is."""
    if inner.is_bounded:
        return inner
    blobs: dict[Tier, Blobs] = {tier: _BoundedBlobs(one, tier, meter) for tier, one in inner.blobs.items()}
    return replace(inner, register=_BoundedRegister(inner.register, meter), blobs=blobs, is_bounded=True)


class _BoundedRegister:
    def __init__(self, inner: Register, meter: Meter) -> None:
        self._inner = inner
        self._meter = meter

    @property
    def consistency(self) -> Consistency:
        return self._inner.consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        self._meter.ask(Tier.KV, 1)
        outcome = self._inner.read(key, known)
        if isinstance(outcome, Record):
            self._meter.take(len(outcome.data))
        return outcome

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        return self._inner.swap(key, data, base)

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        return self._inner.remove(key, base)

    def keys(self, prefix: str) -> Iterator[str]:
        self._meter.ask(Tier.KV, 1)
        return self._inner.keys(prefix)


class _BoundedBlobs:
    def __init__(self, inner: Blobs, tier: Tier, meter: Meter) -> None:
        self._inner = inner
        self._tier = tier
        self._meter = meter

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
        self._ask_to_write(1)
        return self._inner.put_new(key, data)

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        self._ask_to_write(len(objects))
        return self._inner.put_all(objects)

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        is_kv = self._tier is Tier.KV
        self._meter.ask(self._tier, len({asked.key for asked in ranges}) if is_kv else len(ranges))
        answers = self._inner.get(ranges)
        self._meter.take(sum(len(one) for one in answers if isinstance(one, bytes)))
        return answers

    def delete(self, keys: Sequence[str]) -> None:
        self._ask_to_write(len(keys))
        self._inner.delete(keys)

    def list(self, prefix: str) -> Iterator[Listed]:
        self._meter.ask(self._tier, 1)
        return self._inner.list(prefix)

    def _ask_to_write(self, count: int) -> None:
        if self._tier is Tier.OBJECT:
            self._meter.ask(self._tier, count)

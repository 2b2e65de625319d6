"""A bounded store is the store, each of whose reads is asked for before it is made."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.stores.conformance import BlobsConformance, RegisterConformance
from virke.core.effects import Tier
from virke.errors import TooLarge
from virke.stores.base import Call, Range, Store
from virke.stores.bounded import bounded_store
from virke.stores.counted import CountingStore
from virke.stores.memory import memory_store


@dataclass
class Meter:
    """Allows so many reads, and remembers what it was told."""

    left: int = 1 << 30
    asked: list[tuple[Tier, int]] = field(default_factory=list)
    taken: int = 0

    def ask(self, tier: Tier, count: int) -> None:
        self.asked.append((tier, count))
        self.left -= count
        if self.left < 0:
            raise TooLarge("no more")

    def take(self, size_bytes: int) -> None:
        self.taken += size_bytes


class TestBoundedRegister(RegisterConformance):
    @pytest.fixture
    def store(self) -> Store:
        return bounded_store(memory_store(), Meter())


class TestBoundedBlobs(BlobsConformance):
    @pytest.fixture
    def store(self) -> Store:
        return bounded_store(memory_store(object_bytes_max=100_000), Meter())


def test_what_is_asked_for_is_a_lookup_for_each_object_and_a_request_for_each_range() -> None:
    meter = Meter()
    store = bounded_store(memory_store(), meter)
    store.register.swap("k", b"12345", None)
    assert meter.asked == []
    store.register.read("k")
    for tier in Tier:
        store.blobs[tier].put_all([("a", b"123456"), ("b", b"78")])
        store.blobs[tier].get([Range("a", 0, 2), Range("a", 4, 2), Range("b")])
    assert meter.asked == [(Tier.KV, 1), (Tier.KV, 2), (Tier.OBJECT, 2), (Tier.OBJECT, 3)]
    assert meter.taken == 5 + 2 * 6


def test_a_refusal_comes_before_the_call() -> None:
    counting = CountingStore(memory_store())
    store = bounded_store(counting.store, Meter(left=0))
    for call in (
        lambda: store.register.read("k"),
        lambda: store.blobs[Tier.KV].get([Range("a")]),
        lambda: store.blobs[Tier.OBJECT].get([Range("a")]),
        lambda: store.blobs[Tier.OBJECT].put_new("a", b"1"),
    ):
        with pytest.raises(TooLarge):
            call()
    assert counting.total.requests == 0
    assert counting.of(Call.GET).requests == 0


def test_a_store_has_one_meter() -> None:
    """So what is counted twice nowhere is counted once."""
    meter = Meter()
    store = bounded_store(memory_store(), meter)
    assert bounded_store(store, Meter()) is store

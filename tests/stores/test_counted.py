"""The counting store changes nothing and counts every request, item and byte."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from tests.stores.conformance import BlobsConformance, RegisterConformance, generation_of
from virke.core.effects import Tier
from virke.errors import Corrupt, Unavailable
from virke.stores.base import Call, Range, Store
from virke.stores.counted import CountingStore, Tally
from virke.stores.faulty import At, FaultyStore, LoseAnswer, Refuse
from virke.stores.memory import memory_store


class TestCountingRegister(RegisterConformance):
    @pytest.fixture
    def store(self) -> Store:
        return CountingStore(memory_store()).store


class TestCountingBlobs(BlobsConformance):
    @pytest.fixture
    def store(self) -> Store:
        return CountingStore(memory_store(object_bytes_max=100_000)).store


def test_what_fails_is_counted_and_so_is_an_answer_that_never_came() -> None:
    for fault, raised in ((Refuse(), Unavailable), (LoseAnswer(), None)):
        counts = CountingStore(FaultyStore(memory_store(), [At(1, fault)]).store)
        with pytest.raises(raised) if raised else nullcontext():
            counts.store.register.swap("root/a/main", b"1", None)
        counts.store.register.read("root/a/main")
        assert (counts.of(Call.SWAP).requests, counts.of(Call.SWAP).failures) == (1, 1)
        assert counts.by_call()["swap"].failures == 1
        assert counts.by_call()["read"].failures == 0


def test_register_calls_are_counted() -> None:
    """A read counts the bytes that came, so none when unchanged or absent; a swap those sent, also on a mismatch."""
    counting = CountingStore(memory_store())
    register = counting.store.register
    register.read("k")
    register.swap("k", b"12345", None)
    register.swap("k", b"123", None)
    base = generation_of(register, "k")
    register.read("k", base)
    list(register.keys(""))
    register.remove("k", base)
    assert counting.of(Call.READ) == Tally(requests=3, items=3, bytes_down=5)
    assert counting.of(Call.SWAP) == Tally(requests=2, items=2, bytes_up=8)
    assert counting.of(Call.KEYS, Call.REMOVE) == Tally(requests=2, items=1)
    assert counting.total == Tally(requests=7, items=6, bytes_up=8, bytes_down=5)


def test_blob_calls_are_counted() -> None:
    """Many ranges at once are one request of many items; both tiers count together."""
    counting = CountingStore(memory_store())
    for blobs in counting.store.blobs.values():
        blobs.put_new("k", b"12345")
    counting.store.blobs[Tier.KV].get([Range("k", 1, 2), Range("k"), Range("missing")])
    counting.store.blobs[Tier.KV].delete(["k", "missing"])
    list(counting.store.blobs[Tier.KV].list(""))
    assert counting.of(Call.PUT) == Tally(requests=2, items=2, bytes_up=10)
    assert counting.of(Call.GET) == Tally(requests=1, items=3, bytes_down=7)
    assert counting.of(Call.DELETE) == Tally(requests=1, items=2)
    assert counting.of(Call.LIST) == Tally(requests=1)


def test_a_failed_request_counts() -> None:
    """It was made, whatever came of it."""
    counting = CountingStore(FaultyStore(memory_store(), [At(1, Refuse())]).store)
    with pytest.raises(Unavailable):
        counting.store.register.read("k")
    counting.store.blobs[Tier.KV].put_new("k", b"1")
    with pytest.raises(Corrupt):
        counting.store.blobs[Tier.KV].get([Range("k", 1, 1)])
    assert counting.of(Call.READ, Call.GET) == Tally(requests=2, items=2)


def test_counting_starts_again() -> None:
    """After `reset` all counts are nought."""
    counting = CountingStore(memory_store())
    counting.store.register.read("k")
    counting.reset()
    assert counting.total == Tally()

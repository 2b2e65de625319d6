"""Wrappers pass on a store's line and stamps, and neither is a request."""

from __future__ import annotations

import pytest

from tests.stores.advice import AdviceConformance
from virke.stores.base import Store
from virke.stores.cached.on_disk import cached_store
from virke.stores.composite import composite_store
from virke.stores.counted import CountingStore
from virke.stores.faulty import FaultyStore
from virke.stores.memory import memory_store
from virke.stores.receipt import Receipt, metered_store, writing_receipt


class TestAdviceThroughWrappers(AdviceConformance):
    @pytest.fixture
    def store(self) -> Store:
        both = composite_store(memory_store(), memory_store())
        return metered_store(cached_store(CountingStore(FaultyStore(both).store).store))


def test_neither_is_a_request() -> None:
    counting = CountingStore(memory_store())
    store = metered_store(counting.store)
    receipt = Receipt()
    assert store.line is not None
    assert store.watch is not None
    with writing_receipt(receipt), store.line("k", 0.0):
        store.watch("k")()
    assert [counting.total.requests, receipt.total.requests] == [0, 0]


def test_a_store_with_stale_reads_has_no_stamps() -> None:
    """A stamp would say of a stale read that it is the newest."""
    store = FaultyStore(memory_store(), eventual=True).store
    assert store.watch is None
    assert store.line is not None

"""The reference store passes the suite, and a name means one store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from tests.stores.advice import AdviceConformance
from tests.stores.conformance import BlobsConformance, RegisterConformance, generation_of
from virke.core.effects import Absent, Record, Tier
from virke.errors import Exists, Invalid
from virke.stores.base import Consistency, Store
from virke.stores.memory import copy_store, forget_store, memory_store


class TestMemoryRegister(RegisterConformance):
    @pytest.fixture
    def store(self) -> Store:
        return memory_store()


class TestMemoryAdvice(AdviceConformance):
    @pytest.fixture
    def store(self) -> Store:
        return memory_store()


class TestMemoryKvBlobs(BlobsConformance):
    tier = Tier.KV

    @pytest.fixture
    def store(self) -> Store:
        return memory_store(kv_bytes_max=100_000)


class TestMemoryObjectBlobs(BlobsConformance):
    @pytest.fixture
    def store(self) -> Store:
        return memory_store(object_bytes_max=100_000)


def _give_way(frame: FrameType, event: str, argument: object) -> Callable[[FrameType, str, object], Any]:
    """Let another thread run before each line."""
    time.sleep(0)
    return _give_way


def test_r5_one_swap_is_applied_when_threads_take_turns_at_each_line() -> None:
    """Sixteen threads that are interrupted before every line of the register still create a key once."""
    threading.settrace(_give_way)
    try:
        RegisterConformance().test_r5_one_of_many_concurrent_creations_is_applied(memory_store().register)
    finally:
        threading.settrace(None)


def test_a_name_means_one_store_in_the_process() -> None:
    """Opened twice it is the same place; another name, or none, is another."""
    first, again, other = (memory_store(f"memory://{name}") for name in ("one-place", "one-place", "other-place"))
    first.register.swap("k", b"1", None)
    assert again.register.read("k") == Record(b"1", generation_of(first.register, "k"))
    assert other.register.read("k") == Absent()
    assert memory_store().register.read("k") == Absent()
    memory_store().register.swap("k", b"1", None)
    assert memory_store().register.read("k") == Absent()


def test_tiers_are_apart() -> None:
    """An object of one tier is not in the other."""
    store = memory_store()
    store.blobs[Tier.KV].put_new("k", b"1")
    assert list(store.blobs[Tier.OBJECT].list("")) == []


def test_the_limits_are_those_of_the_design() -> None:
    """One MiB in the kv tier, sixteen in the object tier, reads linearizable."""
    store = memory_store()
    assert {tier: blobs.part_bytes_max for tier, blobs in store.blobs.items()} == {
        Tier.KV: 1 << 20,
        Tier.OBJECT: 16 << 20,
    }
    assert store.register.consistency is Consistency.LINEARIZABLE


@pytest.mark.parametrize("url", ["memory:/x", "file:///x", "memory://a/b", "memory://../x", ""])
def test_other_urls_are_invalid(url: str) -> None:
    """A name is a database's name, and the scheme is written out."""
    with pytest.raises(Invalid):
        memory_store(url)


def test_a_copy_begins_with_all_of_a_store_and_shares_nothing_afterwards() -> None:
    source = memory_store()
    source.register.swap("root/a", b"1", None)
    source.blobs[Tier.KV].put_new("x", b"one")
    copy = copy_store(source, "memory://copied")
    try:
        assert memory_store("memory://copied") is copy
        with pytest.raises(Exists):
            copy_store(source, "memory://copied")
    finally:
        forget_store("memory://copied")
    assert memory_store("memory://copied") is not copy
    forget_store("memory://copied")
    there = copy.register.read("root/a")
    assert there == source.register.read("root/a")
    assert isinstance(there, Record)
    copy.register.swap("root/a", b"2", there.generation)
    copy.blobs[Tier.KV].put_new("y", b"two")
    source.blobs[Tier.KV].delete(["x"])
    assert source.register.read("root/a") == there
    assert [listed.key for listed in source.blobs[Tier.KV].list("")] == []
    assert sorted(listed.key for listed in copy.blobs[Tier.KV].list("")) == ["x", "y"]

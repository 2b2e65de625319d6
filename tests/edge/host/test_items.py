"""A KV store as the platform has it: exact in memory, and over a local store that others open as well."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from virke.core.effects import Generation, Record, Swapped, Tier
from virke.edge.host.items import Items, MemoryItems, Mode, Refusal, StoreItems, Write, generation_of
from virke.stores.local.store import local_store
from virke.stores.memory import memory_store

Made = Callable[[], Items]


@pytest.fixture(params=["memory", "store in memory", "local store"])
def items(request: pytest.FixtureRequest, tmp_path: Path) -> Items:
    match request.param:
        case "memory":
            return MemoryItems()
        case "store in memory":
            return StoreItems(memory_store())
        case _:
            return StoreItems(local_store(tmp_path / "store"))


def _generation(items: Items, key: str) -> int:
    found = items.lookup(key)
    assert found is not None
    return found.generation


def test_add_creates_and_never_replaces(items: Items) -> None:
    for key in ("register/a", "blobs/a"):
        assert items.lookup(key) is None
        assert items.insert(Write(key, b"1", Mode.ADD)) is None
        assert items.insert(Write(key, b"1", Mode.ADD)) is Refusal.PRECONDITION
        assert items.insert(Write(key, b"2", Mode.ADD)) is Refusal.PRECONDITION
        found = items.lookup(key)
        assert found is not None
        assert found.data == b"1"


def test_a_condition_holds_for_one_generation_alone(items: Items) -> None:
    """Equal bytes give another generation, too."""
    items.insert(Write("register/a", b"1", Mode.ADD))
    first = _generation(items, "register/a")
    assert items.insert(Write("register/a", b"1", generation=first)) is None
    assert _generation(items, "register/a") != first
    assert items.insert(Write("register/a", b"3", generation=first)) is Refusal.PRECONDITION
    assert items.insert(Write("register/missing", b"3", generation=first)) is Refusal.PRECONDITION


def test_of_many_swaps_on_one_generation_one_is_applied(items: Items) -> None:
    items.insert(Write("register/a", b"0", Mode.ADD))
    base = _generation(items, "register/a")
    answers: list[Refusal | None] = []

    def swap(n: int) -> None:
        answers.append(items.insert(Write("register/a", b"%d" % n, generation=base)))

    threads = [threading.Thread(target=swap, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(answer) for answer in answers) == sorted(["None"] + [str(Refusal.PRECONDITION)] * 15)


def test_keys_come_in_order_and_in_pages(items: Items) -> None:
    for key in ("blobs/x/2", "blobs/x/1", "register/a", "blobs/y"):
        items.insert(Write(key, b"", Mode.ADD))
    assert items.keys("", "", 10) == ["blobs/x/1", "blobs/x/2", "blobs/y", "register/a"]
    assert items.keys("blobs/", "", 2) == ["blobs/x/1", "blobs/x/2"]
    assert items.keys("blobs/x/", "blobs/x/1", 2) == ["blobs/x/2"]
    assert items.keys("register/", "", 2) == ["register/a"]


def test_what_is_deleted_is_gone(items: Items) -> None:
    for key in ("register/a", "blobs/a"):
        items.insert(Write(key, b"1", Mode.ADD))
        assert items.delete(key)
        assert not items.delete(key)
        assert items.lookup(key) is None


@pytest.mark.parametrize("key", ["", "a" * 1025, "a#b", "a\nb", "../a", "a/./b"])
def test_the_vendors_keys_are_kept(items: Items, key: str) -> None:
    assert items.insert(Write(key, b"", Mode.ADD)) is Refusal.BAD_REQUEST
    assert items.lookup(key) is None


def test_the_vendors_sizes_are_kept(items: Items) -> None:
    assert items.insert(Write("register/a", bytes(25_000_001), Mode.ADD)) is Refusal.TOO_LARGE
    assert items.insert(Write("register/a", b"", Mode.ADD, metadata="m" * 2001)) is Refusal.BAD_REQUEST


def test_a_store_and_its_items_are_the_same_things(tmp_path: Path) -> None:
    """What the one writes the other reads, and a swap of either makes the other's base an old one."""
    store = local_store(tmp_path / "store")
    items = StoreItems(local_store(tmp_path / "store"))
    items.insert(Write("register/root/d/main", b"1", Mode.ADD))
    items.insert(Write("blobs/d/1", b"part", Mode.ADD))
    found = store.register.read("root/d/main")
    assert isinstance(found, Record)
    assert (found.data, generation_of(found)) == (b"1", _generation(items, "register/root/d/main"))
    assert [listed.key for listed in store.blobs[Tier.KV].list("")] == ["d/1"]
    base = _generation(items, "register/root/d/main")
    assert isinstance(store.register.swap("root/d/main", b"2", found.generation), Swapped)
    assert items.insert(Write("register/root/d/main", b"3", generation=base)) is Refusal.PRECONDITION
    blob = items.lookup("blobs/d/1")
    assert blob is not None
    assert (blob.metadata() or "").startswith("modified_ms=")


def test_a_register_is_never_written_without_a_condition() -> None:
    items = StoreItems(memory_store())
    items.insert(Write("register/a", b"1", Mode.ADD))
    assert items.insert(Write("register/a", b"2")) is Refusal.BAD_REQUEST
    assert items.insert(Write("elsewhere", b"2", Mode.ADD)) is Refusal.BAD_REQUEST


def test_a_generation_is_never_none() -> None:
    assert generation_of(Record(b"", Generation("m1"))) not in (0, generation_of(Record(b"", Generation("m2"))))

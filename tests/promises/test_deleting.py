"""Deleting a database: all of it or nothing, and whatever fails on the way, the answer says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.promises.ledger import LARGE, NAME, TABLE, insert, opened
from tests.promises.moody import Moody
from virke.core.effects import Absent, Record, Tier
from virke.core.pins import root_key
from virke.errors import Corrupt, Denied, Invalid, NotFound, OutcomeUnknown, Unavailable, VirkeError
from virke.opening import delete, list_databases
from virke.stores.base import Call, Store
from virke.stores.memory import memory_store

ERRORS = [Denied("no permission"), NotFound("no such bucket"), Invalid("odd"), Unavailable("down")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with the database of the tests, in the object tier; what it was before lies in the other."""
    store = memory_store()
    with opened(store, tmp_path, create=True) as database:
        database.execute(TABLE)
        insert(database, "old", LARGE)
        database.promote()
    return store


def objects(store: Store) -> list[str]:
    """What is stored of all databases, their roots not counted."""
    return [item.key for blobs in store.blobs.values() for item in blobs.list("seg/")]


def record(store: Store) -> Record:
    """The root as the store holds it."""
    found = store.register.read(root_key(NAME))
    assert isinstance(found, Record)
    return found


def test_a_deleted_database_leaves_nothing_in_either_tier(store: Store) -> None:
    assert all([*blobs.list("seg/")] for blobs in store.blobs.values())
    delete(NAME, store)
    assert (list_databases(store), objects(store)) == ([], [])


@pytest.mark.parametrize("call", [Call.LIST, Call.DELETE])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.kind)
def test_objects_that_may_not_be_removed_are_told_of_with_the_deletion(
    error: VirkeError, call: Call, store: Store
) -> None:
    """Whatever the store says: the database is deleted, and where the rest lies is in the message."""
    mood = Moody(store)
    mood.fail(error, call)
    with pytest.raises(OutcomeUnknown, match=rf"^'{NAME}' is deleted, but objects below seg/\w+/.*{error.message}$"):
        delete(NAME, mood.store)
    assert store.register.read(root_key(NAME)) == Absent()


def test_one_tier_that_fails_keeps_nothing_in_the_other(store: Store) -> None:
    mood = Moody(store)
    mood.fail(Denied("no permission"), Call.LIST)
    blobs = {Tier.KV: mood.store.blobs[Tier.KV], Tier.OBJECT: store.blobs[Tier.OBJECT]}
    with pytest.raises(OutcomeUnknown):
        delete(NAME, Store("memory://", store.register, blobs))
    assert [*store.blobs[Tier.OBJECT].list("seg/")] == []


@pytest.mark.parametrize("missing", Tier)
def test_a_store_that_lacks_a_tier_of_the_database_deletes_nothing(missing: Tier, store: Store, tmp_path: Path) -> None:
    """As if only one of the two URLs had been given; the root may be in one tier and a segment in the other."""
    if missing is Tier.KV:
        store = memory_store()
        with opened(store, tmp_path / "kv", create=True) as database:
            database.execute(TABLE)
            insert(database, "old", LARGE)
    before = record(store), objects(store)
    blobs = {tier: one for tier, one in store.blobs.items() if tier is not missing}
    with pytest.raises(NotFound, match=f"no {missing.value} tier.*nothing was deleted"):
        delete(NAME, Store("memory://", store.register, blobs))
    assert (record(store), objects(store)) == before


@pytest.mark.parametrize("damage", ["flipped", "another's"])
def test_a_damaged_root_is_refused_before_anything_is_deleted(damage: str, store: Store) -> None:
    """Also a whole root that lies under the wrong name: its objects are another database's."""
    root, name = record(store), NAME
    if damage == "flipped":
        store.register.swap(root_key(NAME), root.data[:-1] + bytes([root.data[-1] ^ 1]), root.generation)
    else:
        name = "other"
        store.register.swap(root_key(name), root.data, None)
    before = store.register.read(root_key(name)), objects(store)
    with pytest.raises(Corrupt, match="nothing was deleted"):
        delete(name, store)
    assert (store.register.read(root_key(name)), objects(store)) == before

"""What the tests of the Valkey store do to it."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from tests.stores.conformance import generation_of
from virke.core.effects import Generation, Tier
from virke.stores.base import Range, Store
from virke.stores.valkey.store import valkey_store

NEVER = Generation("never")


def new_prefix() -> str:
    """A prefix that no other test has."""
    return f"test/{secrets.token_hex(8)}"


def warmed(url: str) -> Store:
    """A store that is connected already, and whose server knows the scripts."""
    store = valkey_store(url)
    store.register.read("warm")
    store.register.swap("warm", b"", None)
    store.register.remove("warm", generation_of(store.register, "warm"))
    return store


def writes_of(store: Store, known: Generation = NEVER) -> list[Callable[[], object]]:
    """A call of each kind that writes; `known` is the generation of the record `old`, if there is one."""
    register, blobs = store.register, store.blobs[Tier.KV]
    return [
        lambda: register.swap("k", b"1", None),
        lambda: register.remove("old", known),
        lambda: blobs.put_new("o", b"1"),
        lambda: blobs.put_all([("o", b"1"), ("p", b"1")]),
    ]


def reads_of(store: Store) -> list[Callable[[], object]]:
    """A call of each kind that reads, and a delete, which may be repeated as a read may."""
    register, blobs = store.register, store.blobs[Tier.KV]
    return [
        lambda: register.read("k"),
        lambda: register.read("k", Generation("g")),
        lambda: [*register.keys("")],
        lambda: blobs.get([Range("o")]),
        lambda: [*blobs.list("")],
        lambda: blobs.delete(["o"]),
    ]


def check_empty(store: Store) -> None:
    """Nothing of `writes_of` has been applied."""
    assert [*store.register.keys("")] in ([], ["old"])
    assert [*store.blobs[Tier.KV].list("")] == []

"""What tests of the Fastly KV store share: a place in the model server, and every call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tests.servers.fastly_items import Trouble
from tests.servers.fastly_kv import TOKEN, KvServer
from virke.core.effects import Generation, Tier
from virke.stores.base import Blobs, Range, Register, Store
from virke.stores.fastly_kv.store import fastly_kv_store

PUTS: Final = frozenset({"PUT"})
BUSY: Final = Trouble(429)
LOST: Final = Trouble(None, applied=True)


class Place:
    """An empty KV store at the model server, and a store on it."""

    def __init__(self, server: KvServer) -> None:
        self.server = server
        self.store_id, self.items = server.create()
        self.store = self.opened()

    def opened(self, *, token: str = TOKEN, lossy: bool = False) -> Store:
        url = self.server.url(self.store_id, "place", lossy=lossy)
        return fastly_kv_store(url, token=token, part_bytes_max=100_000)

    @property
    def register(self) -> Register:
        return self.store.register

    @property
    def blobs(self) -> Blobs:
        return self.store.blobs[Tier.KV]


def every_call(store: Store) -> Mapping[str, Callable[[], object]]:
    """Each call of both protocols once, on the key `k`, with names that begin with the HTTP method they use."""
    register, blobs = store.register, store.blobs[Tier.KV]
    return {
        "GET read": lambda: register.read("k"),
        "GET keys": lambda: list(register.keys("")),
        "GET get": lambda: blobs.get([Range("k")]),
        "GET list": lambda: list(blobs.list("")),
        "PUT create": lambda: register.swap("k", b"1", None),
        "PUT swap": lambda: register.swap("k", b"1", Generation("1")),
        "PUT put_new": lambda: blobs.put_new("k", b"1"),
        "PUT put_all": lambda: blobs.put_all([("k", b"1")]),
        "DELETE remove": lambda: register.remove("k", Generation("1")),
        "DELETE delete": lambda: blobs.delete(["k"]),
    }


CALLS: Final = (
    "GET read,GET keys,GET get,GET list,PUT create,PUT swap,PUT put_new,PUT put_all,DELETE remove,DELETE delete"
).split(",")

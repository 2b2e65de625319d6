"""The store of the service: roots and small databases in KV, the segments of large ones in object storage.

Knows which store is for what; the same items as the CLI and a node have with `fastly-kv://STORE[,s3://BUCKET]`.

1. No host call is made before a request needs the store: there is none while the component is built.
"""

from __future__ import annotations

from collections.abc import Sequence

from virke.core.effects import Tier
from virke.edge.guest.configuration import Configuration
from virke.edge.guest.items import Items
from virke.edge.guest.kv import EdgeBlobs, EdgeRegister
from virke.edge.guest.objects import EdgeObjects
from virke.engine.environment import Environment
from virke.lazy_dataclasses import dataclass
from virke.stores.base import Blobs, Store
from virke.stores.fastly_kv.layout import BLOBS, PART_BYTES_MAX, REGISTER
from virke.stores.receipt import metered_store


@dataclass(frozen=True, slots=True)
class Opened:
    """A store, and what a request does with it from outside of the engine."""

    store: Store
    items: Items
    register: EdgeRegister

    def expect(self, keys: Sequence[str]) -> None:
        """These roots and records are read next: they are asked for in one round."""
        self.register.expect(keys)

    def forget(self) -> None:
        """The request is over."""
        self.items.forget()


def open_store(configured: Configuration, environment: Environment) -> Opened:
    """The store of this service. Raises `Unavailable`: it is not linked."""
    items = Items(configured.kv)
    register = EdgeRegister(items, REGISTER, environment.random_bytes)
    blobs: dict[Tier, Blobs] = {
        Tier.KV: EdgeBlobs(items, BLOBS, part_bytes_max=PART_BYTES_MAX, now_ms=environment.now_ms)
    }
    url = f"edge:{configured.kv}"
    if configured.objects is not None:
        blobs[Tier.OBJECT] = EdgeObjects(configured.objects, environment.now_ms)
        url += f",{configured.objects.bucket}"
    return Opened(metered_store(Store(url, register, blobs)), items, register)

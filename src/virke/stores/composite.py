"""Two stores as one: a KV store for roots and small databases, object storage for the segments of large ones.

Knows which tier belongs to which; knows neither store.

1. Roots are in the KV store's register, always: one register decides, whatever the tier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from virke.core.effects import Tier
from virke.errors import UsageError
from virke.stores.base import Blobs, Store


def composite_store(kv: Store, objects: Store) -> Store:
    """The register and the kv tier of `kv`, the object tier of `objects`.

    Raises:
        UsageError: `objects` has no object tier.
    """
    if Tier.OBJECT not in objects.blobs:
        raise UsageError(f"store {objects.url!r} is not object storage; the second URL must be")
    blobs: dict[Tier, Blobs] = {Tier.OBJECT: objects.blobs[Tier.OBJECT]}
    if Tier.KV in kv.blobs:
        blobs[Tier.KV] = kv.blobs[Tier.KV]
    tidy = partial(_tidy_all, [one.tidy for one in (kv, objects) if one.tidy is not None])
    return Store(
        f"{kv.url},{objects.url}",
        kv.register,
        blobs,
        line=kv.line,
        watch=kv.watch,
        watch_ended=kv.watch_ended,
        stamp_of=kv.stamp_of,
        says_waits=kv.says_waits,
        plain=objects.plain,
        tidy=tidy,
    )


def _tidy_all(calls: Sequence[Callable[[], int]]) -> int:
    return sum(call() for call in calls)

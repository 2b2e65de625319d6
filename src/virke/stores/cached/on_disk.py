"""Caches of immutable objects with a disk half: a folder that all processes of a machine share.

Knows how the two halves are put together; decides nothing about either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from virke.core.effects import Tier
from virke.stores.base import Blobs, Store
from virke.stores.cached.blobs import GAP_BYTES, MEMORY_BYTES, PIECE_BYTES, CachedBlobs
from virke.stores.cached.files import CacheFiles

DISK_BYTES: Final = 1 << 30


def cached_blobs(
    inner: Blobs,
    *,
    folder: Path | None,
    memory_bytes: int = MEMORY_BYTES,
    disk_bytes: int = DISK_BYTES,
    gap_bytes: int = GAP_BYTES,
    piece_bytes: int = PIECE_BYTES,
    on_hits: Callable[[int], None] | None = None,
) -> CachedBlobs:
    """`inner` with a cache in memory, and in `folder` if there is one; see `CachedBlobs`. Raises `Invalid`."""
    return CachedBlobs(
        inner,
        memory_bytes=memory_bytes,
        disk=None if folder is None else CacheFiles(folder, bytes_max=disk_bytes, file_bytes=piece_bytes),
        gap_bytes=gap_bytes,
        piece_bytes=piece_bytes,
        on_hits=on_hits,
    )


def cached_store(
    store: Store,
    *,
    memory_bytes: int = MEMORY_BYTES,
    folder: Path | None = None,
    disk_bytes: int = DISK_BYTES,
    on_hits: Callable[[int], None] | None = None,
) -> Store:
    """`store` with its blobs cached; each tier gets an equal share of the two budgets, and a subfolder."""
    shares = max(1, len(store.blobs))
    blobs: dict[Tier, Blobs] = {
        tier: cached_blobs(
            inner,
            memory_bytes=memory_bytes // shares,
            folder=None if folder is None else Path(folder) / tier.value,
            disk_bytes=disk_bytes // shares,
            on_hits=on_hits,
        )
        for tier, inner in store.blobs.items()
    }
    return replace(store, blobs=blobs)

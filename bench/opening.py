"""Databases for one measurement: in memory or in a folder that goes away, with every request counted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.opening import connect, open_store
from virke.stores.base import Call, Store
from virke.stores.counted import CountingStore

WRITES: Final = (Call.SWAP, Call.PUT, Call.DELETE, Call.REMOVE)
NAME: Final = "bench"


@dataclass(frozen=True, slots=True)
class Counted:
    """A database, the counters of its store, and a folder that lives as long."""

    database: Database
    counts: CountingStore
    folder: Path


@contextmanager
def counted(kind: str = "memory", environment: Environment | None = None) -> Iterator[Counted]:
    """A new, empty database on a store of `kind`; counting starts from nothing.

    `memory`, `local`, a URL, or `far`: in memory, and only a read shows what others changed, as with object storage.
    """
    with tempfile.TemporaryDirectory(prefix="virke-bench-") as name:
        folder = Path(name)
        url = {"memory": "memory://", "far": "memory://", "local": f"local:{folder / 'store'}"}.get(kind, kind)
        store = open_store(url, create=True)
        if kind == "far":
            store = replace(store, line=None, watch=None)
        counts = CountingStore(store)
        with connected(counts.store, folder, environment) as database:
            counts.reset()
            yield Counted(database, counts, folder)


@contextmanager
def connected(store: Store, folder: Path, environment: Environment | None = None) -> Iterator[Database]:
    """The database `NAME` of `store`, made if it is not there; nothing runs behind its back."""
    with connect(
        NAME, store, create=True, state_dir=folder / "state", background=False, environment=environment
    ) as database:
        yield database

"""Fixtures of several promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.promises.ledger import TABLE, opened
from virke.stores.base import Store
from virke.stores.memory import memory_store


@pytest.fixture
def deferred_store(tmp_path: Path) -> Store:
    """A store with a deferred database in it, pushed in the background every millisecond."""
    store = memory_store()
    with opened(store, tmp_path, create=True) as database:
        database.execute(TABLE)
        database.execute("CREATE TABLE person (name TEXT UNIQUE)")
        database.change_settings({"durability": "deferred", "flush_interval_ms": 1})
    return store

"""Fixtures of several promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.promises.ledger import TABLE, opened
from tests.promises.places import PLACES, be_a_client
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


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own and no cache on disk, for this process and those that it starts."""
    home = tmp_path / "home"
    home.mkdir()
    be_a_client(home, monkeypatch)
    return home


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path, client: Path) -> str:
    """The URL of a fresh, empty store of each kind."""
    return PLACES[request.param](request, tmp_path)

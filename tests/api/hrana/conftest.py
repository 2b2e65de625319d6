"""A database to stream to, and another server that has it open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from virke.engine.catalog import make_database
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.stores.base import Store
from virke.stores.memory import memory_store


@pytest.fixture
def store() -> Store:
    """A store with a database that has an empty table, and one that refers to it."""
    store = memory_store()
    make_database(store, "d", Environment(), if_not_exists=False, page_size=4096)
    with Database(store, "d") as database:
        database.run_script("CREATE TABLE t (a UNIQUE); CREATE TABLE child (a REFERENCES t (a))")
    return store


@pytest.fixture
def db(store: Store) -> Iterator[Database]:
    with Database(store, "d") as database:
        yield database


@pytest.fixture
def other(store: Store) -> Iterator[Database]:
    """Another server's."""
    with Database(store, "d") as database:
        yield database

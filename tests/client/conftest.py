"""A node for all tests of the client, and a database of its own for each: embedded, or the node's."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import virke
from tests.servers.node import Node, node

TABLE = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, price REAL, data BLOB)"


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node on a local store, `.virke` below `folder`."""
    folder = tmp_path_factory.mktemp("node")
    with node("local:.virke", folder) as running:
        running.folder = folder  # type: ignore[attr-defined]
        yield running


@pytest.fixture(params=["embedded", "node"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store, and a node: what works on one works on the other."""
    if request.param == "embedded":
        return f"local:{tmp_path / 'store'}"
    found: Node = request.getfixturevalue("served")
    return found.url


@pytest.fixture
def name() -> str:
    """A database's name that no other test has."""
    return f"db-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def db(where: str, name: str) -> Iterator[virke.Database]:
    """A database with a table."""
    with virke.connect(name, where, create=True) as database:
        database.execute(TABLE)
        yield database


@pytest.fixture
def remote(served: Node, name: str) -> Iterator[virke.Database]:
    """A database of the node, with a table."""
    with virke.connect(name, served.url, create=True) as database:
        database.execute(TABLE)
        yield database

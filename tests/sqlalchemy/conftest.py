"""A database of its own for each test, by the URL that SQLAlchemy is given: embedded, or a node's."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from tests.servers.node import Node, node


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node on a local store."""
    with node("local:.virke", tmp_path_factory.mktemp("sqlalchemy-node")) as running:
        yield running


def url_on(running: Node, name: str, driver: str = "virke") -> str:
    """The URL of a node's database."""
    return f"sqlite+{driver}://{running.url.removeprefix('http://')}/{name}?tls=0"


@pytest.fixture(params=["embedded", "node"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database that is not there yet."""
    name = f"db-{uuid.uuid4().hex[:12]}"
    if request.param == "embedded":
        return f"sqlite+virke:///{name}?store=local:{tmp_path / 'store'}"
    return url_on(request.getfixturevalue("served"), name)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """An engine on a new database."""
    made = create_engine(url)
    yield made
    made.dispose()

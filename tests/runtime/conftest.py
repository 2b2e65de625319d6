"""A node for all tests of the runtime, and where programs find their database."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.node import Node, node


@dataclass(frozen=True, slots=True)
class Where:
    """A store or a node, the environment that says so, and the name of a database that no other test has."""

    url: str
    environ: dict[str, str]
    db: str


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node on a local store."""
    with node("local:.virke", tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture(params=["embedded", "node"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """Both ways to a database: what a program does with one it does with the other."""
    name = f"db-{uuid.uuid4().hex[:12]}"
    if request.param == "embedded":
        url = f"local:{tmp_path / 'store'}"
        return Where(url, {"VIRKE_STORE": url, "APP_DB": name}, name)
    found: Node = request.getfixturevalue("served")
    return Where(found.url, {"VIRKE_URL": found.url, "APP_DB": name}, name)

"""Fixtures of the engine's suites, and the marker of what must run at the edge."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.world import Clock, make
from virke.engine.database import Database


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "edge: runs without threads, files, sockets and late imports (test_edge_clean)")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def db(clock: Clock) -> Iterator[Database]:
    """An empty database in memory, whose clocks stand still."""
    with make(clock=clock) as database:
        yield database

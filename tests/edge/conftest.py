"""The component that the tests of the edge run on a host; without it they are skipped, and say why in one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge.component import component as built
from tests.edge.component import why_not
from tests.edge.simulator import Simulator, why_no_simulator
from tests.edge.simulator import simulator as running


@pytest.fixture(scope="session")
def component() -> Path:
    """The program of the HTTP API."""
    if reason := why_not():
        pytest.skip(reason)
    return built()


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """Fastly's own simulator; where none was built what needs it is skipped, and says so in one line."""
    if reason := why_no_simulator():
        pytest.skip(reason)
    with running(tmp_path_factory.mktemp("viceroy")) as served:
        yield served

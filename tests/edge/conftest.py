"""The component that the tests of the edge run on a host; without it they are skipped, and say why in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edge.component import component as built
from tests.edge.component import why_not


@pytest.fixture(scope="session")
def component() -> Path:
    """The program of the HTTP API."""
    if reason := why_not():
        pytest.skip(reason)
    return built()

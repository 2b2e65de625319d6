"""What tests of the page need: a browser, and a node to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers.node import Node, node
from virke import connect

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    from tests.node.browsing import CHROMIUM

    with sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Node]:
    """A node whose store has one database."""
    from tests.node.browsing import SCHEMA, VALUES

    with connect("shop", f"local:{tmp_path}/data", create=True) as database:
        database.run_script(SCHEMA)
        database.executemany("INSERT INTO item VALUES (?, ?, ?, ?, ?, ?)", VALUES)
        database.executemany(
            "INSERT INTO item (name, price) VALUES (?, ?)", [(f"item {n}", n * 1.5) for n in range(120)]
        )
        database.execute("INSERT INTO pair VALUES ('x', 1, 'one'), ('x', 2, 'two')")
    with node("local:data", tmp_path) as running:
        yield running

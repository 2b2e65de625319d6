"""Datasette shows databases of Virke with the plugin: page by page, read-only, from a store and from a node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

import virke
from tests.clients.install import DATASETTE, HERE
from tests.servers.node import node

pytestmark = [
    pytest.mark.slow,
    pytest.mark.clients,
    pytest.mark.once,
    pytest.mark.skipif(not DATASETTE.exists(), reason="Datasette is not installed: python -m tests.clients.install"),
]
EXAMPLE: Final = HERE.parents[1] / "examples" / "datasette" / "metadata.json"


def python(folder: Path, *words: str) -> str:
    """What Python prints in a folder, with Datasette on its path."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(DATASETTE)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What `python/datasette_program.py` found."""
    folder = tmp_path_factory.mktemp("datasette")
    store = f"local:{folder / 'store'}"
    with node(store, folder) as running:
        program = str(HERE / "python" / "datasette_program.py")
        answers: Mapping[str, Any] = json.loads(python(folder, program, store, running.url, "").splitlines()[-1])
    return answers


def test_a_cold_page_reads_a_part_of_the_database_and_writes_nothing(found: Mapping[str, Any]) -> None:
    """The small tables: a tenth. The large one, whose rows are counted up to 10,000 of 40,000: half."""
    costs = found["costs"]
    for path in ("/shop/small", "/shop/small?_facet=kind", "/shop/big/20000"):
        status, requests, down, up = costs[path]
        assert (status, up) == (200, 0)
        assert requests <= 20
        assert down < costs["stored"] / 10, path
    for path in ("/", "/shop", "/shop/big", "/shop/big.json?_size=5"):
        status, _, down, up = costs[path]
        assert (status, up) == (200, 0)
        assert down < costs["stored"] / 2, path


def test_small_tables_are_counted_and_large_ones_are_not(found: Mapping[str, Any]) -> None:
    costs = found["costs"]
    assert (costs["rows"], costs["facet"], costs["count"]) == (50, 25, 25)
    assert (costs["count of a big table"], costs["suggested"]) == (None, [])


@pytest.mark.parametrize("where", ["store", "node"])
def test_visitors_are_answered_as_of_a_file(found: Mapping[str, Any], where: str) -> None:
    answers = {**found[where]}
    searched = answers.pop("search")
    assert searched == (["first light"] if where == "store" else [400, "no such function: escape_fts"])
    assert answers == {
        "row": [200, [{"id": 1, "name": "n0 ☃", "kind": "even", "data": "\0"}]],
        "row of a key": [200, 7],
        "raw search": ["first light"],
        "a count of one's own": [200, [[12000]]],
        "endless": [400, "SQL Interrupted"],
        "bad SQL": [400, 'near "nothing": syntax error'],
        "write": ["NotSupportedError", "Datasette only reads databases of Virke"],
        "write in place of a read": "OperationalError",
        "databases": [["_memory", False], ["shop", True]],
    }


def test_a_configuration_that_means_nothing_ends_the_start(found: Mapping[str, Any]) -> None:
    form = 'the plugin virke is configured as {"databases": {NAME: {"store": URL}}}'
    assert found["refused"][:2] == [form, form]
    assert "and no stoer" in found["refused"][2]
    assert "database 'gone' does not exist" in found["refused"][3]


def test_the_example_shows_a_database(tmp_path: Path) -> None:
    with virke.create("my-app-db", f"local:{tmp_path / '.virke'}") as database:
        database.run_script(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users (name) VALUES ('Ada')"
        )
    path = "/my-app-db/users.json?_shape=array"
    shown = python(tmp_path, "-m", "datasette", "serve", "--nolock", "--metadata", str(EXAMPLE), "--get", path)
    assert json.loads(shown) == [{"id": 1, "name": "Ada"}]

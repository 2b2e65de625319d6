"""Fastly's own simulator, with sandboxes that live on and with the items of a local store: what `virke dev --edge --viceroy` starts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from tests.edge.component import component
from tests.edge.serving import NAME
from tests.edge.simulator import STILL, ask, why_no_simulator
from virke.edge.building.component import ENTRY
from virke.engine.catalog import make_database
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.project.building import entry_text
from virke.project.children import Children
from virke.project.dev import free_port
from virke.project.viceroy import Simulation, write_configuration
from virke.stores.local.store import local_store

pytestmark = pytest.mark.slow
BLOBS: Final = 300
BLOB_BYTES: Final = 9000
INSERTS: Final = 40


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local store whose database has several parts."""
    folder = tmp_path_factory.mktemp("local") / "store"
    held = local_store(folder)
    make_database(held, NAME, Environment(), if_not_exists=False, page_size=4096)
    with Database(held, NAME) as database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, what BLOB)")
        random = Random(7)
        database.executemany("INSERT INTO t (what) VALUES (?)", [(random.randbytes(BLOB_BYTES),) for _ in range(BLOBS)])
    return folder


@pytest.fixture(scope="module")
def port(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where the simulator serves a copy of it."""
    if reason := why_no_simulator():
        pytest.skip(reason)
    program = component({f"{ENTRY}.py": (STILL + entry_text(None)).encode()})
    manifest = write_configuration(tmp_path_factory.mktemp("viceroy"), f"local:{store}", {"db": NAME}, {})
    port = free_port(0)
    with Children() as children:
        simulation = Simulation(program, manifest, port, children=children)
        yield port
        simulation.stop()


def run(port: int, route: str, sql: str, **headers: str) -> Any:
    """What a statement answers."""
    body = json.dumps({"sql": sql}).encode()
    named = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    heard = ask(port, "POST", f"/db/{NAME}/{route}", named, body)
    assert heard.status == 200, heard.body
    return heard if headers else json.loads(heard.body)


def test_what_a_local_store_holds_is_read_there_part_by_part(port: int) -> None:
    found = run(port, "query", f"SELECT count(*), sum(length(what)) FROM t WHERE id <= {BLOBS}")
    assert found["rows"] == [[BLOBS, BLOBS * BLOB_BYTES]]


def test_sandboxes_that_live_on_write_read_and_merge_and_nothing_goes_back(port: int, store: Path) -> None:
    """A step of upkeep comes after an answer, while another sandbox serves the next request: the bookmark makes it see the write."""
    before = run(port, "query", "SELECT max(id) FROM t")["rows"][0][0]
    for number in range(1, INSERTS + 1):
        written = run(port, "execute", "INSERT INTO t (what) VALUES (randomblob(20000))")
        assert written["last_insert_rowid"] == before + number
    seen = json.loads(run(port, "query", "SELECT count(*) FROM t", virke_bookmark=written["bookmark"]).body)
    assert seen["rows"] == [[before + INSERTS]]
    with Database(local_store(store), NAME) as database:
        assert database.query("SELECT count(*) FROM t").rows == [(BLOBS,)]


def test_rows_that_come_line_by_line_come_whole(port: int) -> None:
    rows = (
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 5000) SELECT n, hex(zeroblob(20)) FROM r"
    )
    lines = run(port, "query", rows, accept="application/x-ndjson").body.splitlines()
    assert [json.loads(line)[0] for line in lines[1:5001]] == list(range(1, 5001))

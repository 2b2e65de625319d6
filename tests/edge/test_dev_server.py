"""What `virke dev --edge` starts counts as the platform does: its limits are those of instructions, not of this machine's load."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Final

from tests.edge.serving import NAME
from virke.edge.host.sandbox import INSTRUCTIONS_A_MS
from virke.edge.limits import LIMITS
from virke.engine.catalog import make_database
from virke.engine.environment import Environment
from virke.project.edge_server import Served, host_of
from virke.stores.local.store import local_store

ENDLESS: Final = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def test_a_request_ends_after_so_many_instructions_as_its_time_has(component: Path, tmp_path: Path) -> None:
    """It says `timed_out`, and what it used up is what the limit means, within a tenth of it and the start of a sandbox."""
    store = tmp_path / "store"
    make_database(local_store(store), NAME, Environment(), if_not_exists=False, page_size=4096)
    with closing(host_of(Served(str(component), f"local:{store}", 0))) as host:
        body = json.dumps({"sql": ENDLESS}).encode()
        said = host.request("POST", f"/db/{NAME}/query", headers=(("content-type", "application/json"),), body=body)
        assert (said.status, json.loads(said.body)["error"]["code"]) == (504, "timed_out")
        host.settle()
        used_ms = said.counts.fuel / INSTRUCTIONS_A_MS
        assert LIMITS.cpu_ms <= used_ms < LIMITS.cpu_ms * 1.1 + 10

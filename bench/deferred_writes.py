"""Deferred writes: how long one takes on a local store, against one that is answered by the store.

Both write one row at a time on the disk of the current folder, in turns, so that a machine that is busy is busy for both.
How often a write is synced is counted by tests/promises/test_deferred_file.py.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.report import Figure
from virke.engine.database import Database
from virke.opening import connect

ROUNDS: Final = 20
WRITES: Final = 100


def insert_rows(database: Database) -> list[float]:
    """Seconds of each of `WRITES` inserts."""
    took = []
    for _ in range(WRITES):
        began_at = time.perf_counter()
        database.execute("INSERT INTO entry (v) VALUES (?)", ("x" * 40,))
        took.append(time.perf_counter() - began_at)
    return took


def run() -> list[Figure]:
    """Medians of both ways, and their ratio."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        url = f"local:{folder}/store"
        with (
            connect("sync", url, create=True, background=False) as sync,
            connect("deferred", url, create=True, background=False) as deferred,
        ):
            for database in (sync, deferred):
                database.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, v)")
            deferred.change_settings({"durability": "deferred"})
            deferred.execute("INSERT INTO entry (v) VALUES ('makes the journal')")
            waits: dict[str, list[float]] = {"sync": [], "deferred": []}
            for _ in range(ROUNDS):
                waits["sync"] += insert_rows(sync)
                waits["deferred"] += insert_rows(deferred)
                deferred.flush()
    medians = {name: statistics.median(values) for name, values in waits.items()}
    return [
        *(Figure("deferred", f"one INSERT, local, {name}, p50", medians[name] * 1e6, "µs") for name in medians),
        Figure("deferred", "deferred of sync, local, p50", medians["deferred"] / medians["sync"], "×", at_most=1.0),
    ]

"""B14: reads of databases larger than SQLite's default cache, warm, beside the standard library's sqlite3 in the same run.

CPU time of the whole process: what a thread inflates beside a query counts. sqlite3 reads from the system's cache, with its own
default cache of 2 MB. Rounds of both take turns; ratios are those of the medians.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from bench.report import Figure
from virke.engine.database import Database
from virke.engine.memory import PROCESS
from virke.opening import connect
from virke.transfer import import_file

ROW_BYTES: Final = 950
ROUNDS: Final = 5
LOOKUPS: Final = 5000
_SCAN: Final = "SELECT sum(a), sum(length(b)) FROM t"
_LOOKUP: Final = "SELECT a FROM t WHERE id = ?"
Read = Callable[[str, tuple[int, ...]], object]


def fill(path: Path, megabytes: int) -> int:
    """A database of text in pages of 4 KiB; its rows."""
    random, rows = Random(1), megabytes * 1_000_000 // (ROW_BYTES + 50)
    words = ["".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(3000)]
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")
        texts = (" ".join(random.choices(words, k=ROW_BYTES // 8)) for _ in range(rows))
        connection.executemany("INSERT INTO t (a, b) VALUES (?, ?)", ((n % 1000, text) for n, text in enumerate(texts)))
    connection.close()
    return rows


def _cpu(job: Callable[[], object]) -> float:
    started = time.process_time()
    job()
    return time.process_time() - started


def _ratio(jobs: tuple[Callable[[], object], Callable[[], object]]) -> float:
    times = [(_cpu(jobs[0]), _cpu(jobs[1])) for _ in range(ROUNDS)]
    return statistics.median(ours for ours, _ in times) / statistics.median(theirs for _, theirs in times)


def measure(database: Database, path: Path, rows: int) -> tuple[float, float]:
    """Lookups and scans by Virke as multiples of sqlite3's, when caches are as warm as they get."""
    database.change_settings({"max_staleness_ms": 3_600_000})
    plain = sqlite3.connect(path)
    random = Random(2)

    def ours(sql: str, params: tuple[int, ...]) -> object:
        return database.query(sql, params).rows

    def theirs(sql: str, params: tuple[int, ...]) -> object:
        return plain.execute(sql, params).fetchall()

    def look(read: Read, times: int = LOOKUPS) -> None:
        for _ in range(times):
            read(_LOOKUP, (random.randint(1, rows),))

    def scan(read: Read) -> None:
        read(_SCAN, ())

    for read in (ours, theirs):
        scan(read)
    scans = _ratio((lambda: scan(ours), lambda: scan(theirs)))
    look(ours, rows // 4)
    lookups = _ratio((lambda: look(ours), lambda: look(theirs)))
    plain.close()
    return lookups, scans


def run() -> list[Figure]:
    """100 MB within the usual memory; 1 GB with half of it as memory."""
    figures, before = [], PROCESS.bytes_max
    for megabytes, memory_mb, lookup_most, scan_most in ((100, 512, 1.0, 1.1), (1000, 512, 3.0, 3.0)):
        with tempfile.TemporaryDirectory(prefix="virke-bench-") as name:
            folder = Path(name)
            rows = fill(folder / "plain.sqlite", megabytes)
            store = f"local:{folder / 'store'}"
            with connect("bench", store, create=True, memory_mb=memory_mb) as database:
                import_file(database, folder / "plain.sqlite")
                lookups, scans = measure(database, folder / "plain.sqlite", rows)
        what = f"{megabytes:,} MB, memory_mb={memory_mb}"
        figures.append(Figure("B14", f"{what}: lookup by key", lookups, "× sqlite3", at_most=lookup_most))
        figures.append(Figure("B14", f"{what}: scan", scans, "× sqlite3", at_most=scan_most))
    PROCESS.resize(before)
    return figures

"""B6: a warm read against the same statement on plain apsw in memory.

Short rounds of both take turns; the ratio is that of the medians of their CPU time. It holds when the machine drifts or
is shared.
"""

from __future__ import annotations

import gc
import sqlite3
import statistics
import time
import timeit
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

import apsw

from bench.data import INSERT_USER, USERS, fill_users, user
from bench.opening import counted
from bench.report import Figure
from virke.engine.connection import Connection

ROUNDS: Final = 101
READS: Final = 500
ROWS: Final = 10_000
_POINT: Final = "SELECT name, email FROM users WHERE id = ?"
_RANGE: Final = "SELECT id, name, email FROM users WHERE id BETWEEN ? AND ? + 99"

Job = Callable[[], object]


def ratios(base: Job, others: Sequence[Job], rounds: int = ROUNDS) -> list[float]:
    """The median time of each of `others` as a multiple of the median of `base`."""
    jobs = (base, *others)
    times: list[list[float]] = [[] for _ in jobs]
    for job in jobs:
        job()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for job, taken in zip(jobs, times, strict=True):
                started = time.thread_time()
                job()
                taken.append(time.thread_time() - started)
    finally:
        gc.enable()
    medians = [statistics.median(taken) for taken in times]
    return [median / medians[0] for median in medians[1:]]


def _plain() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    connection.execute(USERS)
    with connection:
        connection.executemany(INSERT_USER, [user(number) for number in range(1, ROWS + 1)])
    return connection


def run() -> list[Figure]:
    """Point reads and reads of 100 rows: pinned connection and `Database.query`, each against plain apsw."""
    figures = []
    with counted("far") as bench:
        database = bench.database
        fill_users(database, ROWS)
        database.change_settings({"max_staleness_ms": 3_600_000})
        plain = _plain()
        pinned = Connection(database.snapshot(), value_bytes_max=64 << 20)
        pinned.pin(database.snapshot())

        def compared(sql: str, reads: int, width: int) -> tuple[float, float]:
            keys = [(key,) * width for key in range(1, reads + 1)]

            def on(connection: apsw.Connection) -> Job:
                return lambda: [connection.execute(sql, key).fetchall() for key in keys]

            through, held = ratios(on(plain), [lambda: [database.query(sql, key).rows for key in keys], on(pinned.raw)])
            return held, through

        held, through = compared(_POINT, READS, 1)
        figures.append(Figure("B6", "point read, pinned connection", held, "× plain apsw", at_most=1.1))
        figures.append(Figure("B6", "point read, Database.query", through, "× plain apsw", at_most=2))
        held, through = compared(_RANGE, READS // 20, 2)
        figures.append(Figure("B6", "100 rows, pinned connection", held, "× plain apsw", at_most=1.1))
        figures.append(Figure("B6", "100 rows, Database.query", through, "× plain apsw", at_most=2))
        pinned.close()
    return [*figures, *_local()]


def _local() -> list[Figure]:
    """`Database.query` on a local store, which looks for newer state at each read, against the standard library."""
    with counted("local") as bench:
        fill_users(bench.database, ROWS)
        with closing(sqlite3.connect(bench.folder / "plain.sqlite")) as plain:
            plain.execute("PRAGMA journal_mode=WAL")
            plain.execute(USERS)
            plain.executemany(INSERT_USER, [user(number) for number in range(1, ROWS + 1)])
            plain.commit()
            figures = []
            for what, sql, reads, width in (("point read", _POINT, READS, 1), ("100 rows", _RANGE, READS // 20, 2)):
                keys = [(key,) * width for key in range(1, reads + 1)]
                [ratio] = ratios(
                    lambda sql=sql, keys=keys: [plain.execute(sql, key).fetchall() for key in keys],  # type: ignore[misc]
                    [lambda sql=sql, keys=keys: [bench.database.query(sql, key).rows for key in keys]],  # type: ignore[misc]
                )
                figures.append(Figure("B6", f"{what}, local store", ratio, "× sqlite3", at_most=1.5))
        branch = bench.database._branch
        looks = min(timeit.repeat(branch.has_moved, number=10_000, repeat=5)) / 10_000 * 1e6
        figures.append(Figure("B6", "local store: look for a commit of another process", looks, "µs"))
        return figures

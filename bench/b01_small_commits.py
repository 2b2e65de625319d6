"""B1: what a small commit (≤ 64 KiB encoded) costs the store, spill and compaction included.

Writes are swaps, puts and deletes; the budget of bytes is 5 times what the changed pages take compressed,
and 32 KiB, for each commit.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from bench.data import fill_users, user
from bench.opening import WRITES, Counted, connected, counted
from bench.report import Figure
from virke.core.change import INLINE_COMMIT_MAX
from virke.engine.database import Database
from virke.stores.base import Call

COMMITS: Final = 10_000
WIDE_COMMITS: Final = 1_000
USERS: Final = 10_000
WRITES_MOST: Final = 1.1
BYTES_FACTOR: Final = 5
BYTES_MORE: Final = 32 << 10


@dataclass(frozen=True, slots=True)
class Costs:
    """What `commits` commits cost: store writes, store reads, bytes sent, and the changed pages' compressed bytes."""

    commits: int
    writes: int
    reads: int
    bytes_up: int
    page_bytes: int

    @property
    def writes_each(self) -> float:
        """Store writes a commit."""
        return self.writes / self.commits

    @property
    def bytes_of_budget(self) -> float:
        """Bytes sent as a share of those that the budget grants."""
        return self.bytes_up / (BYTES_FACTOR * self.page_bytes + BYTES_MORE * self.commits)


Step = Callable[[Database, int], object]


def update_one_row(database: Database, number: int) -> None:
    """The smallest usual commit: one leaf page and page 1."""
    database.execute("UPDATE users SET name = ? WHERE id = ?", (f"Renamed {number}", number * 7919 % USERS + 1))


def insert_one_row(database: Database, number: int) -> None:
    """A commit at the end of a table that grows."""
    database.execute("INSERT INTO users (name, email, active) VALUES (?, ?, 1)", user(number))


def mixed_sizes(database: Database, number: int) -> None:
    """Mostly one row, sometimes a few dozen in as many pages."""
    random = Random(number)
    rows = 1 if number % 10 else random.randint(2, 30)
    ids = [random.randint(1, USERS) for _ in range(rows)]
    database.executemany("UPDATE users SET name = ? WHERE id = ?", [(f"Mixed {number}", one) for one in ids])


def nearly_large(database: Database, number: int) -> None:
    """About 48 KiB that do not compress: just below the size that gets a segment of its own."""
    database.execute("INSERT OR REPLACE INTO blobs VALUES (?, ?)", (number % 50, os.urandom(INLINE_COMMIT_MAX - 16384)))


def measure(kind: str, step: Step, commits: int) -> Costs:
    """Run `step` `commits` times on a store of `kind`."""
    with counted(kind) as bench:
        fill_users(bench.database, USERS)
        bench.database.execute("CREATE TABLE blobs (id INTEGER PRIMARY KEY, data BLOB)")
        bench.counts.reset()
        page_bytes = 0
        for number in range(commits):
            step(bench.database, number)
            page_bytes += _changed(bench)
            if bench.database.upkeep_due:
                bench.database.upkeep()
        counts = bench.counts
        looked = counts.of(Call.READ).requests  # by `_changed` for each commit, and by each step of upkeep
        return Costs(
            commits,
            counts.of(*WRITES).requests,
            counts.total.requests - counts.of(*WRITES).requests - looked,
            counts.total.bytes_up,
            page_bytes,
        )


def measure_processes(step: Step, commits: int) -> Costs:
    """As many processes, one after the other: each opens, commits once, does one step of what is due, and closes."""
    with counted("memory") as bench:
        fill_users(bench.database, USERS)
        bench.database.execute("CREATE TABLE blobs (id INTEGER PRIMARY KEY, data BLOB)")
        bench.counts.reset()
        page_bytes = 0
        for number in range(commits):
            with connected(bench.counts.store, bench.folder) as database:
                step(database, number)
                if database.upkeep_due:
                    database.upkeep()
            page_bytes += _changed(bench)
        writes, total = bench.counts.of(*WRITES).requests, bench.counts.total
        return Costs(commits, writes, total.requests - writes, total.bytes_up, page_bytes)


def _changed(bench: Counted) -> int:
    """Compressed bytes of the pages that the newest commit changed; it must have been a small one."""
    inline = bench.database.snapshot().root.inline
    assert inline, "the commit was too large for this budget"
    return len(inline[-1].data)


def run() -> list[Figure]:
    """Every kind of small commit on the memory store, the usual one on the local store as well."""
    loads: list[tuple[str, str, Step, int]] = [
        ("update one row", "memory", update_one_row, COMMITS),
        ("update one row", "local", update_one_row, COMMITS),
        ("insert one row", "memory", insert_one_row, COMMITS),
        ("mixed sizes", "memory", mixed_sizes, COMMITS),
        ("48 KiB of noise", "memory", nearly_large, WIDE_COMMITS),
    ]
    figures = []
    for name, kind, step, commits in loads:
        costs = measure(kind, step, commits)
        what = f"{name}, {commits:,} commits, {kind}"
        each = costs.page_bytes / commits / 1024
        figures += [
            Figure("B1", f"{what}: writes", costs.writes_each, "a commit", at_most=WRITES_MOST),
            Figure(
                "B1", f"{what}: bytes of budget ({each:.1f} KiB of pages each)", costs.bytes_of_budget, "×", at_most=1
            ),
            Figure("B1", f"{what}: objects read for upkeep", costs.reads / commits, "a commit"),
        ]
    return figures

"""What a commit of one row adds to what is stored: the commit itself, and the merges that its history keeps beside it (B17).

Counts bytes in memory, the same in every run but for a byte or two; what `status` says a day costs is made of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean
from typing import Final

from bench.data import fill_users, user
from bench.opening import counted
from bench.report import Figure
from virke.engine.database import Database

COMMITS: Final = 4_000
SIZES: Final = (1_000, 10_000, 100_000)
STORED_MOST: Final = 1_600
UPDATE: Final = "UPDATE users SET name = ? WHERE id = ?"
INSERT: Final = "INSERT INTO users (name, email, active) VALUES (?, ?, 1)"


def run() -> list[Figure]:
    """UPDATEs of rows all over tables of three sizes, and INSERTs behind the last row of one."""
    return [figure for users in SIZES for figure in _figures("UPDATE", users)] + list(_figures("INSERT", SIZES[1]))


def _figures(kind: str, users: int) -> Iterator[Figure]:
    with counted("memory") as bench:
        database = bench.database
        fill_users(database, users)
        database.upkeep(None)
        before = database.status()
        commits = [_commit(database, kind, number, users) for number in range(COMMITS)]
        after = database.status()
    stored = (after.stored_bytes - before.stored_bytes) / COMMITS
    what = f"{kind} of one row of {users:,}"
    yield Figure("B17", f"{what}: stored, history included", stored, "bytes", at_most=STORED_MOST)
    yield Figure("B17", f"{what}: of that, the commit", mean(commits), "bytes")


def _commit(database: Database, kind: str, number: int, users: int) -> int:
    """One commit, and what it made due; the bytes of the commit itself."""
    if kind == "UPDATE":
        database.execute(UPDATE, (f"Renamed {number}", number * 7919 % users + 1))
    else:
        database.execute(INSERT, user(number))
    [*_, newest] = database._branch.latest().root.inline
    if database.upkeep_due:
        database.upkeep(None)
    return len(newest.encoded)

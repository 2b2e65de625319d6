"""B3: what warm reads ask of the store."""

from __future__ import annotations

from typing import Final

from bench.data import fill_users
from bench.opening import counted
from bench.report import Figure
from virke.engine.environment import Environment
from virke.stores.base import Call
from virke.stores.counted import Tally

READS: Final = 100
_LOOKUP: Final = "SELECT name FROM users WHERE id = ?"


def reads(consistency: str) -> tuple[Tally, Tally]:
    """All requests of `READS` warm reads within the staleness bound, and those of them that read the root."""
    with counted("far", environment=Environment(monotonic=lambda: 1000.0)) as bench:
        fill_users(bench.database, 1000)
        bench.database.query(_LOOKUP, (1,))
        bench.counts.reset()
        for _ in range(READS):
            bench.database.query(_LOOKUP, (1,), consistency=consistency)
        return bench.counts.total, bench.counts.of(Call.READ)


def reads_after_own_writes() -> int:
    """Requests other than the writes' own when each read follows a write of this process."""
    with counted("far", environment=Environment(monotonic=lambda: 1000.0)) as bench:
        fill_users(bench.database, 1000)
        bench.counts.reset()
        for number in range(10):
            bench.database.execute("UPDATE users SET name = ? WHERE id = 1", (f"n{number}",))
            assert bench.database.query(_LOOKUP, (1,)).rows == [(f"n{number}",)]
        return bench.counts.total.requests - bench.counts.of(Call.SWAP).requests


def run() -> list[Figure]:
    """Session and strong reads."""
    session, _ = reads("session")
    strong, looks = reads("strong")
    other = strong.requests - looks.requests
    return [
        Figure("B3", "warm session read: requests", session.requests / READS, "a read", at_most=0),
        Figure("B3", "warm strong read: conditional reads of the root", looks.requests / READS, "a read", at_most=1),
        Figure("B3", "warm strong read: bytes, and other requests", strong.bytes_down + other, "", at_most=0),
        Figure("B3", "session read after own write: requests", reads_after_own_writes() / 10, "a read", at_most=0),
    ]

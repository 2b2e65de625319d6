"""B2: serial round trips of a commit that is too large to ride in the root. One call of a store is one round trip."""

from __future__ import annotations

import os
from typing import Final

from bench.opening import counted
from bench.report import Figure

ROUNDS_MOST: Final = 2
SIZES: Final = {"200 KiB": 200 << 10, "900 KiB": 900 << 10, "8 MiB": 8 << 20}


def rounds(size_bytes: int, kind: str = "memory") -> int:
    """Round trips from the call of `execute` to its answer, for one commit of that size on a store of that kind."""
    with counted(kind) as bench:
        bench.database.execute("CREATE TABLE blobs (id INTEGER PRIMARY KEY, data BLOB)")
        bench.counts.reset()
        bench.database.execute("INSERT INTO blobs (data) VALUES (?)", (os.urandom(size_bytes),))
        return bench.counts.total.requests


def run() -> list[Figure]:
    """One commit of each size."""
    return [
        Figure("B2", f"commit of {name}", rounds(size), "rounds", at_most=ROUNDS_MOST) for name, size in SIZES.items()
    ]

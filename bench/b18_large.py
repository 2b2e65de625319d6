"""B18 (`LARGE`): what statements that rewrite a database of 2 GB hold in memory, on a local store: an index, an UPDATE, VACUUM.

Each is `virke db execute` in a process of its own; memory is what it held at most.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from bench.apart import on_bench, took
from bench.data import write_catalogue
from bench.report import Figure

MEGABYTES: Final = float(os.environ.get("VIRKE_BENCH_LARGE_MB", "2000"))
PEAK_MIB_MOST: Final = 300
STATEMENTS: Final = {
    "CREATE INDEX": "CREATE INDEX by_body ON items (body)",
    "UPDATE of all rows": "UPDATE items SET cents = cents + 1",
    "VACUUM": "VACUUM",
}


def run() -> list[Figure]:
    """One after the other."""
    figures = []
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        folder, path = Path(name), Path(name, "catalogue.sqlite")
        write_catalogue(path, MEGABYTES)
        size = path.stat().st_size / 1e6
        took(*on_bench(folder, "create", "bench"), folder=folder)
        took(*on_bench(folder, "settings", "query_timeout_ms=3600000"), folder=folder)
        steps = {"import": ("import", str(path))} | {what: ("execute", sql) for what, sql in STATEMENTS.items()}
        for what, words in steps.items():
            found = took(*on_bench(folder, words), folder=folder)
            step = f"{what} on {size:,.0f} MB"
            figures += [
                Figure("B18", f"{step}: memory", found.peak_mib, "MiB", at_most=PEAK_MIB_MOST),
                Figure("B18", f"{step}: time", found.wall_s, "s"),
            ]
    return figures

"""B5: a cold scan of 100 MB against a parallel download of the same bytes by the same client, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Final

from bench import far
from bench.b04_cold_lookup import fill
from bench.opening import NAME
from bench.report import Figure
from virke.core.effects import Tier
from virke.opening import connect, open_store
from virke.stores.base import Range

MEGABYTES: Final = 100
TURNS: Final = 5
LINES: Final = ((0, 0, 6.5), (25, 0, 3.0), (25, 100, 1.2))
"""Milliseconds a request takes on top, megabytes a second (0: as many as this machine moves), the most that a scan may take
of a download: inflating and scanning is what a slow line hides, and a fast one does not."""
_SCAN: Final = "SELECT count(*), sum(length(body)) FROM items NOT INDEXED"


def scan(store: str) -> None:
    """Open the database and read every row."""
    with connect(NAME, store, background=False) as database:
        assert database.query(_SCAN).rows[0][0]


def download(store: str) -> int:
    """All parts of the database at once, as the store's client fetches them; the number of bytes."""
    with connect(NAME, store, background=False) as database:
        keys = [key for ref in database.snapshot().root.segments for key in ref.keys]
    answers = open_store(store).blobs[Tier.OBJECT].get([Range(key) for key in keys])
    return sum(len(data) for data in answers if isinstance(data, bytes))


def _seconds(work: Callable[[str], object], store: str) -> float:
    began = time.perf_counter()
    work(store)
    return time.perf_counter() - began


def run() -> list[Figure]:
    """Scan and download take turns; medians, at each distance."""
    figures = []
    with far.s3() as server:
        prefix = far.prefix()
        fill(server.url(prefix), MEGABYTES)
        for delay_ms, mb_s, most in LINES:
            with far.distant(server, delay_ms, mb_s) as place:
                store = place.url(prefix)
                size = download(store)
                turns = [(_seconds(scan, store), _seconds(download, store)) for _ in range(TURNS)]
            scans, downloads = (median(times) for times in zip(*turns, strict=True))
            what = f"cold scan of {MEGABYTES} MB, {delay_ms} ms a request" + (f", {mb_s} MB/s" if mb_s else "")
            figures += [
                Figure("B5", f"{what}: time against a download", scans / downloads, "×", at_most=most),
                Figure("B5", f"{what}: scanned", MEGABYTES / scans, "MB/s"),
                Figure("B5", f"{what}: downloaded ({size / 1e6:.0f} MB encoded)", size / 1e6 / downloads, "MB/s"),
            ]
    return figures

"""B4: a process that knows nothing opens a database of 1 GB and looks one row up."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import far
from bench.data import PAGE_BYTES, sku, write_catalogue
from bench.opening import NAME
from bench.report import Figure
from virke.opening import Where, connect
from virke.stores.receipt import Receipt, writing_receipt
from virke.transfer import import_file

MEGABYTES: Final = 1000
ROUNDS_MOST: Final = 4
BYTES_MOST: Final = 1_500_000
BY_ID: Final = "SELECT cents FROM items WHERE id = ?"
BY_SKU: Final = "SELECT cents FROM items WHERE sku = ?"


@dataclass(frozen=True, slots=True)
class Lookup:
    """What one cold lookup cost."""

    rounds: int
    bytes_down: int


def fill(store: Where, megabytes: int, page_bytes: int = PAGE_BYTES) -> int:
    """Import a catalogue into a new database of `store`; returns the number of items."""
    with tempfile.TemporaryDirectory(prefix="virke-bench-") as folder:
        path = Path(folder, "catalogue.sqlite")
        items = write_catalogue(path, megabytes, page_bytes)
        with connect(NAME, store, create=True, background=False) as database:
            import_file(database, path)
        return items


def look_up(store: Where, sql: str, key: int | str) -> Lookup:
    """Open the database and look up one row that is there."""
    receipt = Receipt()
    with writing_receipt(receipt), connect(NAME, store, background=False) as database:
        assert len(database.query(sql, (key,)).rows) == 1
    return Lookup(receipt.total.requests, receipt.total.bytes_down)


def lookups(store: Where, items: int) -> dict[str, list[Lookup]]:
    """Lookups all over the database, by primary key and by a unique text."""
    numbers = [items * step // 10 + 1 for step in range(10)]
    return {
        "by primary key": [look_up(store, BY_ID, number) for number in numbers],
        "by a unique text, then its row": [look_up(store, BY_SKU, sku(number)) for number in numbers],
    }


def run() -> list[Figure]:
    """On SeaweedFS, the worst of ten lookups each."""
    figures = []
    with far.s3() as server:
        store = server.url(far.prefix())
        found = lookups(store, fill(store, MEGABYTES))
    for name, all_of_them in found.items():
        has_budget = name == "by primary key"
        rounds, size = max(one.rounds for one in all_of_them), max(one.bytes_down for one in all_of_them)
        what = f"cold open and lookup {name}, 1 GB"
        figures += [
            Figure("B4", f"{what}: round trips", rounds, "", at_most=ROUNDS_MOST if has_budget else None),
            Figure("B4", f"{what}: megabytes", size / 1e6, "MB", at_most=BYTES_MOST / 1e6 if has_budget else None),
        ]
    return figures

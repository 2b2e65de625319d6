"""Databases of given sizes, as an import makes them, and what one request to each costs."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.data import write_catalogue
from tests.edge.serving import NAME, Edge, Said, kv_like
from virke.engine.catalog import make_database
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.stores.base import Store
from virke.transfer import import_file

SELECT: Final = "SELECT sku, cents FROM items WHERE id = ?"
INSERT: Final = "INSERT INTO items (sku, body, cents) VALUES (?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request cost: instructions, then what it asked the stores for."""

    fuel: int
    rounds: int
    lookups: int
    writes: int
    bytes: int

    def __str__(self) -> str:
        """For a table."""
        return f"{self.fuel / 1e6:5.1f} M, {self.rounds} rounds, {self.lookups} lookups, {self.writes} writes, {self.bytes:,} bytes"


def filled(megabytes: float, *, tier: str = "auto", store: Store | None = None) -> tuple[Store, int]:
    """A store whose database has about so many megabytes, and the number of its rows."""
    held = store or kv_like()
    make_database(held, NAME, Environment(), if_not_exists=False, page_size=4096)
    with tempfile.TemporaryDirectory(prefix="virke-edge-") as folder, Database(held, NAME) as database:
        path = Path(folder, "catalogue.sqlite")
        rows = write_catalogue(path, megabytes)
        database.change_settings({"tier": tier})
        import_file(database, path)
    return held, rows


def cost(said: Said) -> Cost:
    """The figures of one answer."""
    assert said.status == 200, said.json
    counts = said.response.counts
    lookups = counts.lookups + counts.backend_requests
    return Cost(counts.fuel, counts.rounds, lookups, counts.writes, counts.bytes)


def selected(app: Edge, row: int, *, fresh: bool) -> Cost:
    """One row by its key."""
    said = app.query(SELECT, row, fresh=fresh)
    assert len(said.rows) == 1
    app.host.settle()
    return cost(said)


def inserted(app: Edge, number: int, *, fresh: bool) -> Cost:
    """One new row of about 400 bytes."""
    said = app.execute(INSERT, f"NEW-{number}", "a few words about it " * 18, number, fresh=fresh)
    app.host.settle()
    return cost(said)

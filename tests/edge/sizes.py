"""Databases of given sizes, as an import makes them, and what one request to each costs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.data import write_catalogue
from tests.edge.serving import NAME, Edge, Said, kv_like
from tests.engine.sandbox import Sandbox
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


def grow(store: Store, first: int, last: int) -> None:
    """Rows by a sandbox with the edge's limits, natively: after each a step of upkeep, and each 100th in a new one."""
    sandbox = Sandbox(store, name=NAME)
    for number in range(first, last + 1):
        if number % 100 == 0:
            sandbox = Sandbox(store, name=NAME)
        with sandbox.request() as database:
            database.execute(INSERT, row(number))
            if database.upkeep_due:
                database.serving.upkeep_step()


def row(number: int) -> tuple[str, str, int]:
    """About 400 bytes."""
    return f"NEW-{number}", "a few words about it " * 18, number


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
    said = app.execute(INSERT, *row(number), fresh=fresh)
    app.host.settle()
    return cost(said)


@dataclass(frozen=True, slots=True)
class Costs:
    """The worst of several requests of each kind."""

    cold_select: Cost
    cold_insert: Cost
    warm_select: Cost
    warm_insert: Cost

    def __str__(self) -> str:
        """One line each."""
        return "\n".join(f"{name:12} {getattr(self, name)}" for name in KINDS)


KINDS: Final = ("cold_select", "cold_insert", "warm_select", "warm_insert")


def worst(costs: Sequence[Cost]) -> Cost:
    """The highest of each figure."""
    return Cost(*(max(getattr(one, name) for one in costs) for name in Cost.__slots__))


def swept(app: Edge, rows: int, *, first: int, count: int = 20) -> Costs:
    """The worst of so many inserts in a row and of rows before every third, each in a new sandbox, and then of `measured`.

    More than a root has room for: so among them are its fullest, one that comes after a spill, and what splits a page.
    """
    selects: list[Cost] = []
    inserts: list[Cost] = []
    for number in range(count):
        if number % 3 == 0:
            selects += [selected(app, one, fresh=True) for one in _some_of(rows)]
        inserts.append(inserted(app, first + number, fresh=True))
    rest = measured(app, rows, first=first + count)
    return replace(
        rest, cold_select=worst([*selects, rest.cold_select]), cold_insert=worst([*inserts, rest.cold_insert])
    )


def _some_of(rows: int) -> list[int]:
    return [rows * step // 5 + 1 for step in range(5)]


def measured(app: Edge, rows: int, *, first: int = 1) -> Costs:
    """All kinds of requests: rows all over the database, and new ones numbered from `first`."""
    numbers = _some_of(rows)
    cold_select = worst([selected(app, number, fresh=True) for number in numbers])
    cold_insert = worst([inserted(app, first + n, fresh=True) for n in range(4)])
    inserted(app, first + 4, fresh=True)
    warm_insert = worst([inserted(app, first + 5 + n, fresh=False) for n in range(6)])
    selected(app, numbers[2], fresh=False)
    warm_select = worst([selected(app, numbers[2], fresh=False) for _ in range(2)])
    return Costs(cold_select, cold_insert, warm_select, warm_insert)

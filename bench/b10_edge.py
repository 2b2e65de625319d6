"""B10: what a request costs at the edge, in a new sandbox and in one that is used again, by the size of the database and after inserts.

Runs the component on the wasmtime host, which counts: nothing here is timed. Databases above 20 MB are in the object tier, as
promotion leaves them.
"""

from __future__ import annotations

from typing import Final

from bench.report import Figure
from tests.edge.component import component, why_not
from tests.edge.serving import edge
from tests.edge.sizes import KINDS, Cost, Costs, filled, grow, measured, swept

SIZES: Final = ((1.0, "1 MB"), (20.0, "20 MB"), (300.0, "300 MB"), (1000.0, "1 GB"))
INSERTED: Final = ((1.0, "1 MB"), (20.0, "20 MB"), (300.0, "300 MB"))
INSERTS: Final = 10_000
BUDGET: Final = Costs(
    cold_select=Cost(14_000_000, 3, 4, 0, 500_000),
    cold_insert=Cost(22_000_000, 4, 4, 1, 500_000),
    warm_select=Cost(2_000_000, 0, 0, 0, 0),
    warm_insert=Cost(22_000_000, 2, 1, 1, 500_000),
)
"""B10; what it does not say (bytes of an INSERT, instructions of a sandbox that is used again) is held to be no more than its neighbour's."""


def costs(megabytes: float) -> Costs:
    """Of a database of that size."""
    store, rows = filled(megabytes)
    with edge(component(), store, with_token=True, reuse=1000, fuel=True) as app:
        return measured(app, rows)


def costs_after_inserts(megabytes: float) -> Costs:
    """The worst over inserts in a row, after many; a step of upkeep followed each."""
    store, rows = filled(megabytes)
    grow(store, 1, INSERTS)
    with edge(component(), store, with_token=True, reuse=1000, fuel=True) as app:
        return swept(app, rows, first=INSERTS + 1)


def run() -> list[Figure]:
    """All sizes."""
    if reason := why_not():
        return [Figure("B10", f"not measured: {reason}", 0, "")]
    figures: list[Figure] = []
    for megabytes, name in SIZES:
        figures += _figures_of(costs(megabytes), name)
    for megabytes, name in INSERTED:
        figures += _figures_of(costs_after_inserts(megabytes), f"{name} and {INSERTS:,} inserts")
    return figures


def _figures_of(found: Costs, name: str) -> list[Figure]:
    figures = []
    for kind in KINDS:
        cost, most = getattr(found, kind), getattr(BUDGET, kind)
        what = f"{kind.replace('_', ' ').replace('select', 'SELECT').replace('insert', 'INSERT')}, {name}"
        figures += [
            Figure("B10", f"{what}: instructions", cost.fuel / 1e6, "M", at_most=most.fuel / 1e6),
            Figure("B10", f"{what}: rounds", cost.rounds, "", at_most=most.rounds),
            Figure("B10", f"{what}: lookups", cost.lookups, "", at_most=most.lookups),
            Figure("B10", f"{what}: writes", cost.writes, "", at_most=most.writes),
            Figure("B10", f"{what}: kilobytes", cost.bytes / 1e3, "kB", at_most=most.bytes / 1e3),
        ]
    return figures

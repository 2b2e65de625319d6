"""What a request may cost at the edge, by the size of its database: counted, so the same under any load.

A ceiling is the most that was measured and a fiftieth of it (decision 0057); it is lowered when a change makes it so, and never raised without
a decision record. What B10 wants is in bench/b10_edge.py, and `python -m bench B10` shows both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.edge.serving import edge
from tests.edge.sizes import KINDS, Cost, Costs, filled, grow, measured, swept

CEILINGS: Final = {
    0.1: Costs(
        cold_select=Cost(11_100_000, 3, 4, 0, 500_000),
        cold_insert=Cost(16_300_000, 4, 4, 1, 500_000),
        warm_select=Cost(1_300_000, 0, 0, 0, 0),
        warm_insert=Cost(8_500_000, 2, 1, 1, 40_000),
    ),
    1.0: Costs(
        cold_select=Cost(10_600_000, 3, 4, 0, 500_000),
        cold_insert=Cost(20_600_000, 5, 5, 1, 500_000),  # its table's leaf and its index's are in two parts
        warm_select=Cost(1_300_000, 0, 0, 0, 0),
        warm_insert=Cost(11_200_000, 2, 1, 1, 55_000),
    ),
    17.0: Costs(  # the largest that stays in KV
        cold_select=Cost(11_300_000, 3, 4, 0, 500_000),
        cold_insert=Cost(18_400_000, 4, 4, 1, 500_000),
        warm_select=Cost(1_300_000, 0, 0, 0, 0),
        warm_insert=Cost(8_500_000, 2, 1, 1, 40_000),
    ),
    20.0: Costs(  # the smallest that does not; one of its inserts splits a page
        cold_select=Cost(12_700_000, 3, 4, 0, 500_000),
        cold_insert=Cost(19_700_000, 4, 4, 1, 500_000),
        warm_select=Cost(1_300_000, 0, 0, 0, 0),
        warm_insert=Cost(16_900_000, 4, 3, 1, 60_000),
    ),
    300.0: Costs(
        cold_select=Cost(13_200_000, 3, 4, 0, 500_000),
        cold_insert=Cost(20_300_000, 4, 4, 1, 500_000),
        warm_select=Cost(1_300_000, 0, 0, 0, 0),
        warm_insert=Cost(8_600_000, 2, 1, 1, 40_000),
    ),
    1000.0: Costs(
        cold_select=Cost(14_700_000, 3, 4, 0, 500_000),
        cold_insert=Cost(23_800_000, 6, 6, 1, 520_000),
        warm_select=Cost(1_300_000, 0, 0, 0, 0),
        warm_insert=Cost(8_600_000, 2, 1, 1, 40_000),
    ),
}
EDGE_INSERTS: Final = 10_000
MANY: Final = Costs(  # a full root, up to eight segments, and a page that splits: over what B10 wants in instructions, an INSERT in rounds
    cold_select=Cost(19_000_000, 3, 4, 0, 500_000),
    cold_insert=Cost(28_600_000, 6, 6, 1, 500_000),
    warm_select=Cost(1_400_000, 0, 0, 0, 0),
    warm_insert=Cost(16_100_000, 4, 3, 1, 75_000),  # more frames are carried (0063)
)
"""After that many inserts by the edge alone, at any size."""
GROWN: Final = (
    Costs(  # a full root, whatever the last merge left, and a page that splits: over what B10 wants, a SELECT alone
        cold_select=Cost(15_500_000, 3, 4, 0, 500_000),
        cold_insert=Cost(21_300_000, 5, 5, 1, 500_000),
        warm_select=Cost(1_300_000, 0, 0, 0, 0),
        warm_insert=Cost(9_800_000, 2, 1, 1, 50_000),
    )
)
"""After up to some thousand inserts by the edge alone."""


def check(found: Costs, most: Costs) -> None:
    """No figure is above its ceiling."""
    over = [
        f"{kind}.{name}: {getattr(getattr(found, kind), name):,} > {getattr(getattr(most, kind), name):,}"
        for kind in KINDS
        for name in Cost.__slots__
        if getattr(getattr(found, kind), name) > getattr(getattr(most, kind), name)
    ]
    assert not over, f"{', '.join(over)}\n{found}"


def costs_of(component: Path, megabytes: float) -> Costs:
    """Measured on a database of that size, with a token."""
    store, rows = filled(megabytes)
    with edge(component, store, with_token=True, reuse=1000, fuel=True) as app:
        found = measured(app, rows)
        assert app.host.traps == []
        print(f"\n{megabytes:g} MB\n{found}")
        return found


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [0.1, 1.0, 17.0, 20.0])
def test_no_request_costs_more_than_it_did(component: Path, megabytes: float) -> None:
    check(costs_of(component, megabytes), CEILINGS[megabytes])


@pytest.mark.prove
def test_inserts_by_the_edge_alone_leave_a_new_sandbox_within_bounds(component: Path) -> None:
    """Decisions 0050, 0059: the root says where recent pages are, however many segments wait for a merge, and no request spills."""
    store, rows = filled(1.0)
    done = 0
    for count in (500, 1_500, 4_000):
        grow(store, done + 1, count)
        with edge(component, store, with_token=True, reuse=1000, fuel=True) as app:
            found = swept(app, rows, first=count + 1)
            assert app.host.traps == []
        print(f"\n1 MB, {count:,} inserts by the edge alone, and 31 more\n{found}")
        check(found, GROWN)
        done = count + 31


@pytest.mark.prove
@pytest.mark.parametrize("megabytes", [megabytes for megabytes in CEILINGS if megabytes > 20])
def test_a_large_database_costs_no_more(component: Path, megabytes: float) -> None:
    check(costs_of(component, megabytes), CEILINGS[megabytes])


@pytest.mark.prove
@pytest.mark.parametrize("megabytes", [1.0, 20.0, 300.0])
def test_ten_thousand_inserts_by_the_edge_alone_leave_any_size_within_bounds(component: Path, megabytes: float) -> None:
    store, rows = filled(megabytes)
    grow(store, 1, EDGE_INSERTS)
    with edge(component, store, with_token=True, reuse=1000, fuel=True) as app:
        found = swept(app, rows, first=EDGE_INSERTS + 1)
        assert app.host.traps == []
    print(f"\n{megabytes:g} MB, {EDGE_INSERTS:,} inserts by the edge alone, and 31 more\n{found}")
    check(found, MANY)

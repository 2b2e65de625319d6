"""Stores without ranges: few rounds, few lookups, and no part moves twice (decision 0034)."""

from __future__ import annotations

import pytest

from bench.data import load_image, shop_image
from tests.engine.world import make, reopen, store_of
from tests.whole_store import Cost, whole_store
from virke.engine import whole_parts
from virke.engine.database import Database

BY_ID = "SELECT cents FROM orders WHERE id = ?"


@pytest.fixture(scope="module")
def shop() -> tuple[Database, Cost]:
    """20 MB of users and orders."""
    store, cost = whole_store()
    database = make(store)
    load_image(database, shop_image())
    return database, cost


def cold(shop: tuple[Database, Cost]) -> tuple[Database, Cost]:
    """The same as a process that knows nothing opens it."""
    database, cost = shop
    cost.reset()
    return reopen(store_of(database)), cost


@pytest.mark.native  # its numbers are of isal's deflate
def test_a_cold_lookup_takes_three_rounds(shop: tuple[Database, Cost]) -> None:
    database, cost = cold(shop)
    assert len(database.query(BY_ID, (70_000,)).rows) == 1
    assert (cost.rounds, cost.lookups) == (3, 3)
    assert cost.bytes_down <= 500_000


def test_no_part_moves_twice_in_a_scan(shop: tuple[Database, Cost]) -> None:
    """And a scan reads ahead: its rounds are far fewer than its parts."""
    database, cost = cold(shop)
    assert database.query("SELECT count(*), sum(length(note)) FROM orders NOT INDEXED").rows[0][0] == 150_000
    assert set(cost.read.values()) == {1}
    assert cost.rounds <= len(cost.read) / 2


def test_lookups_all_over_the_database_do_not_read_it_all(shop: tuple[Database, Cost]) -> None:
    """A join of a user with his orders moves the parts that have them: two trees more, and at most one for each row."""
    database, cost = cold(shop)
    sql = "SELECT u.name, o.cents FROM users u JOIN orders o ON o.user_id = u.id WHERE u.id = 7000"
    rows = database.query(sql).rows
    assert len(rows) > 5
    assert set(cost.read.values()) == {1}
    assert cost.lookups <= 5 + len(rows) < database._branch.latest().root.segments[0].parts


def test_what_a_request_may_still_read_bounds_what_is_read_ahead(
    shop: tuple[Database, Cost], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan that has little left reads part by part."""
    database, cost = cold(shop)
    monkeypatch.setattr(database._volume._parts, "_left", lambda tier: whole_parts.LEFT_SHARE - 1)
    database.query("SELECT count(*) FROM orders NOT INDEXED")
    assert cost.rounds >= len(cost.read) - 2

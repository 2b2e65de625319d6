"""B10 as far as it can be counted without a component: what a cold lookup and a cold write cost in a store without ranges."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from bench.data import PAGE_BYTES, write_catalogue
from tests.engine.world import make, reopen
from tests.whole_store import Cost, whole_store
from virke.engine.database import Database
from virke.stores.base import Store

pytestmark = pytest.mark.native
"""Its databases come from files."""
SIZES: Final = [1, 20, *(pytest.param(size, marks=pytest.mark.prove) for size in (300, 1000))]
ROUNDS, LOOKUPS, BYTES = 3, 4, 500_000
BY_ID: Final = "SELECT cents FROM items WHERE id = ?"
WRITES: Final = {
    "INSERT": "INSERT INTO notes (note) VALUES ('new')",
    "UPDATE": "UPDATE items SET cents = cents + 1 WHERE id = 7",
}


def filled(store: Store, image: Path) -> Database:
    """A database in the KV tier with the pages of a file."""
    database = make(store)
    database.change_settings({"tier": "kv"})
    count = image.stat().st_size // PAGE_BYTES
    database.long_write().commit_pages(
        database.snapshot(), page_size=PAGE_BYTES, page_count=count, pages=_pages(image, count)
    )
    database.execute("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, note TEXT)")
    return database


def _pages(image: Path, count: int) -> Iterator[tuple[int, bytes]]:
    with image.open("rb") as file:
        for number in range(1, count + 1):
            yield number, file.read(PAGE_BYTES)


@pytest.fixture(scope="module")
def catalogues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Makes a catalogue of so many megabytes: its store, what is counted there, and how many items it has."""

    @cache
    def catalogue(megabytes: int) -> tuple[Store, Cost, int]:
        image = tmp_path_factory.mktemp("catalogue") / "image.sqlite"
        items = write_catalogue(image, megabytes)
        store, cost = whole_store()
        filled(store, image)
        image.unlink()
        return store, cost, items

    yield catalogue
    catalogue.cache_clear()


@pytest.mark.parametrize("megabytes", SIZES)
def test_a_cold_lookup_by_primary_key_costs_the_same_at_any_size(catalogues: object, megabytes: int) -> None:
    """The root; the index with the hot pages; the part that has the leaf."""
    store, cost, items = catalogues(megabytes)  # type: ignore[operator]
    for number in (1, items // 3, items // 2, items - 1):
        cost.reset()
        assert len(reopen(store).query(BY_ID, (number,)).rows) == 1
        assert cost.rounds <= ROUNDS
        assert cost.lookups < LOOKUPS, "a token is looked up, too"
        assert cost.bytes_down <= BYTES


@pytest.mark.parametrize("megabytes", SIZES)
@pytest.mark.parametrize("sql", WRITES.values(), ids=WRITES)
def test_a_cold_write_costs_a_lookup_and_one_write(catalogues: object, megabytes: int, sql: str) -> None:
    """The swap is a round of its own."""
    store, cost, _ = catalogues(megabytes)  # type: ignore[operator]
    cost.reset()
    assert reopen(store).execute(sql) == 1
    assert (cost.rounds <= ROUNDS + 1, cost.lookups < LOOKUPS, cost.writes) == (True, True, 1)
    assert cost.bytes_down <= BYTES


def test_a_database_in_small_parts_can_be_filled(tmp_path: Path) -> None:
    """The tables of an index that is larger than a part are in parts of their own; that is one more round."""
    image = tmp_path / "image.sqlite"
    items = write_catalogue(image, 20)
    store, cost = whole_store(part_bytes_max=4 << 10)
    filled(store, image)
    cost.reset()
    assert len(reopen(store).query(BY_ID, (items // 2,)).rows) == 1
    assert cost.rounds <= ROUNDS + 3

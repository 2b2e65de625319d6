"""Which pages are hot, by SQLite's own account of a real database; and that garbage is never worse than a wrong guess."""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virke.core import hot
from virke.core.hot import FROM_PAGES, HotPages, child_pages, last_child
from virke.core.ids import PageNo

SIZE = 512


@pytest.fixture(scope="module")
def database() -> Iterator[apsw.Connection]:
    """Deep B-trees of small pages: a schema of many pages, tables and indexes of four levels."""
    connection = apsw.Connection(":memory:")
    connection.execute(f"PRAGMA page_size={SIZE}")
    connection.execute("BEGIN")
    for number in range(60):
        connection.execute(f"CREATE TABLE t{number} (a INTEGER PRIMARY KEY, b TEXT, c TEXT, d TEXT)")
    connection.executemany(
        "INSERT INTO t0 VALUES (?, ?, ?, ?)", ((n, f"b{n:020}", "c" * 40, "d") for n in range(30000))
    )
    connection.execute("CREATE INDEX i ON t0 (b)")
    connection.execute("COMMIT")
    yield connection
    connection.close()


def pages_of(connection: apsw.Connection) -> list[tuple[PageNo, bytes]]:
    image = connection.serialize("main")
    return [(PageNo(at // SIZE + 1), image[at : at + SIZE]) for at in range(0, len(image), SIZE)]


def test_hot_pages_are_the_interior_ones_and_the_schemas(database: apsw.Connection) -> None:
    """As `dbstat` knows them; every other page is passed on in order."""
    pages = pages_of(database)
    taken = HotPages(FROM_PAGES)
    cold = list(taken.cold(pages))
    of_indexes, of_tables, upper = ([number for number, _ in group] for group in taken.groups())
    lower = of_indexes + of_tables
    kinds = {page: (name, kind) for page, name, kind in database.execute("SELECT pageno, name, pagetype FROM dbstat")}
    expected = {page for page, (name, kind) in kinds.items() if kind == "internal" or name == "sqlite_schema"}
    assert {*lower, *upper} == expected
    assert cold == [page for page in pages if page[0] not in expected]
    assert (sorted(of_indexes), sorted(of_tables)) == (of_indexes, of_tables)
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert {kinds[page][0] in tables for page in of_tables} == {True}
    assert {kinds[page][0] in tables for page in of_indexes} == {False}
    assert sorted(upper) == upper
    schema = {page for page, (name, _) in kinds.items() if name == "sqlite_schema"}
    assert len(schema) > 3
    assert schema <= set(upper)


def test_upper_pages_are_those_whose_children_are_interior(database: apsw.Connection) -> None:
    """There are few of them, though the trees are deep."""
    pages = dict(pages_of(database))
    taken = HotPages(FROM_PAGES)
    list(taken.cold(pages.items()))
    of_indexes, of_tables, upper = (dict(group) for group in taken.groups())
    lower = of_indexes | of_tables
    hot_pages = {*lower, *upper}
    for number, data in lower.items():
        assert not {*child_pages(number, data)} & hot_pages
    above = [number for number, data in upper.items() if {*child_pages(number, data)} & set(lower)]
    assert above
    assert 10 * len(upper) < len(lower) * 4


def test_hot_pages_stay_within_their_bound(database: apsw.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it, an interior page is a page like any other; none is lost."""
    monkeypatch.setattr(hot, "BYTES_MAX", 20 * SIZE)
    pages = pages_of(database)
    taken = HotPages(FROM_PAGES)
    cold = list(taken.cold(pages))
    kept = [page for group in taken.groups() for page in group]
    assert sorted(cold + kept) == pages
    schema = database.execute("SELECT count(*) FROM dbstat WHERE name = 'sqlite_schema'").get
    assert 20 <= len(kept) <= 20 + schema


@given(number=st.integers(1, 9), page=st.binary(min_size=1, max_size=200), first=st.sampled_from([2, 5, 13]))
def test_any_bytes_may_be_a_page(number: int, page: bytes, first: int) -> None:
    """No error, and never more children than the page has room for."""
    page = bytes([first]) + page
    assert last_child(number, page) >= 0
    assert len(child_pages(number, page)) <= len(page)
    taken = HotPages(FROM_PAGES)
    assert len(list(taken.cold([(PageNo(number), page)]))) + sum(map(len, taken.groups())) == 1


def test_few_pages_are_not_sorted(database: apsw.Connection) -> None:
    pages = pages_of(database)
    taken = HotPages(FROM_PAGES - 1)
    assert list(taken.cold(pages)) == pages
    assert taken.groups() == []

"""Imports and exports touch the pages that they need, and hold those that they wrote within bounds (decision 0044)."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from virke.core.ids import PageNo
from virke.engine.database import Database
from virke.errors import Unavailable
from virke.opening import connect, open_store
from virke.stores.base import Store
from virke.stores.counted import CountingStore
from virke.transfer import export_parts, import_file
from virke.transfer.spilling import SpilledPages

LARGE_ROWS = 6000
ROW_BYTES = 3000
TEN = b"id,v\n" + b"".join(b"%d,x\n" % n for n in range(10))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a database of some 23 MiB that does not compress, and of one small table."""
    store = replace(open_store("memory://", create=True), line=None, watch=None)
    noise = random.Random(1).randbytes
    with connect("large", store, create=True, background=False) as database:
        database.run_script(
            "CREATE TABLE big (id INTEGER PRIMARY KEY, v); CREATE TABLE small (id INTEGER PRIMARY KEY, v)"
        )
        database.executemany("INSERT INTO big (v) VALUES (?)", [(noise(ROW_BYTES),) for _ in range(LARGE_ROWS)])
        database.executemany("INSERT INTO small (v) VALUES (?)", [("a",)] * 3)
    return store


@pytest.fixture
def cold(large: Store) -> Iterator[tuple[Database, CountingStore]]:
    """The large database as a process has it that has read nothing of it, and what it asks of the store."""
    counts = CountingStore(large)
    with connect("large", counts.store, background=False) as database:
        counts.reset()
        yield database, counts


def test_ten_rows_of_csv_download_and_store_what_they_need(cold: tuple[Database, CountingStore]) -> None:
    """Into a database of 23 MiB: some parts of it, and a few pages back."""
    database, counts = cold
    assert import_file(database, io.BytesIO(TEN), table="ten").rows == 10
    assert counts.total.bytes_down < 2 << 20
    assert counts.total.bytes_up < 64 << 10
    assert database.query("SELECT count(*) FROM ten").rows == [(10,)]


def test_an_export_of_a_small_table_downloads_what_it_needs(cold: tuple[Database, CountingStore]) -> None:
    """Of a database of 23 MiB."""
    database, counts = cold
    assert b"".join(export_parts(database, format="csv", table="small")).count(b"a") == 3
    assert counts.total.bytes_down < 2 << 20


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Working copies that hold 256 KiB; how much each held, whenever it was written to."""
    held: list[int] = []

    class Watched(SpilledPages):
        def __init__(self, path: Path) -> None:
            super().__init__(path, held_bytes_max=256 << 10)

        def __setitem__(self, number: PageNo, page: bytes) -> None:
            super().__setitem__(number, page)
            held.append(self.held_bytes)

    monkeypatch.setattr("virke.transfer.working.SpilledPages", Watched)
    monkeypatch.setattr("virke.transfer.working.CACHE_KIB", 64)
    return held


def test_what_is_written_is_held_within_bounds_and_comes_in_whole(database: Database, watched: list[int]) -> None:
    """A dump of 4 MB that writes every page of its table more than once, and sorts it for an index."""
    rows = "".join(f"INSERT INTO t VALUES ({n},'{n * 7919 % 10007:0400}');\n" for n in range(10_000))
    dump = f"CREATE TABLE t (a INTEGER PRIMARY KEY, b);\n{rows}UPDATE t SET b = b || a; CREATE INDEX i ON t (b);"
    import_file(database, io.BytesIO(dump.encode()))
    assert database.query("SELECT count(*), sum(length(b)), min(b) FROM t INDEXED BY i WHERE b > ''").rows == [
        (10_000, 4_038_890, f"{0:0400}0")
    ]
    assert database.query("PRAGMA integrity_check").rows == [("ok",)]
    assert max(watched) <= (256 << 10) + database.snapshot().page_size
    assert len(watched) * database.snapshot().page_size > 8 << 20
    assert import_file(database, io.BytesIO(b"DROP TABLE t; CREATE TABLE u (a); INSERT INTO u VALUES (1);")).rows == 1
    assert database.query("SELECT a FROM u").rows == [(1,)]
    assert database.query("PRAGMA integrity_check").rows == [("ok",)]


def test_a_file_that_can_t_be_written_changes_nothing(
    database: Database, watched: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when pages have to go to it."""

    def full(self: SpilledPages) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SpilledPages, "_write_held", full)
    before = database.version
    with pytest.raises(Unavailable, match="No space left on device"):
        import_file(database, io.BytesIO(b"CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(1000000));"))
    assert database.version == before


def test_a_savepoint_goes_back_over_pages_that_were_spilled(database: Database, watched: list[int]) -> None:
    """Rows of before it stay, those after it are gone."""
    many = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2000) INSERT INTO t SELECT "
    dump = (
        f"CREATE TABLE t (a, b); {many} n, randomblob(500) FROM n; SAVEPOINT s; {many} -n, randomblob(500) FROM n;"
        "UPDATE t SET b = zeroblob(900); ROLLBACK TO s; RELEASE s; INSERT INTO t VALUES (0, x'');"
    )
    import_file(database, io.BytesIO(dump.encode()))
    assert database.query("SELECT count(*), min(a), max(a), sum(length(b)) FROM t").rows == [(2001, 0, 2000, 1_000_000)]
    assert database.query("PRAGMA integrity_check").rows == [("ok",)]


@pytest.mark.parametrize("seed", range(5))
def test_pages_that_spill_are_a_mapping(tmp_path: Path, seed: int) -> None:
    """As a dict, whatever is written, deleted and asked."""
    chance, size = random.Random(seed), 512
    pages, model = SpilledPages(tmp_path / "pages", held_bytes_max=8 * size), dict[PageNo, bytes]()
    for _ in range(2000):
        number = PageNo(chance.randint(1, 60))
        if chance.random() < 0.6:
            pages[number] = model[number] = chance.randbytes(size)
        elif number in model:
            del pages[number], model[number]
        else:
            with pytest.raises(KeyError):
                del pages[number]
        asked = PageNo(chance.randint(1, 60))
        assert (pages.get(asked), asked in pages, len(pages)) == (model.get(asked), asked in model, len(model))
    assert dict(pages) == model
    pages.close()

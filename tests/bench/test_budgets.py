"""The budgets that can be counted; `python -m bench` measures the same, and what can only be timed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import b01_small_commits as small
from bench import b02_large_commits as large
from bench import b03_warm_reads as reads
from bench import b04_cold_lookup as lookup
from bench import b11_whole_image as image
from bench import b12_imports as imports
from bench.__main__ import main
from bench.opening import NAME
from tests.servers.s3 import CREDENTIALS, S3Server
from virke.opening import connect
from virke.stores.base import Store
from virke.stores.receipt import Receipt, writing_receipt

pytestmark = pytest.mark.once

FAST, SLOW = 2_000, 10_000


@pytest.mark.parametrize("commits", [FAST, pytest.param(SLOW, marks=pytest.mark.slow)])
@pytest.mark.parametrize("step", [small.update_one_row, small.insert_one_row, small.mixed_sizes])
def test_b1_a_small_commit_is_one_write_and_few_bytes(step: small.Step, commits: int) -> None:
    """On average, spill and compaction included."""
    costs = small.measure("memory", step, commits)
    assert costs.writes_each <= small.WRITES_MOST
    assert costs.bytes_of_budget <= 1


def test_b1_holds_for_processes_that_write_once_each() -> None:
    """What a thread does in a process that stays, each of them does one step of after its answer."""
    costs = small.measure_processes(small.update_one_row, 1_000)
    assert costs.writes_each <= small.WRITES_MOST
    assert costs.bytes_of_budget <= 1


@pytest.mark.slow
def test_b1_holds_on_the_local_store() -> None:
    costs = small.measure("local", small.update_one_row, FAST)
    assert costs.writes_each <= small.WRITES_MOST
    assert costs.bytes_of_budget <= 1


@pytest.mark.parametrize("size", ["200 KiB", "900 KiB"])
def test_b2_a_large_commit_takes_two_rounds(size: str) -> None:
    """The segment and the swap; nothing of what was written is read back before the answer."""
    assert large.rounds(large.SIZES[size]) == large.ROUNDS_MOST


def test_b2_a_commit_of_many_parts_takes_two_rounds() -> None:
    """All parts go in one round, the swap in another."""
    assert large.rounds(large.SIZES["8 MiB"]) <= large.ROUNDS_MOST


def test_b3_a_warm_session_read_asks_nothing() -> None:
    total, _ = reads.reads("session")
    assert total.requests == 0
    assert reads.reads_after_own_writes() == 0


def test_b3_a_warm_strong_read_is_one_conditional_read() -> None:
    total, looks = reads.reads("strong")
    assert (total.requests, looks.requests, total.bytes_down) == (reads.READS, reads.READS, 0)


TWIN_MEGABYTES, TWIN_PAGE_BYTES = 24, 512
"""As many levels of B-tree pages, and twice as many frames for each megabyte, as 1 GB in pages of 4 KiB has."""


@pytest.fixture(scope="module")
def catalogue(seaweedfs: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A smaller twin of the 1 GB database on SeaweedFS: its store, and how many items it has."""
    with pytest.MonkeyPatch.context() as patch:
        environ = {**CREDENTIALS, "VIRKE_CACHE": "off", "HOME": str(tmp_path_factory.mktemp("home"))}
        for name, value in environ.items():
            patch.setenv(name, value)
        store = seaweedfs.url("budgets/catalogue")
        yield store, lookup.fill(store, TWIN_MEGABYTES, TWIN_PAGE_BYTES)


def test_b4_a_cold_lookup_takes_four_rounds_and_few_bytes(catalogue: tuple[str, int]) -> None:
    """By primary key in a tree of four levels; by a unique text it is one tree more."""
    store, items = catalogue
    found = lookup.lookups(store, items)
    for one in found["by primary key"]:
        assert one.rounds <= lookup.ROUNDS_MOST
        assert one.bytes_down <= lookup.BYTES_MOST
    for one in found["by a unique text, then its row"]:
        assert one.rounds <= lookup.ROUNDS_MOST + 2


def test_b5_a_cold_scan_waits_for_few_rounds_and_fetches_nothing_twice(catalogue: tuple[str, int]) -> None:
    """Rounds grow with the megabytes, not with the pages; what is fetched is hardly more than there is."""
    store, _ = catalogue
    receipt = Receipt()
    with writing_receipt(receipt), connect(NAME, store, background=False) as database:
        stored = database.status().stored_bytes
        assert database.query("SELECT count(*), sum(length(body)) FROM items NOT INDEXED").rows[0][0]
    assert receipt.total.requests <= 30
    assert receipt.total.bytes_down <= 1.1 * stored


@pytest.fixture(scope="module")
def shop() -> Store:
    """20 MB, as an image and as a database."""
    return image.prepared()


@pytest.mark.parametrize("operation", [one for one in image.OPERATIONS if one.writes], ids=lambda one: one.name)
def test_b11_a_write_moves_50_times_fewer_bytes_than_the_whole_image(shop: Store, operation: image.Operation) -> None:
    """Also in a process that knows nothing yet."""
    found = image.compare(shop, image.LINES[1], operation)
    for way in ("warm", "cold", "deferred"):
        assert found[way].moved_bytes * image.BYTES_FACTOR <= found["image"].moved_bytes, way
    assert [found[way].requests for way in ("image", "warm", "deferred")] == [2, 1, 0]
    assert found["cold"].requests <= 6


@pytest.mark.parametrize("operation", [one for one in image.OPERATIONS if not one.writes], ids=lambda one: one.name)
def test_b11_a_read_asks_nothing_when_warm_and_little_when_cold(shop: Store, operation: image.Operation) -> None:
    """A query that wants pages from all over the database takes a handful of rounds, not one for each page."""
    found = image.compare(shop, image.LINES[1], operation)
    assert found["warm"].requests == 0
    assert found["cold"].requests <= 12
    assert found["cold"].moved_bytes < found["image"].moved_bytes


def test_b12_importing_virke_loads_next_to_nothing() -> None:
    loaded = imports.modules("import virke") - imports.modules("pass")
    assert {name for name in loaded if name.startswith("virke.")} == set()
    assert loaded & {"apsw", "click", "rich", "isal", "sqlite3", "threading", "asyncio"} == set()


def test_b12_the_help_needs_no_engine() -> None:
    code = "import sys\nsys.argv = ['virke', '--help']\nfrom virke.cli.main import cli\ncli(standalone_mode=False)"
    loaded = imports.modules(code)
    assert {name for name in loaded if name.startswith(("virke.engine", "virke.core", "virke.stores"))} == set()
    assert loaded & {"apsw", "rich", "isal", "sqlite3", "asyncio"} == set()


def test_the_command_prints_a_table_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["b3"]) == 0
    assert "| B3" in capsys.readouterr().out
    assert main(["B2", "--json"]) == 0
    assert '"budget": "B2"' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["B99"])

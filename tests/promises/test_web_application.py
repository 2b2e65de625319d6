"""What a web application meets: several processes and threads on one local store, each request in another of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.engine.world import Clock
from tests.promises.ledger import NAME
from tests.promises.processes import said, start
from virke.engine.database import Database
from virke.errors import Conflict
from virke.opening import connect

BEGUN: Final = "CREATE TABLE hits (id INTEGER PRIMARY KEY, n INTEGER); INSERT INTO hits VALUES (1, 0)"
THREADS: Final = 8


def begun(url: str) -> Database:
    database = connect(NAME, url, create=True, background=False)
    database.run_script(BEGUN)
    return database


def _transaction(database: Database) -> object:
    with database.transaction(read_only=True) as transaction:
        return transaction.query("SELECT n FROM hits").rows


READS: Final[dict[str, Callable[[Database], object]]] = {
    "query": lambda database: database.query("SELECT n FROM hits").rows,
    "rows": lambda database: list(database.query_rows("SELECT n FROM hits")),
    "transaction": _transaction,
}


@pytest.mark.parametrize("read", READS)
def test_p5_what_one_process_wrote_the_next_one_sees(read: str, tmp_path: Path) -> None:
    """A request that writes, a redirect, a request that reads elsewhere: by the default settings, on a local store."""
    url, clock = f"local:{tmp_path}", Clock()
    with begun(url) as writer, connect(NAME, url, background=False, environment=clock.environment) as reader:
        for number in range(1, 10):
            writer.execute("UPDATE hits SET n = ?", (number,))
            assert READS[read](reader) == [(number,)]


def check_hits(url: str, work: str, processes: int, times: int, *, conflicts_max: int) -> None:
    """Every process is answered for each of its hits, or told of a `Conflict`; those that were answered are counted."""
    began = begun(url)
    told = Counter(line for lines in said([start(work, url, times) for _ in range(processes)]) for line in lines)
    assert told.total() == processes * times
    assert told["conflict"] <= conflicts_max
    assert began.query("SELECT n FROM hits", consistency="strong").rows == [(told["hit"],)]
    began.close()


def test_p15_single_writes_of_several_processes_are_no_conflicts(tmp_path: Path) -> None:
    check_hits(f"local:{tmp_path}", "hits", 4, 50, conflicts_max=0)


@pytest.mark.prove
def test_p15_ten_thousand_single_writes_of_four_processes_are_no_conflicts(tmp_path: Path) -> None:
    check_hits(f"local:{tmp_path}", "hits", 4, 2500, conflicts_max=0)


def test_p15_transactions_of_several_processes_that_read_before_they_write_get_through(tmp_path: Path) -> None:
    """At most one in a hundred is a `Conflict`."""
    check_hits(f"local:{tmp_path}", "looks", 4, 50, conflicts_max=2)


def test_p15_transactions_of_several_threads_that_read_before_they_write_get_through(tmp_path: Path) -> None:
    """Of one database object; at most one in a hundred is a `Conflict`."""
    with begun(f"local:{tmp_path}") as database:

        def hit(_: int) -> int:
            try:
                with database.transaction() as transaction:
                    [(number,)] = transaction.query("SELECT n FROM hits").rows
                    transaction.execute("UPDATE hits SET n = ?", (int(str(number)) + 1,))
            except Conflict:
                return 0
            return 1

        with ThreadPoolExecutor(THREADS) as pool:
            hits = sum(pool.map(hit, range(25 * THREADS)))
        assert hits >= 25 * THREADS - 2
        assert database.query("SELECT n FROM hits").rows == [(hits,)]

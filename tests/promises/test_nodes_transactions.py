"""Interactive transactions of many clients on several nodes: no update is lost, no two of them skew what both read.

Each client reads, thinks, and writes what it thought in the next request, so that others can come between.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.promises.ledger import NAME, check_integrity, check_store
from tests.promises.nodes import Client, Nodes, Stream, StreamError, begun, nodes
from tests.promises.places import on
from virke.opening import connect, open_store

pytestmark = pytest.mark.once

TABLES = (
    "CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)",
    "CREATE TABLE step (client INTEGER, n INTEGER)",
    "CREATE TABLE duty (id INTEGER PRIMARY KEY, is_on INTEGER NOT NULL)",
    "CREATE TABLE off (client INTEGER, duty INTEGER)",
    "INSERT INTO counter VALUES (1, 0)",
    "INSERT INTO duty VALUES (0, 1), (1, 1)",
)
TRIES_MAX = 40
WITHIN = 3
SHARE = 0.95


@dataclass
class Tries:
    """How many tries each transaction took, and how each that failed did."""

    counts: list[int] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        spread = sorted(Counter(self.counts).items())
        return f"{len(self.counts)} transactions, tries: {spread}, failures: {dict(self.reasons)}"

    @property
    def share(self) -> float:
        """Which part of the transactions needed at most `WITHIN` tries."""
        return sum(count <= WITHIN for count in self.counts) / len(self.counts)


def increase(client: int, stream: Stream) -> None:
    """Read a counter, and write what follows it."""
    [_, [[n]]] = stream.run("BEGIN IMMEDIATE", "SELECT n FROM counter WHERE id = 1")
    stream.run(
        ("UPDATE counter SET n = ? WHERE id = 1", [n + 1]),
        ("INSERT INTO step VALUES (?, ?)", [client, n + 1]),
        "COMMIT",
        closes=True,
    )


def leave_duty(client: int, stream: Stream, begin: str = "BEGIN") -> None:
    """Of two on duty one may leave, if the other one stays: each reads both, and writes one only (write skew)."""
    mine = client % 2
    [_, rows] = stream.run(begin, "SELECT is_on FROM duty ORDER BY id")
    both = [bool(is_on) for [is_on] in rows]
    if all(both):
        stream.run(
            ("UPDATE duty SET is_on = 0 WHERE id = ?", [mine]),
            ("INSERT INTO off VALUES (?, ?)", [client, mine]),
            "COMMIT",
            closes=True,
        )
    else:
        assert any(both), "write skew: nobody is on duty"
        stream.run(("UPDATE duty SET is_on = 1 WHERE id = ?", [both.index(False)]), "COMMIT", closes=True)


def leave_duty_immediately(client: int, stream: Stream) -> None:
    leave_duty(client, stream, "BEGIN IMMEDIATE")


def insist(those: Nodes, number: int, times: int, transaction: Callable[[int, Stream], None], tries: Tries) -> None:
    """One client's transactions, each tried until it is committed."""
    with Client(those, number % len(those.running)) as client:
        for _ in range(times):
            tries.counts.append(tries_of(client, number, transaction, tries.reasons))


def tries_of(client: Client, number: int, transaction: Callable[[int, Stream], None], reasons: Counter[str]) -> int:
    """How many tries one transaction took until it was committed."""
    for turn in range(1, TRIES_MAX + 1):
        stream = Stream(client)
        try:
            transaction(number, stream)
            return turn
        except StreamError as error:
            if error.code != "SQLITE_BUSY":
                raise
            reasons[str(error)] += 1
            stream.close()
    raise AssertionError(f"not committed in {TRIES_MAX} tries: {reasons}")


def run_clients(
    store: str,
    folder: Path,
    *options: str,
    count: int,
    clients: int,
    times: int,
    transaction: Callable[[int, Stream], None],
) -> Tries:
    """So many clients at each of `count` nodes, `times` transactions each."""
    begun(store, *TABLES)
    tries = Tries()
    began_s = time.monotonic()
    with nodes(store, folder, count, *options) as those, ThreadPoolExecutor(count * clients) as pool:
        going = [pool.submit(insist, those, number, times, transaction, tries) for number in range(count * clients)]
        for one in going:
            one.result()
        those.check_silent()
    print(f"{tries} in {time.monotonic() - began_s:.1f} s")
    return tries


def check_counter(store: str, folder: Path, *options: str, count: int, clients: int, times: int) -> None:
    """Every increase counts, and nearly every one was committed within three tries."""
    tries = run_clients(store, folder, *options, count=count, clients=clients, times=times, transaction=increase)
    total = count * clients * times
    with connect(NAME, store, background=False) as database:
        assert database.query("SELECT n FROM counter").rows == [(total,)]
        found = [n for (n,) in database.query("SELECT n FROM step ORDER BY n").rows]
        assert found == list(range(1, total + 1))
        per_client = database.query("SELECT count(*) FROM step GROUP BY client").rows
        assert per_client == [(times,)] * (count * clients)
        check_integrity(database)
    check_store(open_store(store))
    assert tries.share >= SHARE


def check_duty(
    store: str, folder: Path, *, count: int, clients: int, times: int, transaction: Callable[[int, Stream], None]
) -> Tries:
    """At every time somebody is on duty."""
    tries = run_clients(store, folder, count=count, clients=clients, times=times, transaction=transaction)
    with connect(NAME, store, background=False) as database:
        left_more_often = f"SELECT 2 * count(*) - {count * clients * times} FROM off"
        assert database.query("SELECT sum(is_on) FROM duty").rows in ([(1,)], [(2,)])
        assert database.query(f"SELECT ({left_more_often}) = 2 - (SELECT sum(is_on) FROM duty)").rows == [(1,)]
    return tries


@on("seaweedfs")
def test_p5_transactions_of_two_nodes_lose_no_update(place: str, tmp_path: Path) -> None:
    check_counter(place, tmp_path, count=2, clients=3, times=4)


@on("seaweedfs")
def test_p5_transactions_of_two_nodes_do_not_skew(place: str, tmp_path: Path) -> None:
    check_duty(place, tmp_path, count=2, clients=2, times=3, transaction=leave_duty)


@pytest.mark.slow
@on("seaweedfs", "local")
def test_p5_transactions_of_four_nodes_lose_no_update(place: str, tmp_path: Path) -> None:
    check_counter(place, tmp_path, count=4, clients=4, times=10)


@pytest.mark.slow
@on("seaweedfs")
def test_p5_transactions_of_four_nodes_do_not_skew(place: str, tmp_path: Path) -> None:
    tries = check_duty(place, tmp_path, count=4, clients=4, times=5, transaction=leave_duty_immediately)
    assert tries.share >= SHARE


@pytest.mark.prove
@on("seaweedfs")
def test_p5_transactions_of_four_nodes_of_16_clients_lose_no_update(place: str, tmp_path: Path) -> None:
    check_counter(place, tmp_path, count=4, clients=16, times=40)


@pytest.mark.prove
@on("seaweedfs")
def test_p5_transactions_of_four_nodes_of_16_clients_do_not_skew(place: str, tmp_path: Path) -> None:
    tries = check_duty(place, tmp_path, count=4, clients=16, times=25, transaction=leave_duty_immediately)
    assert tries.share >= SHARE

"""Interactive transactions while one node after another is killed: no committed one is lost, none is done twice.

What became of a COMMIT without an answer, or whose outcome is unknown, is asked for by reading, in the transaction that would
do it again: the swap that commits that one can't succeed if the lost one still arrives.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.promises.ledger import NAME, check_integrity, check_store
from tests.promises.nodes import AnswerLost, Client, Mishaps, Nodes, NotSent, Stream, StreamError, begun, nodes
from tests.promises.places import on
from virke.opening import connect, open_store

pytestmark = pytest.mark.once

TABLES = (
    "CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)",
    "CREATE TABLE step (n INTEGER NOT NULL, token TEXT NOT NULL)",
    "INSERT INTO counter VALUES (1, 0)",
)
AGAIN = frozenset({"SQLITE_BUSY", "SQLITE_IOERR", "STREAM_EXPIRED", "BATON_INVALID"})
"""Nothing of the transaction is in history: a race was lost, the store or the stream is gone."""
PAUSE_S = 0.02


class Cashiers:
    """Clients that increase one counter, each step under a token of its own, until it is said that it is over."""

    def __init__(self, those: Nodes) -> None:
        self.nodes = those
        self.over = threading.Event()
        self.steps: dict[str, int] = {}
        """What each token's transaction made of the counter, by its answer or by reading."""
        self.unanswered: set[str] = set()
        """Tokens whose COMMIT had no answer, or an unknown outcome, at least once."""
        self.failures: Counter[str] = Counter()

    def work(self, number: int) -> None:
        """One client's transactions, each until it is known to be committed."""
        try:
            with Client(self.nodes, number % len(self.nodes.running)) as client:
                turn = 0
                while not self.over.is_set():
                    turn += 1
                    self._insist(client, f"{number}-{turn}")
        finally:
            self.over.set()

    def _insist(self, client: Client, token: str) -> None:
        while True:
            is_committing = False
            stream = Stream(client)
            try:
                [_, [[n]], found] = stream.run(
                    "BEGIN IMMEDIATE",
                    "SELECT n FROM counter WHERE id = 1",
                    ("SELECT n FROM step WHERE token = ?", [token]),
                )
                if found:
                    assert token in self.unanswered, "only what was not answered can be there already"
                    self.steps[token] = found[0][0]
                    stream.close()
                    return
                write = (
                    ("UPDATE counter SET n = ? WHERE id = 1", [n + 1]),
                    ("INSERT INTO step VALUES (?, ?)", [n + 1, token]),
                )
                stream.run(*write)
                is_committing = True
                stream.run("COMMIT", closes=True)
            except (NotSent, AnswerLost, StreamError) as error:
                self._note(error, token, is_committing=is_committing)
                client.go_to((client.at + 1) % len(self.nodes.running))
                self.over.wait(PAUSE_S)
            else:
                self.steps[token] = n + 1
                return

    def _note(self, error: Exception, token: str, *, is_committing: bool) -> None:
        code = error.code if isinstance(error, StreamError) else type(error).__name__
        self.failures[code] += 1
        if code in ("OUTCOME_UNKNOWN", "AnswerLost"):
            if is_committing:
                self.unanswered.add(token)
        else:
            assert code in AGAIN | {"NotSent"}, error

    def check(self, store: str) -> None:
        """The counter is what all steps together made of it, and every step is there once, with the number that was told."""
        with connect(NAME, store, background=False) as database:
            rows = database.query("SELECT n, token FROM step ORDER BY n", consistency="strong").rows
            assert database.query("SELECT n FROM counter").rows == [(len(rows),)]
            assert [n for n, _ in rows] == list(range(1, len(rows) + 1)), "an update was lost"
            assert {token: n for n, token in rows} == self.steps, "lost, or told otherwise"
            assert len(rows) == len(self.steps), "a transaction was done twice"
            check_integrity(database)
        check_store(open_store(store))


def check_cashiers(store: str, folder: Path, *, count: int, clients: int, seconds: float, every_s: float) -> Cashiers:
    """So many nodes and clients, and a node killed every `every_s`."""
    begun(store, *TABLES)
    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")
    with nodes(store, folder, count) as those, ThreadPoolExecutor(clients) as pool:
        cashiers = Cashiers(those)
        with Mishaps(those.replace, count, every_s=every_s, seed=seed) as mishaps:
            going = [pool.submit(cashiers.work, number) for number in range(clients)]
            cashiers.over.wait(seconds)
            cashiers.over.set()
            for one in going:
                one.result()
        those.check_silent()
        print(
            f"{len(cashiers.steps)} committed, {len(cashiers.unanswered)} of them once without an answer, "
            f"{mishaps.happened} killed, failures: {dict(cashiers.failures)}"
        )
        assert mishaps.happened >= 1
        assert cashiers.steps
    cashiers.check(store)
    return cashiers


@on("seaweedfs")
def test_p1_p2_p5_transactions_on_nodes_that_are_killed_are_done_once(place: str, tmp_path: Path) -> None:
    check_cashiers(place, tmp_path, count=2, clients=4, seconds=5, every_s=1.5)


@pytest.mark.prove
@on("seaweedfs")
def test_p1_p2_p5_transactions_on_four_nodes_that_are_killed_for_a_minute(place: str, tmp_path: Path) -> None:
    cashiers = check_cashiers(place, tmp_path, count=4, clients=16, seconds=60, every_s=3)
    assert cashiers.failures["AnswerLost"], "nobody was in the middle of a transaction"

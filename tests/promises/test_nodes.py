"""Several nodes on one store while one after another is killed: no answered write is lost, none is done twice (B9).

Clients with an idempotency key repeat a request until it is answered, wherever; those without one may not. Readers
carry bookmarks from node to node.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.promises.ledger import NAME, TABLE, Ledger, check_integrity, check_store
from tests.promises.nodes import Answered, AnswerLost, Client, Mishaps, Nodes, NotSent, begun, nodes
from tests.promises.places import on
from virke.opening import connect, open_store

pytestmark = pytest.mark.once

INSERT = "INSERT INTO entry VALUES (?, NULL) RETURNING token"
LATER = frozenset({"unavailable", "busy", "conflict"})
"""Nothing was changed, and the same request may succeed."""
PAUSE_S = 0.05


class Crowd:
    """Writers and readers on some nodes, each in a thread of its own, until it is said that it is over."""

    def __init__(self, those: Nodes, seed: int) -> None:
        self.nodes = those
        self.ledger = Ledger()
        self.over = threading.Event()
        self.newest = ""
        """A bookmark of a state that holds all of `known`."""
        self.known: frozenset[str] = frozenset()
        self.repeated = self.reads = 0
        self._lock = threading.Lock()
        self._seed = seed

    def goes_on(self, token: str) -> bool:
        """Whether there is time for another write."""
        return not self.over.is_set()

    def go_on(self, client: Client) -> None:
        """The client's node is gone, or can't answer now: the next one."""
        client.go_to((client.at + 1) % len(self.nodes.running))
        self.over.wait(PAUSE_S)

    def wrote(self, token: str, answer: Answered) -> None:
        """A write was answered: from now on every state with its bookmark has it."""
        self.ledger.kept.add(token)
        with self._lock:
            self.known |= {token}
            self.newest = max(self.newest, answer.bookmark)

    def write_with_keys(self, number: int, client: Client) -> None:
        """Rows, each under a key; what is not answered is sent again until it is."""
        seen = ""
        for token in itertools.takewhile(self.goes_on, (f"keyed-{number}-{turn}" for turn in itertools.count())):
            answer = self._insist(client, token, seen)
            assert answer.body["rows"] == [[token]], "a repeated write is answered as the first time"
            assert answer.bookmark > seen, "a bookmark went back"
            seen = answer.bookmark
            self.wrote(token, answer)

    def _insist(self, client: Client, token: str, seen: str) -> Answered:
        headers = {"Idempotency-Key": token, **({"Virke-Bookmark": seen} if seen else {})}
        while True:
            try:
                answer = client.execute(INSERT, token, headers=headers)
            except (NotSent, AnswerLost):
                self.repeated += 1
                self.go_on(client)
                continue
            if answer.status == 200:
                return answer
            assert answer.code in LATER | {"outcome_unknown"}, answer
            self.repeated += 1
            self.go_on(client)

    def write_without_keys(self, number: int, client: Client) -> None:
        """Rows, each sent once: an answer says whether it is there, and without one it may be."""
        for token in itertools.takewhile(self.goes_on, (f"plain-{number}-{turn}" for turn in itertools.count())):
            try:
                answer = client.execute(INSERT, token)
            except NotSent:
                self.go_on(client)
            except AnswerLost:
                self.ledger.open.add(token)
                self.go_on(client)
            else:
                self._enter(token, answer, client)

    def _enter(self, token: str, answer: Answered, client: Client) -> None:
        if answer.status == 200:
            self.wrote(token, answer)
        elif answer.code == "outcome_unknown":
            self.ledger.open.add(token)
        else:
            assert answer.code in LATER, answer
            self.ledger.refused.add(token)
            self.go_on(client)

    def read(self, number: int, client: Client) -> None:
        """What was answered before is seen at any node by a bookmark of it, and a reader's own never goes back."""
        chance, seen, count = random.Random(self._seed + number), "", 0
        while not self.over.is_set():
            client.go_to(chance.randrange(len(self.nodes.running)))
            with self._lock:
                known, seen = self.known, max(seen, self.newest)
            headers = {"Virke-Bookmark": seen} if seen else {}
            try:
                answer = client.execute("SELECT token FROM entry", headers=headers)
            except (NotSent, AnswerLost):
                continue
            if answer.status != 200:
                assert answer.code in LATER, answer
                continue
            found = {token for (token,) in answer.body["rows"]}
            assert answer.bookmark >= seen, "a bookmark went back"
            assert known <= found, "what was answered is not there"
            assert len(found) >= count, "a reader saw an earlier state"
            seen, count = answer.bookmark, len(found)
            self.reads += 1

    def read_plainly(self, number: int, client: Client) -> None:
        """Without a bookmark, on connections of one node: what was answered before is seen (its workers are one)."""
        while not self.over.is_set():
            client.close()
            with self._lock:
                known = self.known
            try:
                answer = client.execute("SELECT token FROM entry")
            except (NotSent, AnswerLost):
                continue
            if answer.status == 200:
                assert known <= {token for (token,) in answer.body["rows"]}, "what was answered is not there"
                self.reads += 1
            else:
                assert answer.code in LATER, answer

    def __str__(self) -> str:
        ledger = self.ledger
        return (
            f"{len(ledger.kept)} answered, {len(ledger.refused)} refused, {len(ledger.open)} not known, "
            f"{self.repeated} repeated, {self.reads} reads"
        )

    def check(self, store: str) -> None:
        """What the store holds by now agrees with every answer, and there were some."""
        assert self.ledger.kept
        assert self.reads
        with connect(NAME, store, background=False) as database:
            self.ledger.check(database)
            check_integrity(database)
        check_store(open_store(store))


def run_crowd(crowd: Crowd, *, keyed: int, plain: int, readers: int, seconds: float, plain_readers: int = 0) -> None:
    """Let them all go for a time, and end them; raises what any of them found wrong."""
    works: list[Callable[[int, Client], None]] = []
    works += [crowd.write_with_keys] * keyed + [crowd.write_without_keys] * plain + [crowd.read] * readers
    works += [crowd.read_plainly] * plain_readers
    with ThreadPoolExecutor(len(works)) as pool:
        going = [pool.submit(_ending, work, number, crowd) for number, work in enumerate(works)]
        crowd.over.wait(seconds)
        crowd.over.set()
        for one in going:
            one.result()


def _ending(work: Callable[[int, Client], None], number: int, crowd: Crowd) -> None:
    """One that ends early found something wrong: nobody needs to go on."""
    with Client(crowd.nodes, number % len(crowd.nodes.running)) as client:
        try:
            work(number, client)
        finally:
            crowd.over.set()


def check_crowd(
    store: str, folder: Path, *, count: int, keyed: int, plain: int, readers: int, seconds: float, every_s: float
) -> None:
    """B9, with so many nodes and clients, and a node killed every `every_s`."""
    begun(store, TABLE)
    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")
    with nodes(store, folder, count) as those:
        crowd = Crowd(those, seed)
        with Mishaps(those.replace, count, every_s=every_s, seed=seed) as mishaps:
            run_crowd(crowd, keyed=keyed, plain=plain, readers=readers, seconds=seconds)
        those.check_silent()
        print(f"{crowd}, {mishaps.happened} killed")
        assert mishaps.happened >= 1
    crowd.check(store)


@on("seaweedfs")
def test_p1_p2_nodes_that_are_killed_lose_and_double_no_write(place: str, tmp_path: Path) -> None:
    check_crowd(place, tmp_path, count=2, keyed=4, plain=2, readers=1, seconds=4, every_s=1.5)


@pytest.mark.prove
@on("seaweedfs", "local")
def test_p1_p2_nodes_that_are_killed_lose_and_double_no_write_for_long(place: str, tmp_path: Path) -> None:
    check_crowd(place, tmp_path, count=4, keyed=8, plain=4, readers=2, seconds=25, every_s=3)


@pytest.mark.prove
@on("seaweedfs")
def test_p1_p2_b9_four_nodes_and_16_writers_for_a_minute(place: str, tmp_path: Path) -> None:
    check_crowd(place, tmp_path, count=4, keyed=12, plain=4, readers=4, seconds=60, every_s=5)

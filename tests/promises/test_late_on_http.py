"""Answers over HTTP that come too late, never, or not to everybody: keys that are sent again, hung requests, lossy lines."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import LARGE, NAME, TABLE, Ledger, check_integrity, check_store, insert, opened, tokens
from tests.promises.places import FAR, fresh
from tests.servers.proxy import Answer, CutAnswer, DropAnswer, DropRequest, Fault, Proxy, Request, proxy
from tests.servers.s3 import S3Server
from virke.core.backoff import BACKOFF
from virke.engine.database import Database
from virke.errors import OutcomeUnknown, Unavailable
from virke.opening import connect, open_store

pytestmark = pytest.mark.once

TIMEOUT_S: Final = 0.2
TWO: Final = "INSERT INTO entry SELECT 'x', NULL FROM (VALUES (1), (2))"


@dataclass(frozen=True, slots=True)
class Line:
    """A proxy, and the same store through it (with a short time-out) and without it."""

    way: Proxy
    through: str
    direct: str


@pytest.fixture
def line(request: pytest.FixtureRequest, client: Path, tmp_path: Path) -> Iterator[Line]:
    server = request.getfixturevalue(request.param)
    prefix = fresh()
    with opened(open_store(server.url(prefix)), tmp_path, create=True) as database:
        database.execute(TABLE)
    with proxy(server.endpoint) as way:
        through = S3Server("proxy", way.endpoint).url(prefix, timeout_s=str(TIMEOUT_S))
        yield Line(way, through, server.url(prefix))


on_both = pytest.mark.parametrize("line", FAR, indirect=True)
on_one = pytest.mark.parametrize("line", ["seaweedfs"], indirect=True)


def settled(line: Line, folder: Path) -> list[object]:
    """What is there, seen without the proxy."""
    with opened(open_store(line.direct), folder) as database:
        check_integrity(database)
        found = tokens(database)
    check_store(open_store(line.direct))
    return found


# Keys that are sent again


def _execute(database: Database) -> int:
    return database.execute(TWO, idempotency_key="k")


def _batch(database: Database) -> int:
    return sum(result.rows_affected for result in database.batch([TWO], idempotency_key="k"))


def _large(database: Database) -> int:
    return database.execute(
        f"INSERT INTO entry SELECT 'x', randomblob({LARGE}) FROM (VALUES (1), (2))", idempotency_key="k"
    )


@on_both
@pytest.mark.parametrize("write", [_execute, _batch, _large])
def test_p2_a_key_that_is_sent_again_gets_the_first_answer(
    write: Callable[[Database], int], line: Line, tmp_path: Path
) -> None:
    """The answer to the swap is lost, and the root can't be read: unknown. The same connection and another one ask again."""
    with opened(open_store(line.through), tmp_path) as database:
        line.way.fault = swap_is(line.way, DropAnswer(), and_then=DropRequest())
        with pytest.raises(OutcomeUnknown):
            write(database)
        line.way.reset()
        assert write(database) == 2
    with opened(open_store(line.direct), tmp_path) as other:
        assert write(other) == 2
    assert settled(line, tmp_path) == ["x", "x"]


def swap_is(way: Proxy, first: Fault, *, and_then: Fault) -> Callable[[Request], Fault | None]:
    """One fault for the first swap of the root, another for all that follows."""
    swapped: list[Request] = []

    def planned(request: Request) -> Fault | None:
        if not swapped and request.method == "PUT" and f"root/{NAME}/" in request.path:
            swapped.append(request)
            return first
        return and_then if swapped else None

    return planned


# Requests that hang


class Hung:
    """Holds requests back until they are let go; then they arrive, late."""

    def __init__(self, way: Proxy, *, swaps: int) -> None:
        self.held = 0
        self._way = way
        self._swaps = swaps
        self._let_go = threading.Event()
        way.fault = self._hold

    def _hold(self, request: Request) -> None:
        if request.method == "PUT" and f"root/{NAME}/" in request.path and self.held < self._swaps:
            self.held += 1
            assert self._let_go.wait(60)

    def let_go(self) -> None:
        """All of them arrive; returns when the server has dealt with each."""
        self._let_go.set()
        deadline = time.monotonic() + 60
        while self._way.under_way and time.monotonic() < deadline:
            time.sleep(0.001)
        assert not self._way.under_way


@on_both
@pytest.mark.parametrize("size", [0, LARGE])
def test_p2_a_swap_that_hangs_is_sent_again_and_applied_once(size: int, line: Line, tmp_path: Path) -> None:
    """The first one arrives when the write was answered long ago, and others came after it."""
    hung = Hung(line.way, swaps=1)
    with opened(open_store(line.through), tmp_path) as database:
        insert(database, "a", size)
        assert hung.held == 1
        hung.let_go()
        insert(database, "b")
    assert settled(line, tmp_path) == ["a", "b"]


@on_one
def test_p3_swaps_that_all_hang_are_unknown_and_arrive_once(line: Line, tmp_path: Path) -> None:
    """Bounded by the time-out of the store; then the first of them to arrive is applied, and the others are not."""
    hung = Hung(line.way, swaps=BACKOFF.tries)
    began = time.monotonic()
    with opened(open_store(line.through), tmp_path) as database:
        with pytest.raises(OutcomeUnknown):
            insert(database, "a", LARGE)
        assert hung.held == BACKOFF.tries
        assert time.monotonic() - began < 10 * BACKOFF.tries * TIMEOUT_S
        assert settled(line, tmp_path) == []
        hung.let_go()
        assert settled(line, tmp_path) == ["a"]
        insert(database, "b")
    assert settled(line, tmp_path) == ["a", "b"]


@on_one
def test_p11_a_store_that_never_answers_is_unavailable_in_time(line: Line, tmp_path: Path) -> None:
    """Opening and reading end with the store's time-outs, one for each try."""
    go = threading.Event()

    def hold(request: Request) -> None:
        assert go.wait(60)

    with connect(NAME, line.through, background=False) as database:
        line.way.fault = hold
        began = time.monotonic()
        with pytest.raises(Unavailable):
            database.query("SELECT 1", consistency="strong")
        with pytest.raises(Unavailable):
            connect(NAME, line.through)
        assert time.monotonic() - began < 2 * 10 * BACKOFF.tries * TIMEOUT_S
        go.set()


# Lossy lines


def lossy(chance: random.Random) -> Callable[[Request], Fault | None]:
    """Of ten requests three meet with something, drawn by chance."""
    faults: list[Fault] = [DropAnswer(), DropRequest(), CutAnswer(), Answer(500, after=True), Answer(500), Answer(409)]
    drawing = threading.Lock()

    def planned(request: Request) -> Fault | None:
        with drawing:
            if chance.random() >= 0.3:
                return None
            fault = chance.choice(faults)
        return fault if request.method == "PUT" or not isinstance(fault, Answer) else Answer(500)

    return planned


def check_lossy(line: Line, folder: Path, *, nodes: int, threads: int, times: int, seed: int) -> None:
    """Nodes write at once over a line that loses; what each was told is compared with what is there."""
    print(f"seed {seed}")
    ledger, telling = Ledger(), threading.Lock()
    databases = [connect(NAME, line.through, state_dir=folder, background=False) for _ in range(nodes)]
    line.way.fault = lossy(random.Random(seed))

    def work(worker: int) -> None:
        own = Ledger()
        for number in range(times):
            own.insert(databases[worker % nodes], f"{worker}-{number}", LARGE if number % 4 == 3 else 0)
        with telling:
            ledger.kept |= own.kept
            ledger.refused |= own.refused
            ledger.open |= own.open

    with ThreadPoolExecutor(nodes * threads) as pool:
        list(pool.map(work, range(nodes * threads)))
    line.way.reset()
    for database in databases:
        database.close()
    print({"kept": len(ledger.kept), "refused": len(ledger.refused), "open": len(ledger.open)})
    assert len(ledger.kept) > nodes * threads * times / 2
    with opened(open_store(line.direct), folder) as database:
        ledger.check(database)
        check_integrity(database)
    check_store(open_store(line.direct))


@on_one
def test_p1_p2_p3_nodes_behind_a_lossy_line_are_told_the_truth(line: Line, tmp_path: Path) -> None:
    check_lossy(line, tmp_path, nodes=2, threads=2, times=10, seed=20_265)


@pytest.mark.slow
@on_both
def test_p1_p2_p3_many_nodes_behind_a_lossy_line_are_told_the_truth(line: Line, tmp_path: Path) -> None:
    check_lossy(line, tmp_path, nodes=4, threads=4, times=8, seed=random.randrange(1 << 32))

"""The store of two nodes goes down in the middle and comes back: they say so at once, go on by themselves, lose nothing."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.promises.ledger import NAME, TABLE, Ledger, check_integrity, check_store
from tests.promises.nodes import Answered, Client, Nodes, Stream, StreamError, begun, nodes
from tests.promises.places import fresh
from tests.servers.running import Server
from tests.servers.s3 import S3Server, stoppable_seaweedfs
from virke.opening import connect, open_store

pytestmark = pytest.mark.once

INSERT = "INSERT INTO entry VALUES (?, NULL)"
COUNT = "SELECT count(*) FROM entry"
WRITES = 10
AT_ONCE_S = 1.0
"""Far above what an answer from memory takes, far below what waiting for a store takes; and all of them together count."""
BACK_S = 30.0


@pytest.fixture(scope="module")
def mortal() -> Iterator[tuple[S3Server, Server]]:
    with stoppable_seaweedfs() as both:
        yield both


def write(client: Client, token: str, ledger: Ledger) -> Answered:
    """One row, and what its answer says of it."""
    answer = client.execute(INSERT, token)
    if answer.status == 200:
        ledger.kept.add(token)
    elif answer.code == "outcome_unknown":
        ledger.open.add(token)
    else:
        assert (answer.status, answer.code) == (503, "unavailable"), answer
        ledger.refused.add(token)
    return answer


def go_through_outages(those: Nodes, process: Server, times: int) -> Ledger:
    """Each time: rows, the store goes down, answers that come at once, the store comes back, rows again."""
    ledger = Ledger()
    with ExitStack() as closing:
        clients = [closing.enter_context(Client(those, at)) for at in range(len(those.running))]
        for turn in range(times):
            for number, client in enumerate(clients):
                assert write(client, f"up-{turn}-{number}", ledger).status == 200
            lose_transaction(clients[0], f"open-{turn}", ledger, process)
            for number, client in enumerate(clients):
                stand_still(client, f"down-{turn}-{number}", ledger)
            process.start()
            for number, client in enumerate(clients):
                go_on(client, f"back-{turn}-{number}", ledger)
    return ledger


def lose_transaction(client: Client, token: str, ledger: Ledger, process: Server) -> None:
    """The store goes down between an interactive transaction and its COMMIT, which is answered by an error."""
    stream = Stream(client)
    stream.run("BEGIN IMMEDIATE", (INSERT, [token]))
    process.kill()
    with pytest.raises(StreamError) as caught:
        stream.run("COMMIT", closes=True)
    assert caught.value.code in ("SQLITE_IOERR", "OUTCOME_UNKNOWN"), caught.value
    (ledger.open if caught.value.code == "OUTCOME_UNKNOWN" else ledger.refused).add(token)


def stand_still(client: Client, token: str, ledger: Ledger) -> None:
    """The store is down: after the first request, which finds out, what needs it is refused at once, the rest goes on."""
    assert write(client, f"{token}-first", ledger).status != 200
    began_s = time.monotonic()
    for number in range(WRITES):
        assert write(client, f"{token}-{number}", ledger).status != 200
    strong = client.execute(COUNT, headers={"Virke-Consistency": "strong"})
    assert (strong.status, strong.code) == (503, "unavailable")
    while not (read := client.execute(COUNT)).is_stale:  # for `max_staleness_ms` what is held is as new as it must be
        assert read.status == 200, read
        assert time.monotonic() - began_s < AT_ONCE_S * WRITES, "never marked as stale"
    assert read.status == 200, read
    assert client.ask("GET", "/healthz").status == 200
    assert client.ask("GET", "/readyz").status == 503
    assert time.monotonic() - began_s < AT_ONCE_S * (WRITES + 4)


def go_on(client: Client, token: str, ledger: Ledger) -> None:
    """The store is back: by itself a node answers again, and soon."""
    until_s = time.monotonic() + BACK_S
    for number in itertools.count():
        if write(client, f"{token}-{number}", ledger).status == 200:
            break
        assert time.monotonic() < until_s, "a node does not go on"
    assert client.ask("GET", "/readyz").status == 200
    assert not client.execute(COUNT).is_stale


def check_outages(mortal: tuple[S3Server, Server], folder: Path, *, count: int, times: int) -> None:
    server, process = mortal
    process.start()
    store = server.url(fresh())
    begun(store, TABLE, stale_if_down_ms=600_000)
    with nodes(store, folder, count) as those:
        ledger = go_through_outages(those, process, times)
        those.check_silent()
    print(f"{len(ledger.kept)} answered, {len(ledger.refused)} refused, {len(ledger.open)} not known")
    with connect(NAME, store, background=False) as database:
        ledger.check(database)
        check_integrity(database)
    check_store(open_store(store))


def test_p1_p3_a_store_that_goes_down_under_two_nodes(
    mortal: tuple[S3Server, Server], tmp_path: Path, client: Path
) -> None:
    check_outages(mortal, tmp_path, count=2, times=1)


@pytest.mark.slow
def test_p1_p3_a_store_that_goes_down_again_and_again(
    mortal: tuple[S3Server, Server], tmp_path: Path, client: Path
) -> None:
    check_outages(mortal, tmp_path, count=3, times=4)

"""The real component on the host: what was written by one place is read by the others, and sandboxes are many."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.edge.serving import NAME, edge
from virke.edge.host.faults import Fault, Faults
from virke.engine.catalog import make_database
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.stores.local.store import local_store

TABLE: Final = "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, n INTEGER, what TEXT)"
WRITERS: Final = 16
TIMES: Final = 6
KEYED_TIMES: Final = 2
TRIES: Final = 200


def test_a_table_is_made_filled_and_read(component: Path) -> None:
    with edge(component) as app:
        app.execute(TABLE)
        said = app.execute("INSERT INTO t (n, what) VALUES (?, ?)", 7, "ä")
        assert said.json["rows_affected"] == 1
        assert app.query("SELECT * FROM t").rows == [[1, 7, "ä"]]
        assert app.query("SELECT * FROM t", fresh=True).rows == [[1, 7, "ä"]]
        assert app.host.traps == []


def test_the_edge_and_a_machine_have_the_same_database(component: Path) -> None:
    """Over one store, in both directions."""
    with edge(component, reuse=100) as app:
        with app.natively() as database:
            database.execute(TABLE)
            database.execute("INSERT INTO t (n) VALUES (1)")
        assert app.query("SELECT n FROM t").rows == [[1]]
        written = app.execute("INSERT INTO t (n) VALUES (2)")
        with app.natively() as database:
            assert database.query("SELECT n FROM t", bookmark=written.json["bookmark"]).rows == [(1,), (2,)]
            bookmark = database.run("UPDATE t SET n = n + 10").bookmark
        assert app.query("SELECT n FROM t", virke_bookmark=str(bookmark)).rows == [[11], [12]]


def test_data_last_over_a_restart_on_the_local_store(component: Path, tmp_path: Path) -> None:
    """What `virke dev --edge` stands on: another host over the same folder, and the command line's own way in."""
    folder = tmp_path / "store"
    make_database(local_store(folder), NAME, Environment(), if_not_exists=False, page_size=4096)
    with edge(component, local_store(folder)) as app:
        app.execute(TABLE)
        app.execute("INSERT INTO t (n) VALUES (1)")
    with edge(component, local_store(folder)) as app:
        app.execute("INSERT INTO t (n) VALUES (2)")
    with Database(local_store(folder), NAME) as database:
        assert database.query("SELECT n FROM t").rows == [(1,), (2,)]


def test_a_sandbox_takes_many_requests_and_a_warm_one_asks_for_nothing(component: Path) -> None:
    with edge(component, reuse=100) as app:
        app.execute(TABLE)
        app.host.settle()
        app.query("SELECT count(*) FROM t")
        app.host.settle()
        said = app.query("SELECT count(*) FROM t")
        assert not said.response.is_fresh
        assert (said.response.counts.lookups, said.response.counts.rounds) == (0, 0)
        assert app.host.sandboxes == 1


@pytest.mark.slow
def test_sixteen_sandboxes_beside_faults_lose_nothing_and_double_nothing(component: Path) -> None:
    """P1, P2: with lost answers, refusals and sandboxes that end; each increment has a key and is asked for until it is answered."""
    faults = Faults()
    with edge(component, faults=faults, reuse=3) as app:
        app.execute(TABLE)
        app.execute("INSERT INTO t (id, n) VALUES (1, 0)")
        for n, fault in enumerate(
            (Fault.LOSE, Fault.MISMATCH, Fault.RATE_LIMIT, Fault.DROP, Fault.TRAP_AFTER, Fault.TRAP) * 3
        ):
            faults.plan(fault, key="register/root/", skip=2 * n)

        def count(client: int) -> Counter[str]:
            codes = Counter[str]()
            for turn in range(KEYED_TIMES):
                for _ in range(TRIES):
                    key = f"increment-{client}-{turn}"
                    said = app.execute("UPDATE t SET n = n + 1 WHERE id = 1", idempotency_key=key)
                    if said.status == 200:
                        codes["done"] += 1
                        break
                    codes["trap" if said.response.trap else said.json["error"]["code"]] += 1
            return codes

        with ThreadPoolExecutor(WRITERS) as clients:
            answers = sum(clients.map(count, range(WRITERS)), Counter[str]())
        assert answers["done"] == WRITERS * KEYED_TIMES
        assert answers.keys() <= {"done", "conflict", "unavailable", "timed_out", "outcome_unknown", "trap"}
        assert {fault for _, _, fault in faults.happened} == {
            Fault.LOSE,
            Fault.MISMATCH,
            Fault.RATE_LIMIT,
            Fault.DROP,
            Fault.TRAP,
            Fault.TRAP_AFTER,
        }
        assert app.query("SELECT n FROM t", virke_consistency="strong").rows == [[answers["done"]]]


def increments(component: Path, reuse: int) -> tuple[Counter[str], int]:
    """16 clients count in one row at once: what they were answered, and where it stands."""
    with edge(component, reuse=reuse) as app:
        app.execute(TABLE)
        app.execute("INSERT INTO t (id, n) VALUES (1, 0)")

        def count(_client: int) -> list[str]:
            answers = [app.execute("UPDATE t SET n = n + 1 WHERE id = 1") for _ in range(TIMES)]
            return ["done" if answer.status == 200 else answer.json["error"]["code"] for answer in answers]

        with ThreadPoolExecutor(WRITERS) as clients:
            answers = Counter(answer for every in clients.map(count, range(WRITERS)) for answer in every)
        [[value]] = app.query("SELECT n FROM t", virke_consistency="strong").rows
        assert app.host.traps == []
        return answers, value


@pytest.mark.slow
@pytest.mark.parametrize("reuse", [1, 1000])
def test_of_sixteen_sandboxes_incrementing_none_is_lost_and_none_doubled(component: Path, reuse: int) -> None:
    """What was answered as done is in the value once; what was given up before its swap never is."""
    answers, value = increments(component, reuse)
    assert value == answers["done"]
    assert answers["done"] >= WRITERS
    assert answers.keys() <= {"done", "conflict", "unavailable", "timed_out"}

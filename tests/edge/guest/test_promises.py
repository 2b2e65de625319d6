"""The promises at the edge: snapshots are whole (P4), bytes are never invented (P7), nothing follows the swap (P13)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.edge.serving import NAME, Edge, edge, kv_like
from virke.core.effects import Absent, Tier
from virke.edge.host.faults import Fault, Faults
from virke.edge.limits import LIMITS
from virke.engine.catalog import make_database
from virke.engine.environment import Environment
from virke.stores.base import Blobs, Range, Store

pytestmark = pytest.mark.once
ACCOUNTS: Final = 8
MONEY: Final = 800
CLIENTS: Final = 6
TIMES: Final = 8


def _accounts(app: Edge) -> None:
    values = ", ".join(f"({n}, {MONEY // ACCOUNTS})" for n in range(ACCOUNTS))
    statements = [
        "CREATE TABLE account (id INTEGER PRIMARY KEY, money INTEGER)",
        f"INSERT INTO account VALUES {values}",
    ]
    assert app.ask("POST", f"/db/{NAME}/batch", {"statements": statements}).status == 200


def test_no_read_sees_half_a_transfer_and_no_refused_one_happened(component: Path) -> None:
    """P1, P3, P4: with late reads, lost answers and refusals; each transfer is two statements and a row in a log."""
    faults = Faults(stale_s=0.5)
    with edge(component, faults=faults, reuse=3) as app:
        _accounts(app)
        app.execute("CREATE TABLE log (what TEXT PRIMARY KEY)")
        for fault in (Fault.LOSE, Fault.MISMATCH, Fault.RATE_LIMIT, Fault.LOSE, Fault.DROP):
            faults.plan(fault, key="register/root/", skip=3)

        def client(number: int) -> tuple[list[str], list[str]]:
            random, done, refused = Random(number), list[str](), list[str]()
            for n in range(TIMES):
                name = f"{number}-{n}"
                a, b = random.sample(range(ACCOUNTS), 2)
                said = app.ask(
                    "POST",
                    f"/db/{NAME}/batch",
                    {
                        "statements": [
                            {"sql": "UPDATE account SET money = money - 1 WHERE id = ?", "params": [a]},
                            {"sql": "UPDATE account SET money = money + 1 WHERE id = ?", "params": [b]},
                            {"sql": "INSERT INTO log VALUES (?)", "params": [name]},
                        ]
                    },
                )
                if said.status == 200:
                    done.append(name)
                elif said.json["error"]["code"] in ("conflict", "unavailable", "timed_out"):
                    refused.append(name)
                else:
                    assert said.json["error"]["code"] == "outcome_unknown"
                seen = app.query("SELECT sum(money) FROM account")
                if seen.status == 200 and seen.rows[0][0] is not None:
                    assert seen.rows == [[MONEY]]
            return done, refused

        with ThreadPoolExecutor(CLIENTS) as clients:
            told = list(clients.map(client, range(CLIENTS)))
        faults.planned.clear()
        with app.natively() as database:
            logged = [name for (name,) in database.query("SELECT what FROM log", consistency="strong").rows]
            assert database.query("SELECT sum(money) FROM account").rows == [(MONEY,)]
        done = [name for some, _ in told for name in some]
        refused = [name for _, some in told for name in some]
        assert set(done) <= set(logged)
        assert not set(refused) & set(logged)
        assert len(logged) == len(set(logged))
        assert app.host.traps == []


class _Damaged:
    """Blobs of which one byte of each object is wrong, once `is_on`."""

    def __init__(self, inner: Blobs) -> None:
        self._inner = inner
        self.is_on = False
        self.is_short = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def get(self, ranges: list[Range]) -> list[bytes | Absent]:
        found = self._inner.get(ranges)
        if not self.is_on:
            return found
        return [one if isinstance(one, Absent) else self._damaged(one) for one in found]

    def _damaged(self, data: bytes) -> bytes:
        if self.is_short:
            return data[: len(data) // 2]
        at = len(data) // 2
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("is_short", [False, True])
def test_a_damaged_object_is_corrupt_and_never_rows(component: Path, is_short: bool) -> None:
    """P7: a flipped bit, and an object that is shorter than its index says."""
    store = kv_like()
    damaged = _Damaged(store.blobs[Tier.KV])
    broken: Store = replace(store, blobs={**store.blobs, Tier.KV: damaged})  # type: ignore[dict-item]
    make_database(store, NAME, Environment(), if_not_exists=False, page_size=4096)
    with edge(component, broken) as app:
        with app.natively() as database:
            database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, what BLOB)")
            random = Random(7)
            database.executemany("INSERT INTO t (what) VALUES (?)", [(random.randbytes(3000),) for _ in range(40)])
        whole = app.query("SELECT count(*), sum(length(what)) FROM t").rows
        assert whole == [[40, 120_000]]
        damaged.is_on, damaged.is_short = True, is_short
        said = app.query("SELECT count(*), sum(length(what)) FROM t", fresh=True)
        assert (said.status, said.json["error"]["code"]) == (500, "corrupt")
        damaged.is_on = False
        assert app.query("SELECT count(*), sum(length(what)) FROM t", fresh=True).rows == whole


@pytest.mark.slow
def test_upkeep_comes_after_the_answer_one_step_at_a_time(component: Path) -> None:
    """P13: an insert is one round of writes before its answer; what is merged is merged after it, within the step's limits."""
    with edge(component) as app:
        app.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, what BLOB)")
        steps = 0
        for n in range(90):
            said = app.execute("INSERT INTO t (what) VALUES (hex(randomblob(20000)))")
            assert said.status == 200, (n, said.json)
            app.host.settle()
            before, after = said.response.counts, said.response.after
            assert before.writes <= 3, n  # two parts and the root
            assert before.lookups <= 16, n
            assert after.lookups <= LIMITS.step_lookups + 2, n
            steps += bool(after.writes)
        assert steps > 3, "nothing was merged after an answer"
        assert app.host.traps == []
        assert app.query("SELECT count(*) FROM t").rows == [[90]]

"""The store and the sandbox fail in every way, on command: nothing answered is lost, nothing is applied twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.edge.serving import Edge, edge
from virke.edge.host.faults import Fault, Faults

TABLE: Final = "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, n INTEGER)"
INSERT: Final = "INSERT INTO t (n) VALUES (?)"
ROOT: Final = "register/root/"


def _values(app: Edge) -> list[int]:
    """What a machine sees, without any fault."""
    with app.natively() as database:
        return [int(str(n)) for (n,) in database.query("SELECT n FROM t ORDER BY id", consistency="strong").rows]


@pytest.mark.parametrize("reuse", [1, 100])
def test_a_lost_answer_is_found_again_and_applied_once(component: Path, reuse: int) -> None:
    with edge(component, reuse=reuse) as app:
        app.execute(TABLE)
        app.faults.plan(Fault.LOSE, key=ROOT)
        assert app.execute(INSERT, 1).status == 200
        assert [fault for _, _, fault in app.faults.happened] == [Fault.LOSE]
        assert _values(app) == [1]


def test_a_write_that_never_arrived_is_sent_again(component: Path) -> None:
    with edge(component) as app:
        app.execute(TABLE)
        app.faults.plan(Fault.DROP, key=ROOT)
        assert app.execute(INSERT, 1).status == 200
        assert _values(app) == [1]


def test_a_412_that_says_nothing_true_is_no_conflict(component: Path) -> None:
    """Three in a row, and the root is where it was: the write lands once, or is refused and is nowhere."""
    with edge(component) as app:
        app.execute(TABLE)
        app.faults.plan(Fault.MISMATCH, key=ROOT, times=3)
        said = app.execute(INSERT, 1)
        assert said.status in (200, 409, 503)
        assert _values(app) == ([1] if said.status == 200 else [])


def test_a_storm_of_412_ends_in_an_honest_answer(component: Path) -> None:
    with edge(component) as app:
        app.execute(TABLE)
        app.faults.plan(Fault.MISMATCH, key=ROOT, times=1000)
        said = app.execute(INSERT, 1)
        assert said.status == 504, "nothing shows who else wrote, or that nobody did"
        assert said.json["error"]["code"] == "outcome_unknown"
        app.faults.planned.clear()
        assert app.execute(INSERT, 2).status == 200
        assert _values(app) == [2]
        assert app.host.traps == []


class Overtaking(Faults):
    """Each swap of the root comes just after another's commit, and is refused for it."""

    overtake: Callable[[], object] | None = None

    def next(self, call: str, key: str) -> Fault | None:
        """412, once the other one has committed."""
        if call == "insert" and key.startswith(ROOT) and self.overtake is not None:
            self.overtake()
            return Fault.MISMATCH
        return super().next(call, key)


def test_a_storm_of_412_in_which_others_commit_is_never_an_unknown_outcome(component: Path) -> None:
    """The register shows whose commits they were, so it is proved that this one is in none: never `outcome_unknown`."""
    faults = Overtaking()
    with edge(component, faults=faults) as app:
        app.execute(TABLE)
        with app.natively() as other:
            theirs = iter(range(1000, 2000))
            faults.overtake = lambda: other.execute(INSERT, (next(theirs),))
            said = app.execute(INSERT, 1)
            faults.overtake = None
        assert said.json["error"]["code"] in ("conflict", "timed_out"), "its time may end before its tries do"
        values = _values(app)
        assert values
        assert min(values) >= 1000
        assert app.execute(INSERT, 2).status == 200
        assert app.host.traps == []


def test_one_412_for_another_s_commit_is_tried_again_on_it(component: Path) -> None:
    faults = Overtaking()
    with edge(component, faults=faults) as app:
        app.execute(TABLE)
        with app.natively() as other:

            def once() -> None:
                faults.overtake = None
                other.execute(INSERT, (1000,))

            faults.overtake = once
            assert app.execute(INSERT, 1).status == 200
        assert sorted(_values(app)) == [1, 1000]


def test_a_write_that_came_too_soon_lands_after_a_wait(component: Path) -> None:
    with edge(component) as app:
        app.execute(TABLE)
        app.faults.plan(Fault.RATE_LIMIT, key=ROOT)
        assert app.execute(INSERT, 1).status == 200
        assert _values(app) == [1]


@pytest.mark.parametrize("call", ["the swap", "the swap of a large write", "every write", "every call"])
def test_a_storm_of_429_ends_in_503_after_a_few_writes(component: Path, call: str) -> None:
    """Within the two seconds that a request may wait, and it says when to come again; upkeep does not go on after it."""
    with edge(component) as app:
        app.execute(TABLE)
        app.query("SELECT 1")
        app.host.settle()
        app.faults.plan(Fault.RATE_LIMIT, key=ROOT if "swap" in call else "", times=5000)
        if call == "every call":
            app.faults.plan(Fault.RATE_LIMIT, "lookup", times=5000)
        value = "x" * 200_000 if "large" in call else 1
        said = app.execute(INSERT, value)
        assert (said.status, said.json["error"]["code"]) == (503, "unavailable")
        assert said.response.header("retry-after")
        app.host.settle()
        assert said.response.counts.writes <= 8
        assert said.response.after.writes <= 8
        app.faults.planned.clear()
        assert app.execute(INSERT, 2).status == 200
        assert _values(app) == [2]
        assert app.host.traps == []


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.RATE_LIMIT, Fault.HIDE])
def test_a_lookup_that_fails_is_an_error_and_not_an_empty_database(component: Path, fault: Fault) -> None:
    with edge(component) as app:
        app.execute(TABLE)
        app.execute(INSERT, 1)
        app.faults.plan(fault, "lookup", key="register/root/", times=1000)
        said = app.query("SELECT count(*) FROM t")
        assert said.status in (404, 503)
        app.faults.planned.clear()
        assert app.query("SELECT count(*) FROM t").rows == [[1]]


def test_a_part_that_is_not_shown_yet_is_no_empty_page(component: Path) -> None:
    with edge(component) as app:
        app.execute("CREATE TABLE big (id INTEGER PRIMARY KEY, what BLOB)")
        random = Random(1)
        with app.natively() as database:
            database.executemany("INSERT INTO big (what) VALUES (?)", [(random.randbytes(30_000),) for _ in range(60)])
        app.faults.plan(Fault.HIDE, "lookup", key="blobs/", times=1000)
        assert app.query("SELECT count(*), sum(length(what)) FROM big").status >= 500
        app.faults.planned.clear()
        assert app.query("SELECT count(*), sum(length(what)) FROM big").rows == [[60, 1_800_000]]


@pytest.mark.parametrize("fault", [Fault.TRAP, Fault.TRAP_AFTER])
def test_a_sandbox_that_ends_in_the_middle_of_a_write_leaves_all_of_it_or_nothing(
    component: Path, fault: Fault
) -> None:
    """The client hears 500, which says neither; with its key it asks again, and has it once."""
    with edge(component, reuse=100) as app:
        app.execute(TABLE)
        app.host.settle()
        app.faults.plan(fault, key=ROOT)
        said = app.execute(INSERT, 1, idempotency_key="one-of-them")
        assert (said.status, said.response.trap is not None) == (500, True)
        assert _values(app) == ([1] if fault is Fault.TRAP_AFTER else [])
        assert app.execute(INSERT, 1, idempotency_key="one-of-them").status == 200
        assert _values(app) == [1]


def test_late_reads_are_true_states_and_a_bookmark_is_never_too_late(component: Path) -> None:
    """Reads up to 2 s late: every answer is a version that was, and with its bookmark one sees at least that."""
    faults = Faults(stale_s=2.0)
    with edge(component, faults=faults) as app:
        app.execute(TABLE)
        bookmark = ""
        for n in range(1, 7):
            said = app.execute(INSERT, n)
            if said.status != 200:  # its base was late, and it says so
                assert said.status in (409, 503)
                continue
            bookmark = said.json["bookmark"]
            seen = app.query("SELECT n FROM t ORDER BY id")
            assert seen.status in (200, 400, 404, 503)  # 400: the table was not there yet
            if seen.status == 200:
                values = [row[0] for row in seen.rows]
                assert values == sorted(set(values))
            mine = app.query("SELECT max(n) FROM t", virke_bookmark=bookmark)
            assert mine.status in (200, 503)
            if mine.status == 200:
                assert mine.rows[0][0] >= n
        assert bookmark
        values = _values(app)
        assert values == sorted(set(values))
        assert app.host.traps == []


def test_a_sandbox_without_memory_ends_alone(component: Path) -> None:
    """A result larger than the sandbox is an error of its request; the next request finds another sandbox, or the same."""
    with edge(component, reuse=100, memory_mib=64) as app:
        for _ in (app.execute(TABLE), app.execute(INSERT, 1)):
            app.host.settle()
        said = app.query(
            "SELECT group_concat(hex(zeroblob(4000000))) FROM (SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3)"
        )
        assert said.status >= 400
        app.host.settle()  # else another sandbox, which may read late, takes the next one
        assert app.query("SELECT n FROM t").rows == [[1]]
        assert _values(app) == [1]

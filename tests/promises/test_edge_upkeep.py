"""P13 at the edge: what a write made due is done after its answer, in steps of bounded size that anybody may take.

Natively, on a KV store without ranges that counts; how many instructions a step takes is tested in the component.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest

from tests.engine.sandbox import Counts, Sandbox, kv_store
from tests.engine.world import NAME, make
from tests.promises.ledger import check_integrity
from virke.core.effects import Tier
from virke.edge.limits import LIMITS
from virke.engine.database import Database
from virke.engine.stepping import hint_key
from virke.errors import TooLarge, Unavailable, VirkeError
from virke.stores.base import Call, Store
from virke.stores.counted import Tally, counting_store
from virke.stores.faulty import At, FaultyStore, LoseAnswer

TABLE = "CREATE TABLE entry (id INTEGER PRIMARY KEY, token TEXT, filler BLOB)"
INSERT = "INSERT INTO entry (token, filler) VALUES (?, randomblob(?))"


@dataclass
class Worst:
    """The most that any request, and any step, asked for."""

    requests: Counts
    steps: Counts
    count: int = 0
    errors: int = 0


def note(worst: Counts, now: Counts) -> None:
    for name in Counts.__slots__:
        setattr(worst, name, max(getattr(worst, name), getattr(now, name)))


def tend(sandbox: Sandbox, worst: Worst) -> None:
    """What the guest does after an answer was sent."""
    database = sandbox._database
    assert database is not None
    if not database.upkeep_due:
        return
    for name in Counts.__slots__:
        setattr(sandbox.counts, name, 0)
    try:
        worst.count += database.serving.upkeep_step()
    except VirkeError:
        worst.errors += 1
    note(worst.steps, sandbox.counts)


def live(shared: Store, inserts: int, size: int, *, sandboxes: int, cold: float = 0.02, seed: int = 1) -> Worst:
    """So many inserts by sandboxes that take turns, now and then replaced by one that knows nothing."""
    chance, worst = random.Random(seed), Worst(Counts(), Counts())
    alive = [Sandbox(shared) for _ in range(sandboxes)]
    for number in range(inserts):
        at = chance.randrange(sandboxes)
        if chance.random() < cold:
            alive[at] = Sandbox(shared)
        with alive[at].request() as database:
            database.execute(INSERT, (f"t{number}", size))
        note(worst.requests, alive[at].counts)
        tend(alive[at], worst)
    return worst


def created() -> Store:
    shared = kv_store()
    with make(shared) as database:
        database.execute(TABLE)
    return shared


def check(shared: Store, rows: int) -> None:
    with Database(shared, NAME) as node:
        assert node.query("SELECT count(*), count(DISTINCT token) FROM entry").rows == [(rows, rows)]
        check_integrity(node)


def settle(shared: Store, worst: Worst, *, cold: bool) -> int:
    """Calls of `POST /db/NAME/upkeep` until nothing is due; how many."""
    sandbox, calls = Sandbox(shared), 0
    while True:
        if cold:
            sandbox = Sandbox(shared)
        with sandbox.request() as database:
            if not set(database.upkeep_due) - {"collect"}:
                return calls
        tend(sandbox, worst)
        calls += 1
        assert calls < 2000, "upkeep comes to an end"


@pytest.mark.parametrize(("size", "most"), [(0, 1.3), (200, 1.4)])
def test_p13_upkeep_included_an_insert_takes_few_writes(size: int, most: float) -> None:
    """One is its own; the rest is its share of what is done after answers (decision 0059 has the price)."""
    inserts, writes = 600, 0

    def add(call: Call, tally: Tally) -> None:
        nonlocal writes
        writes += tally.requests if call in (Call.SWAP, Call.PUT) else 0

    shared = created()
    live(counting_store(shared, add), inserts, size, sandboxes=1)
    assert inserts < writes <= most * inserts


def test_p13_no_request_does_upkeep_and_what_is_due_is_said() -> None:
    """The last call of a write is its swap, whatever is due; a read that finds it says so too."""
    calls: list[Call] = []

    def add(call: Call, tally: Tally) -> None:
        if tally.requests:
            calls.append(call)

    shared = created()
    sandbox = Sandbox(counting_store(shared, add))
    for number in range(40):
        with sandbox.request() as database:
            calls.clear()
            database.execute(INSERT, (f"t{number}", 40_000))
            assert calls[-1] is Call.SWAP
            assert calls.count(Call.SWAP) == 1
    with Sandbox(shared).request() as database:
        assert database.upkeep_due == ("compact",)


def test_p13_a_step_is_one_step_whatever_is_asked_for() -> None:
    """And it ends with at most so many reads as a step may make."""
    shared = created()
    sandbox = Sandbox(shared)
    for number in range(60):
        with sandbox.request() as database:
            database.execute(INSERT, (f"t{number}", 40_000))
    with Sandbox(shared).request() as database:
        before = database.snapshot().root.head.version
        done = database.upkeep(None)
        assert done.steps == 1
        assert done.due == ("compact",)
        assert database.snapshot().root.head.version <= before + 1
    check(shared, 60)


def test_p13_ten_thousand_inserts_stay_within_bounds() -> None:
    """By the edge alone, a cold sandbox now and then: no request and no step asks for more than it may."""
    shared = created()
    worst = live(shared, 2_500, 100, sandboxes=3)
    assert worst.requests.lookups <= 12
    assert worst.steps.lookups <= LIMITS.step_lookups
    assert worst.errors == 0
    settle(shared, worst, cold=True)
    assert worst.steps.lookups <= LIMITS.step_lookups
    check(shared, 2_500)
    with Sandbox(shared).request() as database:
        assert len(database.snapshot().root.segments) <= 5


def test_b10_a_new_sandbox_reads_the_oldest_index_alone_however_many_inserts_there_were() -> None:
    """The root says where the pages of newer segments are (decision 0050): a row takes two parts more at most."""
    shared = created()
    with make_rows(shared, 600) as node:
        node.upkeep(None)
    worst, most, rows = Worst(Counts(), Counts()), 0, 0
    sandbox = Sandbox(shared)
    for number in range(1_000):
        with sandbox.request() as database:
            database.execute(INSERT, (f"t{number}", 300))
        tend(sandbox, worst)
        if number % 50 == 49:
            cold = Sandbox(shared)
            with cold.request() as database:
                root = database.snapshot().root
                assert cold.counts.lookups <= 3  # the root when it is opened and when it is asked for, and one index
                assert database.query("SELECT token FROM entry WHERE id = 300").rows == [("r300",)]
                most, rows = max(most, len(root.segments)), max(rows, cold.counts.lookups)
                database.close()
    assert most >= 4
    assert rows <= 5
    with sandbox.request() as database:
        database.close()
    check(shared, 1_600)


def make_rows(shared: Store, count: int) -> Database:
    """A node on a database with so many rows."""
    node = Database(shared, NAME)
    with node.transaction() as transaction:
        for number in range(1, count + 1):
            transaction.execute(INSERT, (f"r{number}", 1_000))
    return node


def test_p13_a_database_that_grows_past_its_tier_is_moved_by_the_edge_alone() -> None:
    """Step by step, while it grows on; nobody who reads or writes waits for it, and every row is there at each moment."""
    shared = created()
    with Database(shared, NAME) as node:
        node.change_settings({"promote_at_mb": 1})
    worst = live(shared, 600, 4_000, sandboxes=2)
    calls = settle(shared, worst, cold=True)
    assert calls >= 0
    assert worst.steps.lookups <= LIMITS.step_lookups
    assert worst.steps.requests <= 2 * LIMITS.step_lookups
    with Sandbox(shared).request() as database:
        root = database.snapshot().root
        assert root.tier is Tier.OBJECT
        assert {ref.tier for ref in root.segments} == {Tier.OBJECT}
    check(shared, 600)


def test_p13_a_step_has_reads_of_its_own_and_leaves_those_of_the_request() -> None:
    shared = created()
    sandbox = Sandbox(shared)
    for number in range(40):
        with sandbox.request() as database:
            database.execute(INSERT, (f"t{number}", 40_000))
    with sandbox.request() as database:
        while "spill" in database.upkeep_due:  # which reads nothing
            assert database.serving.upkeep_step()
        sandbox.allowance._lookups = 0
        assert database.serving.upkeep_step()
        assert sandbox.allowance.lookups_left == 0
        assert sandbox.counts.lookups >= 1


def test_p13_a_step_that_has_no_time_left_is_left() -> None:
    """The processor's time is that of the whole sandbox: a step that could not end is not begun."""
    shared = created()
    sandbox = Sandbox(shared)
    for number in range(40):
        with sandbox.request() as database:
            database.execute(INSERT, (f"t{number}", 40_000))
    with sandbox.request() as database:
        sandbox.cpu_ms += 42
        before = database.version
        assert not database.serving.upkeep_step()
        assert (sandbox.counts.puts, sandbox.counts.swaps, sandbox.counts.lookups) == (0, 0, 0)
        assert database.version == before


@pytest.mark.parametrize("call", [Call.SWAP, Call.PUT, Call.GET])
def test_p13_steps_whose_answers_are_lost_are_found_again(call: Call) -> None:
    """At whatever call of the store: nothing is lost, and upkeep comes to its end."""
    shared = created()
    live(shared, 40, 40_000, sandboxes=1, cold=0)
    worst = Worst(Counts(), Counts())
    for nth in range(1, 6):
        faulty = FaultyStore(shared, [At(nth, LoseAnswer(), call)]).store
        for _ in range(6):
            with Sandbox(faulty).request() as database:
                try:
                    database.serving.upkeep_step()
                except (Unavailable, TooLarge):  # a read that is made again may be one more than a step has
                    worst.errors += 1
    settle(shared, worst, cold=True)
    check(shared, 40)


def test_p13_without_its_hint_a_merge_goes_on_from_its_links() -> None:
    """A hint is advice: it may be lost, of another database, or no hint at all."""
    shared = created()
    live(shared, 40, 40_000, sandboxes=1, cold=0)
    worst = Worst(Counts(), Counts())
    key = hint_key(NAME, "main")
    for number in range(400):
        with Sandbox(shared).request() as database:
            if not set(database.upkeep_due) - {"collect"}:
                break
            try:
                database.serving.upkeep_step()
            except VirkeError:
                worst.errors += 1
        if number in (5, 20):
            seen = shared.register.read(key)
            shared.register.swap(key, b"no hint", getattr(seen, "generation", None))
    else:
        raise AssertionError("upkeep comes to an end")
    assert worst.errors == 0
    check(shared, 40)


def test_p13_two_sandboxes_that_take_the_same_steps_do_no_harm() -> None:
    """Both begin on the same state; whatever one has put stands."""
    shared = created()
    live(shared, 40, 40_000, sandboxes=1, cold=0)
    chance = random.Random(3)
    pair = [Sandbox(shared), Sandbox(shared, limits=replace(LIMITS, step_decoded_bytes=100_000))]
    for number in range(400):
        sandbox = pair[number % 2] if chance.random() < 0.8 else Sandbox(shared)
        with sandbox.request() as database:
            database.serving.upkeep_step()
            if number % 5 == 0:
                database.execute("UPDATE entry SET token = token WHERE id = 1")
    worst = Worst(Counts(), Counts())
    settle(shared, worst, cold=False)
    check(shared, 40)


def test_p13_what_comes_after_a_long_merge_is_merged_meanwhile() -> None:
    """A merge of everything takes many steps; commits go on, and the newest segments stay few."""
    shared = created()
    live(shared, 400, 2_400, sandboxes=1, cold=0)
    slow = replace(LIMITS, step_encoded_bytes=20 << 10, step_decoded_bytes=56 << 10)
    sandbox, most = Sandbox(shared, limits=slow), 0
    for number in range(300):
        with sandbox.request() as database:
            database.execute(INSERT, (f"u{number}", 2_400))
            most = max(most, len(database._branch.latest().root.segments))
            if database.upkeep_due:
                database.serving.upkeep_step()
    assert most <= 12
    check(shared, 700)


def test_p13_a_write_waits_where_upkeep_is_behind_and_a_cold_sandbox_can_open_the_database() -> None:
    """Nobody does a step: the segments end at a number that can be opened, and a step lets writes go on."""
    shared = created()
    sandbox = Sandbox(shared)
    written = 0
    for number in range(LIMITS.segments_max):
        with sandbox.request() as database:
            database.execute(INSERT, (f"t{number}", 70_000))
        written += 1
    with sandbox.request() as database, pytest.raises(Unavailable, match="upkeep is behind") as caught:
        database.execute(INSERT, ("more", 70_000))
    assert str(caught.value.context["hint"]).startswith("each request does a step of it")
    with Sandbox(shared).request() as database:
        assert len(database.snapshot().root.segments) == LIMITS.segments_max
        assert database.query("SELECT count(*) FROM entry").rows == [(written,)]
    for _ in range(20):
        with sandbox.request() as database:
            database.serving.upkeep_step()
    with sandbox.request() as database:
        database.execute(INSERT, ("more", 70_000))
    check(shared, written + 1)


def test_a_node_collects_what_the_edge_gave_up() -> None:
    """Links of a merge that another commit made impossible are garbage that `db gc` finds."""
    shared = created()
    live(shared, 40, 40_000, sandboxes=1, cold=0)
    with Sandbox(shared).request() as database:
        assert database.serving.upkeep_step()
    with Database(shared, NAME) as node:
        node.upkeep(None)
        node.change_settings({"history_days": 0})
        for _ in range(4):
            node.collect(grace_ms=0)
        needed = {key for ref in node.snapshot().root.segments for key in ref.keys}
        there = {item.key for blobs in shared.blobs.values() for item in blobs.list("seg/")}
        assert there == needed
    check(shared, 40)


@pytest.mark.slow
@pytest.mark.once
def test_p13_ten_thousand_inserts_grow_past_25_mb_and_move_by_the_edge_alone() -> None:
    """With the settings of a new database: at 20 MB it begins to move, and every request and step stays within its bounds."""
    shared = created()
    worst = live(shared, 10_000, 2_400, sandboxes=3, cold=0.01)
    settle(shared, worst, cold=True)
    print(f"{worst.count} steps, {worst.errors} left undone; requests {worst.requests}; steps {worst.steps}")
    assert worst.errors <= worst.count // 500, "a step is planned before it reads"
    assert worst.requests.lookups <= LIMITS.lookups // 4
    assert worst.requests.requests <= LIMITS.requests
    assert worst.steps.lookups <= LIMITS.step_lookups
    with Sandbox(shared).request() as database:
        root = database.snapshot().root
        assert root.head.page_count * root.head.page_size > 25 << 20
        assert {ref.tier for ref in root.segments} == {Tier.OBJECT}
        assert len(root.segments) <= 8
    check(shared, 10_000)

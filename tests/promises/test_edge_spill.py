"""P13 at the edge: what is inline is spilled after an answer, so no request writes twice; and nothing is lost by it.

Natively, on a KV store without ranges that counts.
"""

from __future__ import annotations

import pytest

from tests.engine.sandbox import Sandbox
from tests.engine.world import NAME
from tests.promises.test_edge_upkeep import INSERT, Worst, check, created, tend
from virke.core.change import INLINE_TOTAL_MIN, SPILL_COMMITS
from virke.core.root import Root
from virke.edge.limits import LIMITS
from virke.engine.database import Database
from virke.engine.stepping import SPILL_SEGMENTS_MAX
from virke.stores.base import Call, Store
from virke.stores.faulty import At, FaultyStore, LoseAnswer

SIZE = 300
"""Of a row: some twenty of them make a spill due."""


def root_in(shared: Store) -> Root:
    with Sandbox(shared).request() as database:
        return database.snapshot().root


def inline_bytes(root: Root) -> int:
    return sum(commit.data_bytes for commit in root.inline)


def insert_until_due(sandbox: Sandbox, first: int = 0) -> int:
    """Rows until what is inline has to be spilled; the number of the next one."""
    number = first
    while True:
        with sandbox.request() as database:
            database.execute(INSERT, (f"t{number}", SIZE))
            number += 1
            if "spill" in database.upkeep_due:
                return number
        assert number < first + 200


def test_p13_no_request_of_many_writes_twice() -> None:
    """Each is a swap, whoever takes the steps; a root carries few more than `SPILL_COMMITS`."""
    shared, most, spills = created(), 0, 0
    sandboxes = [Sandbox(shared) for _ in range(3)]
    for number in range(600):
        sandbox = sandboxes[number % 3] = Sandbox(shared) if number % 40 == 0 else sandboxes[number % 3]
        with sandbox.request() as database:
            database.execute(INSERT, (f"t{number}", SIZE))
            most = max(most, len(database.snapshot().root.inline))
            spills += "spill" in database.upkeep_due
        assert sandbox.counts.puts == 0
        tend(sandbox, Worst(sandbox.counts, sandbox.counts))
    assert spills >= 10
    assert SPILL_COMMITS < most < SPILL_COMMITS + 8
    check(shared, 600)


def test_a_spill_is_one_object_and_one_swap_and_leaves_the_newest_commit_inline() -> None:
    """It reads nothing, and whoever comes next finds page 1 in the root."""
    shared = created()
    sandbox = Sandbox(shared)
    rows = insert_until_due(sandbox)
    before = root_in(shared)
    with sandbox.request() as database:
        assert database.serving.upkeep_step()
        assert "spill" not in database.upkeep_due
    assert (sandbox.counts.lookups, sandbox.counts.puts, sandbox.counts.swaps) == (0, 1, 1)
    after = root_in(shared)
    assert after.inline == before.inline[-1:]
    assert len(after.segments) == len(before.segments) + 1
    assert after.head.checksum == before.head.checksum
    with sandbox.request() as database:  # which was not told to read again what it wrote itself
        database.execute(INSERT, ("one more", SIZE))
    assert (sandbox.counts.lookups, sandbox.counts.puts, sandbox.counts.swaps) == (0, 0, 1)
    check(shared, rows + 1)
    with Database(shared, NAME) as node:
        for commit in before.inline:
            assert node._volume.snapshot_at(commit.version).head.checksum == commit.head.checksum


def test_p2_another_commit_that_comes_first_is_kept_and_the_spill_is_left() -> None:
    shared = created()
    sandbox, other = Sandbox(shared), Sandbox(shared)
    rows = insert_until_due(sandbox)
    with other.request() as database:
        database.execute(INSERT, ("between", SIZE))
    objects = keys_of(shared)
    with sandbox.request() as database:
        assert not database.serving.upkeep_step()
    assert keys_of(shared) == objects, "what no root names was taken back"
    check(shared, rows + 1)


@pytest.mark.parametrize("call", [Call.PUT, Call.SWAP])
def test_p2_a_spill_whose_answer_is_lost_loses_nothing(call: Call) -> None:
    nth = 1 if call is Call.PUT else insert_until_due(Sandbox(created())) + 1
    shared = created()
    sandbox = Sandbox(FaultyStore(shared, [At(nth, LoseAnswer(), call)]).store)
    rows = insert_until_due(sandbox)
    before = root_in(shared).inline
    with sandbox.request() as database:
        assert database.serving.upkeep_step()
    counts = sandbox.counts
    assert counts.lookups + counts.puts + counts.swaps > 2, "it was sent again, or looked for"
    assert root_in(shared).inline == before[-1:]
    with sandbox.request() as database:
        database.execute(INSERT, ("one more", SIZE))
    check(shared, rows + 1)


def keys_of(shared: Store) -> set[str]:
    return {item.key for blobs in shared.blobs.values() for item in blobs.list("seg/")}


def test_only_who_commits_spills() -> None:
    """Or each of many sandboxes that read at the same time would put the same bytes."""
    shared = created()
    rows = insert_until_due(Sandbox(shared))
    reader = Sandbox(shared)
    with reader.request() as database:
        assert database.query("SELECT count(*) FROM entry").rows == [(rows,)]
        assert "spill" not in database.upkeep_due
        assert not database.serving.upkeep_step()
    assert (reader.counts.puts, reader.counts.swaps) == (0, 0)


def test_where_merges_are_behind_they_come_first() -> None:
    """A spill adds a segment; past so many a commit spills by itself, as before."""
    shared = created()
    sandbox = Sandbox(shared)
    for number in range(SPILL_SEGMENTS_MAX):
        with sandbox.request() as database:
            database.execute(INSERT, (f"t{number}", 70_000))
    count = len(root_in(shared).segments)
    assert SPILL_SEGMENTS_MAX <= count < LIMITS.segments_max
    rows = SPILL_SEGMENTS_MAX
    while inline_bytes(root_in(shared)) < INLINE_TOTAL_MIN * 3 // 4:
        with sandbox.request() as database:
            database.execute(INSERT, (f"t{rows}", SIZE))
            assert "spill" not in database.upkeep_due
        rows += 1
    check(shared, rows)


def test_a_node_spills_with_a_commit_as_before() -> None:
    shared = created()
    with Database(shared, NAME) as node:
        for number in range(40):
            node.execute(INSERT, (f"t{number}", SIZE))
            assert "spill" not in node.upkeep_due
    check(shared, 40)

"""What a request may cost at the edge: each limit ends it before anything is changed, and names the way out."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest

from tests.engine.sandbox import Sandbox, kv_store
from tests.engine.world import make
from virke.core.change import change_without_pages, next_root
from virke.core.commit import Plan
from virke.core.effects import Tier
from virke.core.turn import Turn
from virke.edge.limits import LIMITS
from virke.engine.allowance import LESS, WAY_OUT, Allowance, Limits
from virke.engine.database import Database
from virke.engine.memory import PROCESS
from virke.errors import TimedOut, TooLarge, Unavailable, VirkeError
from virke.stores.base import Call, Store
from virke.stores.faulty import At, FaultyStore, LoseAnswer

pytestmark = pytest.mark.edge


def filled(store: Store, rows: int = 2000, bytes_each: int = 500) -> None:
    """A table `t` whose rows do not compress, written by a node."""
    with make(store) as database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)")
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            f"INSERT INTO t SELECT i, randomblob({bytes_each}) FROM n",
            (rows,),
        )


@pytest.fixture
def store() -> Store:
    """A table of 4 MB, in 17 parts."""
    shared = kv_store()
    filled(shared, rows=8000)
    return shared


SCAN = "SELECT sum(length(body)) FROM t"


def version_of(store: Store) -> int:
    with Sandbox(store).request() as database:
        return database.version


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (replace(LIMITS, lookups=6), "it needs more than 6 lookups in the KV store"),
        (replace(LIMITS, read_bytes=1 << 20), "it reads more than 1 MiB from the store"),
    ],
    ids=["lookups", "bytes"],
)
def test_a_read_that_needs_too_much_of_the_store_is_stopped(store: Store, limits: Limits, says: str) -> None:
    """And one that needs less is not; the next request begins with all of it."""
    sandbox = Sandbox(store, limits=limits)
    with sandbox.request() as database:
        assert database.query("SELECT id FROM t WHERE id = 7").rows == [(7,)]
    with sandbox.request() as database:
        with pytest.raises(TooLarge, match=says) as caught:
            database.query(SCAN)
        assert WAY_OUT in caught.value.message
        assert caught.value.context["hint"] == "ask for less: an index, or a LIMIT, makes a query read fewer pages"
    with sandbox.request() as database:
        assert database.query("SELECT id FROM t WHERE id = 7").rows == [(7,)]


def test_no_more_lookups_are_made_than_allowed(store: Store) -> None:
    sandbox = Sandbox(store, limits=replace(LIMITS, lookups=6))
    with sandbox.request() as database, pytest.raises(TooLarge):
        database.query(SCAN)
    assert sandbox.counts.lookups <= 6


def test_requests_to_object_storage_have_a_limit_of_their_own(store: Store) -> None:
    with Database(store, "db") as node:
        node.promote()
    sandbox = Sandbox(store, limits=replace(LIMITS, requests=4))
    with (
        sandbox.request() as database,
        pytest.raises(TooLarge, match="it needs more than 4 requests to object storage"),
    ):
        database.query(SCAN)
    assert sandbox.counts.requests <= 4


def test_reading_ahead_leaves_requests_for_what_is_asked(store: Store) -> None:
    """Every second frame is here: what is read ahead between them would take more requests than there are."""
    with Database(store, "db") as node:
        node.promote()
    sandbox = Sandbox(store, limits=replace(LIMITS, requests=8))
    for row in range(1, 8000, 448):
        with sandbox.request() as database:
            database.query("SELECT id FROM t WHERE id = ?", (row,))
            database._volume._fetching._read_ahead._courses.clear()  # each is the first miss of somebody
            database._volume._fetching._read_ahead._small_bytes = 1 << 30  # two misses are as good as a scan
    sandbox.counts.requests = 0
    with sandbox.request() as database:
        for row in (1345, 1793, 2241):
            assert database.query("SELECT id FROM t WHERE id = ?", (row + 224,)).rows == [(row + 224,)]
    assert 3 < sandbox.counts.requests < 8


def test_lookups_all_over_a_small_segment_read_nothing_ahead(store: Store) -> None:
    """A node reads what is missing of it; here each request costs, and another one seldom comes."""
    with Database(store, "db") as node:
        node.promote()
    sandbox = Sandbox(store)
    with sandbox.request() as database:
        database.query("SELECT id FROM t WHERE id = 1")
        before = sandbox.counts.requests
        for row in (2000, 4000, 6000):
            assert database.query("SELECT id FROM t WHERE id = ?", (row,)).rows == [(row,)]
        assert sandbox.counts.requests == before + 3


def test_a_write_that_stores_too_many_objects_is_stopped_before_the_first(store: Store) -> None:
    with Database(store, "db") as node:
        node.promote()
    sandbox = Sandbox(store, limits=replace(LIMITS, requests=3))
    with sandbox.request() as database:
        database.query("SELECT id FROM t WHERE id = 7")
    with sandbox.request() as database:
        version = database.version
        sandbox.allowance._requests = 0
        with pytest.raises(TooLarge, match="it needs more than 3 requests to object storage"):
            database.execute("INSERT INTO t VALUES (?, randomblob(100000))", (9000,))
        assert sandbox.counts.puts == sandbox.counts.swaps == 0
    assert version_of(store) == version


def test_a_statement_that_takes_too_long_is_stopped_by_the_processor_s_time(store: Store) -> None:
    """The clock of the wall stands still."""
    sandbox = Sandbox(store)
    with sandbox.request() as database:
        sandbox.cpu_step_ms = 0.5
        with pytest.raises(TimedOut, match=r"more of the processor's time than it may here \(40 ms\)") as caught:
            database.query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
        assert WAY_OUT in caught.value.message
        assert caught.value.context["hint"] == LESS
        sandbox.cpu_step_ms = 0
    with sandbox.request() as database:
        assert database.query("SELECT 1").rows == [(1,)]


@pytest.mark.parametrize(
    "sql", ["SELECT zeroblob(9000000)", "INSERT INTO t VALUES (9000, zeroblob(4000000))"], ids=["answer", "change"]
)
def test_a_limit_of_the_place_does_not_tell_to_raise_a_setting(store: Store, sql: str) -> None:
    """As the hints of a node do. The time that `query_timeout_ms` allows is a setting here as well."""
    sandbox = Sandbox(store)
    with sandbox.request() as database, pytest.raises(TooLarge) as caught:
        database.execute(sql)
    assert WAY_OUT in caught.value.message
    assert caught.value.context["hint"] == LESS
    assert "hint" not in sandbox.allowance.explain(TimedOut("it ran longer than query_timeout_ms")).context


def test_many_short_statements_share_the_processor_s_time(store: Store) -> None:
    """SQLite looks at none of them: each is looked at before it begins."""
    sandbox = Sandbox(store)
    with sandbox.request() as database:
        sandbox.cpu_step_ms = 1
        with pytest.raises(TimedOut):
            database.batch(["SELECT 1"] * 100)


def test_a_write_that_used_up_its_time_is_stopped_before_its_swap(store: Store) -> None:
    """In SQL it took less than any statement may, but what is left would not be enough for the commit."""
    sandbox = Sandbox(store)
    with sandbox.request() as database:
        database.query("SELECT 1")
    with sandbox.request() as database:
        before = database.version
        sandbox.cpu_ms += 35
        with pytest.raises(TimedOut, match=r"\(30 ms before its commit\)") as caught:
            database.execute("INSERT INTO t VALUES (?, 'x')", (9000,))
        assert caught.value.context["hint"] == LESS
        assert sandbox.counts.swaps == sandbox.counts.puts == 0
    with sandbox.request() as database:
        database.execute("INSERT INTO t VALUES (?, 'x')", (9000,))
    assert version_of(store) == before + 1


def test_a_commit_that_was_begun_is_brought_to_its_end(store: Store) -> None:
    """Nothing is left of what the request may cost, and its swap's answer is lost: it is found out all the same."""
    sandbox = Sandbox(FaultyStore(store, [At(1, LoseAnswer(), Call.SWAP)]).store)
    with sandbox.request() as database:
        database.query("SELECT id FROM t WHERE id = 7")
        before = database.version
        sandbox.allowance._lookups = 0
        database.execute("UPDATE t SET body = 'x' WHERE id = 7")
        assert database.version == before + 1
    assert version_of(store) == before + 1


def test_a_result_has_the_size_that_the_edge_allows(store: Store) -> None:
    sandbox = Sandbox(store, limits=replace(LIMITS, result_bytes=1 << 20))
    with sandbox.request() as database, pytest.raises(TooLarge, match="larger than 1 MiB") as caught:
        database.query(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 30) SELECT zeroblob(60000) FROM n"
        )
    assert WAY_OUT in caught.value.message
    assert "raise" not in caught.value.message
    assert caught.value.context["hint"] == LESS


def test_sorting_has_the_memory_that_the_edge_allows(store: Store) -> None:
    """And no hint says to raise a setting, which would not help there."""
    sandbox = Sandbox(store)
    sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 60000) SELECT i FROM n ORDER BY randomblob(1000)"
    with sandbox.request() as database, pytest.raises(TooLarge, match="memory") as caught:
        database.query(f"SELECT count(*) FROM ({sql} LIMIT 60000)")
    assert f"add an index or a LIMIT; {WAY_OUT}" in caught.value.message
    assert caught.value.context["hint"] == LESS
    with make() as database:
        database.change_settings({"max_result_mb": 1})
        with pytest.raises(TooLarge) as caught:
            database.query(f"SELECT count(*) FROM ({sql.replace('60000', '600000')})")
    assert caught.value.message.endswith("add an index or a LIMIT, or raise max_result_mb")


def test_a_value_has_it_too_in_every_way_of_asking(store: Store) -> None:
    sandbox = Sandbox(store, limits=replace(LIMITS, result_bytes=1 << 20))
    long = "SELECT zeroblob(1100000)"
    with sandbox.request() as database:
        for ask in (
            lambda: database.query(long),
            lambda: database.batch([long]),
            lambda: database.transaction().query(long),
            lambda: list(database.query_rows(long)),
        ):
            with pytest.raises(TooLarge):
                ask()


def test_a_transaction_changes_no_more_pages_than_the_edge_allows(store: Store) -> None:
    sandbox = Sandbox(store, limits=replace(LIMITS, written_bytes=200_000, lookups=1000, read_bytes=1 << 30))
    with sandbox.request() as database:
        before = database.version
        with pytest.raises(TooLarge) as caught:
            database.execute("UPDATE t SET body = zeroblob(500)")
        assert WAY_OUT in caught.value.message
        assert sandbox.counts.swaps == 0
    assert version_of(store) == before


def test_sorting_takes_no_more_memory_than_the_edge_allows(store: Store) -> None:
    gc.collect()  # what other tests left counts too, and would make room when it is freed in the middle
    sandbox = Sandbox(store, limits=replace(LIMITS, work_bytes=1 << 20))
    sort = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) "
        "SELECT i FROM (SELECT i, zeroblob(400) AS b FROM n) ORDER BY (i * 7919) % 20011, b LIMIT 1 OFFSET 19000"
    )
    with sandbox.request() as database, pytest.raises(TooLarge) as caught:
        database.query(sort)
    assert WAY_OUT in caught.value.message
    with Database(store, "db") as node:
        assert len(node.query(sort).rows) == 1


def test_frames_and_page_caches_have_their_own_shares() -> None:
    """All databases of a sandbox share them; those of the process have nothing to do with it."""
    shared = kv_store()
    filled(shared, rows=8000)
    sandbox = Sandbox(shared, limits=replace(LIMITS, frames_bytes=1 << 20, lookups=1000, read_bytes=1 << 30))
    try:
        with sandbox.request() as database:
            database.query(SCAN)
            memory = database._volume.memory
            assert memory is not PROCESS
            assert memory.frames.size_bytes <= 1 << 20
            assert memory.heap_bytes_max == LIMITS.caches_bytes
            other = Database(sandbox.store, "db", environment=sandbox.environment)
            assert other._volume.memory is memory
    finally:
        PROCESS.apply()


def test_nobody_waits_longer_than_two_seconds_for_another_s_turn(store: Store) -> None:
    """Somebody holds a turn for half a minute; a node would wait for it."""
    sandbox = Sandbox(store)
    with sandbox.request() as database:
        at = database._branch.latest()
        turn = Turn(bytes(16), 0, 30_000, sandbox.clock.now_ms)
        change = replace(change_without_pages(at.root, sandbox.clock.now_ms), turn=turn)
        database._committing.commit(at, Plan(next_root(at.root, sandbox.environment.commit_id(), change)))
    with sandbox.request() as database:
        before = database.version
        with pytest.raises(Unavailable):
            database.execute("INSERT INTO t VALUES (9000, 'x')")
        assert 0 < sum(sandbox.clock.slept) <= 2
        assert sandbox.counts.swaps == 0
    assert version_of(store) == before


def test_all_waits_of_a_request_share_two_seconds() -> None:
    allowance = Allowance(LIMITS, cpu_ms=lambda: 0)
    assert [allowance.wait(0.75), allowance.wait(0.75), allowance.wait(0.75)] == [0.75, 0.75, 0.5]
    with pytest.raises(Unavailable, match="waited 2 s for others"):
        allowance.wait(0.1)
    allowance.begin()
    assert allowance.wait(3) == 2


def test_an_environment_waits_no_longer_than_its_requests_may(store: Store) -> None:
    """Whatever waits: for a turn, a pace, a bookmark, or between two attempts."""
    sandbox = Sandbox(store)
    environment = sandbox.environment
    assert environment.wait_s(30) == 2
    environment.wait(1.5)
    assert environment.wait_s(30) == 0.5
    environment.wait(30)
    with pytest.raises(Unavailable):
        environment.wait(0.01)
    assert sandbox.clock.slept == [1.5, 0.5]


def test_no_gap_is_left_for_others_where_one_request_runs_at_a_time(store: Store) -> None:
    """A gap, or a wait for company, would be a wait of the client's."""
    sandbox = Sandbox(store)
    with Database(store, "db") as node:
        node.change_settings({"commit_window_ms": 500})
    for number in range(300):
        with sandbox.request() as database:
            sandbox.clock.tick_s = 0.001
            database.execute("INSERT INTO t VALUES (?, 'x')", (9000 + number,))
    assert sandbox.clock.slept == []


def test_without_an_allowance_nothing_is_counted() -> None:
    """A node and an embedded database: no wrapper, no look at the processor's time, no part of it in any call."""
    store = kv_store()
    with make(store) as database:
        assert database._branch.store.blobs[Tier.KV] is store.blobs[Tier.KV]
        assert database._branch.store.register is store.register
        assert database._volume.memory is PROCESS
        assert database.query("SELECT 1").rows == [(1,)]
        assert database._parts.connections
        assert all(connection.guard.allowance is None for connection in database._parts.connections)


ERRORS: dict[str, VirkeError] = {"large": TooLarge("it is"), "late": TimedOut("it was"), "down": Unavailable("it is")}


@pytest.mark.parametrize(("name", "is_explained"), [("large", True), ("late", True), ("down", False)])
def test_the_way_out_is_named_for_limits_alone_and_once(name: str, is_explained: bool) -> None:
    allowance = Allowance(LIMITS, cpu_ms=lambda: 0)
    explained = allowance.explain(allowance.explain(ERRORS[name]))
    assert explained.message.count(WAY_OUT) == is_explained
    assert type(explained) is type(ERRORS[name])

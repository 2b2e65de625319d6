"""How old a read may be, what it costs, and what a bookmark promises; counted at the store, timed by clocks that stand still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import pytest

from tests.engine.passing import PassingRegister
from tests.engine.world import Clock, make, reopen
from virke.core.effects import Generation, ReadOutcome, SwapOutcome, Unchanged
from virke.engine.database import Database
from virke.errors import Invalid, Unavailable
from virke.stores.base import Call, Consistency, Register, Store
from virke.stores.counted import CountingStore
from virke.stores.memory import memory_store

pytestmark = pytest.mark.edge

READ: Final = "SELECT n FROM t"


class World:
    """One database, counted, and a second process that writes to it uncounted."""

    def __init__(self, store: Store | None = None) -> None:
        inner = store or replace(
            memory_store(), watch=None
        )  # as far away as object storage: only a read shows a change
        self.clock = Clock()
        self.counts = CountingStore(inner)
        self.elsewhere = make(inner, clock=self.clock)
        self.elsewhere.run_script("CREATE TABLE t (n); INSERT INTO t VALUES (0)")
        self.db = reopen(self.counts.store, clock=self.clock)
        self.counts.reset()

    def requests(self) -> dict[str, int]:
        """What was asked since the last look."""
        found = {call.value: self.counts.of(call).requests for call in Call if self.counts.of(call).requests}
        self.counts.reset()
        return found

    def read(self, consistency: str | None = None, bookmark: str | None = None) -> object:
        return self.db.query(READ, consistency=consistency, bookmark=bookmark).rows[0][0]

    def write_elsewhere(self, value: int) -> str:
        return self.elsewhere.run("UPDATE t SET n = ?", (value,)).bookmark


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.db.close()
    made.elsewhere.close()


def test_a_warm_session_read_asks_the_store_nothing(world: World) -> None:
    """Budget B3: within the staleness bound, whatever statement."""
    world.read()
    world.requests()
    for sql in (READ, READ, "SELECT count(*) FROM t", "SELECT sum(n) FROM t"):
        world.db.query(sql)
        world.read("session")
        world.read("bounded")
    assert world.requests() == {}


def test_a_warm_strong_read_is_one_conditional_read(world: World) -> None:
    """Budget B3: and it sees what was committed before it began."""
    world.read()
    world.requests()
    for value in (1, 2, 3):
        assert world.read("strong") == value - 1
        assert world.requests() == {"read": 1}
        assert world.counts.of(Call.READ).bytes_down == 0
        world.write_elsewhere(value)
    assert world.read("strong") == 3


def test_a_database_set_to_strong_confirms_every_read(world: World) -> None:
    world.db.change_settings({"read_consistency": "strong"})
    world.requests()
    for value in (1, 2):
        world.write_elsewhere(value)
        assert world.read() == value
        assert world.requests() == {"read": 1}
    assert world.read("session") == 2
    assert world.requests() == {}


def test_a_read_is_never_staler_than_its_bound(world: World) -> None:
    """Just before the bound it may be old; at the bound the store is asked once."""
    world.read("strong")
    world.write_elsewhere(1)
    world.requests()
    world.clock.pass_s(0.999)
    assert (world.read(), world.requests()) == (0, {})
    world.clock.pass_s(0.001)
    assert (world.read(), world.requests()) == (1, {"read": 1})
    world.clock.pass_s(0.5)
    assert (world.read(), world.requests()) == (1, {})


@pytest.mark.parametrize(("bound_ms", "stale"), [(0, False), (60_000, True)])
def test_the_bound_is_a_setting_of_the_database(world: World, bound_ms: int, stale: bool) -> None:
    """Changed elsewhere, it holds here from the next root on."""
    world.elsewhere.change_settings({"max_staleness_ms": bound_ms})
    world.read("strong")
    world.write_elsewhere(1)
    world.clock.pass_s(30 if stale else 0)
    assert world.read() == (0 if stale else 1)


def test_a_process_reads_its_own_writes(world: World) -> None:
    """At once and without a request, by every way to write."""
    ways: list[Callable[[int], object]] = [
        lambda n: world.db.execute("UPDATE t SET n = ?", (n,)),
        lambda n: world.db.batch([("UPDATE t SET n = ?", (n,))]),
        lambda n: world.db.run_script(f"UPDATE t SET n = {n}"),
        lambda n: world.db.executemany("UPDATE t SET n = ?", [(n,)]),
        lambda n: world.db.query("UPDATE t SET n = ?", (n,)),
    ]
    for value, write in enumerate(ways, 1):
        write(value)
        world.requests()
        assert (world.read(), world.requests()) == (value, {})
    with world.db.transaction() as transaction:
        transaction.execute("UPDATE t SET n = 77")
        assert world.read() == len(ways)
    world.requests()
    assert (world.read("bounded"), world.requests()) == (77, {})


def test_a_bookmark_is_never_followed_by_an_older_read(world: World) -> None:
    """Whatever the staleness bound would allow; one that was seen already costs nothing."""
    for level in (None, "session", "bounded", "strong"):
        bookmark = world.write_elsewhere(5)
        world.write_elsewhere(6)
        assert world.read(level, bookmark) == 6
        assert world.db.bookmark >= bookmark
        world.requests()
        world.read(None, bookmark)
        assert world.requests() == {}


def test_bookmarks_grow_with_versions(world: World) -> None:
    """As plain text, too; and a read carries the bookmark of what it saw."""
    seen = [world.write_elsewhere(n) for n in range(20)]
    assert seen == sorted(set(seen))
    assert world.db.query(READ, consistency="strong").bookmark == seen[-1]
    assert world.db.query(READ, bookmark=seen[3]).bookmark == seen[-1]


@pytest.mark.parametrize(
    "bookmark",
    ["", "x", "main.1.2.3", "a.b.c.d", "main.00000001.0000000000000002", "main..1.2", "other.{}", "{}x", "{}.{}"],
)
def test_what_is_no_bookmark_of_this_branch_is_invalid(world: World, bookmark: str) -> None:
    """Nothing is waited for."""
    text = bookmark.replace("{}", world.db.bookmark.removeprefix("main.") if "other" in bookmark else world.db.bookmark)
    world.requests()
    with pytest.raises(Invalid, match="bookmark"):
        world.read(None, text)
    assert (world.requests(), world.clock.slept) == ({}, [])


def test_a_bookmark_that_is_not_there_is_known_to_be_wrong_after_one_read(world: World) -> None:
    """The first read begun after the request decides; nothing else is harmed."""
    future = world.db.bookmark.replace(".0000000000000002.", ".00000000000000ff.")
    world.requests()
    with pytest.raises(Invalid, match="newer than this database"):
        world.read(None, future)
    assert (world.requests(), world.clock.slept) == ({"read": 1}, [])
    assert world.read() == 0


def test_the_root_is_read_at_most_once_in_50_ms_for_bookmarks_that_are_not_known(world: World) -> None:
    """However many requests ask for them, one after another here."""
    future = world.db.bookmark.replace(".0000000000000002.", ".00000000000000ff.")
    began_s = world.clock.monotonic_s
    for _ in range(10):
        with pytest.raises(Invalid):
            world.read(None, future)
    assert world.requests()["read"] == 10
    assert world.clock.monotonic_s - began_s == pytest.approx(9 * 0.05)


def test_on_an_eventual_store_a_bookmark_is_waited_for_and_then_unavailable() -> None:
    """Up to a second, a read each 50 ms; as soon as it is shown it is served."""
    inner, clock = memory_store(), Clock()
    register = StaleRegister(inner.register)
    db = make(Store(inner.url, register, inner.blobs), clock=clock)
    register.frozen = inner.register.read("root/db/main")
    with reopen(inner, clock=clock) as other:
        bookmark = other.run("CREATE TABLE t (n)").bookmark
    began_s = clock.monotonic_s
    with pytest.raises(Unavailable, match="repeat"):
        db.query("SELECT 1", bookmark=bookmark)
    assert 1.0 <= clock.monotonic_s - began_s <= 1.06
    register.frozen = None
    assert db.query("SELECT count(*) FROM t", bookmark=bookmark).rows == [(0,)]


def test_an_unknown_level_is_invalid(world: World) -> None:
    with pytest.raises(Invalid, match="strong, session, bounded"):
        world.read("eventual")


def test_a_small_commit_is_one_write_and_nothing_else(world: World) -> None:
    """Budget B1: no read before, none after."""
    world.db.execute("UPDATE t SET n = 1")
    world.requests()
    for call in (world.db.execute, lambda sql: world.db.batch([sql, sql]), world.db.run_script):
        call("UPDATE t SET n = n + 1")
        assert world.requests() == {"swap": 1}


def test_small_commits_are_hardly_more_than_one_write_each_on_average(world: World) -> None:
    """Budget B1, spill and compaction included."""
    world.db.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, v)")
    world.requests()
    for n in range(400):
        world.db.execute("INSERT INTO log (v) VALUES (?)", (f"{n} " * 10,))
    made = world.requests()
    writes = made.get("swap", 0) + made.get("put_new", 0)
    assert made["swap"] <= 440
    assert writes <= 440, made


def test_a_large_commit_is_puts_and_then_a_swap(world: World) -> None:
    """Budget B2: parts first, the swap last, no read."""
    for size, parts in ((500_000, {1}), (3_000_000, {3, 4})):
        world.requests()
        world.db.execute("INSERT INTO t VALUES (randomblob(?))", (size,))
        assert world.counts.of(Call.PUT).items in parts
        assert world.requests().keys() == {"put_new", "swap"}


def test_an_interactive_transaction_is_one_read_and_one_write(world: World) -> None:
    with world.db.transaction() as transaction:
        for n in range(10):
            transaction.execute("INSERT INTO t VALUES (?)", (n,))
            transaction.query(READ)
    assert world.requests() == {"read": 1, "swap": 1}


def test_an_idle_database_makes_no_request(world: World) -> None:
    """Promise P9: hours pass, nothing is polled; looking at what is known costs nothing."""
    world.read()
    world.requests()
    world.clock.pass_s(36_000)
    assert world.db.version > 0
    assert world.db.bookmark
    assert world.db.known_settings.history_days == 7
    world.db.close()
    assert world.requests() == {}


class StaleRegister(PassingRegister):
    """A register whose reads stop at what it showed when `frozen` was set: an eventual store's replica."""

    def __init__(self, inner: Register) -> None:
        super().__init__(inner)
        self.frozen: ReadOutcome | None = None

    @property
    def consistency(self) -> Consistency:
        return Consistency.EVENTUAL

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        if self.frozen is None:
            return self._inner.read(key, known)
        return Unchanged() if known is not None and known == getattr(self.frozen, "generation", None) else self.frozen


def test_a_process_never_goes_back_in_time_on_a_stale_store() -> None:
    """The store shows an older root than this process has written; reads stay at its own."""
    inner, clock = memory_store(), Clock()
    register = StaleRegister(inner.register)
    store = Store(inner.url, register, inner.blobs)
    db: Database = make(store, clock=clock)
    db.run_script("CREATE TABLE t (n); INSERT INTO t VALUES (0)")
    register.frozen = inner.register.read("root/db/main")
    bookmark = db.run("UPDATE t SET n = 1").bookmark
    clock.pass_s(100)
    for level in ("session", "bounded"):
        result = db.query(READ, consistency=level, bookmark=bookmark)
        assert (result.rows, result.bookmark) == ([(1,)], bookmark)


class SlowRegister(StaleRegister):
    """A register whose answers to swaps take their time."""

    def __init__(self, inner: Register, clock: Clock) -> None:
        super().__init__(inner)
        self._clock = clock

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        outcome = super().swap(key, data, base)
        self._clock.pass_s(5)
        return outcome


def test_what_a_slow_swap_proves_is_as_old_as_its_beginning() -> None:
    """Somebody may have committed while the answer was on its way; the bound holds all the same."""
    inner, clock = memory_store(), Clock()
    db = make(Store(inner.url, SlowRegister(inner.register, clock), inner.blobs), clock=clock)
    db.run_script("CREATE TABLE t (n); INSERT INTO t VALUES (0)")
    reopen(inner, clock=clock).execute("UPDATE t SET n = 1")
    assert db.query(READ).rows == [(1,)]

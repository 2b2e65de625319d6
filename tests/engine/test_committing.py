"""A commit's fate is proved by history when more commits passed than the root remembers (P1, P2, P3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.engine.passing import PassingRegister
from tests.engine.world import Clock, dump_of, make, reopen, store_of
from virke.core.effects import Absent, Generation, Lost, Mismatch, SwapOutcome, Tier
from virke.core.ring import RING_LENGTH
from virke.engine.database import Database
from virke.errors import Conflict, Corrupt, Denied, OutcomeUnknown, Unavailable, VirkeError
from virke.stores.base import Range, Register, Store
from virke.stores.memory import memory_store

pytestmark = pytest.mark.edge

PASSING = RING_LENGTH + 6


class Interrupted(PassingRegister):
    """A register where something happens between a swap and its answer, which may get lost."""

    def __init__(self, inner: Register) -> None:
        super().__init__(inner)
        self.meanwhile: Callable[[], object] | None = None
        self.applies = True

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is None:
            return self._inner.swap(key, data, base)
        if self.applies:
            assert not isinstance(self._inner.swap(key, data, base), Mismatch)
        meanwhile()
        return Lost("the answer never came")


class World:
    """A database whose swaps can be interrupted, and another process with the same one."""

    def __init__(self) -> None:
        inner, clock = memory_store(), Clock()
        self.register = Interrupted(inner.register)
        self.db: Database = make(Store(inner.url, self.register, inner.blobs), clock=clock)
        self.db.run_script("CREATE TABLE t (v); CREATE TABLE other (v)")
        self.elsewhere = reopen(inner, clock=clock)

    def pass_by(self, size: int = 10) -> None:
        """More commits than the ring holds, spills and compactions with large ones."""
        for _ in range(PASSING):
            self.elsewhere.execute("INSERT INTO other VALUES (randomblob(?))", (size,))

    def interrupt(self, *, applies: bool, size: int) -> None:
        self.register.applies = applies
        self.register.meanwhile = lambda: self.pass_by(size)


@pytest.fixture
def world() -> World:
    return World()


sizes = pytest.mark.parametrize("size", [10, 20_000, 90_000])


@sizes
def test_a_process_that_was_idle_for_long_writes_like_any_other(world: World, size: int) -> None:
    """Its first swap is refused, and its base is beyond the ring; it runs again, once."""
    world.pass_by(size)
    assert world.db.execute("INSERT INTO t VALUES (1)") == 1
    assert world.db.query("SELECT count(*) FROM t").rows == [(1,)]
    assert world.db._writer.conflicts == 1


@sizes
@pytest.mark.parametrize("large", [False, True])
def test_a_lost_answer_is_found_in_history(world: World, size: int, large: bool) -> None:
    """It was applied: answered as such, with its own version, and not applied again."""
    version = world.db.version
    world.interrupt(applies=True, size=size)
    result = world.db.run("INSERT INTO t VALUES (?)", ("x" * 10 if not large else bytes(range(256)) * 4000,))
    assert (result.rows_affected, result.version) == (1, version + 1)
    assert world.elsewhere.query("SELECT count(*) FROM t", consistency="strong").rows == [(1,)]
    assert dump_of(world.db.snapshot()) == dump_of(world.elsewhere.snapshot())


@sizes
def test_an_answer_lost_with_its_swap_is_a_lost_race(world: World, size: int) -> None:
    """It was not applied and can't be any more: run again, applied once; a transaction is a `Conflict`."""
    world.interrupt(applies=False, size=size)
    assert world.db.execute("INSERT INTO t VALUES (1)") == 1
    world.interrupt(applies=False, size=size)
    transaction = world.db.transaction()
    transaction.execute("INSERT INTO t VALUES (2)")
    with pytest.raises(Conflict):
        transaction.commit()
    assert world.elsewhere.query("SELECT v FROM t", consistency="strong").rows == [(1,)]


def test_what_history_does_not_tell_stays_unknown(world: World) -> None:
    """A change of settings leaves no pages behind; and history that was collected proves nothing."""
    world.interrupt(applies=True, size=10)
    with pytest.raises(OutcomeUnknown):
        world.db.change_settings({"history_days": 3})
    assert world.db.settings().history_days == 3


def test_a_loser_that_history_proved_leaves_no_object_behind(world: World) -> None:
    """What it uploaded is removed, as after any conflict."""
    world.interrupt(applies=False, size=10)
    transaction = world.db.transaction()
    transaction.execute("INSERT INTO t VALUES (randomblob(300000))")
    with pytest.raises(Conflict):
        transaction.commit()
    assert world.db.collect(dry_run=True, grace_ms=0).waiting == 0


@pytest.mark.parametrize("error", [Denied("no rights to read any more"), Corrupt("damaged"), Unavailable("away")])
def test_history_that_can_not_be_read_proves_nothing(world: World, error: VirkeError) -> None:
    """The swap was applied and its answer lost, many commits passed, and then objects can't be read: unknown."""
    blobs = store_of(world.db).blobs[Tier.KV]
    get = blobs.get

    def refuse(ranges: Sequence[Range]) -> list[bytes | Absent]:
        raise error

    def pass_by_and_refuse() -> None:
        world.pass_by(20_000)
        blobs.get = refuse  # type: ignore[method-assign]

    world.register.meanwhile = pass_by_and_refuse
    with pytest.raises(OutcomeUnknown):
        world.db.execute("INSERT INTO t VALUES (1)")
    blobs.get = get  # type: ignore[method-assign]
    assert reopen(store_of(world.db)).query("SELECT count(*) FROM t").rows == [(1,)]


def test_an_error_is_told_only_once_its_state_was_proved_to_be_the_newest(world: World) -> None:
    """Another process took away what stood in the way, and this one has not heard of it."""
    world.db.run_script("CREATE TABLE u (v UNIQUE); INSERT INTO u VALUES (1)")
    world.elsewhere.execute("DELETE FROM u")
    assert world.db.execute("INSERT INTO u VALUES (1)") == 1
    world.elsewhere.execute("DELETE FROM u")
    assert world.db.run("INSERT INTO u SELECT 2 WHERE NOT EXISTS (SELECT * FROM u)").rows_affected == 1
    world.elsewhere.execute("DELETE FROM u")
    assert world.db.run("DELETE FROM u").rows_affected == 0

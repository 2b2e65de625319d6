"""Eventual stores: reads that are behind, generations that nobody told, objects that are not shown yet."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from tests.engine.world import NAME, Clock, make, reopen
from virke.core.effects import Absent, Generation, Lost, ReadOutcome, SwapOutcome, Swapped, Tier
from virke.core.ids import DatabaseId
from virke.core.pins import root_key
from virke.core.ring import RING_LENGTH
from virke.engine.branch import Branch
from virke.engine.database import Database
from virke.errors import Corrupt, Denied, NotFound, OutcomeUnknown, SqlError, Unavailable
from virke.opening import connect, delete
from virke.stores.base import Blobs, Call, Consistency, Range, Register, Store
from virke.stores.counted import CountingStore
from virke.stores.faulty import At, Chances, FaultyStore, ReadStale
from virke.stores.memory import memory_store

WRITES = 30


class Untold:
    """A register whose swaps do not tell the new generation, as Fastly's KV store."""

    def __init__(self, inner: Register) -> None:
        self._inner = inner
        self.consistency = inner.consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        return self._inner.read(key, known)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        outcome = self._inner.swap(key, data, base)
        return Swapped(None) if isinstance(outcome, Swapped) else outcome

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        return self._inner.remove(key, base)

    def keys(self, prefix: str) -> Iterator[str]:
        return self._inner.keys(prefix)


class World:
    """A database on an eventual store that tells no generations, with faults to plan and requests to count."""

    def __init__(self, *plan: At, stale: float = 0.0, seed: int = 0) -> None:
        self.inner = memory_store()
        make(self.inner).close()
        self.faulty = FaultyStore(self.inner, plan, chances=Chances(read_stale=stale), seed=seed, eventual=True)
        store = self.faulty.store
        self.counts = CountingStore(Store(store.url, Untold(store.register), store.blobs))
        self.clock = Clock()

    def open(self) -> Database:
        """The database, as one more process sees it."""
        return reopen(self.counts.store, clock=self.clock)


def rows(database: Database) -> list[object]:
    return [value for (value,) in database.query("SELECT v FROM t ORDER BY v").rows]


@pytest.mark.parametrize("seed", range(8))
def test_a_process_always_sees_its_own_writes(seed: int) -> None:
    """Half of all reads of the root are behind: no write is lost or doubled, and every read shows all before it."""
    world = World(stale=0.5, seed=seed)
    with world.open() as database:
        database.execute("CREATE TABLE t (v)")
        for number in range(WRITES):
            database.execute("INSERT INTO t VALUES (?)", (number,))
            assert rows(database) == list(range(number + 1))
    assert rows(reopen(world.inner)) == list(range(WRITES))


@pytest.mark.parametrize("seed", range(8))
def test_two_writers_lose_nothing(seed: int) -> None:
    """Each write is there once, whoever was behind when it was made."""
    world = World(stale=0.4, seed=seed)
    with world.open() as one, world.open() as other:
        one.execute("CREATE TABLE t (v)")
        one.change_settings({"max_attempts": 100})
        for number in range(WRITES):
            (one, other)[number % 2].execute("INSERT INTO t VALUES (?)", (number,))
    assert rows(reopen(world.inner)) == list(range(WRITES))


def test_a_commit_writes_once_and_reads_the_generation_when_it_needs_it() -> None:
    """One swap each; one read of the root before the next."""
    world = World()
    with world.open() as database:
        database.execute("CREATE TABLE t (v)")
        world.counts.reset()
        for number in range(10):
            database.execute("INSERT INTO t VALUES (?)", (number,))
        assert world.counts.of(Call.SWAP).requests == 10
        assert world.counts.of(Call.READ).requests == 10
        world.counts.reset()
        assert rows(database) == list(range(10))
        assert world.counts.total.requests == 0


def test_a_strong_read_is_fenced_by_a_swap() -> None:
    """It sees what another process committed, although reads of the root are behind; it costs one write."""
    world = World(*(At(n, ReadStale(2), Call.READ) for n in range(2, 5)))
    with world.open() as reader:
        with reopen(world.inner) as other:
            other.execute("CREATE TABLE t (v)")
            other.execute("INSERT INTO t VALUES (1)")
        world.counts.reset()
        assert reader.query("SELECT v FROM t", consistency="strong").rows == [(1,)]
        before = reopen(world.inner).version
        assert reader.query("SELECT v FROM t", consistency="strong").rows == [(1,)]
        assert reopen(world.inner).version == before + 1


@pytest.mark.native
def test_strong_reads_at_once_share_a_fence_and_writers_go_on() -> None:
    """Eight readers ask while the first one's fence is under way: one more fence serves them all, no write conflicts."""
    world = World()
    with world.open() as database:
        database.execute("CREATE TABLE t (v)")
        before, begun, go_on = database.version, threading.Event(), threading.Event()
        register = world.counts.store.register
        swap = register.swap

        def slow(key: str, data: bytes, base: Generation | None) -> SwapOutcome:
            if not begun.is_set():
                begun.set()
                go_on.wait(10)
            world.clock.pass_s(0.01)
            return swap(key, data, base)

        register.swap = slow  # type: ignore[method-assign]
        work = [lambda: database.query("SELECT count(*) FROM t", consistency="strong")] * 8
        threads = [threading.Thread(target=one) for one in work]
        threads[0].start()
        begun.wait(10)
        for thread in threads[1:]:
            thread.start()
        writer = threading.Thread(target=lambda: database.execute("INSERT INTO t VALUES (1)"))
        writer.start()
        while database._committing.lead.locked() and len(database._writer.queue.waiting) < 1:
            threading.Event().wait(0.001)
        world.clock.pass_s(0.01)
        go_on.set()
        for thread in (*threads, writer):
            thread.join(30)
        assert database._writer.conflicts == 0
        assert database.version - before <= 4, "a fence for each reader"
        assert rows(database) == [1]


def test_fences_push_no_answer_out_of_the_ring() -> None:
    """However many strong reads come between: a repeated idempotency key gets the first answer."""
    world = World()
    with world.open() as database:
        database.execute("CREATE TABLE t (v)")
        database.execute("INSERT INTO t VALUES (1)", idempotency_key="once")
        for _ in range(RING_LENGTH + 5):
            database.query("SELECT 1", consistency="strong")
        assert database.execute("INSERT INTO t VALUES (1)", idempotency_key="once") == 1
        assert rows(database) == [1]


def test_a_database_created_anew_never_shows_the_one_before() -> None:
    """A read that is behind shows the deleted one of the same name: it is asked again, by the new one's handle too."""
    inner = memory_store()
    faulty = FaultyStore(inner, [At(n, ReadStale(2), Call.READ) for n in (6, 7, 10)], eventual=True)
    env = Clock().environment
    with connect("db", faulty.store, create=True, environment=env, background=False) as old:
        old.execute("CREATE TABLE old (v)")
    delete("db", faulty.store)
    with connect("db", faulty.store, create=True, environment=env, background=False) as new:
        assert new.query("SELECT count(*) FROM sqlite_schema").rows == [(0,)]
        new.execute("CREATE TABLE new (v)")
        for _ in range(4):
            assert new.query("SELECT name FROM sqlite_schema", consistency="strong").rows == [("new",)]


def test_an_error_is_only_told_of_the_newest_state() -> None:
    """A constraint that fails on a state that is behind, and not on the newest, is no error."""
    world = World(At(1, ReadStale(1), Call.READ), At(2, ReadStale(1), Call.READ))
    with reopen(world.inner) as other:
        other.execute("CREATE TABLE t (v UNIQUE)")
        other.execute("INSERT INTO t VALUES (1)")
        with world.open() as database:
            other.execute("DELETE FROM t")
            assert database.execute("INSERT INTO t VALUES (1)") == 1
            with pytest.raises(SqlError, match="UNIQUE"):
                database.execute("INSERT INTO t VALUES (1)")


def test_an_object_that_is_not_shown_yet_is_waited_for() -> None:
    """A segment that the root names may come later than the root; one that never comes is `Corrupt`, not sooner."""
    world = World()
    with world.open() as writer:
        writer.execute("CREATE TABLE t (v)")
        writer.execute("INSERT INTO t VALUES (randomblob(200000))")
    blobs = world.inner.blobs[Tier.KV]
    hidden = {item.key: data for item in blobs.list("") if isinstance(data := blobs.get([_whole(item.key)])[0], bytes)}
    blobs.delete(list(hidden))

    def late(after: int) -> Store:
        late_blobs: dict[Tier, Blobs] = {Tier.KV: Late(blobs, hidden, after=after)}  # type: ignore[dict-item]
        return Store("memory://", world.counts.store.register, late_blobs)

    with reopen(late(3), clock=world.clock) as database:
        assert database.query("SELECT length(v) FROM t").rows == [(200000,)]
    assert world.clock.slept
    blobs.delete(list(hidden))
    with pytest.raises(Corrupt, match="missing"):
        reopen(late(99), clock=Clock())


def _whole(key: str) -> Range:
    return Range(key)


class Late:
    """Blobs of an eventual store that show some objects only to the `after`-th question."""

    consistency, has_ranges, part_bytes_max = Consistency.EVENTUAL, True, 1 << 20

    def __init__(self, inner: Blobs, hidden: dict[str, bytes], *, after: int) -> None:
        self._inner, self._hidden, self._left = inner, hidden, after

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        self._left -= 1
        if not self._left:
            self._inner.put_all(list(self._hidden.items()))
        return self._inner.get(ranges)


def test_a_database_that_is_not_shown_any_more_is_looked_for_before_it_is_gone() -> None:
    """A read that shows what was before the creation does not end a process; a deletion does."""
    world = World(At(3, ReadStale(9), Call.READ))
    with world.open() as database:
        database.execute("CREATE TABLE t (v)")
        for _ in range(3):
            assert database.query("SELECT count(*) FROM t", consistency="bounded").rows == [(0,)]
            world.clock.pass_s(5)
        found = world.inner.register.read(root_key(NAME))
        world.inner.register.remove(root_key(NAME), found.generation)  # type: ignore[union-attr]
        world.clock.pass_s(5)
        with pytest.raises(NotFound):
            database.query("SELECT 1")


class Refusing:
    """A register that loses the answer to the first swap, and then says that the caller may not write."""

    def __init__(self, inner: Register, applies: bool) -> None:
        self._inner = inner
        self.consistency = inner.consistency
        self._answers: list[bool] = [applies]

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        if not self._answers:
            raise Denied("no rights to read any more")
        return self._inner.read(key, known)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        if self._answers and self._answers.pop():
            return Lost("no answer")
        raise Denied("no rights to write any more")


@pytest.mark.parametrize("first_is_lost", [True, False])
def test_a_refusal_after_a_lost_answer_is_no_verdict(first_is_lost: bool) -> None:
    """Rights that end between two sends: the first may be in history. Without a first one the refusal is the answer."""
    inner = memory_store()
    make(inner).close()
    store = Store(inner.url, Refusing(inner.register, first_is_lost), inner.blobs)  # type: ignore[arg-type]
    with (
        reopen(store, clock=Clock()) as database,
        pytest.raises(OutcomeUnknown if first_is_lost else Denied, match="rights"),
    ):
        database.execute("CREATE TABLE t (v)")


def test_a_fence_that_proves_nothing_is_unavailable() -> None:
    """All reads are behind: the strong read fails and says why, and no write is in doubt because of it."""
    world = World(stale=1.0)
    with world.open() as reader:
        with reopen(world.inner) as other:
            other.execute("CREATE TABLE t (v)")
        with pytest.raises(Unavailable, match="newest state"):
            reader.query("SELECT v FROM t", consistency="strong")


def test_a_store_that_never_shows_its_newest_state_is_unavailable() -> None:
    """The next commit has no generation to swap on: nothing is changed, and the reads of this process go on."""
    world = World(*(At(n, ReadStale(1), Call.READ) for n in range(2, 40)))
    with world.open() as database:
        database.execute("CREATE TABLE t (v)")
        with pytest.raises(Unavailable, match="newest state"):
            database.execute("INSERT INTO t VALUES (1)")
        assert rows(database) == []


def test_the_root_of_a_database_that_had_the_name_before_is_not_taken_for_the_one_that_was_created() -> None:
    """Until the store shows the new one, there is nothing to read."""
    store, clock = memory_store(), Clock()
    with make(store) as before:
        branch = Branch(store, before.name, clock.environment, database_id=DatabaseId(bytes(16)))
        with pytest.raises(NotFound):
            branch.refresh()
        assert Branch(store, before.name, clock.environment).refresh().root.head.version == before.version

"""P15: a long write gets through beside busy ones on a far store, and nobody waits longer for it than it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.virtual_time import CREATED_MS, FarRegister, VirtualTime
from tests.engine.world import NAME, Clock, make, reopen
from virke.core.change import change_without_pages, next_root
from virke.core.effects import PutOutcome, Record, Swapped
from virke.core.ids import CommitId
from virke.core.pins import root_key
from virke.core.root import Root, RootAt, decode_root, encode_root
from virke.core.turn import Turn
from virke.engine.database import Database
from virke.engine.sqlite import Extensions
from virke.errors import Conflict, SqlError, Unavailable
from virke.migrations import migrate
from virke.stores.base import Blobs, Store
from virke.stores.faulty import FaultyStore
from virke.stores.memory import memory_store

TRIP_S = 0.025
EVERY_S = 0.2
ROWS = 25
NAP_S = 0.2
PAUSES = 4
SLOW_SQL = (
    "UPDATE big SET a = (WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 200) "
    "SELECT count(*) FROM c) + nap()"
)
"""Enough steps for each row that SQLite looks at the request in between."""


class World:
    """A slow writer and two that write every 0.2 s, each as a process of its own, on a store without a line."""

    def __init__(self, rows: int = ROWS, **settings: str | int) -> None:
        self.inner = memory_store()
        self.time = VirtualTime()
        self.naps = 0
        self.part_s = 0.0
        self.waits: list[float] = []
        self.is_over = False
        with make(self.inner) as database:
            database.run_script("CREATE TABLE big (a); CREATE TABLE log (t INTEGER)")
            database.executemany("INSERT INTO big VALUES (?)", [(0,)] * rows)
            if settings:
                database.change_settings(settings)

    def open(self) -> Database:
        """The database as one more process sees it."""
        register = FarRegister(self.inner.register, self.time, TRIP_S)
        blobs = {tier: SlowBlobs(one, self.time, self.part_s) for tier, one in self.inner.blobs.items()}
        store = Store(self.inner.url, register, blobs if self.part_s else self.inner.blobs)  # type: ignore[arg-type]
        return Database(store, NAME, environment=self.time.environment(), on_connect=self._hook)

    def _hook(self, extensions: Extensions) -> None:
        extensions.add_function("nap", self._nap, arguments=0)

    def _nap(self) -> int:
        self.naps += 1
        self.time.sleep(NAP_S)
        return 0

    def busy(self) -> None:
        """Write every 0.2 s until the slow writer is done."""
        with self.open() as database:
            while not self.is_over:
                began_s = self.time.now_s
                database.execute("INSERT INTO log VALUES (1)")
                self.waits.append(self.time.now_s - began_s)
                self.time.sleep(EVERY_S)

    def slow(self, write: Callable[[Database], object]) -> Callable[[], None]:
        """The slow writer."""

        def act() -> None:
            try:
                self.time.sleep(1.0)
                with self.open() as database:
                    write(database)
            finally:
                self.is_over = True

        return act

    def run(self, write: Callable[[Database], object], busy: int = 2) -> None:
        """Run the slow write beside busy ones."""
        self.time.run(self.slow(write), *[self.busy] * busy)


def _import(world: World, seconds: float, storing_s: float = 0.0) -> Callable[[Database], object]:
    """What an import does: pages are made outside, while nothing but the clock goes on, and stored in `storing_s`."""

    def stored(pages: list[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        for page in pages:
            for _ in range(PAUSES):
                world.time.sleep(storing_s / len(pages) / PAUSES)
            yield page

    def write(database: Database) -> None:
        with database.long_write() as long:
            for _ in range(database.known_settings.max_attempts):
                base = long.snapshot()
                world.naps += 1
                for _ in range(int(seconds / NAP_S)):
                    world.time.sleep(NAP_S)
                    long.renew_if_due()
                try:
                    long.commit_pages(
                        base, page_size=base.page_size, page_count=base.page_count, pages=stored(list(base.pages()))
                    )
                except Conflict:
                    continue
                return

    return write


WRITES: dict[str, Callable[[Database], object]] = {
    "a statement": lambda database: database.execute(SLOW_SQL),
    "VACUUM": lambda database: database.run_script(f"VACUUM; {SLOW_SQL}"),
    "a transaction": lambda database: database.run_transaction(lambda tx: tx.execute(SLOW_SQL)),
}


@pytest.mark.native
@pytest.mark.parametrize("what", WRITES)
def test_a_write_of_five_seconds_lands_in_three_tries_beside_busy_writers(what: str) -> None:
    """Counted in runs of its SQL; nobody waits longer than it takes plus two seconds."""
    world = World()
    world.run(WRITES[what])
    assert world.naps <= 3 * ROWS
    assert max(world.waits) <= ROWS * NAP_S + 2
    assert len(world.waits) > 20


@pytest.mark.native
def test_an_import_of_five_seconds_lands_in_three_tries_beside_busy_writers() -> None:
    world = World()
    world.run(_import(world, 5.0))
    assert world.naps <= 3
    assert max(world.waits) <= 5 + 2


@pytest.mark.native
def test_a_migration_of_five_seconds_lands_in_three_tries_beside_busy_writers(tmp_path: Path) -> None:
    (tmp_path / "0001_slow.sql").write_text(f"{SLOW_SQL};")
    world = World()
    world.run(lambda database: migrate(database, tmp_path))
    assert world.naps <= 3 * ROWS
    assert max(world.waits) <= ROWS * NAP_S + 2


@pytest.mark.native
@pytest.mark.parametrize("what", ["a statement", "import"])
def test_a_write_of_a_minute_lands_too_by_renewing_its_turn(what: str) -> None:
    """With query_timeout_ms raised; its turn lasts for ten seconds at most."""
    world = World(300, query_timeout_ms=120_000)
    world.run(WRITES[what] if what in WRITES else _import(world, 60.0))
    assert world.naps <= (3 * 300 if what in WRITES else 3)
    assert max(world.waits) <= 60 + 2


class SlowBlobs:
    """Objects that take their time to be stored."""

    def __init__(self, inner: Blobs, time: VirtualTime, each_s: float) -> None:
        self._inner, self._time, self._each_s = inner, time, each_s

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        self._time.sleep(self._each_s * len(objects))
        return self._inner.put_all(objects)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


@pytest.mark.native
@pytest.mark.parametrize("what", ["a statement", "a transaction"])
def test_p15_a_write_whose_pages_take_longer_to_store_than_a_turn_lasts_lands_too(what: str) -> None:
    """Its turn is renewed between the parts; nobody waits longer for it than all of its tries take."""
    world = World(query_timeout_ms=120_000)

    def write(database: Database) -> None:
        sql = "INSERT INTO log SELECT randomblob(900000 + nap()) FROM big LIMIT 14"
        if what == "a statement":
            database.execute(sql)
        else:
            database.run_transaction(lambda transaction: transaction.execute(sql))

    world.part_s = 1.0
    world.run(write)
    assert world.naps <= 3 * (14 + 1)  # the first row alone is tried with short values first
    assert max(world.waits) <= 3 * 14 * (1.0 + NAP_S) + 2


@pytest.mark.native
@pytest.mark.parametrize("seconds", [0.2, 5.0])
def test_an_import_that_is_stored_for_longer_than_a_turn_lasts_lands_too(seconds: float) -> None:
    """It renews its turn while its pages are on their way; the root moves by that, and the upload goes on."""
    world = World(ROWS * 400, query_timeout_ms=120_000)
    world.run(_import(world, seconds, storing_s=40.0))
    assert world.naps <= 3
    assert max(world.waits) <= seconds + 40 + 2


@pytest.mark.native
def test_without_turns_it_would_lose_every_race(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they are for."""
    monkeypatch.setattr("virke.core.turntaking.LOSSES", 10**9)
    world = World(max_attempts=4)
    with pytest.raises(Conflict):
        world.run(WRITES["a statement"])


@pytest.mark.native
def test_several_slow_writers_and_a_busy_one_all_get_through() -> None:
    """Turns don't follow each other without a break: the busy one writes in between."""
    world = World()
    left = [3]

    def last(database: Database) -> None:
        database.execute(SLOW_SQL)
        left[0] -= 1

    def slow() -> None:
        with world.open() as database:
            last(database)
        world.is_over = not left[0]

    world.time.run(slow, slow, slow, world.busy)
    assert left == [0]
    assert max(world.waits) <= 3 * (ROWS * NAP_S + 2)


# One step at a time


def with_turn(
    store: Store, *, token: bytes = b"t" * 16, length_ms: int = 5000, written_ms: int = CREATED_MS, name: str = NAME
) -> Root:
    """Another process takes a turn."""
    record = store.register.read(root_key(name))
    assert isinstance(record, Record)
    root = decode_root(record.data, name)
    change = replace(change_without_pages(root, written_ms), turn=Turn(token, 1, length_ms, written_ms))
    new = next_root(root, CommitId(b"other" + bytes(11)), change)
    assert isinstance(store.register.swap(root_key(name), encode_root(new), record.generation), Swapped)
    return new


def now_of(store: Store) -> Root:
    record = store.register.read(root_key(NAME))
    assert isinstance(record, Record)
    return decode_root(record.data, NAME)


def _with_transaction(database: Database) -> None:
    with database.transaction() as transaction:
        transaction.execute("INSERT INTO t VALUES (2)")


def _by_pages(database: Database) -> None:
    base = database.snapshot()
    database.long_write().commit_pages(
        base, page_size=base.page_size, page_count=base.page_count, pages=[(1, base.page(1)), (2, base.page(2))]
    )


COMMITS: dict[str, Callable[[Database], object]] = {
    "a statement": lambda database: database.execute("INSERT INTO t VALUES (2)"),
    "a transaction": _with_transaction,
    "immediate": lambda database: database.transaction(immediate=True).rollback(),
    "settings": lambda database: database.change_settings({"history_days": 1}),
    "pages": _by_pages,
}


@pytest.mark.parametrize("what", COMMITS)
def test_nothing_commits_over_a_foreign_turn_before_it_is_over(what: str) -> None:
    """It was seen for its length by the own clock; then whoever commits removes it, and leaves a rest."""
    clock, store = Clock(), memory_store()
    database = make(Store(store.url, store.register, store.blobs), clock=clock)
    database.execute("CREATE TABLE t (n)")
    with_turn(store, written_ms=clock.now_ms)
    began_s = clock.monotonic_s
    COMMITS[what](database)
    assert 5.0 <= clock.monotonic_s - began_s <= 6.0
    if what != "immediate":
        assert (now_of(store).turn, now_of(store).rest_ms) == (None, 5000)


def test_a_turn_that_never_ends_is_waited_for_no_longer_than_a_request_may_take() -> None:
    """Its holder renews it again and again."""
    clock, store = Clock(), memory_store()
    database = make(Store(store.url, store.register, store.blobs), clock=clock)
    database.execute("CREATE TABLE t (n)")
    slept = clock.sleep
    token = iter(range(10**6))

    def sleep(seconds: float) -> None:
        slept(seconds)
        with_turn(store, token=next(token).to_bytes(16, "big"), written_ms=clock.now_ms)

    with_turn(store, written_ms=clock.now_ms)
    object.__setattr__(database._env, "sleep", sleep)
    began_s = clock.monotonic_s
    with pytest.raises(Unavailable, match="other writers have their turn"):
        database.execute("INSERT INTO t VALUES (1)")
    assert 29 <= clock.monotonic_s - began_s <= 31


def test_a_fence_leaves_a_turn_where_it_is_and_waits_for_nothing() -> None:
    """A `strong` read of an eventual store swaps the root, and its holder loses nothing by it."""
    clock, inner = Clock(), memory_store()
    store = FaultyStore(inner, eventual=True).store
    database = make(Store(store.url, store.register, store.blobs), clock=clock)
    database.execute("CREATE TABLE t (n)")
    before = with_turn(inner, written_ms=clock.now_ms)
    assert database.query("SELECT count(*) FROM t", consistency="strong").rows == [(0,)]
    after = now_of(inner)
    assert after.turn == before.turn is not None
    assert after.head.version > before.head.version
    assert clock.slept == []


def _run_twice(monkeypatch: pytest.MonkeyPatch, database: Database, meanwhile: Callable[[], object]) -> int:
    """How often a statement runs if something is committed between its SQL and its swap."""
    committing, runs = database._committing, 0
    real = committing.commit

    def overtaken(base: RootAt, *args: object, **named: object) -> object:
        monkeypatch.setattr(committing, "commit", real)
        meanwhile()
        return real(base, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(committing, "commit", overtaken)
    ran = database._writer._run_all

    def counted(*args: object, **named: object) -> object:
        nonlocal runs
        runs += 1
        return ran(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(database._writer, "_run_all", counted)
    database.execute("INSERT INTO t VALUES (1)")
    return runs


def test_a_race_lost_to_the_same_pages_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings came first: the pages are planned again. Another row came first: the SQL is run again."""
    store = memory_store()
    database = make(store)
    database.execute("CREATE TABLE t (n)")
    other = reopen(store)
    assert _run_twice(monkeypatch, database, lambda: other.change_settings({"history_days": 1})) == 1
    assert _run_twice(monkeypatch, database, lambda: other.execute("INSERT INTO t VALUES (2)")) == 2
    assert database.query("SELECT count(*) FROM t").rows == [(3,)]


def test_a_statement_that_fails_gives_its_turn_back() -> None:
    """The others need not wait for its end; and so does a transaction that is rolled back."""
    clock, store = Clock(), memory_store()
    database = make(Store(store.url, store.register, store.blobs), clock=clock)
    database.execute("CREATE TABLE t (n UNIQUE)")
    committing = database._committing
    committing.turns.lost_s = 5.0
    transaction = database.transaction(immediate=True)
    assert now_of(store).turn is not None
    transaction.rollback()
    assert now_of(store).turn is None
    assert now_of(store).rest_ms >= 200
    claim = committing.claim
    clock.pass_s(1)
    committing.claim = lambda **named: claim(**{**named, "losses": 2})  # type: ignore[method-assign]
    with pytest.raises(SqlError, match="UNIQUE"):
        database.execute("INSERT INTO t VALUES (1), (1)")
    assert now_of(store).turn is None


def test_a_lost_interactive_transaction_takes_a_turn_with_its_next_try() -> None:
    """BEGIN IMMEDIATE after a Conflict, by hand: the second try lands."""
    store = memory_store()
    database, other = make(Store(store.url, store.register, store.blobs)), reopen(store)
    database.execute("CREATE TABLE t (n)")
    lost = database.transaction(immediate=True)
    lost.execute("INSERT INTO t VALUES (1)")
    other.execute("INSERT INTO t VALUES (2)")
    with pytest.raises(Conflict):
        lost.commit()
    with database.transaction(immediate=True) as transaction:
        turn = now_of(store).turn
        assert turn is not None
        transaction.execute("INSERT INTO t VALUES (1)")
    assert now_of(store).turn is None
    assert now_of(store).rest_ms >= 200
    with database.transaction(immediate=True) as transaction:
        assert now_of(store).turn is None


@pytest.mark.parametrize("moves_pages", [True, False], ids=["a commit", "a turn"])
def test_a_stream_of_pages_goes_on_over_a_turn_and_ends_at_once_over_a_commit(moves_pages: bool) -> None:
    """What is stored for nothing is not stored to its end."""
    store = memory_store()
    database, other = make(store), reopen(store)
    database.run_script("CREATE TABLE t (n); CREATE TABLE u (n)")
    base, sent = database.snapshot(), list[int]()

    def pages() -> Iterator[tuple[int, bytes]]:
        for number, data in base.pages():
            if number == 2:
                if moves_pages:
                    other.execute("INSERT INTO t VALUES (1)")
                else:
                    other.transaction(immediate=True).rollback()
                    with_turn(store, written_ms=0)
                database.query("SELECT 1", consistency="strong")
            sent.append(number)
            yield number, data

    def commit() -> int:
        return database.long_write().commit_pages(
            base, page_size=base.page_size, page_count=base.page_count, pages=pages()
        )

    if moves_pages:
        with pytest.raises(Conflict):
            commit()
        assert database.query("SELECT n FROM t").rows == [(1,)]
    else:
        assert commit() == now_of(store).head.version > base.version + 1
        assert database.query("SELECT n FROM t").rows == []
    assert sent == ([1, 2] if moves_pages else [1, 2, 3])

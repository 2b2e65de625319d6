"""Group commit: what arrives while a swap is in flight becomes the next commit, and each request has its own outcome."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Final

import pytest

from tests.engine.passing import PassingRegister
from tests.engine.world import Clock, make, reopen, store_of
from virke.core.commit import SENDS
from virke.core.effects import Generation, SwapOutcome
from virke.engine.database import Database
from virke.engine.programs import Program, Step
from virke.engine.queue import Pending
from virke.errors import Conflict, Denied, Invalid, SqlError, TooLarge, Unavailable, VirkeError
from virke.stores.base import Call, Register, Store
from virke.stores.counted import CountingStore
from virke.stores.faulty import At, FaultyStore, Refuse
from virke.stores.memory import memory_store

WAIT_S: Final = 60


class GatedRegister(PassingRegister):
    """A register whose swaps wait until the gate is open; says when the first one waits."""

    def __init__(self, inner: Register) -> None:
        super().__init__(inner)
        self.gate = threading.Event()
        self.gate.set()
        self.swaps_left = 1 << 30
        self.waiting = threading.Event()

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        self.waiting.set()
        assert self.gate.wait(WAIT_S)
        self.swaps_left -= 1
        if self.swaps_left < 0:
            raise Unavailable("the store is out of order")
        return self._inner.swap(key, data, base)


class Queue(list[Pending]):
    """The writer's queue, with a count of those who came."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Semaphore(0)

    def append(self, write: Pending) -> None:
        super().append(write)
        self.arrived.release()


class Gated:
    """A database behind a gate: what is called while the first swap waits becomes one group."""

    def __init__(self) -> None:
        inner = memory_store()
        self.register = GatedRegister(inner.register)
        self.counts = CountingStore(Store(inner.url, self.register, inner.blobs))
        self.db = make(self.counts.store, clock=Clock())
        self.db.run_script("CREATE TABLE t (n UNIQUE); CREATE TABLE p (id PRIMARY KEY)")
        self.counts.reset()

    def group(self, *works: Callable[[], object]) -> list[object]:
        """Outcomes of `works`, committed as one group."""
        self.register.gate.clear()
        self.register.waiting.clear()
        with concurrent.futures.ThreadPoolExecutor(len(works) + 1) as pool:
            first = pool.submit(self.db.execute, "INSERT INTO t VALUES (NULL)")
            assert self.register.waiting.wait(WAIT_S)
            queue = self.db._writer.queue.waiting = Queue()
            futures = [pool.submit(_outcome, work) for work in works]
            for _ in works:
                assert queue.arrived.acquire(timeout=WAIT_S)
            self.register.gate.set()
            assert first.result(WAIT_S) == 1
            return [future.result(WAIT_S) for future in futures]

    def swaps(self) -> int:
        made = self.counts.of(Call.SWAP).requests
        self.counts.reset()
        return made


def _outcome(work: Callable[[], object]) -> object:
    try:
        return work()
    except VirkeError as error:
        return type(error)


@pytest.fixture
def gated() -> Gated:
    return Gated()


def pending(sql: str) -> Pending:
    return Pending(Program((Step(sql),), 0))


def numbers(db: Database) -> list[object]:
    return [row[0] for row in db.query("SELECT n FROM t WHERE n IS NOT NULL ORDER BY n").rows]


@pytest.mark.native
def test_what_waits_while_a_swap_is_in_flight_is_one_commit(gated: Gated) -> None:
    """Each request has its own result or error; the good ones are all in."""
    db = gated.db
    outcomes = gated.group(
        lambda: db.execute("INSERT INTO t VALUES (1), (2)"),
        lambda: db.execute("INSERT INTO missing VALUES (1)"),
        lambda: db.batch(["INSERT INTO t VALUES (3)", "INSERT INTO t VALUES (3)"]),
        lambda: db.run("INSERT INTO t VALUES (4) RETURNING n * 10").rows,
        lambda: db.execute("BEGIN"),
        lambda: db.execute("INSERT INTO t VALUES (?)", (5, 6)),
        lambda: db.execute("RELEASE virke_request"),
        lambda: db.executemany("INSERT INTO t VALUES (?)", [(7,), (8,)]),
    )
    assert outcomes == [2, SqlError, SqlError, [(40,)], Denied, Invalid, Denied, 2]
    assert gated.swaps() == 2
    assert numbers(db) == [1, 2, 4, 7, 8]


@pytest.mark.native
@pytest.mark.parametrize("ends", ["INSERT OR ROLLBACK INTO t VALUES (1)", "INSERT INTO t VALUES (99)"])
def test_a_rollback_by_one_request_of_a_group_is_its_own(gated: Gated, ends: str) -> None:
    """SQLite undoes the whole transaction, in which the others' work was; they still get what they did."""
    db = gated.db
    db.run_script(
        "INSERT INTO t VALUES (1);"
        "CREATE TRIGGER g BEFORE INSERT ON t WHEN new.n = 99 BEGIN SELECT RAISE(ROLLBACK, 'no'); END;"
    )
    outcomes = gated.group(
        lambda: db.execute("INSERT INTO t VALUES (2)"),
        lambda: db.execute(ends),
        lambda: db.execute("INSERT INTO t VALUES (3)"),
    )
    assert outcomes == [1, SqlError, 1]
    assert numbers(db) == [1, 2, 3]


@pytest.mark.native
def test_a_deferred_constraint_fails_its_own_request_of_a_group(gated: Gated) -> None:
    """COMMIT says that somebody broke it, not who: each is tried alone."""
    db = gated.db
    db.execute("CREATE TABLE c (p REFERENCES p DEFERRABLE INITIALLY DEFERRED)")
    db.execute("PRAGMA foreign_keys = ON")
    outcomes = gated.group(
        lambda: db.execute("INSERT INTO t VALUES (1)"),
        lambda: db.execute("INSERT INTO c VALUES (1)"),
        lambda: db.batch(["INSERT INTO c VALUES (2)", "INSERT INTO p VALUES (2)"])[0].rows_affected,
    )
    assert outcomes == [1, SqlError, 1]
    assert (numbers(db), db.query("SELECT p FROM c").rows) == ([1], [(2,)])


def test_what_is_too_large_only_when_sqlite_writes_fails_its_own_request_of_a_group() -> None:
    """SQLite may keep the pages of a transaction in its cache until COMMIT."""
    database = make()
    database.execute("CREATE TABLE t (a)")
    connection = database._writer.connections.usual
    assert connection is not None
    connection.file.overlay_bytes_max = 1 << 20
    writes = [pending(f"INSERT INTO t VALUES (zeroblob({size}))") for size in (1, 2 << 20, 2)]
    with database._committing.lead:
        database._writer.commit(writes)
    assert [type(write.error) for write in writes] == [type(None), TooLarge, type(None)]
    seen = reopen(store_of(database))
    assert seen.query("SELECT length(a) FROM t").rows == [(1,), (2,)]
    assert seen.query("PRAGMA integrity_check").rows == [("ok",)]


def test_what_is_too_large_only_together_is_committed_one_by_one() -> None:
    database = make()
    database.execute("CREATE TABLE t (a)")
    connection = database._writer.connections.usual
    assert connection is not None
    connection.file.overlay_bytes_max = 20 << 20
    writes = [pending("INSERT INTO t VALUES (randomblob(12000000))") for _ in range(3)]
    with database._committing.lead:
        database._writer.commit(writes)
    assert [write.error for write in writes] == [None] * 3
    assert reopen(store_of(database)).query("SELECT count(*), sum(length(a)) FROM t").rows == [(3, 36_000_000)]


@pytest.mark.native
def test_vacuum_and_pragmas_wait_in_line_with_the_others(gated: Gated) -> None:
    db = gated.db
    outcomes = gated.group(
        lambda: db.execute("INSERT INTO t VALUES (1)"),
        lambda: db.execute("VACUUM"),
        lambda: db.run("PRAGMA user_version").rows,
        lambda: db.execute("INSERT INTO t VALUES (2)"),
    )
    assert outcomes == [1, 0, [(0,)], 1]
    assert numbers(db) == [1, 2]


@pytest.mark.native
def test_a_store_that_fails_half_way_through_a_group_takes_no_answer_back(gated: Gated) -> None:
    """Written one by one, what was committed is answered; the rest is surely not in history, and is told so."""
    db = gated.db
    gated.register.swaps_left = 2
    outcomes = gated.group(
        lambda: db.execute("INSERT INTO t VALUES (1)"),
        lambda: db.execute("VACUUM"),
        lambda: db.execute("INSERT INTO t VALUES (2)"),
    )
    assert sorted(map(str, outcomes)) == sorted(map(str, [1, Unavailable, Unavailable]))
    gated.register.swaps_left = 1 << 30
    assert len(numbers(db)) == 1
    assert db.execute("INSERT INTO t VALUES (3)") == 1


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_no_write_is_applied_after_one_before_it_failed(failing: int) -> None:
    """The store refuses one commit of several and works again at once: later writes in the queue may depend on that one."""
    inner = memory_store()
    make(inner).run_script("CREATE TABLE t (n UNIQUE)")
    refused = [At(failing + again, Refuse(), Call.SWAP) for again in range(SENDS)]
    db = reopen(FaultyStore(inner, refused).store, clock=Clock())
    writes = [
        pending(sql) for sql in ("INSERT INTO t VALUES (1)", "PRAGMA user_version = 7", "INSERT INTO t VALUES (3)")
    ]
    with db._committing.lead:
        db._writer.commit(writes)
    kinds = [write.error and write.error.kind for write in writes]
    assert kinds == [None] * (failing - 1) + ["unavailable"] * (4 - failing)
    seen = reopen(inner)
    assert numbers(seen) == ([1] if failing > 1 else [])
    assert seen.query("PRAGMA user_version").rows == [(7 if failing == 3 else 0,)]


@pytest.mark.native
def test_modes_and_temporary_tables_of_one_request_do_not_reach_its_group(gated: Gated) -> None:
    db = gated.db
    db.execute("CREATE TABLE k (n CHECK (n > 0))")
    outcomes = gated.group(
        lambda: len(db.batch(["PRAGMA ignore_check_constraints = 1", "CREATE TEMP TABLE x (n)"])),
        lambda: db.execute("INSERT INTO k VALUES (-1)"),
        lambda: db.execute("INSERT INTO x VALUES (1)"),
    )
    assert outcomes == [2, SqlError, SqlError]


@pytest.mark.native
def test_an_idempotency_key_used_twice_in_a_group_is_applied_once(gated: Gated) -> None:
    db = gated.db
    outcomes = gated.group(
        *[lambda: db.execute("INSERT INTO t VALUES (1)", idempotency_key="a") for _ in range(3)],
        lambda: db.execute("INSERT INTO t VALUES (2)", idempotency_key="b"),
    )
    assert outcomes == [1, 1, 1, 1]
    assert db.execute("INSERT INTO t VALUES (1)", idempotency_key="a") == 1
    assert numbers(db) == [1, 2]


def test_of_transactions_on_one_base_the_first_commit_wins(gated: Gated) -> None:
    """A call that commits in between makes a transaction a `Conflict`; the call itself is never one."""
    db = gated.db
    one, two = db.transaction(), db.transaction()
    one.execute("INSERT INTO t VALUES (1)")
    two.execute("INSERT INTO t VALUES (1)")
    assert db.execute("INSERT INTO p VALUES (1)") == 1
    with pytest.raises(Conflict):
        one.commit()
    with pytest.raises(Conflict):
        two.commit()
    with db.transaction() as again:
        again.execute("INSERT INTO t VALUES (3)")
    assert numbers(db) == [3]


def test_a_transaction_that_many_commits_passed_is_a_conflict(gated: Gated) -> None:
    """More than the ring remembers: it was never sent, so nothing is unknown."""
    db, elsewhere = gated.db, reopen(store_of(gated.db))
    for passing in (db, elsewhere):
        transaction = db.transaction()
        transaction.execute("INSERT INTO t VALUES (1)")
        for n in range(70):
            passing.execute("INSERT INTO p VALUES (?)", (f"{n} {passing is db}",))
        db._env.sleep(2)
        with pytest.raises(Conflict):
            transaction.commit()
    assert numbers(db) == []


@pytest.mark.native
def test_p13_what_a_callback_raises_is_not_the_answer_to_the_write_that_led(gated: Gated) -> None:
    """The leader's own write is committed: an error in its place would have it run again."""
    told: list[object] = []

    def fails(_: Pending) -> None:
        raise RuntimeError("the event loop is closed")

    def enqueue(sql: str, on_done: Callable[[Pending], object]) -> None:
        write = pending(sql)
        write.on_done = on_done  # type: ignore[assignment]
        assert not gated.db._writer.queue.enqueue(write)

    outcomes = gated.group(
        lambda: enqueue("INSERT INTO t VALUES (1)", fails),
        lambda: gated.db.execute("INSERT INTO t VALUES (2)"),
        lambda: enqueue("INSERT INTO t VALUES (3)", lambda one: told.append(one.answers is not None)),
    )
    assert outcomes == [None, 1, None]
    assert told == [True]
    assert numbers(gated.db) == [1, 2, 3]


def test_what_one_caller_of_a_group_showed_the_others_do_not_show_again(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first shows the new state and looks what became due; a write by another process is looked for as before."""
    db, freshness = gated.db, gated.db._freshness
    db.execute("INSERT INTO t VALUES (1)")
    shown = freshness.shown
    made: list[object] = []
    newest = freshness._newest

    def counted() -> object:
        made.append(1)
        return newest()

    monkeypatch.setattr(freshness, "_newest", counted)
    for _ in range(3):
        db._parts.after_commit()
    assert (made, freshness.shown) == ([], shown)
    freshness.expire()
    db._parts.after_commit()
    assert len(made) == 1
    db.execute("INSERT INTO t VALUES (2)")
    assert (len(made), numbers(db)) == (2, [1, 2])

"""Many threads on one database: every write is counted once, every read is of one version, each caller has its own answer."""

from __future__ import annotations

import concurrent.futures
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.engine.world import dump_of, make, reopen, store_of
from virke.engine import sqlite
from virke.engine.database import Database
from virke.errors import Conflict, Invalid, VirkeError
from virke.stores.counted import CountingStore
from virke.stores.memory import memory_store

THREADS: Final = 8
WAIT_S: Final = 60


@pytest.fixture(autouse=True)
def _eager_switches() -> Iterator[None]:
    """Threads take turns often, so that a race that can happen does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def run_all(*works: Callable[[], object]) -> list[object]:
    """Run each in a thread of its own, all at once; an exception is a result."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> object:
        start.wait(WAIT_S)
        try:
            return work()
        except VirkeError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(len(works)) as pool:
        return [future.result(WAIT_S) for future in [pool.submit(run, work) for work in works]]


def numbers(db: Database) -> list[object]:
    return [row[0] for row in db.query("SELECT n FROM t WHERE n IS NOT NULL ORDER BY n").rows]


@pytest.mark.native
def test_mixed_reads_and_writes_lose_nothing_and_see_whole_versions() -> None:
    """Transfers keep a sum; each thread sees its own writes; results name the version that they show."""
    counts = CountingStore(memory_store())
    db = make(counts.store)
    db.run_script("CREATE TABLE a (id INTEGER PRIMARY KEY, v); CREATE TABLE log (thread, n)")
    db.executemany("INSERT INTO a VALUES (?, 100)", [(n,) for n in range(10)])
    states: dict[int, set[object]] = {}

    def work(thread: int) -> None:
        version = 0
        for n in range(30):
            move = "UPDATE a SET v = v + ? WHERE id = ?"
            db.batch([(move, (1, thread)), (move, (-1, 9)), ("INSERT INTO log VALUES (?, ?)", (thread, n))])
            mine = db.query("SELECT count(*) FROM log WHERE thread = ?", (thread,))
            seen = db.query("SELECT sum(v) FROM a")
            total = db.query("SELECT count(*) FROM log")
            assert mine.rows == [(n + 1,)]
            assert seen.rows == [(1000,)]
            states.setdefault(total.version, set()).add(total.rows[0][0])
            assert version <= mine.version <= seen.version <= total.version
            version = total.version

    outcomes = run_all(*[lambda thread=thread: work(thread) for thread in range(THREADS)])
    assert outcomes == [None] * THREADS
    assert all(len(counted) == 1 for counted in states.values())
    assert db.query("SELECT count(*), count(DISTINCT thread * 100 + n) FROM log").rows == [(THREADS * 30,) * 2]
    assert "log" in str(dump_of(db.snapshot()))
    assert dump_of(reopen(store_of(db)).snapshot()) == dump_of(db.snapshot())


@pytest.mark.native
def test_transactions_and_calls_at_once_lose_only_what_is_a_conflict() -> None:
    """What was answered is there exactly once; every `Conflict` is a write that is not."""
    db = make()
    db.execute("CREATE TABLE t (n UNIQUE)")

    def call(thread: int) -> list[int]:
        return [n for n in range(thread * 100, thread * 100 + 25) if db.execute("INSERT INTO t VALUES (?)", (n,))]

    def transact(thread: int) -> list[int]:
        done = []
        for n in range(thread * 100, thread * 100 + 25):
            try:
                with db.transaction() as transaction:
                    transaction.execute("INSERT INTO t VALUES (?)", (n,))
            except Conflict:
                continue
            done.append(n)
        return done

    works = [lambda t=t: (call if t % 2 else transact)(t) for t in range(THREADS)]
    answered = [n for outcome in run_all(*works) for n in outcome]  # type: ignore[attr-defined]
    assert numbers(db) == sorted(answered)
    assert len(answered) >= THREADS // 2 * 25


@pytest.mark.native
def test_many_databases_in_one_process_do_not_meet() -> None:
    """Their connections, clocks and files are their own."""

    def work(number: int) -> object:
        db = make()
        db.execute("CREATE TABLE t (n)")
        for _ in range(20):
            db.execute("INSERT INTO t VALUES (?)", (number,))
        return db.query("SELECT DISTINCT n, count(*) FROM t").rows

    found = run_all(*[lambda number=number: work(number) for number in range(THREADS)])
    assert found == [[(number, 20)] for number in range(THREADS)]


@pytest.mark.native
def test_closing_while_others_work_gives_clear_errors() -> None:
    """Each call is answered or says that the database is closed; answered writes are kept."""
    db = make()
    db.execute("CREATE TABLE t (n UNIQUE)")
    store, answered, started = store_of(db), list[int](), threading.Semaphore(0)

    def work(thread: int) -> None:
        for n in range(thread * 10_000, thread * 10_000 + 10_000):
            db.execute("INSERT INTO t VALUES (?)", (n,))
            answered.append(n)
            db.query("SELECT max(n) FROM t")
            started.release()

    def close() -> None:
        for _ in range(40):
            assert started.acquire(timeout=WAIT_S)
        db.close()

    works = [lambda t=t: work(t) for t in range(4)]
    *outcomes, closed = run_all(*works, close)
    assert closed is None
    assert {(type(error), "closed" in str(error)) for error in outcomes} == {(Invalid, True)}
    assert set(answered) <= set(numbers(reopen(store)))
    db.close()
    for call in (db.query, db.execute, db.run_script, lambda sql: db.transaction()):
        with pytest.raises(Invalid, match="closed"):
            call("SELECT 1")
    assert db._readers.idle == []


def test_a_reader_that_is_lent_while_the_database_is_closed_is_closed_when_it_comes_back() -> None:
    db = make()
    assert db.query("SELECT 1").rows == [(1,)]
    lent = db._readers.idle.pop()
    db.close()
    db._readers.give_back(lent)
    assert db._readers.idle == []
    with pytest.raises(sqlite.Error):
        lent.connection.raw.total_changes()


def test_a_transaction_outlives_the_closing_of_its_database() -> None:
    """It is its own connection: it still commits or is rolled back, and nothing is left open."""
    db = make()
    db.execute("CREATE TABLE t (n)")
    kept, dropped = db.transaction(), db.transaction()
    for transaction in (kept, dropped):
        transaction.execute("INSERT INTO t VALUES (1)")
    db.close()
    dropped.rollback()
    kept.commit()
    assert numbers(reopen(store_of(db))) == [1]


def test_a_reader_that_was_lent_while_foreign_keys_changed_reports_the_new_mode() -> None:
    database = make()
    database.query("PRAGMA foreign_keys")
    for mode in (1, 0, 1):
        with database.query_rows("SELECT 1 UNION SELECT 2") as rows:
            next(rows)
            database.query(f"PRAGMA foreign_keys = {mode}")
        assert database.query("PRAGMA foreign_keys").rows == [(mode,)]
        assert database.query("SELECT foreign_keys FROM pragma_foreign_keys").rows == [(mode,)]

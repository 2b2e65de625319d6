"""Interactive transactions: they line up instead of losing, and a write past one of them is an error at that line."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable

import pytest

from tests.engine.world import make, reopen, store_of
from virke.engine.database import Database
from virke.engine.transaction import Transaction
from virke.errors import Conflict, Invalid, SqlError

WAIT_S = 60


@pytest.fixture
def counter() -> Database:
    db = make()
    db.run_script("CREATE TABLE t (n); INSERT INTO t VALUES (0)")
    return db


@pytest.mark.native
def test_transactions_of_many_threads_that_read_before_they_write_all_get_through(counter: Database) -> None:
    """No Conflict, and no update lost."""

    def work() -> None:
        for _ in range(25):
            with counter.transaction() as tx:
                found = tx.query("SELECT n FROM t").rows[0][0]
                assert isinstance(found, int)
                tx.execute("UPDATE t SET n = ?", (found + 1,))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(work) for _ in range(8)]:
            future.result(WAIT_S)
    assert counter.query("SELECT n FROM t").rows == [(200,)]
    assert counter.status().conflicts == 0


@pytest.mark.native
def test_a_transaction_that_writes_delays_single_writes_and_fails_none(counter: Database) -> None:
    """They wait for its end, and are in history after it."""
    done = threading.Event()

    def write() -> None:
        counter.execute("UPDATE t SET n = n * 10")
        done.set()

    with counter.transaction() as tx:
        tx.execute("UPDATE t SET n = n + 1")
        thread = threading.Thread(target=write)
        thread.start()
        assert not done.wait(0.2)
        tx.execute("UPDATE t SET n = n + 1")
    thread.join(WAIT_S)
    assert counter.query("SELECT n FROM t").rows == [(20,)]
    assert counter.status().conflicts == 0


@pytest.mark.native
def test_waiting_for_a_transaction_that_does_not_end_is_bounded(counter: Database) -> None:
    """After `query_timeout_ms` the write goes on without a place; then it is the transaction that loses."""
    counter.change_settings({"query_timeout_ms": 100})
    tx = counter.transaction(immediate=True)
    thread = threading.Thread(target=lambda: counter.execute("UPDATE t SET n = 5"))
    thread.start()
    thread.join(WAIT_S)
    tx.execute("UPDATE t SET n = 6")
    with pytest.raises(Conflict, match="run_transaction does that"):
        tx.commit()
    assert counter.query("SELECT n FROM t").rows == [(5,)]


@pytest.mark.native
def test_a_transaction_that_only_reads_waits_for_no_one_and_sees_one_version(counter: Database) -> None:
    with counter.transaction() as writing:
        writing.execute("UPDATE t SET n = 1")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            reading = pool.submit(counter.transaction, read_only=True).result(WAIT_S)
        assert reading.query("SELECT n FROM t").rows == [(0,)]
    counter.execute("UPDATE t SET n = 2")
    assert reading.query("SELECT n FROM t").rows == [(0,)]
    assert reading.commit() == reading.version < counter.version


def test_a_write_past_an_open_transaction_is_an_error_at_that_line(counter: Database) -> None:
    """It would make the transaction lose, each time; other threads and other databases are free to write."""
    other = make()
    with counter.transaction() as tx:
        tx.execute("UPDATE t SET n = 1")
        calls: list[Callable[[], object]] = [
            lambda: counter.execute("UPDATE t SET n = 2"),
            lambda: counter.query("UPDATE t SET n = 2 RETURNING n"),
            lambda: counter.batch(["UPDATE t SET n = 2"]),
            lambda: counter.change_settings({"max_attempts": 3}),
        ]
        for call in calls:
            with pytest.raises(Invalid, match="a transaction is open here"):
                call()
        other.execute("CREATE TABLE t (n)")
        assert counter.query("SELECT n FROM t").rows == [(0,)]
    counter.execute("UPDATE t SET n = n + 1")
    assert counter.query("SELECT n FROM t").rows == [(2,)]
    with counter.transaction(read_only=True):
        counter.execute("UPDATE t SET n = 3")


def test_run_transaction_runs_again_after_a_lost_race(counter: Database) -> None:
    """With the newest state, until it is committed; its result is that of the run that counts."""
    rival, runs = reopen(store_of(counter)), []

    def add(tx: Transaction) -> object:
        found = tx.query("SELECT n FROM t").rows[0][0]
        assert isinstance(found, int)
        runs.append(found)
        if len(runs) == 1:
            rival.execute("UPDATE t SET n = 10")
        tx.execute("UPDATE t SET n = ?", (found + 1,))
        return found

    assert counter.run_transaction(add) == 10
    assert runs == [0, 10]
    assert counter.query("SELECT n FROM t").rows == [(11,)]


def test_run_transaction_raises_what_its_function_raises(counter: Database) -> None:
    """At once; nothing is committed."""

    def fail(tx: Transaction) -> None:
        tx.execute("UPDATE t SET n = 1")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        counter.run_transaction(fail)
    assert counter.query("SELECT n FROM t").rows == [(0,)]


def test_a_transaction_has_executemany_batch_and_describe(counter: Database) -> None:
    """A batch that fails leaves nothing, and the transaction goes on."""
    with counter.transaction() as tx:
        assert tx.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)]) == 2
        assert tx.executemany("INSERT INTO t VALUES (?)", []) == 0
        results = tx.batch(["DELETE FROM t WHERE n = 1", ("SELECT n FROM t WHERE n > ?", (0,))])
        assert [(one.rows_affected, one.rows) for one in results] == [(1, []), (0, [(2,)])]
        with pytest.raises(SqlError):
            tx.batch(["DELETE FROM t", "no SQL"])
        tx.execute("CREATE TABLE u (a TEXT)")
        assert [column.decltype for column in tx.describe("SELECT a FROM u").columns] == ["TEXT"]
        assert not tx.describe("DELETE FROM u").read_only
    assert counter.query("SELECT n FROM t ORDER BY n").rows == [(0,), (2,)]


def test_an_interrupted_transaction_never_ends_what_its_connection_runs_later(counter: Database) -> None:
    tx = counter.transaction(read_only=True)
    tx.query("SELECT 1")
    tx.rollback()
    tx.interrupt()
    with counter.transaction(read_only=True) as next_one:
        assert next_one.query("SELECT n FROM t").rows == [(0,)]

"""What a driver asks of the engine: rows within a transaction, a time to wait for it, functions on connections that are open."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

import virke
from virke.engine.sqlite import SqlValue
from virke.errors import Busy, Denied, Invalid, SqlError

COUNT = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 1000) SELECT n FROM c"


@pytest.fixture
def db() -> virke.Database:
    made = virke.connect("db", "memory://", create=True)
    made.run_script("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), (3)")
    return made


def test_rows_of_a_transaction_come_in_parts_and_see_its_writes(db: virke.Database) -> None:
    with db.transaction() as tx:
        tx.execute("INSERT INTO t VALUES (4)")
        rows, others = tx.query_rows("SELECT a FROM t ORDER BY a"), tx.query_rows(COUNT)
        assert (rows.take(2), others.take(3)) == ([(1,), (2,)], [(1,), (2,), (3,)])
        tx.execute("UPDATE t SET a = a + 10 WHERE a < 3")
        with pytest.raises(SqlError):
            tx.execute("INSERT INTO nowhere VALUES (1)")
        assert (rows.take(10), len(list(others))) == ([(3,), (4,)], 997)
        with pytest.raises(Denied, match="statements that read"):
            tx.query_rows("DELETE FROM t")


@pytest.mark.parametrize("end", [virke.Transaction.commit, virke.Transaction.rollback])
def test_rows_that_were_not_read_before_the_end_of_their_transaction_say_so(
    db: virke.Database, end: Callable[[virke.Transaction], object]
) -> None:
    """They are never a shorter result."""
    tx = db.transaction()
    cut, whole = tx.query_rows("SELECT a FROM t"), tx.query_rows("SELECT 1")
    assert (next(cut), list(whole)) == ((1,), [(1,)])
    end(tx)
    assert list(whole) == []
    with pytest.raises(Invalid, match="before all of these rows were read"):
        next(cut)
    assert db.query("SELECT count(*) FROM t").rows == [(3,)]


def test_temporary_tables_outlive_the_rows_that_were_read_of_them(db: virke.Database) -> None:
    with db.transaction() as tx:
        tx.execute("CREATE TEMP TABLE seen (a)")
        assert list(tx.query_rows("SELECT a FROM seen")) == []
        tx.execute("INSERT INTO seen VALUES (1)")
        assert list(tx.query_rows("SELECT a FROM seen")) == [(1,)]


@pytest.mark.native
def test_a_transaction_that_is_not_first_in_time_is_busy_and_one_that_is_goes_on(db: virke.Database) -> None:
    found: list[object] = []

    def begin() -> None:
        try:
            found.append(db.serving.begin_writing(wait_s=0))
        except Busy as error:
            found.append(error.kind)

    first = db.serving.begin_writing(wait_s=0)
    first.execute("DELETE FROM t")
    for _ in range(2):
        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
        if not first.is_over:
            with pytest.raises(Busy):
                db.serving.begin_writing(wait_s=0)
            first.commit()
    busy, second = found
    assert busy == "busy"
    assert isinstance(second, virke.Transaction)
    second.rollback()


def test_two_stores_in_memory_without_a_name_have_two_lines(db: virke.Database) -> None:
    other = virke.connect("db", "memory://", create=True)
    first, second = db.serving.begin_writing(wait_s=0), other.serving.begin_writing(wait_s=0)
    first.rollback()
    second.rollback()


def test_connections_that_are_open_get_functions_too(db: virke.Database) -> None:
    """Those of readers, of the writer, and of a transaction."""
    with db.transaction() as tx:
        db.query("SELECT 1")
        db.serving.extend(lambda made: made.add_function("f", lambda: 7, innocuous=True))
        assert (db.query("SELECT f()").rows, tx.query("SELECT f()").rows) == ([(7,)], [(7,)])
    db.execute("INSERT INTO t VALUES (f())")
    db.serving.extend(lambda made: made.add_function("f", None))
    with pytest.raises(SqlError, match="no such function: f"):
        db.query("SELECT f()")


class Sum:
    """The sum of a window."""

    def __init__(self) -> None:
        self.sum = 0

    def step(self, *arguments: SqlValue) -> None:
        self.sum += sum(int(value or 0) for value in arguments)

    def inverse(self, *arguments: SqlValue) -> None:
        self.sum -= sum(int(value or 0) for value in arguments)

    def value(self) -> SqlValue:
        return self.sum

    finalize = value


def test_a_hook_adds_window_functions_and_takes_them_away() -> None:
    db = virke.connect("db", "memory://", create=True, on_connect=lambda made: made.add_window_function("s", Sum))
    db.run_script("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), (3)")
    over = "SELECT s(a) OVER (ORDER BY a ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t"
    assert db.query(over).rows == [(1,), (3,), (5,)]
    db.serving.extend(lambda made: made.add_window_function("s", None))
    with pytest.raises(SqlError, match="no such function: s"):
        db.query(over)


def test_an_authorizer_refuses_what_the_guard_allows(db: virke.Database) -> None:
    seen: list[int] = []

    def ask(action: int, *_: str | None) -> int:
        seen.append(action)
        return int(action == 9)  # SQLITE_DENY for SQLITE_DELETE

    db.query("SELECT 1")
    db.serving.extend(lambda made: made.ask_before(ask))
    assert db.query("SELECT a FROM t WHERE a = 1").rows == [(1,)]
    with pytest.raises(Denied):
        db.execute("DELETE FROM t")
    assert {9, 20, 21} <= set(seen)  # DELETE, READ, SELECT
    db.serving.extend(lambda made: made.ask_before(None))
    assert db.execute("DELETE FROM t") == 3

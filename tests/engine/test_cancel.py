"""A statement that takes too long: less time for one call, an end from another thread; and rows that are read one by one."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.engine.world import Clock, make, reopen
from virke.engine.database import Database
from virke.engine.rows import Rows
from virke.engine.terms import Cancel
from virke.errors import Denied, Invalid, NotFound, SqlError, TimedOut
from virke.stores.counted import CountingStore
from virke.stores.memory import memory_store

ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT sum(n) FROM c"
NUMBERS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT ?) SELECT n FROM c"
WAIT_S = 60


@pytest.fixture
def real() -> Iterator[Database]:
    """An empty database whose clocks go."""
    with make() as database:
        yield database


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Run in a thread; its result, or its error, is put into the list."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def until_running(db: Database) -> None:
    """Wait until a statement of a reader runs."""
    while db._readers.idle:
        threading.Event().wait(0.001)


def test_one_call_may_have_less_time_than_the_setting(real: Database) -> None:
    """Reads, rows and writes; the next call has the time of the setting again."""
    calls: list[Callable[[], object]] = [
        lambda: real.query(ENDLESS, timeout_ms=20),
        lambda: list(real.query_rows(ENDLESS, timeout_ms=20)),
        lambda: real.query(f"CREATE TABLE t AS {ENDLESS}", timeout_ms=20),
    ]
    for call in calls:
        with pytest.raises(TimedOut):
            call()
    assert real.query(NUMBERS, (100_000,)).rows[-1] == (100_000,)


@pytest.mark.parametrize("wanted", [0, -1, 30_001, True, 1.5, "100"])
def test_more_time_than_the_setting_is_refused(db: Database, wanted: int) -> None:
    with pytest.raises(Invalid, match="timeout_ms must be from 1 to 30000"):
        db.query("SELECT 1", timeout_ms=wanted)
    with pytest.raises(Invalid, match="timeout_ms must be from 1 to 30000"):
        db.query_rows("SELECT 1", timeout_ms=wanted)
    with pytest.raises(Invalid, match="timeout_ms"):
        db.query("SELECT 1", timeout_ms=wanted, at=1)
    assert db.query("SELECT 1", timeout_ms=30_000).rows == [(1,)]


@pytest.mark.native
def test_a_cancel_ends_a_read_from_another_thread(real: Database) -> None:
    """Within its long statement; the connection serves the next call."""
    real.query("SELECT 1")
    cancel = Cancel()
    thread, outcome = in_thread(lambda: real.query(ENDLESS, cancel=cancel))
    until_running(real)
    cancel.cancel()
    thread.join(WAIT_S)
    assert [str(one) for one in outcome] == ["the statement was cancelled"]
    assert isinstance(outcome[0], TimedOut)
    assert real.query(NUMBERS, (10_000,)).rows[-1] == (10_000,)
    assert len(real._readers.idle) == 1


@pytest.mark.native
def test_a_cancel_ends_a_write_and_nothing_of_it_is_in_history(real: Database) -> None:
    """The connection serves the next write."""
    real.execute("CREATE TABLE t (n)")
    version, cancel = real.version, Cancel()
    thread, outcome = in_thread(lambda: real.query(f"INSERT INTO t {ENDLESS}", cancel=cancel))
    while cancel._running is None:
        threading.Event().wait(0.001)
    cancel.cancel()
    thread.join(WAIT_S)
    assert [str(one) for one in outcome] == ["the statement was cancelled; nothing was changed"]
    assert isinstance(outcome[0], TimedOut)
    assert (real.version, real.query("SELECT * FROM t").rows) == (version, [])
    assert real.query("INSERT INTO t VALUES (1) RETURNING n").rows == [(1,)]


def test_a_cancel_before_the_read_ends_it_too(db: Database) -> None:
    """At whichever moment it comes; and it says nothing to the next call on that connection."""
    cancel = Cancel()
    assert db.query("SELECT 1", cancel=cancel).rows == [(1,)]
    cancel.cancel()
    assert db.query(NUMBERS, (10_000,)).rows[-1] == (10_000,)
    calls: list[Callable[[], object]] = [
        lambda: db.query("SELECT 1", cancel=cancel),
        lambda: db.query_rows("SELECT 1", cancel=cancel),
        lambda: db.query("CREATE TABLE t (n)", cancel=cancel),
    ]
    for call in calls:
        with pytest.raises(TimedOut, match="cancelled"):
            call()
    assert db.schema() == []


def test_a_cancel_that_comes_just_before_the_statement_runs_is_not_lost(real: Database) -> None:
    """Nothing runs at that moment that could be interrupted: the deadline is what remains."""
    reader, cancel = real._readers._new_reader(), Cancel()
    reader.connection.guard.deadline = real._env.monotonic() + 20
    cancel.attach(reader.connection)
    cancel.cancel()
    with pytest.raises(TimedOut, match="ran longer"):  # before it began: it is not interrupted
        reader.connection.fetch(ENDLESS, (), 1 << 20)
    cancel.detach()
    reader.connection.close()


def test_rows_are_read_when_they_are_asked_for(real: Database) -> None:
    """A result without an end costs what is read of it; its columns and types are known before."""
    with real.query_rows(
        "SELECT n, n + 1 FROM (WITH c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c)"
    ) as rows:
        assert (rows.columns, rows.decltypes) == (["n", "n + 1"], [None, None])
        assert [next(rows) for _ in range(3)] == [(1, 2), (2, 3), (3, 4)]
        assert rows.version == real.version
        assert real.query("SELECT 1", bookmark=rows.bookmark).rows == [(1,)]
    assert list(rows) == []


@pytest.mark.parametrize("end", ["read", "close", "with", "forget", "error", "interrupt"])
def test_the_connection_of_rows_comes_back(real: Database, end: str) -> None:
    """However they end: it is the one that serves the next read."""
    real.query("SELECT 1")
    mine = real._readers.idle[0]
    rows: Rows | None = real.query_rows(NUMBERS, (2000,))
    assert rows is not None
    next(rows)
    assert real._readers.idle == []
    match end:
        case "read":
            assert len(list(rows)) == 1999
        case "close":
            rows.close()
            rows.close()
        case "with":
            with rows:
                pass
        case "forget":
            rows = None
            gc.collect()
        case "error":
            rows.close()
            rows = real.query_rows("SELECT abs(column1) FROM (VALUES (1), (-9223372036854775808))")
            next(rows)
            with pytest.raises(SqlError, match="overflow"):
                next(rows)
        case "interrupt":
            rows.interrupt()
            with pytest.raises(TimedOut, match="cancelled"):
                next(rows)
    assert real._readers.idle == [mine]
    assert real.query("SELECT 2").rows == [(2,)]


def test_rows_that_can_t_begin_leave_nothing_behind(real: Database, recwarn: pytest.WarningsRecorder) -> None:
    """A wrong parameter, a statement that writes, one that does not parse: the connection is back."""
    real.query("SELECT 1")
    for sql, params, error in [("SELECT ?", (), Invalid), ("CREATE TABLE t (n)", (), Denied), ("SELEC", (), SqlError)]:
        with pytest.raises(error):
            real.query_rows(sql, params)
        gc.collect()
        assert len(real._readers.idle) == 1
    assert list(recwarn) == []


@pytest.mark.native
def test_an_interrupt_of_rows_ends_the_step_that_runs_and_nothing_later(real: Database) -> None:
    rows = real.query_rows(ENDLESS.replace("sum(n) FROM c", "n FROM c WHERE n < 2"))
    assert next(rows) == (1,)
    thread, outcome = in_thread(lambda: next(rows))
    connection = rows._connection
    assert connection is not None
    while not connection.guard._is_running:
        threading.Event().wait(0.001)
    rows.interrupt()
    thread.join(WAIT_S)
    assert [type(one) for one in outcome] == [TimedOut]
    connection.guard.deadline = deadline = real._env.monotonic() + 9
    rows.interrupt()  # it is over: its connection runs other reads
    assert connection.guard.deadline is deadline
    assert real.query(NUMBERS, (10_000,)).rows[-1] == (10_000,)


def test_the_time_of_rows_is_what_the_statement_takes(clock: Clock) -> None:
    """What the caller does between two rows does not count."""
    with make(clock=clock) as db:
        rows = db.query_rows(NUMBERS, (3,))
        for _ in range(3):
            next(rows)
            clock.pass_s(3600)
        assert list(rows) == []


def test_an_earlier_version_can_be_read_and_a_collected_one_is_not_found(clock: Clock) -> None:
    """Never the newest state in its place."""
    db = make(clock=clock)
    db.run_script("CREATE TABLE t (n, filler); INSERT INTO t VALUES (0, NULL)")
    first = db.version
    for n in range(4):
        db.execute("UPDATE t SET n = ?, filler = randomblob(300000)", (n + 1,))
    assert db.query("SELECT n FROM t", at=first).rows == [(0,)]
    assert db.query("SELECT n FROM t", at=first).version == first
    with pytest.raises(Denied):
        db.query("DELETE FROM t", at=first)
    db.change_settings({"history_days": 0})
    db.execute("UPDATE t SET filler = randomblob(300000)")
    with pytest.raises(NotFound, match="newest"):
        db.query("SELECT n FROM t", at=db.version + 1)
    db.upkeep(None)
    for _ in range(3):
        db.collect(grace_ms=0)
    with pytest.raises(NotFound, match="older than the history"):
        db.query("SELECT n FROM t", at=first)
    assert db.query("SELECT n FROM t").rows == [(4,)]


def test_a_read_after_a_commit_knows_its_statement(clock: Clock) -> None:
    """It is not described again, unless the schema changed; a commit of another process is no difference."""
    counts = CountingStore(memory_store())
    with make(counts.store, clock=clock) as db:
        db.run_script("CREATE TABLE t (n)")
        described: list[str] = []
        db.query("SELECT n FROM t")
        connection = db._readers.idle[0].connection
        whole = connection.describe

        def describe(sql: str) -> object:
            described.append(sql)
            return whole(sql)

        connection.describe = describe  # type: ignore[method-assign, assignment]
        db.execute("INSERT INTO t VALUES (1)")
        assert db.query("SELECT n FROM t").rows == [(1,)]
        with reopen(counts.store) as other:
            other.execute("INSERT INTO t VALUES (2)")
        assert db.query("SELECT n FROM t").rows == [(1,), (2,)]
        assert described == []
        db.execute("ALTER TABLE t ADD COLUMN m")
        assert db.query("SELECT * FROM t").columns == ["n", "m"]
        assert db.query("SELECT n FROM t").rows == [(1,), (2,)]
        assert "SELECT n FROM t" in described

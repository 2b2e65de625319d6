"""Answers from what is in memory: they ask no store, wait for nothing, and leave the connection to the next call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import pytest

from tests.engine.world import NAME, Clock, make, reopen
from tests.promises.moody import Moody
from virke.core.ids import PageNo
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.sqlite import Extensions
from virke.errors import Invalid, NotHere, SqlError, Unavailable
from virke.opening import connect
from virke.stores.base import Call
from virke.stores.counted import CountingStore
from virke.stores.local.store import local_store
from virke.stores.memory import memory_store

ROWS = 8000
FAR = 2000
POINT = "SELECT v FROM t WHERE id = ?"


def value(n: int) -> bytes:
    """A value that does not compress."""
    return blake2b(b"%d" % n).digest() + blake2b(b"-%d" % n).digest()


@pytest.fixture
def counts() -> CountingStore:
    """A store with a table of 8,000 rows, a megabyte that does not compress, in segments."""
    counts = CountingStore(memory_store())
    with make(counts.store, page_size=1024) as db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        db.executemany("INSERT INTO t VALUES (?, ?)", [(n, value(n)) for n in range(ROWS)])
        db.execute("CREATE TABLE small (n)")
    return counts


@pytest.fixture
def db(counts: CountingStore) -> Iterator[Database]:
    """That database, opened again: nothing of it is in memory."""
    with reopen(counts.store, clock=Clock()) as database:
        yield database


def test_a_warm_read_is_answered_and_a_cold_one_is_not_here(db: Database, counts: CountingStore) -> None:
    """Nothing is asked of the store by either; `query` fetches what was missing, and then it is here."""
    with pytest.raises(NotHere):
        db.query_here(POINT, (5,))
    db.query(POINT, (5,))
    counts.reset()
    assert db.query_here(POINT, (5,)).rows == [(value(5),)]
    with pytest.raises(NotHere, match="fetched"):
        db.query_here(POINT, (FAR,))
    assert counts.total.requests == 0
    assert db.query(POINT, (FAR,)).rows == [(value(FAR),)]
    assert counts.of(Call.GET).requests > 0
    counts.reset()
    assert db.query_here(POINT, (FAR,)).rows == [(value(FAR),)]
    assert counts.total.requests == 0


def test_an_answer_has_what_a_query_has(db: Database) -> None:
    asked = "SELECT id, id + 1 FROM t WHERE id < ?"
    expected = db.query(asked, (3,))
    found = db.query_here(asked, [3], bookmark=db.bookmark)
    assert (found.columns, found.rows, found.decltypes) == (expected.columns, expected.rows, expected.decltypes)
    assert (found.version, found.bookmark) == (expected.version, expected.bookmark)
    assert db.query_here("SELECT :a", {"a": 1}).rows == [(1,)]


def test_what_has_to_be_confirmed_first_is_not_here(counts: CountingStore) -> None:
    """A root older than the bound, a bookmark of a newer state, a store that shows that others committed, a closed one."""
    clock = Clock()
    with reopen(counts.store, clock=clock) as db, make(memory_store()) as other:
        db.query(POINT, (5,))
        other.run_script("CREATE TABLE a (n); CREATE TABLE b (n); CREATE TABLE c (n); INSERT INTO a VALUES (1)")
        for n in range(9):
            other.execute("INSERT INTO a VALUES (?)", (n,))
        counts.reset()
        with pytest.raises(NotHere, match="confirmed"):
            db.query_here(POINT, (5,), bookmark=other.bookmark)
        with pytest.raises(Invalid, match="bookmark"):
            db.query_here(POINT, (5,), bookmark="yesterday")
        clock.pass_s(3600)
        with pytest.raises(NotHere, match="confirmed"):
            db.query_here(POINT, (5,))
        for sql, writes in (
            ("INSERT INTO small VALUES (1)", True),
            (POINT, False),
            ("SELECT 1", False),
            ("SELEC", False),
        ):
            with pytest.raises(NotHere, match="writes" if writes else "confirmed") as raised:  # it confirms by itself
                db.query_here(sql, (5,) if sql == POINT else ())
            assert raised.value.writes is writes
        assert counts.total.requests == 0
        db.query("SELECT 1")
        with reopen(counts.store) as rival:
            rival.execute("INSERT INTO small VALUES (1)")
        counts.reset()
        with pytest.raises(NotHere, match="confirmed"):
            db.query_here("SELECT count(*) FROM small")
        assert counts.total.requests == 0
        assert db.query("SELECT count(*) FROM small").rows == [(1,)]
        assert db.query_here("SELECT count(*) FROM small").rows == [(1,)]
    with pytest.raises(NotHere):
        db.query_here("SELECT 1")


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO small VALUES (1)",
        "INSERT INTO small VALUES (1) RETURNING n",
        "PRAGMA user_version = 9",
        "PRAGMA cache_size = 9",
        "VACUUM",
    ],
)
def test_a_statement_that_writes_is_not_here(db: Database, sql: str) -> None:
    """By SQLite's own knowledge; nothing of it ran."""
    db.query("SELECT count(*) FROM small")
    version = db.version
    with pytest.raises(NotHere, match="writes"):
        db.query_here(sql)
    assert (db.version, db.query("SELECT count(*) FROM small").rows) == (version, [(0,)])


def test_what_takes_more_steps_is_not_here(db: Database) -> None:
    """At least as many steps as asked for are taken, time after time; more are given up, and the next call is served."""
    counted = "WITH c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT ?) SELECT max(n) FROM c"
    assert db.query(counted, (1000,)).rows == [(1000,)]
    for _ in range(20):
        assert db.query_here(counted, (1000,), steps_max=40_000).rows == [(1000,)]
        with pytest.raises(NotHere):
            db.query_here(counted, (1000,), steps_max=5_000)
    assert db.query(counted, (50_000,)).rows == [(50_000,)]
    assert len(db._readers.idle) == 1
    with pytest.raises(Invalid, match="steps_max"):
        db.query_here("SELECT 1", steps_max=0)


def test_pages_that_one_answer_takes_are_bounded(db: Database) -> None:
    """However cheap each of them is: SQLite counts a table in one step."""
    assert db.query("SELECT count(*) FROM t").rows == [(ROWS,)]
    db._readers.idle.clear()  # a new connection has no page in SQLite's cache
    db.query("SELECT 1")
    with pytest.raises(NotHere):
        db.query_here("SELECT sum(length(v)) FROM t", steps_max=1_000_000)


def test_a_mistake_is_an_error_and_not_a_reason_to_ask_again(db: Database) -> None:
    db.query("SELECT count(*) FROM small")
    for sql, error in [("SELEC 1", SqlError), ("SELECT * FROM nothing", SqlError), ("SELECT 1; SELECT 2", Invalid)]:
        with pytest.raises(error):
            db.query_here(sql)
    with pytest.raises(Invalid):
        db.query_here("SELECT ?", ())
    with pytest.raises(SqlError, match="overflow"):
        db.query_here("SELECT abs(-9223372036854775808)")
    assert db.query_here("SELECT count(*) FROM small").rows == [(0,)]


def test_a_busy_connection_is_not_waited_for(db: Database) -> None:
    """All are lent to rows that are being read: another would have to be opened."""
    db.query("SELECT count(*) FROM small")
    with db.query_rows("SELECT id FROM t") as rows:
        next(rows)
        with pytest.raises(NotHere, match="busy"):
            db.query_here("SELECT count(*) FROM small")
    assert db.query_here("SELECT count(*) FROM small").rows == [(0,)]


@pytest.mark.native
def test_frames_that_are_on_their_way_are_not_waited_for(db: Database) -> None:
    """Another thread fetches them; the answer is not here until they are."""
    db.query(POINT, (5,))
    frames, snapshot = db._volume._frames, db.snapshot()
    places = [snapshot.map.locate(PageNo(number)) for number in range(1, snapshot.page_count + 1)]
    coming = frames.announce(map(db._volume._frame_key, places))
    done: list[object] = []

    def ask() -> None:
        try:
            done.append(db.query_here(POINT, (FAR,)))
        except NotHere as error:
            done.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(20)
    frames.arrived(coming)
    assert [type(one) for one in done] == [NotHere]


def test_after_a_commit_of_this_process_it_is_here(counts: CountingStore) -> None:
    """What was written is in memory, and the connection shows the new state without asking the store."""
    with reopen(replace(counts.store, watch=None), clock=Clock()) as db:
        db.query("SELECT n FROM small")
        db.execute("INSERT INTO small VALUES (7)")
        counts.reset()
        assert db.query_here("SELECT n FROM small").rows == [(7,)]
        assert counts.total.requests == 0


def test_a_function_of_the_application_may_wait_so_it_is_not_called() -> None:
    called: list[int] = []

    def extend(made: Extensions) -> None:
        made.add_function("slow", lambda: called.append(1), arguments=0)

    make(store := memory_store()).close()
    with Database(store, NAME, on_connect=extend) as db:
        db.query("SELECT slow()")
        with pytest.raises(NotHere):
            db.query_here("SELECT slow()")
    assert called == [1]


def test_a_store_that_fails_is_not_noticed() -> None:
    """Every call of it would raise."""
    inner = memory_store()
    with make(inner) as db:
        db.run_script("CREATE TABLE t (n); INSERT INTO t VALUES (1)")
    moody = Moody(inner)
    with reopen(moody.store, clock=Clock()) as db:
        db.query("SELECT n FROM t")
        moody.fail(Unavailable("out of order"), *Call)
        assert db.query_here("SELECT n FROM t").rows == [(1,)]
        with pytest.raises(Unavailable):
            db.query("SELECT n FROM t", consistency="strong")


@pytest.mark.parametrize("kind", ["memory", pytest.param("local", marks=pytest.mark.native)])
def test_right_after_a_write_of_this_process_a_read_is_answered_here(kind: str, tmp_path: Path) -> None:
    """Nothing has to be confirmed; after another's commit it has to be."""
    store = memory_store() if kind == "memory" else local_store(tmp_path)
    still = Environment(monotonic=Clock().look)
    with connect("x", store, create=True, environment=still) as mine, connect("x", store) as others:
        mine.execute("CREATE TABLE t (v)")
        mine.query("SELECT count(*) FROM t")
        for number in range(3):
            mine.execute("INSERT INTO t VALUES (1)")
            assert mine.query_here("SELECT count(*) FROM t").rows == [(number + 1,)]
            with mine.transaction() as tx:
                tx.execute("UPDATE t SET v = 2")
            assert mine.query_here("SELECT count(*) FROM t WHERE v = 2").rows == [(number + 1,)]
        others.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(NotHere):
            mine.query_here("SELECT count(*) FROM t")
        assert mine.query("SELECT count(*) FROM t").rows == [(4,)]

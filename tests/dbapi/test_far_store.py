"""Connections of one process on a store that shows no change by itself, as a bucket is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import virke
from virke import dbapi
from virke.stores.base import Store
from virke.stores.line import ThreadLine
from virke.stores.memory import memory_store

Open = Callable[..., dbapi.Connection]


@pytest.fixture
def far() -> Store:
    """Its reads may be as old as `max_staleness_ms` says: here, as old as they like."""
    store = replace(memory_store("memory://"), url="memory://far", line=ThreadLine(), watch=None, stamp_of=None)
    with virke.create("db", store) as database:
        database.change_settings({"max_staleness_ms": 3_600_000})
        database.execute("CREATE TABLE t (a)")
    return store


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("level", ["", None])
def test_what_one_connection_committed_the_others_see(far: Store, level: str | None, begins: bool) -> None:
    one, two = dbapi.connect("db", far, isolation_level=level), dbapi.connect("db", far)
    for number in range(1, 4):
        one.execute("INSERT INTO t VALUES (?)", (number,))
        one.commit()
        if begins:
            two.execute("BEGIN")
        assert two.execute("SELECT count(*) FROM t").fetchone() == (number,)
        two.rollback()
    one.executemany("INSERT INTO t VALUES (?)", [(4,), (5,)])
    one.commit()
    assert two.execute("SELECT count(*) FROM t").fetchone() == (5,)
    one.executescript("DELETE FROM t")
    assert two.execute("SELECT count(*) FROM t").fetchone() == (0,)
    one.close()
    two.close()


def test_writers_stand_in_one_line(far: Store) -> None:
    """The second one waits, and is told in time; nobody finds out at the commit."""
    one, two = dbapi.connect("db", far, timeout=0), dbapi.connect("db", far, timeout=0)
    one.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(dbapi.OperationalError) as caught:
        two.execute("INSERT INTO t VALUES (2)")
    assert caught.value.sqlite_errorname == "SQLITE_BUSY"
    one.commit()
    two.rollback()
    with two:
        two.execute("INSERT INTO t SELECT count(*) + 10 FROM t")
    assert one.execute("SELECT a FROM t").fetchall() == [(1,), (11,)]
    one.close()
    two.close()


def test_a_write_past_the_transaction_of_the_same_thread_is_locked_out(far: Store) -> None:
    """As with `sqlite3`; it is not the transaction that loses."""
    one, two = dbapi.connect("db", far), dbapi.connect("db", far, isolation_level=None)
    one.execute("INSERT INTO t VALUES (1)")
    writes: list[Callable[[], object]] = [
        lambda: two.execute("INSERT INTO t VALUES (2)"),
        lambda: two.executemany("INSERT INTO t VALUES (?)", [(2,)]),
        lambda: two.executescript("INSERT INTO t VALUES (2)"),
        lambda: two.execute("CREATE TABLE u (a)"),
    ]
    for write in writes:
        with pytest.raises(dbapi.OperationalError, match="database is locked"):
            write()
    assert two.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert two.execute("PRAGMA table_info(t)").fetchall() == [(0, "a", "", 0, None, 0)]
    one.commit()
    two.execute("INSERT INTO t VALUES (2)")
    assert one.execute("SELECT a FROM t").fetchall() == [(1,), (2,)]
    one.close()
    two.close()


def test_a_database_that_was_made_again_under_its_name_is_another_one(far: Store) -> None:
    with dbapi.connect("db", far) as old:
        for number in range(5):
            old.execute("INSERT INTO t VALUES (?)", (number,))
            old.commit()
    old.close()
    virke.delete("db", far)
    new = dbapi.connect("db", far, create=True)
    assert new.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    new.close()

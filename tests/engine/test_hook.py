"""A hook holds on every connection of a database, and a failing one leaves nothing half open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import virke
from tests.engine.world import NAME, make
from virke.engine.connection import Connection
from virke.engine.database import Database
from virke.engine.sqlite import Extensions
from virke.errors import Invalid, SqlError
from virke.migrations.target import open_rehearsal
from virke.stores.memory import memory_store


class Product:
    """The product of a group."""

    def __init__(self) -> None:
        self.value = 1

    def step(self, *arguments: object) -> None:
        """Take one row."""
        self.value *= int(str(arguments[0]))

    def finalize(self) -> int:
        """The product."""
        return self.value


def extend(made: Extensions) -> None:
    made.add_function("twice", lambda n: n * 2, arguments=1, deterministic=True, innocuous=True)
    made.add_aggregate("product", Product, arguments=1)
    made.add_collation("backwards", lambda a, b: (a < b) - (a > b))


@pytest.fixture(params=["sync", pytest.param("deferred", marks=pytest.mark.native)])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with virke.connect(
        NAME, memory_store(), create=True, on_connect=extend, state_dir=tmp_path, background=False
    ) as database:
        database.run_script("CREATE TABLE t (n INTEGER, d TEXT COLLATE backwards); CREATE INDEX i ON t (twice(n))")
        database.change_settings({"durability": request.param})
        yield database


def test_a_hook_holds_on_every_connection(db: Database) -> None:
    """Writer or deferred writes, readers, rows, transactions of both kinds, earlier versions, a migration's rehearsal."""
    assert db.executemany("INSERT INTO t VALUES (?, ?)", [(2, "a"), (3, "b")]) == 2
    assert db.run("UPDATE t SET n = n WHERE twice(n) = 4 RETURNING twice(n)").rows == [(4,)]
    asked = "SELECT product(n), min(d) FROM t"
    assert db.query(asked).rows == [(6, "b")]
    assert list(db.query_rows("SELECT d FROM t ORDER BY d")) == [("b",), ("a",)]
    db.flush()
    with db.transaction() as tx, db.transaction(read_only=True) as reading:
        tx.execute("INSERT INTO t VALUES (twice(2), 'c')")
        assert (tx.query(asked).rows, reading.query(asked).rows) == ([(24, "c")], [(6, "b")])
    assert db.query(asked, at=db.version).rows == [(24, "c")]
    with open_rehearsal(db) as trial, trial.transaction() as step:
        step.execute("INSERT INTO t VALUES (twice(5), 'd')")
        assert step.query(asked).rows == [(240, "d")]
    assert [column.name for column in db.describe("SELECT twice(n) FROM t").columns] == ["twice(n)"]


def test_a_hook_that_fails_is_invalid_and_the_database_closes(recwarn: pytest.WarningsRecorder) -> None:
    """At each use that would need a connection; nothing is left open."""
    store, calls = memory_store(), 0
    make(store).close()

    def fail(made: Extensions) -> None:
        nonlocal calls
        calls += 1
        made.add_function("f", lambda: 1)
        raise KeyError("mine")

    with Database(store, NAME, on_connect=fail) as db:
        for sql in ["SELECT 1", "CREATE TABLE t (n)"]:
            with pytest.raises(Invalid, match="on_connect raised KeyError"):
                db.query(sql)
        with pytest.raises(Invalid, match="on_connect"):
            db.transaction()
        assert calls == 3
        assert db._readers.idle == []
    assert list(recwarn) == []


@pytest.mark.parametrize("name", ["instr", "REPLACE", "trim", "changes", "random", "virke_x", 5])
def test_a_function_of_virke_s_own_can_t_be_replaced(name: str) -> None:
    """It would be replaced by Virke's again in the middle of a statement, and answer something else."""
    db = make()
    with pytest.raises(Invalid):
        Connection(db.snapshot(), value_bytes_max=1 << 20, on_connect=lambda made: made.add_function(name, lambda: 1))


def test_a_collation_that_fails_is_an_error_that_names_it(db: Database) -> None:
    def broken(made: Extensions) -> None:
        made.add_collation("backwards", lambda a, b: 1 // 0)
        made.add_function("twice", lambda n: n * 2, deterministic=True, innocuous=True)

    other = make()
    with pytest.raises(SqlError, match=r"backwards\(\) raised ZeroDivisionError"):
        Connection(other.snapshot(), value_bytes_max=1 << 20, on_connect=broken).fetch(
            "SELECT column1 FROM (VALUES ('a'), ('b')) ORDER BY 1 COLLATE backwards", (), 1 << 20
        )
    assert db.query("SELECT count(*) FROM t").rows == [(0,)]


def test_a_function_of_the_application_comes_before_one_that_sqlite_s_shell_has(tmp_path: Path) -> None:
    def add(made: Extensions) -> None:
        made.add_function("regexp", lambda *given: 7)

    with virke.connect(NAME, memory_store(), create=True, on_connect=add, state_dir=tmp_path, background=False) as mine:
        assert mine.query("SELECT 'a' REGEXP 'b'").rows == [(7,)]


def test_what_was_lent_gives_way_to_what_the_application_adds_later() -> None:
    with make() as db:
        connection = db._readers._new_reader().connection
        asked = "SELECT 'a' REGEXP 'b'"
        assert connection.fetch(asked, (), 1000)[1] == [(0,)]
        connection.extend(lambda made: made.add_function("regexp", lambda *given: 7))
        assert connection.fetch(asked, (), 1000)[1] == [(7,)]
        connection.close()

"""What programs of PEP 249 and of `sqlite3` rely on, on a store and on a node."""

from __future__ import annotations

import gc
import sqlite3
import threading
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import pytest

import virke
from tests.dbapi.conftest import Connect
from tests.promises.moody import Moody
from virke import dbapi
from virke.errors import Unavailable
from virke.stores.base import Call
from virke.stores.memory import memory_store

NAMES = "SELECT name FROM item ORDER BY id"


def names(connection: dbapi.Connection, sql: str = NAMES) -> list[str]:
    return [name for (name,) in connection.execute(sql)]


def test_a_program_of_pep_249_runs(con: dbapi.Connection) -> None:
    cursor = con.cursor()
    cursor.execute("SELECT id, name FROM item WHERE price > ?", (4,))
    assert cursor.description is not None
    assert [column[0] for column in cursor.description] == ["id", "name"]
    assert cursor.fetchone() == (1, "tea")
    assert cursor.fetchone() is None
    cursor.execute("INSERT INTO item (name) VALUES (:name)", {"name": "salt"})
    assert (cursor.rowcount, cursor.lastrowid) == (1, 3)
    con.commit()
    assert con.execute(NAMES).fetchmany(2) == [("tea",), ("jam",)]
    assert [len(con.execute(NAMES).fetchmany(size)) for size in (0, 1, 9, -1)] == [0, 1, 3, 3]


def test_dml_begins_a_transaction_that_others_do_not_see(con: dbapi.Connection, connect: Connect) -> None:
    other = connect()
    con.execute("DELETE FROM item")
    assert (con.in_transaction, names(con), names(other)) == (True, [], ["tea", "jam"])
    con.rollback()
    assert (con.in_transaction, names(con)) == (False, ["tea", "jam"])
    with con:
        con.execute("DELETE FROM item WHERE id = 1")
    assert names(other) == ["jam"]


def test_a_with_block_that_raises_rolls_back(con: dbapi.Connection) -> None:
    def fail() -> None:
        with con:
            con.execute("DELETE FROM item")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(con) == ["tea", "jam"]


@pytest.mark.parametrize("level", ["", "DEFERRED", "IMMEDIATE", "EXCLUSIVE"])
def test_every_isolation_level_commits(con: dbapi.Connection, level: str) -> None:
    con.isolation_level = level
    con.execute("UPDATE item SET name = 'salt' WHERE id = 1")
    con.commit()
    assert names(con) == ["salt", "jam"]


def test_without_an_isolation_level_each_statement_is_a_transaction(con: dbapi.Connection, connect: Connect) -> None:
    con.isolation_level = None
    con.execute("DELETE FROM item WHERE id = 1")
    assert (con.in_transaction, names(connect())) == (False, ["jam"])
    con.execute("BEGIN")
    con.execute("DELETE FROM item")
    con.execute("ROLLBACK")
    assert names(con) == ["jam"]


def test_autocommit_false_has_a_transaction_open_always(connect: Connect, con: dbapi.Connection) -> None:
    made = connect(autocommit=False)
    assert made.in_transaction
    made.execute("DELETE FROM item WHERE id = 1")
    made.commit()
    assert (made.in_transaction, names(con)) == (True, ["jam"])
    made.execute("DELETE FROM item")
    made.close()
    assert names(con) == ["jam"]


def test_savepoints_nest(con: dbapi.Connection) -> None:
    con.isolation_level = None
    con.execute("SAVEPOINT outer")
    con.execute("DELETE FROM item WHERE id = 1")
    con.execute("SAVEPOINT inner")
    con.execute("DELETE FROM item")
    con.execute("ROLLBACK TO inner")
    con.execute("RELEASE inner")
    assert (con.in_transaction, names(con)) == (True, ["jam"])
    con.execute("RELEASE outer")
    assert (con.in_transaction, names(con)) == (False, ["jam"])
    with pytest.raises(dbapi.OperationalError, match="no such savepoint: inner"):
        con.execute("RELEASE inner")


@pytest.mark.parametrize(
    ("outer", "inner", "undo"),
    [
        ("a", "b", "/* why */ ROLLBACK TO a"),
        ("a", "b", "-- why\nrollback /* all of it */ transaction to savepoint a"),
        ('"a b"', '"a c"', 'ROLLBACK TO "a b"'),
        ('"x""y"', "x", 'ROLLBACK TO [x"y]'),
        ("'é'", "`e`", "ROLLBACK TO é"),
    ],
)
def test_a_rollback_to_a_savepoint_takes_back_what_came_after_it_and_no_more(
    con: dbapi.Connection, outer: str, inner: str, undo: str
) -> None:
    """Whatever stands before it, and whatever it is called: it must never be taken for a ROLLBACK of all."""
    con.execute("/* mine */ BEGIN")
    con.execute("INSERT INTO item (name) VALUES ('kept')")
    con.execute(f"SAVEPOINT {outer}")
    con.execute("INSERT INTO item (name) VALUES ('gone')")
    con.execute(f"/* mine */ SAVEPOINT {inner}")
    con.execute("INSERT INTO item (name) VALUES ('gone too')")
    con.execute(undo)
    assert (con.in_transaction, names(con)) == (True, ["tea", "jam", "kept"])
    con.execute(f"RELEASE {outer}")
    con.commit()
    assert names(con) == ["tea", "jam", "kept"]


@pytest.mark.parametrize("sql", ["COMMIT it", "ROLLBACK of it", "BEGIN CAREFULLY", "SAVEPOINT", "RELEASE"])
def test_what_only_begins_like_transaction_control_is_an_error(con: dbapi.Connection, sql: str) -> None:
    con.execute("DELETE FROM item")
    with pytest.raises(dbapi.OperationalError, match="syntax error"):
        con.execute(sql)
    assert (con.in_transaction, names(con)) == (True, [])
    con.rollback()


def test_a_begin_with_words_before_it_waits_for_other_writers(con: dbapi.Connection, connect: Connect) -> None:
    other = connect(timeout=0)
    con.execute("/* mine */ BEGIN /* at once */ IMMEDIATE TRANSACTION")
    with pytest.raises(dbapi.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    con.rollback()


def test_a_savepoint_of_a_transaction_that_only_read_holds_for_its_writes(con: dbapi.Connection) -> None:
    con.isolation_level = None
    con.execute("BEGIN")
    assert names(con) == ["tea", "jam"]
    con.execute("SAVEPOINT one")
    con.execute("DELETE FROM item WHERE id = 1")
    con.execute("ROLLBACK TO one")
    con.execute("DELETE FROM item WHERE id = 2")
    con.execute("COMMIT")
    assert names(con) == ["tea"]


def test_a_transaction_that_read_what_another_changed_is_busy_at_its_first_write(
    con: dbapi.Connection, connect: Connect
) -> None:
    con.execute("BEGIN")
    names(con)
    with connect() as other:
        other.execute("DELETE FROM item WHERE id = 1")
    with pytest.raises(dbapi.OperationalError, match="database is locked") as caught:
        con.execute("DELETE FROM item")
    assert (caught.value.sqlite_errorname, caught.value.kind) == ("SQLITE_BUSY_SNAPSHOT", "conflict")
    assert (caught.value.retryable, names(con)) == (True, ["tea", "jam"])
    con.rollback()
    assert names(con) == ["jam"]


def test_an_error_is_one_of_sqlite3_and_carries_virke_s(con: dbapi.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError) as caught:
        con.execute("INSERT INTO item (name) VALUES ('tea')")
    error = caught.value
    assert isinstance(error, dbapi.IntegrityError)
    assert isinstance(error.__cause__, virke.SqlError)
    assert (error.sqlite_errorname, error.sqlite_errorcode) == ("SQLITE_CONSTRAINT_UNIQUE", 2067)
    assert (error.kind, error.retryable, str(error)) == ("sql_error", False, "UNIQUE constraint failed: item.name")


@pytest.mark.parametrize(
    ("sql", "error", "code"),
    [
        ("SELECT * FROM nothing", dbapi.OperationalError, "SQLITE_ERROR"),
        ("SELEC 1", dbapi.OperationalError, "SQLITE_ERROR"),
        ("ATTACH 'x' AS y", dbapi.NotSupportedError, "SQLITE_AUTH"),
        ("SELECT ?", dbapi.ProgrammingError, "SQLITE_MISUSE"),
        ("SELECT 1; SELECT 2", dbapi.ProgrammingError, "SQLITE_ERROR"),
    ],
)
def test_an_error_has_the_class_that_sqlite3_gives_it(
    con: dbapi.Connection, sql: str, error: type[dbapi.Error], code: str
) -> None:
    with pytest.raises(error) as caught:
        con.execute(sql)
    assert (type(caught.value), caught.value.sqlite_errorname) == (error, code)


def test_a_missing_database_and_a_read_only_one_are_operational_errors(where: str, connect: Connect) -> None:
    with pytest.raises(dbapi.OperationalError, match="unable to open database file"):
        dbapi.connect("nothing", where)
    connect().execute("CREATE TABLE t (a)")
    with pytest.raises(dbapi.OperationalError) as caught:
        connect(read_only=True).execute("INSERT INTO t VALUES (1)")
    assert caught.value.sqlite_errorname == "SQLITE_READONLY"


def test_rows_may_be_those_of_sqlite3(con: dbapi.Connection) -> None:
    con.row_factory = sqlite3.Row
    row = con.execute("SELECT id, name FROM item WHERE id = 1").fetchone()
    assert isinstance(row, sqlite3.Row)
    assert (row["NAME"], row[0], row.keys(), dict(row)) == ("tea", 1, ["id", "name"], {"id": 1, "name": "tea"})
    con.row_factory = lambda cursor, row: {
        column[0]: value for column, value in zip(cursor.description, row, strict=True)
    }
    assert con.execute("SELECT id, name FROM item WHERE id = 1").fetchone() == {"id": 1, "name": "tea"}


def test_values_of_python_s_own_types_go_in(con: dbapi.Connection) -> None:
    given = (Decimal("1.50"), UUID(int=1), datetime(2026, 1, 2, 3, 4), b"x", True, None)
    row = con.execute("SELECT ?, ?, ?, ?, ?, ?", given).fetchone()
    assert row == ("1.50", str(UUID(int=1)), "2026-01-02 03:04:00", b"x", 1, None)


@pytest.mark.filterwarnings("ignore:The default .* converter is deprecated:DeprecationWarning")
def test_declared_types_are_converted(connect: Connect) -> None:
    con = connect(detect_types=dbapi.PARSE_DECLTYPES | dbapi.PARSE_COLNAMES)
    con.execute("CREATE TABLE t (d date, n)")
    con.execute("INSERT INTO t VALUES (?, 1)", (dbapi.Date(2026, 1, 2),))
    assert con.execute('SELECT d, d AS "x [timestamp]" FROM t WHERE 0').fetchall() == []
    assert con.execute("SELECT d, n FROM t").fetchone() == (dbapi.Date(2026, 1, 2), 1)


def test_a_connection_belongs_to_its_thread_unless_it_says_otherwise(connect: Connect) -> None:
    found: list[object] = []

    def use(connection: dbapi.Connection) -> None:
        try:
            found.append(connection.execute("SELECT 1").fetchone())
        except dbapi.ProgrammingError as error:
            found.append(str(error)[:44])

    for connection in (connect(), connect(check_same_thread=False)):
        thread = threading.Thread(target=use, args=(connection,))
        thread.start()
        thread.join()
    assert found == ["SQLite objects created in a thread can only ", (1,)]


def test_a_large_result_comes_in_parts(con: dbapi.Connection) -> None:
    rows = con.execute("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 5000) SELECT n FROM c")
    assert next(rows) == (1,)
    with con:
        con.execute("DELETE FROM item")
    assert (sum(n for (n,) in rows), names(con)) == (5000 * 5001 // 2 - 1, [])


def test_memory_is_a_database_that_nobody_else_sees() -> None:
    one, two = dbapi.connect(":memory:"), dbapi.connect(":memory:")
    one.execute("CREATE TABLE t (a)")
    one.execute("INSERT INTO t VALUES (1)")
    two.execute("CREATE TABLE t (a)")
    two.execute("INSERT INTO t VALUES (2)")
    assert [c.execute("SELECT a FROM t").fetchall() for c in (one, two)] == [[(1,)], [(2,)]]
    one.close()
    two.close()


def test_a_script_is_one_commit_and_one_with_transactions_is_run_as_it_stands(con: dbapi.Connection) -> None:
    before = con.session.database.version
    con.executescript("INSERT INTO item (name) VALUES ('a'); INSERT INTO item (name) VALUES ('b'); SELECT 1")
    assert con.session.database.version == before + 1
    con.executescript("BEGIN; DELETE FROM item WHERE name = 'a'; COMMIT; BEGIN; DELETE FROM item; ROLLBACK;")
    assert names(con) == ["tea", "jam", "b"]


def test_a_blob_is_a_file_on_a_node_too(con: dbapi.Connection) -> None:
    con.execute("UPDATE item SET data = ? WHERE id = 1", (b"0123456789",))
    con.commit()
    with con.blobopen("item", "data", 1) as blob:
        blob.seek(3)
        assert (blob.read(2), blob[-1], blob[2:8:2], len(blob)) == (b"34", ord("9"), b"246", 10)
        blob.write(b"abc")
        blob[0] = ord("x")
    assert con.execute("SELECT data FROM item WHERE id = 1").fetchone() == (b"x1234abc89",)
    with pytest.raises(dbapi.OperationalError, match="no such rowid: 7"):
        con.blobopen("item", "data", 7)


def test_a_dump_and_a_copy_make_the_same_database(con: dbapi.Connection) -> None:
    rows = con.execute("SELECT * FROM item ORDER BY id").fetchall()
    dumped, copied, backed_up = (sqlite3.connect(":memory:") for _ in range(3))
    dumped.executescript("\n".join(con.iterdump()))
    copied.deserialize(con.serialize())
    con.backup(backed_up)
    with dbapi.connect(":memory:") as other:
        con.backup(other)
        assert other.execute("SELECT * FROM item ORDER BY id").fetchall() == rows
    for copy in (dumped, copied, backed_up):
        assert copy.execute("SELECT * FROM item ORDER BY id").fetchall() == rows
        copy.close()


def test_deserialize_replaces_the_database(con: dbapi.Connection) -> None:
    other = sqlite3.connect(":memory:")
    other.execute("CREATE TABLE other (a)")
    con.deserialize(other.serialize())
    other.close()
    assert con.execute("SELECT name FROM sqlite_schema").fetchall() == [("other",)]


def test_what_can_not_be_is_refused_with_its_reason(con: dbapi.Connection) -> None:
    is_node = not hasattr(con.session.database, "serving")
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: con.load_extension("x"), "extensions reach files"),
        (lambda: con.set_progress_handler(lambda: 0, 1), "interrupt"),
        (lambda: con.setconfig(1), "protect what others share"),
        (lambda: con.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, 5), "protects what others share"),
        (lambda: con("SELECT 1"), "no statement objects"),
    ]
    if is_node:
        refused += [
            (lambda: con.create_function("f", 0, int), "SQLite runs on the node"),
            (lambda: con.create_collation("c", lambda a, b: 0), "SQLite runs on the node"),
            (lambda: con.set_authorizer(lambda *_: 0), "SQLite runs on the node"),
        ]
    for call, reason in refused:
        with pytest.raises(dbapi.NotSupportedError, match=reason):
            call()


def test_temporary_tables_live_as_long_as_their_transaction(con: dbapi.Connection) -> None:
    con.execute("BEGIN")
    con.execute("CREATE TEMP TABLE seen (a)")
    con.execute("INSERT INTO seen VALUES (1)")
    assert con.execute("SELECT a FROM seen").fetchall() == [(1,)]
    con.commit()
    with pytest.raises(dbapi.OperationalError, match="no such table: seen"):
        con.execute("SELECT a FROM seen")
    for sql in ("CREATE TEMP TABLE seen (a)", "create temporary view v AS SELECT 1", 'CREATE TABLE "temp".seen (a)'):
        with pytest.raises(dbapi.NotSupportedError, match="BEGIN one first"):
            con.execute(sql)
    con.execute("CREATE TABLE temperature (a)")


def test_the_trace_sees_what_is_sent(con: dbapi.Connection) -> None:
    seen: list[str] = []
    con.set_trace_callback(seen.append)
    con.execute("DELETE FROM item WHERE id = ?", (1,))
    con.rollback()
    con.executescript("SELECT 1; SELECT 2;")
    con.set_trace_callback(None)
    con.execute("SELECT 3")
    assert seen == ["BEGIN ", "DELETE FROM item WHERE id = ?", "ROLLBACK", "SELECT 1;", "SELECT 2;"]


def test_a_connection_that_is_forgotten_keeps_nobody_waiting(
    con: dbapi.Connection, connect: Connect, name: str, where: str
) -> None:
    dropped = dbapi.connect(name, where)
    dropped.execute("DELETE FROM item")
    del dropped
    gc.collect()
    with connect(timeout=0) as other:
        other.execute("DELETE FROM item WHERE id = 1")
    assert names(con) == ["jam"]


def test_threads_with_connections_of_their_own_write_in_turn(con: dbapi.Connection, connect: Connect) -> None:
    def add(number: int) -> None:
        mine = connect(timeout=30)
        for turn in range(5):
            for _ in range(50):
                try:
                    with mine:
                        mine.execute("INSERT INTO item (name) VALUES (?)", (f"{number}.{turn}",))
                    break
                except dbapi.OperationalError as error:
                    if not error.retryable:
                        raise
        mine.close()

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert con.execute("SELECT count(*) FROM item").fetchone() == (22,)


def test_the_configuration_may_name_the_node(
    where: str, name: str, con: dbapi.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRKE_STORE", where)
    found = dbapi.connect(name)
    assert names(found) == ["tea", "jam"]
    found.close()


def test_a_connection_that_is_made_again_keeps_nobody_waiting(
    where: str, name: str, con: dbapi.Connection, connect: Connect
) -> None:
    again = connect(timeout=0)
    again.execute("DELETE FROM item")
    again.__init__(name, where)  # type: ignore[misc]
    con.execute("DELETE FROM item WHERE id = 1")
    con.commit()
    assert names(again) == ["jam"]


def test_a_commit_that_fails_is_an_error_and_leaves_nothing(con: dbapi.Connection, connect: Connect) -> None:
    """Its program must hear of it: what it wrote is not in history, and no transaction is open."""
    con.execute("CREATE TABLE part (of_item REFERENCES item (id) DEFERRABLE INITIALLY DEFERRED)")
    con.execute("PRAGMA foreign_keys = ON")
    con.execute("INSERT INTO part VALUES (99)")
    with pytest.raises(dbapi.IntegrityError, match="FOREIGN KEY"):
        con.commit()
    assert (con.in_transaction, connect().execute("SELECT * FROM part").fetchall()) == (False, [])


def test_a_commit_that_the_store_refuses_is_an_error_and_leaves_nothing() -> None:
    inner = memory_store()
    mood = Moody(inner)
    con = dbapi.connect("kitchen", mood.store, create=True)
    con.execute("CREATE TABLE item (name)")
    con.execute("INSERT INTO item VALUES ('lost')")
    mood.fail(Unavailable("the store is down"), Call.SWAP)
    with pytest.raises(dbapi.OperationalError, match="down"):
        con.commit()
    mood.recover()
    assert (con.in_transaction, names(con, "SELECT name FROM item")) == (False, [])
    con.close()


def test_a_rollback_to_ends_the_savepoints_after_it(con: dbapi.Connection) -> None:
    for sql in ("BEGIN", "SAVEPOINT outer_one", "SAVEPOINT inner_one", "ROLLBACK TO outer_one"):
        con.execute(sql)
    with pytest.raises(dbapi.OperationalError, match="no such savepoint"):
        con.execute("RELEASE inner_one")
    con.execute("RELEASE outer_one")
    con.rollback()


def test_autocommit_true_commits_what_is_open(connect: Connect, con: dbapi.Connection) -> None:
    con.execute("INSERT INTO item (name) VALUES ('salt')")
    con.autocommit = True
    assert (con.in_transaction, names(connect())) == (False, ["tea", "jam", "salt"])


def test_executemany_outside_of_a_transaction_is_all_or_nothing(connect: Connect, con: dbapi.Connection) -> None:
    con.isolation_level = None
    rows = [("salt",), ("mint",), ("tea",)]
    with pytest.raises(dbapi.IntegrityError):
        con.executemany("INSERT INTO item (name) VALUES (?)", rows)
    assert (con.in_transaction, names(con)) == (False, ["tea", "jam"])
    assert con.executemany("INSERT INTO item (name) VALUES (?)", rows[:2]).rowcount == 2
    assert names(connect()) == ["tea", "jam", "salt", "mint"]


def test_a_begin_that_fails_begins_nothing(con: dbapi.Connection, connect: Connect) -> None:
    other = connect(timeout=0)
    con.execute("BEGIN IMMEDIATE")
    with pytest.raises(dbapi.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    assert not other.in_transaction
    con.rollback()
    other.execute("BEGIN IMMEDIATE")
    assert other.in_transaction


def test_a_script_commits_first_what_is_open(con: dbapi.Connection, connect: Connect) -> None:
    """As in `sqlite3`, unless `autocommit` says otherwise: an error in the script does not take it back."""
    con.execute("INSERT INTO item (name) VALUES ('salt')")
    with pytest.raises(dbapi.OperationalError):
        con.executescript("DELETE FROM item; DELETE FROM missing")
    assert (con.in_transaction, names(connect())) == (False, ["tea", "jam", "salt"])

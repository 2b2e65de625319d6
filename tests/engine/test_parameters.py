"""Parameters of every style and type; those that do not fit are refused before anything runs (F17)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import pytest

from virke.engine.database import Database
from virke.errors import Invalid, SqlError

pytestmark = pytest.mark.edge

STYLES: Final[list[tuple[str, Any, tuple[object, ...]]]] = [
    ("SELECT ?, ?", (1, "x"), (1, "x")),
    ("SELECT ?, ?", [1, "x"], (1, "x")),
    ("SELECT ?2, ?1", (1, 2), (2, 1)),
    ("SELECT ?1, ?1", (5,), (5, 5)),
    ("SELECT ?3, ?", (1, 2, 3, 4), (3, 4)),
    ("SELECT :a, :b", {"a": 1, "b": 2}, (1, 2)),
    ("SELECT @a, $a, :a", {"a": 1}, (1, 1, 1)),
    ("SELECT :a, :a", OrderedDict(a=3), (3, 3)),
    ("SELECT :a", {"a": 1, "unused": 2}, (1,)),
    ("SELECT :a, :b", (1, 2), (1, 2)),
    ("SELECT $é", {"é": 1}, (1,)),
    ("SELECT '?', \"?\" , 1 -- ?", (), ("?", "?", 1)),
    ("SELECT 1", {}, (1,)),
]


@pytest.mark.parametrize(("sql", "params", "row"), STYLES)
def test_every_style_of_parameter_is_bound(db: Database, sql: str, params: Any, row: tuple[object, ...]) -> None:
    """In queries (twice: the second is prepared already), writes and transactions."""
    assert [db.query(sql, params).rows for _ in range(2)] == [[row], [row]]
    assert db.run(sql, params).rows == [row]
    with db.transaction() as transaction:
        assert transaction.query(sql, params).rows == [row]


BAD: Final[list[tuple[str, Any]]] = [
    ("INSERT INTO t VALUES (?)", ()),
    ("INSERT INTO t VALUES (?)", (1, 2)),
    ("INSERT INTO t VALUES (1)", (1,)),
    ("INSERT INTO t VALUES (?2)", (1,)),
    ("INSERT INTO t VALUES (:a)", {}),
    ("INSERT INTO t VALUES (:a)", {"b": 1}),
    ("INSERT INTO t VALUES (:a)", {":a": 1}),
    ("INSERT INTO t VALUES (?)", {"a": 1}),
    ("INSERT INTO t VALUES (?)", "x"),
    ("INSERT INTO t VALUES (?)", b"x"),
    ("INSERT INTO t VALUES (?)", bytearray(b"x")),
    ("INSERT INTO t VALUES (?)", memoryview(b"x")),
    ("INSERT INTO t VALUES (?)", 5),
    ("INSERT INTO t VALUES (?)", {1}),
    ("INSERT INTO t VALUES (?)", iter([1])),
    ("INSERT INTO t VALUES (?)", None),
    ("INSERT INTO t VALUES (?)", (2**63,)),
    ("INSERT INTO t VALUES (?)", (-(2**63) - 1,)),
    ("INSERT INTO t VALUES (?)", (timedelta(1),)),
    ("INSERT INTO t VALUES (?)", (object(),)),
    ("INSERT INTO t VALUES (?)", ([1],)),
    ("INSERT INTO t VALUES (?)", (1j,)),
    ("INSERT INTO t VALUES (?)", (memoryview(b"abcd")[::2],)),
    ("INSERT INTO t VALUES (:a)", {"a": {}}),
    ("INSERT INTO t VALUES (?)", ("\udfff",)),
]


@pytest.mark.parametrize(("sql", "params"), BAD)
def test_parameters_that_do_not_fit_are_invalid_and_nothing_ran(db: Database, sql: str, params: Any) -> None:
    """Alone, in a batch of which nothing ran, in a script, in executemany, in a transaction that goes on."""
    db.execute("CREATE TABLE t (v)")
    calls: list[Callable[[], object]] = [
        lambda: db.execute(sql, params),
        lambda: db.batch(["INSERT INTO t VALUES (0)", (sql, params), "INSERT INTO t VALUES (0)"]),
        lambda: db.run_script(f"INSERT INTO t SELECT 0; {sql}", params) if params else db.execute(sql, params),
        lambda: db.executemany(sql, [params]),
    ]
    for call in calls:
        with pytest.raises(Invalid) as caught:
            call()
        assert not isinstance(caught.value, SqlError)
    with db.transaction() as transaction:
        transaction.execute("INSERT INTO t VALUES (7)")
        with pytest.raises(Invalid):
            transaction.execute(sql, params)
    assert db.query("SELECT v FROM t").rows == [(7,)]


@pytest.mark.parametrize(("sql", "params"), BAD)
def test_parameters_that_do_not_fit_a_query_are_invalid(db: Database, sql: str, params: Any) -> None:
    """Also when the statement is prepared already, and the next call is right again."""
    query = sql.replace("INSERT INTO t VALUES (", "SELECT (")
    for _ in range(2):
        with pytest.raises(Invalid):
            db.query(query, params)
        assert db.query("SELECT ?", (1,)).rows == [(1,)]
    fitting = {"a": 1} if ":a" in query else [1] * (query.count("?") + query.count("?2"))
    if "?" in query or ":a" in query:
        db.query(query, fitting)
        with pytest.raises(Invalid):
            db.query(query, params)


def test_executemany_checks_every_row_before_the_first_is_written(db: Database) -> None:
    """A bad last row is found before a trigger, or anything else, could have run."""
    db.execute("CREATE TABLE t (v)")
    with pytest.raises(Invalid, match="2 given"):
        db.executemany("INSERT INTO t VALUES (?)", [(1,), (2,), (3, 4)])
    with pytest.raises(Invalid, match="'a'"):
        db.executemany("INSERT INTO t VALUES (:a)", [{"a": 1}, {"b": 1}])
    assert db.query("SELECT v FROM t").rows == []


@pytest.mark.parametrize(
    ("value", "row"),
    [
        (True, (1, "integer")),
        (False, (0, "integer")),
        (b"\0x", (b"\0x", "blob")),
        (bytearray(b"ab"), (b"ab", "blob")),
        (memoryview(b"ab"), (b"ab", "blob")),
        (memoryview(b"abc")[1:], (b"bc", "blob")),
        (1.0, (1.0, "real")),
        (None, (None, "null")),
        (2**63 - 1, (2**63 - 1, "integer")),
        ("1", ("1", "text")),
    ],
)
def test_every_type_is_stored_as_what_it_is(db: Database, value: Any, row: tuple[object, ...]) -> None:
    db.execute("CREATE TABLE t (v)")
    db.execute("INSERT INTO t VALUES (?)", (value,))
    assert db.query("SELECT v, typeof(v) FROM t").rows == [row]
    assert db.query("SELECT ?1, typeof(?1)", (value,)).rows == [row]


def test_parameters_of_a_script_are_for_its_first_statement_that_takes_any(db: Database) -> None:
    """They must fit it, and nothing is left over."""
    db.run_script("CREATE TABLE t (a, b); INSERT INTO t VALUES (?, ?); INSERT INTO t VALUES (3, 4)", (1, 2))
    assert db.query("SELECT * FROM t").rows == [(1, 2), (3, 4)]
    for sql, params in [
        ("DELETE FROM t; SELECT 1", (1,)),
        ("DELETE FROM t; SELECT ?; SELECT ?", (1,)),
        ("DELETE FROM t; SELECT ?", (1, 2)),
    ]:
        with pytest.raises(Invalid):
            db.run_script(sql, params)
    assert db.query("SELECT count(*) FROM t").rows == [(2,)]


@pytest.mark.parametrize("sql", [5, None, b"SELECT 1", ["SELECT 1"]])
def test_sql_that_is_no_text_is_invalid(db: Database, sql: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: db.execute(sql),
        lambda: db.run_script(sql),
        lambda: db.batch([(sql, ())]),
        lambda: db.executemany(sql, [()]),
        lambda: db.query(sql),
    ]
    for call in calls:
        with pytest.raises(Invalid, match="SQL must be text"):
            call()


def test_what_is_of_the_wrong_kind_is_invalid_and_costs_nothing(db: Database) -> None:
    wrong: Any = None
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: db.batch([("SELECT 1",)]), "pairs"),  # type: ignore[list-item]
        (lambda: db.batch([wrong]), "pairs"),
        (lambda: db.run("SELECT 1", idempotency_key=7), "must be text"),  # type: ignore[arg-type]
        (lambda: db.change_settings({"max_attempts": wrong}), "whole number"),
        (lambda: db.change_settings({"max_attempts": float("inf")}), "whole number"),  # type: ignore[dict-item]
        (lambda: db.change_settings({"max_attempts": 2.9}), "whole number"),  # type: ignore[dict-item]
        (lambda: db.query("SELECT 1", bookmark=5), "not a bookmark"),  # type: ignore[arg-type]
    ]
    readers, version = len(db._readers.idle), db.version
    for call, message in calls:
        with pytest.raises(Invalid, match=message):
            call()
    assert (len(db._readers.idle), db.version) == (readers, version)
    db.execute("CREATE TABLE t (v)", idempotency_key="\ud800")
    db.execute("CREATE TABLE t (v)", idempotency_key="\ud800")

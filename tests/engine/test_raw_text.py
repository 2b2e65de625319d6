"""Text that is not valid in its encoding goes in and comes out as it is, as a `str` with surrogate escapes (PEP 383)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virke.engine.database import Database
from virke.engine.sqlite import Value, raw_text
from virke.engine.sqlite.raw_text import bound_as_bytes
from virke.errors import Invalid, NotHere
from virke.opening import create
from virke.transfer import import_file

RAW = b"a\xffb\xed\xa0\x80".decode(errors="surrogateescape")


@pytest.fixture
def database() -> Iterator[Database]:
    with create("raw", "memory://") as database:
        database.run_script(
            "CREATE TABLE t (a, b TEXT); INSERT INTO t VALUES (1, 'one'), (2, CAST(x'ff' AS TEXT)), (x'ff', 'é')"
        )
        yield database


ROWS = [(1, "one"), (2, "\udcff"), (b"\xff", "é")]


def test_it_is_read_whichever_way_it_is_asked_for(database: Database) -> None:
    for sql in (
        "SELECT * FROM t",
        "SELECT a AS x, b AS x FROM t ORDER BY rowid; -- the end",
        "WITH w AS (SELECT * FROM t) SELECT * FROM w LIMIT 3",
        "VALUES (1, 'one'), (2, CAST(x'ff' AS TEXT)), (x'ff', 'é')",
    ):
        for _ in range(2):
            assert database.query(sql).rows == ROWS
            assert list(database.query_rows(sql)) == ROWS
    with database.transaction() as transaction:
        assert transaction.query("SELECT * FROM t").rows == ROWS
    assert [one.rows for one in database.batch(["SELECT 1", "SELECT b FROM t WHERE a = 2"])] == [[(1,)], [("\udcff",)]]
    assert database.query("SELECT b AS name FROM t").columns == ["name"]


@pytest.mark.parametrize("text", ["\udcff", RAW, f"ü{RAW}", "\udc80" * 100])
def test_it_is_bound_whichever_way_it_is_sent(database: Database, text: str) -> None:
    data = text.encode(errors="surrogateescape")
    asked = "SELECT CAST(? AS BLOB), typeof(?1), '?', \"b\", :n, ?2 /* ? */ FROM t LIMIT 1 -- ?"
    assert database.query(asked, [text, 5]).rows == [(data, "text", "?", "one", 5, 5)]
    assert database.query("SELECT CAST(:t AS BLOB), @n, $t IS :t", {"t": text, "n": 1}).rows == [(data, 1, 1)]
    assert database.execute("INSERT INTO t VALUES (?, ?)", [text, "x"]) == 1
    assert database.executemany("INSERT INTO t VALUES (?, ?)", [(text, "y"), ("z", text)]) == 2
    assert database.query("SELECT b FROM t WHERE a = ?", [text]).rows == [("x",), ("y",)]
    assert list(database.query_rows("SELECT b FROM t WHERE b = ? AND a = 'z'", [text])) == [(text,)]


def test_a_parameter_keeps_having_no_affinity(database: Database) -> None:
    """CAST alone would make text of what it is compared with."""
    database.run_script("CREATE TABLE n (v); INSERT INTO n VALUES (1)")
    sql, _ = bound_as_bytes("SELECT v = ? FROM n", ["\udcff"], "UTF-8")
    assert database.query(sql, [b"1"]).rows == database.query("SELECT v = ? FROM n", ["1"]).rows == [(0,)]


def test_what_writes_and_gives_it_back_is_refused_and_not_done(database: Database) -> None:
    with pytest.raises(Invalid, match="not valid Unicode"):
        database.query("INSERT INTO t VALUES (9, CAST(x'ff' AS TEXT)) RETURNING b")
    assert database.query("SELECT count(*) FROM t").rows == [(3,)]
    with pytest.raises(Invalid, match="not valid Unicode"):
        database.query("SELECT ?", ["\ud800"])


def test_a_connection_serves_the_next_call_whatever_met_it(database: Database) -> None:
    """A statement that goes on would keep it from serving a stream."""
    for _ in range(3):
        with pytest.raises(NotHere):
            database.query_here("SELECT * FROM t")
        assert list(database.query_rows("SELECT * FROM t")) == ROWS
        rows = database.query_rows("SELECT b FROM t ORDER BY a")
        assert next(rows) == ("one",)
        rows.close()
        assert database.query("SELECT * FROM t").rows == ROWS


def test_rows_that_come_in_another_order_are_not_given_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What SQLite chooses for the other text is its own affair, so here it is chosen for it."""
    database.execute("INSERT INTO t VALUES (3, 'three')")
    monkeypatch.setattr(raw_text, "_spelled_out", _backwards(raw_text._spelled_out))
    rows = database.query_rows("SELECT * FROM t")
    assert next(rows) == (1, "one")
    with pytest.raises(Invalid, match=r"CAST\(… AS BLOB\)"):
        next(rows)
    assert sorted(database.query("SELECT a FROM t WHERE b <> 'é'").rows) == [(1,), (2,), (3,)]


def _backwards(spelled_out: Callable[[str, int], str]) -> Callable[[str, int], str]:
    return lambda sql, columns: spelled_out(sql + " ORDER BY rowid DESC", columns)


def test_a_key_remembers_it(database: Database) -> None:
    for _ in range(2):
        database.run("INSERT INTO t VALUES (?, 1)", [RAW], idempotency_key="k")
    assert database.query("SELECT count(*) FROM t WHERE b = '1'").rows == [(1,)]


@pytest.mark.native
@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_in_utf_16_it_has_the_bytes_of_utf_8(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "x.sqlite"
    raw = sqlite3.connect(path)
    order = encoding.lower().replace("utf-16", "utf-16-")
    half = "ab\ud800".encode(order, "surrogatepass").hex()
    raw.executescript(
        f"PRAGMA encoding='{encoding}'; CREATE TABLE t (a); INSERT INTO t VALUES ('é'), (CAST(x'{half}' AS TEXT))"
    )
    raw.close()
    with create("raw", "memory://") as database:
        import_file(database, path)
        expected = "ab\ud800".encode("utf-8", "surrogatepass").decode(errors="surrogateescape")
        assert database.query("SELECT * FROM t").rows == [("é",), (expected,)]
        assert database.query("SELECT count(*) FROM t WHERE a = ?", [expected]).rows == [(1,)]
        with pytest.raises(Invalid, match="not valid Unicode"):
            database.query("SELECT ?", ["\udcff"])


VALUES = (
    st.none()
    | st.integers(-5, 5)
    | st.binary(max_size=4)
    | st.binary(max_size=4).map(lambda data: data.decode(errors="surrogateescape"))
)


@given(st.lists(st.tuples(VALUES, VALUES), max_size=6))
def test_whatever_is_written_is_read(rows: list[tuple[Value, Value]]) -> None:
    with create("raw", "memory://") as database:
        database.execute("CREATE TABLE t (a BLOB, b BLOB)")
        database.executemany("INSERT INTO t VALUES (?, ?)", rows)
        assert database.query("SELECT * FROM t").rows == list(database.query_rows("SELECT * FROM t")) == rows

"""Results as JSON and as lines: every row once and in order, in parts of a bounded size, and at the end how many there were or what failed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import pytest

from virke.api.codec import PlainCodec
from virke.api.native import (
    BYTES_OF_A_PART,
    ROWS_OF_A_PART,
    Streamed,
    lines_of,
    lines_of_result,
    object_of,
    result_of,
    row_of,
)
from virke.engine.catalog import make_database
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.sqlite import Row
from virke.engine.terms import Terms
from virke.errors import Invalid, SqlError, Unavailable
from virke.stores.memory import memory_store

CODEC = PlainCodec()


@pytest.fixture
def db() -> Iterator[Database]:
    """A database with an empty table."""
    store = memory_store()
    make_database(store, "d", Environment(), if_not_exists=False, page_size=4096)
    with Database(store, "d") as database:
        database.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)")
        yield database


def said(data: bytes) -> list[Any]:
    """What each line says; every line ends."""
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


# Bodies


def test_an_object_has_the_fields_that_mean_something_or_any() -> None:
    body: Any = {"sql": "SELECT 1"}
    assert object_of(body, frozenset({"sql", "params"})) == body
    assert object_of(body, None) == body
    with pytest.raises(Invalid, match="field 'sql' that means nothing"):
        object_of(body, frozenset({"params"}))
    with pytest.raises(Invalid, match="must be a JSON object"):
        object_of([], None)


# Results


def test_a_result_is_what_was_read_and_of_which_state(db: Database) -> None:
    db.execute("INSERT INTO t VALUES (1, x'00ff')")
    result = db.query("SELECT a, b, a + 0.5 AS c FROM t")
    assert result_of(result) == {
        "columns": ["a", "b", "c"],
        "decltypes": ["INTEGER", "BLOB", None],
        "rows": [[1, {"base64": "AP8="}, 1.5]],
        "rows_affected": 0,
        "last_insert_rowid": None,
        "version": db.version,
        "bookmark": result.bookmark,
    }
    assert row_of((None, "x", b"\x00\xff")) == [None, "x", {"base64": "AP8="}]


def test_a_result_of_a_write_has_what_it_changed_and_what_it_cost_if_that_was_asked(db: Database) -> None:
    found = result_of(db.run("INSERT INTO t VALUES (7, NULL), (9007199254740993, NULL)", meta=True))
    assert (found["rows_affected"], found["last_insert_rowid"]) == (2, {"int64": "9007199254740993"})
    assert cast(dict[str, object], found["meta"])["version"] == db.version


def test_a_result_that_is_there_has_a_head_its_rows_and_an_end(db: Database) -> None:
    result = db.run("INSERT INTO t VALUES (7, NULL), (8, NULL) RETURNING a")
    head, *rows, end = said(lines_of_result(result, CODEC))
    state = {"version": db.version, "bookmark": result.bookmark}
    assert head == {"columns": ["a"], "decltypes": ["INTEGER"]} | state
    assert rows == [[7], [8]]
    assert end == {"rows": 2, "rows_affected": 2, "last_insert_rowid": 8} | state


# Rows that are streamed


def streamed(db: Database, sql: str) -> Streamed:
    """The rows of a statement that reads."""
    rows = db.serving.rows(sql, (), Terms())
    return Streamed(rows, rows.close)


def test_rows_that_are_streamed_have_a_head_and_an_end(db: Database) -> None:
    db.execute("INSERT INTO t VALUES (1, NULL), (2, x'00ff')")
    answer = streamed(db, "SELECT * FROM t")
    state = {"version": db.version, "bookmark": answer.rows.bookmark}
    head, *rows, end = said(b"".join(answer.lines(CODEC)))
    assert head == {"columns": ["a", "b"], "decltypes": ["INTEGER", "BLOB"]} | state
    assert rows == [[1, None], [2, {"base64": "AP8="}]]
    assert end == {"rows": 2, "rows_affected": 0, "last_insert_rowid": None} | state


def test_what_fails_at_the_first_row_is_raised_and_at_a_later_one_is_the_last_line(db: Database) -> None:
    db.execute("INSERT INTO t VALUES (1, NULL), (2, NULL)")
    failing = "SELECT CASE a WHEN {} THEN abs(-9223372036854775808) ELSE a END FROM t"
    with pytest.raises(SqlError, match="integer overflow"):
        streamed(db, failing.format(1))
    answer = streamed(db, failing.format(2))
    _, *rows, end = said(b"".join(answer.lines(CODEC)))
    assert rows == [[1]]
    assert (list(end), end["error"]["code"]) == (["error"], "sql_error")


# Parts


def parts_of(rows: Iterable[Row]) -> list[list[Any]]:
    """What each line of each part says."""
    return [said(part) for part in lines_of({"columns": []}, rows, {}, CODEC)]


@pytest.mark.parametrize(("times", "more"), [(0, 0), (0, 1), (1, -2), (1, -1), (1, 0), (3, 0)])
def test_a_part_has_so_many_lines_and_all_parts_have_all_rows(times: int, more: int) -> None:
    count = times * ROWS_OF_A_PART + more
    parts = parts_of((number,) for number in range(count))
    [_, *rows, end] = [line for part in parts for line in part]
    assert rows == [[number] for number in range(count)]
    assert end == {"rows": count}
    full, last = divmod(count + 1, ROWS_OF_A_PART)
    assert [len(part) for part in parts] == [ROWS_OF_A_PART] * full + [last + 1]


def row_of_bytes(size: int) -> Row:
    """A row whose line has so many bytes."""
    row = ("x" * (size - len('[""]')),)
    assert len(CODEC.dumps(list(row))) == size
    return row


@pytest.mark.parametrize(
    ("sizes_for", "lines"),
    [
        (lambda full: [full] * 2, [2, 1, 1]),
        (lambda full: [full - 1] * 4, [3, 2, 1]),
        (lambda full: [full // 2] * 4, [3, 2, 1]),
        (lambda full: [full * 3, 9, 9], [2, 3]),
        (lambda full: [9, full - 9, 9, 9], [3, 3]),
    ],
)
def test_a_part_ends_with_the_row_that_fills_it(sizes_for: Callable[[int], list[int]], lines: list[int]) -> None:
    assert [len(part) for part in parts_of(map(row_of_bytes, sizes_for(BYTES_OF_A_PART)))] == lines


def test_rows_before_an_error_are_all_sent(db: Database) -> None:
    """However many of them the part has by then; nothing says that those were all."""

    def rows() -> Iterator[Row]:
        yield from ((number,) for number in range(ROWS_OF_A_PART + 3))
        raise Unavailable("down")

    _, *lines, end = [line for part in parts_of(rows()) for line in part]
    assert len(lines) == ROWS_OF_A_PART + 3
    assert (list(end), end["error"]["code"]) == (["error"], "unavailable")

"""Answers as bytes: made in one go they are those of the whole, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from virke.api import pieces
from virke.api.codec import Codec, PlainCodec
from virke.api.hrana import answers
from virke.api.hrana.complaints import Refused
from virke.api.hrana.sql import verb_of
from virke.engine.database import Database
from virke.engine.results import QueryResult
from virke.node.codec import FastCodec
from virke.opening import create
from virke.stores.memory import memory_store

CLOSED = answers.ok_result("close")
QUERIES = (
    "SELECT 1",
    "SELECT id, name FROM t",
    "SELECT id, name FROM t WHERE id = 1",
    "SELECT id AS name, name AS id FROM t",
    "SELECT * FROM t WHERE 0",
    "SELECT null, 1.5, -1, 'é\"\\', x'0102', 9e999 AS \"é\"",
    "VALUES (1, 2), (3, 4)",
    "SELECT value FROM json_each('[1,2,3,4,5,6,7,8]')",
)


@pytest.fixture(scope="module")
def db() -> Iterator[Database]:
    with create("d", memory_store()) as database:
        database.run_script(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t (name) VALUES ('a'), ('b')"
        )
        yield database


def whole(result: QueryResult, codec: Codec, *, wants_rows: bool, closes: bool) -> object:
    """The body as it is made of `result_of`."""
    found = answers.ok_result("execute", result=answers.result_of(answers.Done(result, "SELECT", wants_rows)))
    body = {"baton": None, "base_url": None, "results": [found, CLOSED] if closes else [found]}
    return pieces.body_of(body, codec)


@pytest.mark.parametrize("codec", [PlainCodec(), FastCodec()], ids=["plain", "fast"])
@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("wants_rows", [False, True])
def test_the_answer_to_a_read_is_the_same_however_it_is_made(
    db: Database, codec: Codec, wants_rows: bool, closes: bool
) -> None:
    """Again and again too: what is remembered of a statement's columns is of no other's."""
    made = []
    for sql in QUERIES * 3:
        result = db.query(sql)
        body = answers.body_of_read(result, codec, wants_rows=wants_rows, closes=closes)
        if body is not None:
            assert body == whole(result, codec, wants_rows=wants_rows, closes=closes)
            made.append(sql)
    assert made == list(QUERIES) * 3


def test_a_result_of_many_rows_is_made_as_a_whole(db: Database) -> None:
    result = db.query("SELECT value FROM json_each('[1,2,3,4,5,6,7,8,9]')")
    assert answers.body_of_read(result, PlainCodec(), wants_rows=True, closes=True) is None


def test_columns_that_are_not_known_are_not_remembered() -> None:
    """Two results without a description have nothing in common."""
    for name in ("a", "b"):
        result = QueryResult([name], [(1,)], None)  # type: ignore[arg-type]
        assert answers.body_of_read(result, PlainCodec(), wants_rows=True, closes=False) is None


def test_text_that_is_not_utf_8_is_refused_as_ever(db: Database) -> None:
    with pytest.raises(Refused):
        answers.body_of_read(db.query("SELECT CAST(x'ff' AS TEXT)"), PlainCodec(), wants_rows=True, closes=False)


def test_no_more_columns_are_remembered_than_a_few(db: Database) -> None:
    for number in range(answers.COLUMNS_KEPT + 10):
        answers.body_of_read(db.query(f"SELECT {number}"), PlainCodec(), wants_rows=True, closes=False)
    assert len(answers._COLUMNS) <= answers.COLUMNS_KEPT


WRITES = (
    "INSERT INTO t (name) VALUES ('c')",
    "INSERT INTO t (id, name) VALUES (-5, 'd'), (-4, 'e')",
    "REPLACE INTO t (id, name) VALUES (1, 'f')",
    "UPDATE t SET name = 'g'",
    "DELETE FROM t WHERE id < 0",
    "UPDATE t SET name = 'g' WHERE 0",
    "CREATE TABLE IF NOT EXISTS u (v)",
    "INSERT INTO u VALUES (1) RETURNING v",
    "INSERT INTO u VALUES (1), (2)",
    "DROP TABLE u",
)


@pytest.mark.parametrize("codec", [PlainCodec(), FastCodec()], ids=["plain", "fast"])
@pytest.mark.parametrize("closes", [False, True])
def test_the_answer_to_a_write_is_the_same_however_it_is_made(db: Database, codec: Codec, closes: bool) -> None:
    made = []
    for sql in WRITES:
        [result] = db.batch([sql])
        done = answers.Done(result, verb_of(sql), rowid=result.last_insert_rowid or 0)
        body = answers.body_of_write(done, closes=closes)
        if body is not None:
            found = answers.ok_result("execute", result=answers.result_of(done))
            results = [found, CLOSED] if closes else [found]
            assert body == pieces.body_of({"baton": None, "base_url": None, "results": results}, codec)
            made.append(sql)
    assert made == [sql for sql in WRITES if "RETURNING" not in sql]

"""INSERTs of a dump that run as one text do what they would do one by one, and fail where they would."""

from __future__ import annotations

import io
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.transfer.conftest import content
from virke.engine.schema import REQUESTS_TABLE
from virke.errors import Invalid, VirkeError
from virke.opening import create
from virke.transfer import import_file, splitter
from virke.transfer.splitter import split_statements

BEGIN = """CREATE TABLE t(a INTEGER PRIMARY KEY, b CHECK (b <> 'no'));
CREATE TABLE log(x);
CREATE TRIGGER r AFTER INSERT ON t WHEN new.b = 'twice' BEGIN INSERT INTO log VALUES (new.a); INSERT INTO log VALUES (new.b); END;
"""
GOOD = (
    "INSERT INTO t(b) VALUES ('x');",
    "insert into log values ('a;b''--\n');\n",
    "\n\nINSERT INTO t(b) VALUES ('twice');",
    "INSERT OR IGNORE INTO t VALUES (1, 'ignored');",
    "INSERT INTO log VALUES (1), (2) RETURNING x;",
    "INSERT INTO log SELECT x FROM log LIMIT 1;",
    "INSERT INTO log VALUES ('\udce9');",
    "INSERT /* ; */ INTO log VALUES ('é') ;",
    "INSERT INTO sqlite_sequence VALUES ('t', 7);",
    f"INSERT INTO {REQUESTS_TABLE} VALUES (1);",
    f"CREATE TABLE IF NOT EXISTS {REQUESTS_TABLE}(a);",
    "REPLACE INTO t VALUES (1, 'replaced');",
    "PRAGMA optimize;",
    "SAVEPOINT s; ",
    "-- a note\n",
)
BAD = (
    "INSERT INTO t VALUES (1, 'x'); INSERT INTO t VALUES (1, 'x');",
    "INSERT INTO log VALUES (1), (2\n 3);",
    "INSERT INTO\nmissing VALUES (1);",
    "INSERT INTO t(b) VALUES ('y'), ('no');",
    "INSERT INTO log VALUES (load_extension('x'));",
    "INSERT INTO log VALUES (?);",
    "INSERT INTO log VALUES (abs(-9223372036854775808));",
    "INSERT INTO log VALUES (1, 2);",
    "INSERT INTO log VALUES ('\0');",
    "INSERT INTO log VALUES (3)\0;",
    "INSERT INTO log VALUES (zeroblob(3000000000));",
)
DUMPS = st.lists(st.sampled_from(GOOD) | st.sampled_from(GOOD + BAD), max_size=25).map("".join)


def outcome(dump: bytes) -> object:
    """What a dump does to an empty database, and what is said of it."""
    with create("subject", "memory://") as database:
        try:
            done = import_file(database, io.BytesIO(dump), kind="sql")
        except VirkeError as error:
            assert content(database) == {"schema": []}
            return type(error), error.message, getattr(error, "line", None), getattr(error, "sqlite_code", None)
        return done, content(database)


@settings(max_examples=150)
@given(DUMPS)
@example("INSERT INTO t(b) VALUES ('y'), ('no');INSERT INTO log VALUES (load_extension('x'));")
def test_together_they_do_what_each_does(dump: str) -> None:
    text = (BEGIN + dump).encode(errors="surrogateescape")
    together = outcome(text)
    with mock.patch.object(splitter, "TOGETHER_MAX", 1):
        assert together == outcome(text)


def test_they_run_as_texts_of_a_hundred() -> None:
    """Whatever they are called, and with their lines; other statements stay apart."""
    dump = "SELECT 1;" + "\nINSERT INTO t VALUES (1);\n" * 250 + "\ninsert into t values (2);DELETE FROM t;" * 2
    found = [
        (each.statements, each.line) for each in split_statements([dump], together=True) if each.keyword == "INSERT"
    ]
    assert found[0] == (1, 2)  # of the hundred that begins with another statement
    assert (100, 200) in found
    assert sum(count for count, _ in found) == 252
    assert all(each.statements == 1 for each in split_statements([dump]))


def test_keyed_writes_of_another_database_are_passed_over_among_them() -> None:
    """Also where the database has some of its own."""
    with create("subject", "memory://") as database:
        database.execute("CREATE TABLE t(a)", idempotency_key="1")
        before = content(database)[REQUESTS_TABLE]
        dump = f"CREATE TABLE IF NOT EXISTS {REQUESTS_TABLE}(id);"
        dump += f"INSERT INTO {REQUESTS_TABLE} VALUES (NULL,X'00',X'00',1,'');INSERT INTO t VALUES (1);" * 3
        import_file(database, io.BytesIO(dump.encode()))
        assert content(database)[REQUESTS_TABLE] == before
        assert database.query("SELECT count(*) FROM t").rows == [(3,)]


@pytest.mark.parametrize("place", [0, 1, 50, 98, 99, 100, 101])
@pytest.mark.parametrize("bad", ["INSERT INTO missing VALUES (1);", "INSERT INTO t VALUES (1);"])
def test_the_one_that_fails_is_named(place: int, bad: str) -> None:
    lines = ["CREATE TABLE t(a PRIMARY KEY); INSERT INTO t VALUES (1);"]
    lines += [f"INSERT INTO t VALUES ({number});" for number in range(2, 202)]
    lines.insert(place + 1, bad)
    with create("subject", "memory://") as database, pytest.raises(Invalid, match=f"line {place + 2}: "):
        import_file(database, io.BytesIO("\n".join(lines).encode()))

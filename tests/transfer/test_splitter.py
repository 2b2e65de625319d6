"""SQL text is cut where SQLite would cut it, whatever chunks it comes in."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from itertools import chain

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.transfer.conftest import ZOO
from virke.errors import Invalid, TooLarge
from virke.transfer.splitter import Splitter, StatementText, is_complete, split_statements

MARKS = ".x .y; ' '' \" ` [ ] ; ;; - -- / /* */ * \n \r\n END end; BEGIN CREATE TRIGGER TEMP TEMPORARY EXPLAIN a é 1 ( ) , x'00'"
RUNS = [
    " ",
    "\n.mode it's\n",
    ";\n.bail /* on\n",
    "-- x\n.y\n",
    "CREATE TRIGGER t BEGIN",
    "SELECT 1;",
    "; END;",
    ";\nEND -- x\n;",
    "INSERT INTO t VALUES('a;b');\n",
]
PIECES = st.sampled_from([*MARKS.split(" "), *RUNS])
TEXTS = st.lists(PIECES, max_size=30).map("".join)


def outcome(chunks: list[str]) -> list[StatementText] | str:
    try:
        return list(split_statements(chunks))
    except Invalid as error:
        return error.message


@given(TEXTS, st.data())
def test_how_the_text_is_cut_into_chunks_never_shows(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert outcome(chunks) == outcome([text])
    assert outcome(list(text)) == outcome([text])


@given(TEXTS)
def test_statements_end_where_sqlite_says_that_they_are_complete(text: str) -> None:
    assume("\n." not in text and not text.startswith("."))  # lines for the shell are none of SQLite's statements
    assume("EXPLAIN" not in text)  # after it, `sqlite3_complete` lets anything stand before CREATE
    splitter = Splitter()
    whole = list(splitter.feed(text))
    for statement in whole:
        assert sqlite3.complete_statement(statement.sql)
    if not splitter.is_waiting and whole:
        assert sqlite3.complete_statement(text.rstrip() if "--" not in text else f"{text}\n")


@given(TEXTS)
def test_lines_are_where_the_statements_are(text: str) -> None:
    lines = text.split("\n")
    for statement in list(Splitter().feed(text)):
        first = statement.sql.split("\n")[0]
        assert first in lines[statement.line - 1]


def test_a_semicolon_inside_anything_ends_nothing() -> None:
    text = """-- one; two
    SELECT 'a;''b;', "c;""d;", `e;`, [f;g] /* h; */ -- i;
    ;;/* only; a comment */;
    CREATE TRIGGER t AFTER INSERT ON x BEGIN
      SELECT CASE WHEN 1 THEN 2 END; SELECT ';';
    END;
    create temp trigger if not exists u delete on x begin select 1; end /* so */ ;
    SELECT 1"""
    assert [(s.line, s.keyword) for s in split_statements([text])] == [
        (2, "SELECT"),
        (5 - 1, "CREATE"),
        (7, "CREATE"),
        (8, "SELECT"),
    ]


def test_the_statements_of_the_zoo_are_as_many_as_sqlite_runs() -> None:
    connection = sqlite3.connect(":memory:")
    for statement in split_statements([ZOO]):
        connection.execute(statement.sql)
    assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] > 20
    connection.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1;\nSELECT 'abc;\n", "line 2: a string begins here and never ends"),
        ('SELECT 1;\n\n SELECT 2, "abc', "line 3: a quoted name"),
        ("SELECT [abc", "line 1: a quoted name"),
        ("SELECT 1; /* abc", "line 1: a comment"),
    ],
)
def test_what_never_ends_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        list(split_statements([text]))


def test_a_statement_beyond_the_limit_is_refused() -> None:
    """Whether it is long for its values or for one that never ends; text before it does not count."""
    for unit, begin in (
        ("(1,'a'),", "INSERT INTO t VALUES"),
        ("aaaaaaaa", "SELECT '"),
        ("aaaaaaaa", "CREATE TABLE t(a '"),
    ):
        splitter = Splitter(chars_max=1000, with_literals_chars_max=5000, long_chars=100)
        chunks = ["SELECT 1;\n", *["-- comment\n"] * 1000, "/* more", *["\n"] * 1000, "*/\n", begin, *[unit] * 1000]
        with closing(splitter), pytest.raises(TooLarge, match="line 2003: a statement of more than"):
            list(chain.from_iterable(map(splitter.feed, chunks)))


def test_a_literal_may_be_longer_than_a_statement() -> None:
    """And what comes before, after and between such literals is as it was."""
    row = "INSERT INTO t VALUES('{}','é'' \U0001f600',X'{}'); SELECT 1;"
    text = row.format("a\n" * 2000, "00" * 2000)
    with closing(Splitter(chars_max=500, long_chars=50)) as splitter:
        found = [one for at in range(0, len(text), 7) for one in splitter.feed(text[at : at + 7])]
        found += splitter.finish()
    assert found == list(split_statements([text]))
    assert [one.line for one in found] == [1, 2001]


@given(TEXTS, st.integers(1, 12))
def test_what_is_kept_on_disk_never_shows(text: str, long_chars: int) -> None:
    """Statements longer than a few characters are taken from memory, and come back as they were."""

    def outcome(splitter: Splitter) -> list[StatementText] | str:
        found: list[StatementText] = []
        with closing(splitter):
            try:
                for char in text:
                    found += splitter.feed(char)
                return [*found, *splitter.finish()]
            except Invalid as error:
                return error.message

    assert outcome(Splitter(long_chars=long_chars)) == outcome(Splitter())


@pytest.mark.parametrize("unit", ["a''b;\n", "00ff", "'),('", "x\n", "-- x\n", ";"])
def test_time_grows_with_the_text_and_no_faster(unit: str) -> None:
    def cpu_s(chars: int) -> float:
        chunks = ["SELECT '", *[unit * (100_000 // len(unit))] * (chars // 100_000), "';"]
        start = time.process_time()
        with closing(Splitter()) as splitter:
            for chunk in chunks:
                for _ in splitter.feed(chunk):
                    pass
        return time.process_time() - start

    small, large = min(cpu_s(1_000_000) for _ in range(3)), cpu_s(8_000_000)
    assert large < 8 * 6 * max(small, 0.005), "time that grew with the square would be 64 times"


def test_complete_means_ending_with_its_semicolon() -> None:
    assert is_complete("SELECT 1; -- x\n")
    assert not is_complete("SELECT 1")
    assert not is_complete("SELECT 1 -- ;")
    assert not is_complete("SELECT 1; /* x")


def test_a_line_for_the_shell_is_one_only_where_a_statement_could_begin() -> None:
    text = """.bail on
-- a comment; and
.mode "it's"
SELECT '
.not this
', t
.nor_this; .nor_that
/* but */ SELECT 2;
  .nor_with_blanks_before_it;
.quit"""
    assert [(one.line, one.sql.split("\n")[0]) for one in split_statements([text])] == [
        (1, ".bail on"), (3, '.mode "it\'s"'), (4, "SELECT '"), (7, ".nor_that"), (9, ".nor_with_blanks_before_it;"), (10, ".quit"),
    ]  # fmt: skip

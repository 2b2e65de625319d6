"""What SQLite's shell adds to SQL, on every connection that asks for it: patterns, series, hashes, decimals."""

from __future__ import annotations

import re
from random import Random

import pytest

from tests.engine.world import make, reopen, store_of
from virke.engine.database import Database
from virke.engine.shell import decimals, regexp, texts
from virke.engine.shell.regexp import Pattern, WrongPattern
from virke.errors import SqlError, TimedOut

pytestmark = pytest.mark.edge


def one(db: Database, sql: str) -> object:
    """The only value of a query."""
    [(value,)] = db.query(sql).rows
    return value


# pattern, text, whether SQLite 3.40's own finds it
MATCHES = [
    ("", "", 1),
    ("^$", "", 1),
    ("^$", "a", 0),
    ("b", "abc", 1),
    ("^b", "abc", 0),
    ("c$", "abc", 1),
    ("a$b", "ab", 0),
    ("^a|b", "xb", 0),
    ("x|b", "xb", 1),
    ("^(a|b)+$", "abba", 1),
    ("^(a|b)+$", "abca", 0),
    ("^a.c$", "aéc", 1),
    ("^a.c$", "ac", 0),
    ("^a*$", "aaaa", 1),
    ("^ab?c$", "ac", 1),
    ("^a{2,3}$", "a", 0),
    ("^a{2,3}$", "aaa", 1),
    ("^a{2,3}$", "aaaa", 0),
    ("^a{2,}$", "aaaaaa", 1),
    ("^a{2}$", "aaa", 0),
    ("^a{,2}$", "", 1),
    ("^[a-c]+$", "abcd", 0),
    ("^[^a-c]+$", "xyz", 1),
    ("^[]a]+$", "a]", 1),
    (r"^[a-z.]+@\w+\.\w{2,}$", "ann.b@example.com", 1),
    (r"\bcat\b", "a cat sat", 1),
    (r"\bcat\b", "concatenate", 0),
    (r"^\d+\s\D+\S$", "12 ab", 1),
    (r"^\W$", "a", 0),
    (r"\u0041", "xA", 1),
    (r"\x41", "xA", 1),
    (r"a\.b", "axb", 0),
    (r"\t", "\t", 1),
    ("(a*)*b", "aaab", 1),
    ("A", "a", 0),
]
WRONG = [
    ("(", "unmatched '('"),
    ("a)", "unrecognized character"),
    ("*a", "'*' without operand"),
    ("a{", "unmatched '{'"),
    ("a{2,1}", "n less than m in '{m,n}'"),
    ("a{0}", "both m and n are zero in '{m,n}'"),
    ("[a", "unclosed '['"),
    ("[a-]", "unclosed '['"),
    ("[[:alpha:]]", "POSIX character classes not supported"),
    (r"\q", "unknown \\ escape"),
    ("a{100000}", "REGEXP pattern too big"),
    ("(" * 200, "REGEXP pattern too big"),
    ("(a{1,60}){1,60}", "REGEXP pattern too big"),
]


def look() -> None:
    """Nothing ends this."""


@pytest.mark.parametrize(("pattern", "text", "expected"), MATCHES)
def test_a_pattern_is_found_where_sqlite_finds_it(pattern: str, text: str, expected: int) -> None:
    assert int(Pattern(pattern, look).matches(text)) == expected


@pytest.mark.parametrize(("pattern", "reason"), WRONG)
def test_a_wrong_pattern_says_why(pattern: str, reason: str) -> None:
    with pytest.raises(WrongPattern) as caught:
        Pattern(pattern, look)
    assert str(caught.value) == reason


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_p11_patterns_that_hang_other_matchers_take_a_step_a_character_at_most(pattern: str) -> None:
    found = Pattern(pattern, look)
    assert not found.matches("a" * 5000 + "!" if "x" not in pattern else "x" * 5000)
    assert found._steps < 50


def test_p11_what_a_match_remembers_is_bounded() -> None:
    """Nearly every character of this text leads to a set of states that was never seen."""
    found = Pattern("(a|b)*a(a|b){300}c", look)
    text = "".join(Random(1).choices("ab", k=4000))
    assert not found.matches(text)
    assert found._kept < regexp.KEPT_MAX + 5000
    assert found._steps > 2000


def test_p11_a_match_that_takes_long_ends_with_its_request() -> None:
    sql = "SELECT replace(hex(zeroblob(100000)), '0', 'ab') REGEXP '(a|b)*a(a|b){900}c'"
    with make() as timed, pytest.raises(TimedOut):
        timed.query(sql, timeout_ms=20)


def test_checks_views_and_indexes_may_ask_for_them() -> None:
    with make() as first:
        first.run_script(
            "CREATE TABLE a (code TEXT CHECK (code REGEXP '^[a-z]+$'), digits TEXT COLLATE uint);"
            "CREATE INDEX by_digits ON a (digits);"
            "CREATE VIEW small AS SELECT value FROM generate_series(1, 3) WHERE value REGEXP '[12]';"
            "CREATE TRIGGER log AFTER INSERT ON a BEGIN SELECT sha1(new.code); END;"
        )
    with reopen(store_of(first)) as other:  # which meets the schema before the functions
        other.batch([("INSERT INTO a VALUES (?, ?)", row) for row in [("x", "a10"), ("y", "a9"), ("z", "a09")]])
        with pytest.raises(SqlError, match="CHECK constraint failed"):
            other.execute("INSERT INTO a VALUES ('A1', '')")
        assert other.query("SELECT digits FROM a ORDER BY digits, code").rows == [("a9",), ("a09",), ("a10",)]
        assert other.query("SELECT * FROM small").rows == [(1,), (2,)]
        assert one(other, "PRAGMA integrity_check") == "ok"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("1, 5", [1, 2, 3, 4, 5]),
        ("1, 10, 4", [1, 5, 9]),
        ("1, 10, -3", [10, 7, 4, 1]),
        ("1, 3, 0", [1, 2, 3]),
        ("5, 1", []),
        ("1, NULL", []),
        ("1.9, '3'", [1, 2, 3]),
        ("9223372036854775806, 9223372036854775807", [9223372036854775806, 9223372036854775807]),
    ],
)
def test_a_series_has_the_numbers_that_sqlite_s_has(db: Database, arguments: str, expected: list[int]) -> None:
    assert [value for (value,) in db.query(f"SELECT value FROM generate_series({arguments})")] == expected


def test_a_series_is_joined_and_cut(db: Database) -> None:
    sql = "SELECT b.value FROM generate_series(1, 2) AS a, generate_series(a.value, 2) AS b ORDER BY a.value, b.value"
    assert db.query(sql).rows == [(1,), (2,), (2,)]
    assert db.query("SELECT value, start, stop, step FROM generate_series(7) LIMIT 1").rows == [(7, 7, 4294967295, 1)]
    with pytest.raises(SqlError, match="needs its first argument"):
        db.query("SELECT * FROM generate_series")
    with make() as timed, pytest.raises(TimedOut):
        timed.query("SELECT sum(value) FROM generate_series(1, 9223372036854775807)", timeout_ms=20)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("'Abc' REGEXP 'b'", 1),
        ("regexpi('ABC', 'xabcx')", 1),
        ("5 REGEXP '^5$'", 1),
        ("x'61' REGEXP '^a$'", 1),
        ("NULL REGEXP 'a'", None),
        ("sha1('abc')", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("hex(sha3('abc'))", "3A985DA74FE225B2045C172D6BD390BD855F086E3E9D525B46BFE24511431532"),
        ("length(sha3('abc', 512))", 64),
        ("base64(x'616263')", "YWJj\n"),
        ("base64('YWJj')", b"abc"),
        ("base64('YW Jj' || char(10) || 'YQ==')", b"abca"),
        ("decimal_mul('1.50', '2.0')", "3.0"),
        ("decimal_add('1.5', '2.50')", "4.00"),
        ("decimal('1e3')", "1000"),
        ("decimal('007.50')", "7.50"),
        ("decimal('-0')", "-0"),
        ("decimal_sub('-1', '1')", "-2"),
        ("decimal_add('.5', '.5')", "1.0"),
        ("decimal_cmp('1', '1.0')", 0),
        ("decimal_cmp('-2', '1')", -1),
        ("decimal(NULL)", None),
        ("(SELECT decimal_sum(value / 10.0) FROM generate_series(5, 5))", "0.5"),
        ("ieee754(1.5)", "ieee754(3,-1)"),
        ("ieee754(0.0)", "ieee754(0,-1075)"),
        ("ieee754(-1e-320)", "ieee754(-253,-1071)"),
        ("ieee754(3, -1)", 1.5),
        ("ieee754_mantissa(2.5)", 5),
        ("ieee754_exponent(2.5)", -1),
        ("hex(ieee754_to_blob(1.0))", "3FF0000000000000"),
        ("ieee754_from_blob(x'3FF0000000000000')", 1.0),
    ],
)
def test_a_function_answers_as_the_shell_s(db: Database, expression: str, expected: object) -> None:
    assert one(db, f"SELECT {expression}") == expected


def test_p11_decimals_have_a_bound(db: Database) -> None:
    with pytest.raises(SqlError, match="at most 4000 digits"):
        db.query("SELECT decimal_mul(?1, ?1)", ("9" * decimals.DIGITS_MAX,))


@pytest.mark.parametrize(
    "name", ["readfile('x')", "writefile('x', 1)", "edit('x')", "sha3_query('SELECT 1')", "eval('1')"]
)
def test_p12_what_reaches_files_or_statements_is_not_lent(db: Database, name: str) -> None:
    with pytest.raises(SqlError, match="no such function"):
        db.query(f"SELECT {name}")


def test_a_connection_that_asks_for_none_has_none(db: Database) -> None:
    assert one(db, "SELECT count(*) FROM pragma_function_list WHERE name IN ('regexp', 'sha1')") == 0
    one(db, "SELECT 'a' REGEXP 'b'")
    assert one(db, "SELECT group_concat(name) FROM pragma_function_list WHERE name IN ('regexp', 'sha1')") == "regexp"


def test_what_asks_for_none_compiles_none_of_their_patterns() -> None:
    """Each of them costs the start of a process as much as a module does."""
    found = [
        value for part in (decimals, regexp, texts) for value in vars(part).values() if isinstance(value, re.Pattern)
    ]
    assert found == []

"""What a file is, is told by its content; what can't be imported is refused with the reason."""

from __future__ import annotations

import pytest

from virke.errors import Invalid
from virke.transfer.sniff import Kind, kind_named, sniff_kind

IMAGE = b"SQLite format 3\0" + bytes(100)


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("x.csv", IMAGE, Kind.IMAGE),
        ("x", b"CREATE TABLE t(a);", Kind.SQL),
        ("x.csv", b"CREATE TABLE t(a,b);", Kind.SQL),
        ("x.txt", b"-- a comment, only\n", Kind.SQL),
        ("x", b"/* c */ insert into t values(1)", Kind.SQL),
        ("x", b"BEGIN;\n", Kind.SQL),
        ("x.csv", b"begin;end\n1;2\n", Kind.CSV),
        ("x.csv", b"select,from\n1,2\n", Kind.CSV),
        ("x", b"name,age\nbo,1\n", Kind.CSV),
        ("x", b"name;age\nbo;1\n", Kind.CSV),
        ("x.csv", b"name\nbo\n", Kind.CSV),
        ("x.csv", b"-- not a comment,b\n1,2\n", Kind.CSV),
        ("x.sql", b"\xef\xbb\xbfSELECT 1;", Kind.SQL),
        ("x.sql", "SELECT 1;".encode("utf-16"), Kind.SQL),
        ("x", "\ufeffa,b\n1,2\n".encode("utf-16-be"), Kind.CSV),
        ("x", b".open x\nCREATE", Kind.SQL),
        ("x.sql", b"hello", Kind.SQL),
    ],
)
def test_the_kind_is_told_by_content(name: str, head: bytes, kind: Kind) -> None:
    assert sniff_kind(head, name).kind is kind


@pytest.mark.parametrize(
    ("head", "said", "kind"),
    [
        (b"name\nbo\n", "csv", Kind.CSV),
        (b"SELECT 1;", "csv", Kind.CSV),
        (b"name,age\nbo,1\n", "sql", Kind.SQL),
        (IMAGE, "sqlite", Kind.IMAGE),
        (IMAGE, "csv", None),
        (IMAGE, "sql", None),
        (b"SELECT 1;", "sqlite", None),
        (b"", "sql", None),
    ],
)
def test_a_kind_that_is_said_is_believed_where_it_can_be(head: bytes, said: str, kind: Kind | None) -> None:
    if kind:
        assert sniff_kind(head, "x", kind=kind_named(said)).kind is kind
    else:
        with pytest.raises(Invalid):
            sniff_kind(head, "x", kind=kind_named(said))


def test_only_these_kinds_can_be_said() -> None:
    with pytest.raises(Invalid, match="known: sqlite, sql, csv"):
        kind_named("xlsx")


@pytest.mark.parametrize(
    ("name", "head", "message"),
    [
        ("x.sql", b"", "is empty"),
        ("x.sql", b" \n\t", "nothing but blanks"),
        ("x.csv", b"\xef\xbb\xbf\n", "nothing but blanks"),
        ("x", b"\x7fELF\0\0\1\2", "is binary"),
        ("x.db", b"\0" * 100, "not an SQLite database"),
        ("x.sql", "SELECT 1;".encode("utf-16-le"), "UTF-16 text without a byte order mark"),
        ("x.sql", "SELECT 1;".encode("utf-32"), "UTF-32"),
        ("x.sql.zst", b"\x28\xb5\x2f\xfd", "is compressed \\(zstd\\)"),
        ("x.csv", b"a,b\n1,\xe9\n", "line 2: not valid UTF-8"),
        ("x", b"hello", "can't tell what x is"),
        ("x.sql", b"-- MySQL dump 10.13\n", "dump of MySQL"),
        ("x.sql", b"/*!40101 SET NAMES utf8 */;\n", "dump of MySQL"),
        ("x.sql", b"--\n-- PostgreSQL database dump\n--\n", "dump of PostgreSQL"),
        ("x", b"PGDMP\1\2", "PostgreSQL archive"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_the_reason(name: str, head: bytes, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        sniff_kind(head, name)


def test_a_table_name_says_that_a_single_column_is_a_table() -> None:
    assert sniff_kind(b"name\nbo\n", "x", table=True).kind is Kind.CSV

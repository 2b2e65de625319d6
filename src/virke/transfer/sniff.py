"""What a file is, detected from its first bytes: an SQLite file, an SQL dump, or a table as CSV or JSON.

Pure. The name of the file decides only where its content fits more than one.

1. Binary data, text without content and dumps of other databases are refused with the reason.
2. Text is UTF-8 (with or without a byte order mark), or UTF-16 with one, unless the caller knows better. What is no UTF-8 in SQL
   is passed on as surrogate escapes (PEP 383): SQLite takes any bytes as text.
"""

from __future__ import annotations

import codecs
import re
from enum import Enum
from pathlib import PurePath
from typing import Final

from virke.core.page import HEADER_MAGIC
from virke.errors import Invalid
from virke.lazy_dataclasses import dataclass

HEAD_BYTES: Final = 64 << 10
DELIMITERS: Final = ",;\t|"

CONVERT: Final = "convert it to SQLite's SQL, or export its tables as CSV"

_PACKED: Final = {
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}
_IMAGE_NAMES: Final = frozenset({".sqlite", ".sqlite3", ".db", ".db3"})
_CSV_NAMES: Final = frozenset({".csv", ".tsv", ".tab", ".psv"})
_JSON_NAMES: Final = frozenset({".ndjson", ".jsonl", ".json"})
_SQL_NAMES: Final = frozenset({".sql", ".dump"})
_BEGINNING = re.compile(r"(?>(?:[\s;]++|--[^\n]*+\n?|/\*(?s:.*?)(?:\*/|\Z))*)")
_SQL_WORD = re.compile(
    r"(?:ALTER|ANALYZE|ATTACH|BEGIN|COMMIT|COPY|CREATE|DELETE|DETACH|DROP|END|EXPLAIN|GRANT|INSERT|LOCK|PRAGMA|REINDEX"
    r"|RELEASE|REPLACE|ROLLBACK|SAVEPOINT|SELECT|SET|START|UPDATE|USE|VACUUM|VALUES|WITH)(?=\s|;|\(|\Z)",
    re.IGNORECASE,
)
BROKEN = re.compile("[\udc80-\udcff]")
"""A byte that is not text, as a surrogate escape."""
_JSON = re.compile(r"\s*(?:\[\s*)?\{\s*[\"}]").match
_LONE_WORD = re.compile(r"\w+[ \t]*(?:\r?\n|\Z|[,|\t]|;[ \t]*\w)")
_HEADER = re.compile(r"[\w .%#/-]+[,;|\t][^;=()'\n]*(?:\r?\n|\Z)")
_ANNOUNCED = re.compile(r"^\s*(?:-- (MySQL|MariaDB|phpMyAdmin|PostgreSQL)|/\*![0-9M])", re.IGNORECASE | re.MULTILINE)
_DOT_COMMAND = re.compile(r"\.[a-z]+(?:\s|\Z)")
_FOREIGN: Final = (
    (
        "MySQL",
        re.compile(r"-- (?:MySQL|MariaDB|phpMyAdmin)|/\*![0-9M]|\bENGINE\s*=|\bAUTO_INCREMENT\b|\\'", re.IGNORECASE),
    ),
    (
        "MySQL",
        re.compile(
            r"(?:DELIMITER|LOCK|UNLOCK|USE|SET (?:GLOBAL|NAMES|SQL_MODE|foreign_key_checks|@))\b", re.IGNORECASE
        ),
    ),
    (
        "PostgreSQL",
        re.compile(r"-- PostgreSQL|\bpg_catalog\.|::\w|\bnextval\(|\bOWNER TO\b|\bWITH SCHEMA\b", re.IGNORECASE),
    ),
    ("PostgreSQL", re.compile(r"(?:COPY|COMMENT ON|GRANT|REVOKE|SET \w+\s*(?:=|TO\b))", re.IGNORECASE)),
    ("Microsoft SQL Server", re.compile(r"(?:GO|SET \w+ (?:ON|OFF))\b|\bIDENTITY\s*\(|\[dbo\]", re.IGNORECASE)),
)
"""Product, and what betrays its SQL in a statement that SQLite refused, or before the first one."""


class Kind(Enum):
    """The kinds of file that can be imported."""

    IMAGE = "sqlite"
    SQL = "sql"
    CSV = "csv"
    JSON = "ndjson"

    @property
    def is_table(self) -> bool:
        """Whether it is rows of one table, which has to be named."""
        return self in (Kind.CSV, Kind.JSON)


@dataclass(frozen=True, slots=True)
class Sniffed:
    """A kind, and for text the codec that reads it without its byte order mark."""

    kind: Kind
    encoding: str


def kind_named(word: str) -> Kind:
    """The kind of a word. Raises `Invalid`: there is none of that name."""
    for kind in Kind:
        if kind.value == word:
            return kind
    raise Invalid(f"unknown kind {word!r}; known: {', '.join(kind.value for kind in Kind)}")


def sniff_kind(
    head: bytes, name: str, *, table: bool = False, kind: Kind | None = None, encoding: str | None = None
) -> Sniffed:
    """What a file of this `name` is whose first `HEAD_BYTES` are `head`; `table`: the caller expects a table.

    A caller that knows the `kind` or the `encoding` of its text is believed, where the content can be that.

    Raises:
        Invalid: it is empty, binary, a dump of another database, not of that kind, or not recognized.
    """
    suffix = PurePath(name.lower().removesuffix(".gz")).suffix
    if not head and (kind is Kind.JSON or (kind is None and suffix in _JSON_NAMES)):
        return Sniffed(Kind.JSON, encoding or "utf-8")  # a table without rows, as it is exported
    if not head:
        raise Invalid(f"{name} is empty")
    if head.startswith(HEADER_MAGIC):
        if kind not in (None, Kind.IMAGE):
            raise Invalid(f"{name} is an SQLite file, and was announced as another kind")
        return Sniffed(Kind.IMAGE, "")
    if kind is Kind.IMAGE:
        raise Invalid(f"{name} is not an SQLite database: its header is missing (damaged, or encrypted)")
    if suffix in _IMAGE_NAMES and b"\0" in head:
        raise Invalid(f"{name} is not an SQLite database: its header is missing (damaged, or encrypted)")
    text, encoding = (_text_of(head, encoding), encoding) if encoding else _decoded_head(head, name)
    if not text.strip("\ufeff \t\r\n\f"):
        raise Invalid(f"{name} holds nothing but blanks")
    found = kind or _kind_of_text(text, suffix, table)
    if found is None:
        raise Invalid(
            f"can't tell what {name} is: not an SQLite file, an SQL dump or a table; "
            "name it .sql, or .csv and say which table it is for"
        )
    if found is Kind.SQL and (product := _announced_product(text[: _first_token(text)])):
        raise Invalid(f"{name} is a dump of {product}, which SQLite does not read: {CONVERT}")
    if found is not Kind.SQL and (broken := BROKEN.search(text)):
        line = text.count("\n", 0, broken.start()) + 1
        raise Invalid(f"{name}, line {line}: {not_valid(encoding)}", line=line)
    return Sniffed(found, encoding)


def not_valid(encoding: str) -> str:
    """What is wrong with bytes that are no text of `encoding`, and what to do."""
    return (
        f"not valid {encoding.removesuffix('-sig').upper()}: save it as UTF-8, or name its encoding (--encoding cp1252)"
    )


def _decoded_head(head: bytes, name: str) -> tuple[str, str]:
    for magic, packer in _PACKED.items():
        if head.startswith(magic):
            raise Invalid(f"{name} is compressed ({packer}): unpack it first")
    if head.startswith(b"PGDMP"):
        raise Invalid(f"{name} is a PostgreSQL archive: Virke imports SQLite dumps, SQLite files and CSV")
    if head.startswith((codecs.BOM_UTF32_BE, codecs.BOM_UTF32_LE)):
        raise Invalid(f"{name} is UTF-32 text: save it as UTF-8")
    if head.startswith((codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE)):
        return _text_of(head, "utf-16"), "utf-16"
    if b"\0" in head:
        even, odd = head[::2].count(0), head[1::2].count(0)
        if max(even, odd) > len(head) // 5 > 2 * min(even, odd):
            raise Invalid(f"{name} is UTF-16 text without a byte order mark: save it as UTF-8")
        raise Invalid(f"{name} is binary, but not an SQLite database")
    return _text_of(head, "utf-8").removeprefix("\ufeff"), "utf-8-sig"


def _text_of(head: bytes, encoding: str) -> str:
    """A beginning as text; what is none is escaped, and a character that is cut at its end is left out."""
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
    try:
        return decoder.decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:  # UTF-16 has no such escapes: whoever reads on says where
        return head.decode(encoding, "replace")


def _kind_of_text(text: str, suffix: str, table: bool) -> Kind | None:
    named = Kind.SQL if suffix in _SQL_NAMES else Kind.CSV if suffix in _CSV_NAMES or table else None
    if suffix in _JSON_NAMES or (named is not Kind.SQL and _JSON(text)):
        return Kind.JSON
    begin = _first_token(text)
    if _DOT_COMMAND.match(text, begin):
        return named or Kind.SQL
    if _SQL_WORD.match(text, begin):
        is_header = _LONE_WORD.match(text, begin) or _HEADER.match(text, begin)  # `select,name`, `Release Date,Title`
        return Kind.CSV if is_header and named is Kind.CSV else Kind.SQL
    if named:
        return named
    if begin and text[:begin].strip():  # it begins with a comment
        return Kind.SQL
    lines = text.splitlines()[:20]
    if any(lines[0].count(mark) and all(mark in line for line in lines[:-1]) for mark in DELIMITERS):
        return Kind.CSV
    return None


def _announced_product(comments: str) -> str | None:
    """The other product that the comments at the beginning of a dump name."""
    found = _ANNOUNCED.search(comments)
    if not found:
        return None
    return "PostgreSQL" if (found[1] or "").lower() == "postgresql" else "MySQL"


def foreign_product(sql: str) -> str | None:
    """The other product whose SQL this seems to be, if any; ask only about text that SQLite does not take."""
    for product, pattern in _FOREIGN:
        if pattern.match(sql) or (pattern.pattern[0] != "(" and pattern.search(sql)):
            return product
    return None


def _first_token(text: str) -> int:
    found = _BEGINNING.match(text)
    return found.end() if found else 0

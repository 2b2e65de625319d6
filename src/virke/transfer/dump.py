"""A database as SQL text, the way the `.dump` of the sqlite3 shell (3.40) prints it.

Knows SQLite's schema table and the shell's way of quoting; writes nothing and knows no file.

1. The text, run on an empty database, makes the same tables, values, indexes, views and triggers again.
2. It is the shell's text byte for byte except for two things, on which shells differ and which lose nothing here:
   a REAL is written with 17 digits (the shell: 20 digits, other ones in each version), which every SQLite reads exactly (3.40 and
   others do not read the fewest digits that would do), and
   text that holds a NUL or is no UTF-8 is written whole (the shell cuts it at the NUL).
3. As in the shell's, rowids are not kept where no INTEGER PRIMARY KEY names them. Unlike in the shell's, Virke's table of
   keyed writes is left out.
4. Memory holds `VALUES_TOGETHER` values of at most `SHORT_BYTES`, or one row, and one piece of text of about `PIECE_CHARS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import copysign
from typing import Final, cast

from virke.engine.schema import REQUESTS_TABLE
from virke.engine.sqlite import Connection, Row, TooBigError, Value, short_values
from virke.errors import Invalid, NotFound
from virke.lazy_dataclasses import dataclass
from virke.transfer.splitter import is_complete

PIECE_CHARS: Final = 256 << 10
ROWS_TOGETHER: Final = 100
VALUES_TOGETHER: Final = 500
SHORT_BYTES: Final = 64 << 10
_NOT_OURS: Final = f"lower(tbl_name)<>'{REQUESTS_TABLE}'"
_WITHOUT_OURS: Final = {
    **{f"sqlite_stat{n}": f" WHERE tbl IS NOT '{REQUESTS_TABLE}'" for n in (1, 3, 4)},
    "sqlite_sequence": f" WHERE name IS NOT '{REQUESTS_TABLE}'",
}
_INT64_MIN: Final = -(1 << 63)
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*").fullmatch
_QUOTED_TABLE = re.compile("CREATE TABLE ['\"]").match
_KEYWORDS: Final = frozenset(
    "ABORT ACTION ADD AFTER ALL ALTER ALWAYS ANALYZE AND AS ASC ATTACH AUTOINCREMENT BEFORE BEGIN BETWEEN BY CASCADE "
    "CASE CAST CHECK COLLATE COLUMN COMMIT CONFLICT CONSTRAINT CREATE CROSS CURRENT CURRENT_DATE CURRENT_TIME "
    "CURRENT_TIMESTAMP DATABASE DEFAULT DEFERRABLE DEFERRED DELETE DESC DETACH DISTINCT DO DROP EACH ELSE END ESCAPE "
    "EXCEPT EXCLUDE EXCLUSIVE EXISTS EXPLAIN FAIL FILTER FIRST FOLLOWING FOR FOREIGN FROM FULL GENERATED GLOB GROUP "
    "GROUPS HAVING IF IGNORE IMMEDIATE IN INDEX INDEXED INITIALLY INNER INSERT INSTEAD INTERSECT INTO IS ISNULL JOIN "
    "KEY LAST LEFT LIKE LIMIT MATCH MATERIALIZED NATURAL NO NOT NOTHING NOTNULL NULL NULLS OF OFFSET ON OR ORDER "
    "OTHERS OUTER OVER PARTITION PLAN PRAGMA PRECEDING PRIMARY QUERY RAISE RANGE RECURSIVE REFERENCES REGEXP REINDEX "
    "RELEASE RENAME REPLACE RESTRICT RETURNING RIGHT ROLLBACK ROW ROWS SAVEPOINT SELECT SET TABLE TEMP TEMPORARY THEN "
    "TIES TO TRANSACTION TRIGGER UNBOUNDED UNION UNIQUE UPDATE USING VACUUM VALUES VIEW VIRTUAL WHEN WHERE WINDOW "
    "WITH WITHIN WITHOUT".split()
)


@dataclass(frozen=True, slots=True)
class Part:
    """What of a database is written: one table (with its indexes and triggers) or all, the schema, the rows or both."""

    table: str | None = None
    schema: bool = True
    rows: bool = True


ALL: Final = Part()


def dump_pieces(connection: Connection, part: Part = ALL) -> Iterator[str]:
    """The database, or a part of it, as SQL, in pieces of whole lines; the connection must not change meanwhile.

    Raises:
        NotFound: there is no such table. Invalid: a virtual table, which keeps its rows in tables of its own, can't be written so.
        apsw's errors: the database can't be read (`virke.engine.sqlite.translate` says what they mean).
    """
    yield from joined_pieces(_lines_of_all(connection) if part == ALL else _lines_of(connection, part))


def joined_pieces(lines: Iterable[str]) -> Iterator[str]:
    """Whole lines, joined into pieces of about `PIECE_CHARS`."""
    held: list[str] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size > PIECE_CHARS:
            yield "".join(held)
            held.clear()
            size = 0
    if held:
        yield "".join(held)


def _lines_of_all(connection: Connection) -> Iterator[str]:
    yield "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"
    schema_open = False
    tables = connection.execute(
        f"SELECT name, sql FROM sqlite_schema WHERE type='table' AND sql NOT NULL AND {_NOT_OURS} "
        "ORDER BY tbl_name='sqlite_sequence', rowid"
    ).fetchall()
    for name, sql in tables:
        assert isinstance(name, str), "sqlite_schema holds text"
        assert isinstance(sql, str), "sqlite_schema holds text"
        if sql.startswith("CREATE VIRTUAL TABLE"):
            if not schema_open:
                yield "PRAGMA writable_schema=ON;\n"
            schema_open = True
            yield (
                "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table',"
                f"{quoted_text(name)},{quoted_text(name)},0,{quoted_text(sql)});\n"
            )
        elif (made := _making_statement(name, sql)) is not None:
            yield made
            yield from _rows_of_table(connection, name)
    others = f"SELECT sql FROM sqlite_schema WHERE sql NOT NULL AND type IN ('index','trigger','view') AND {_NOT_OURS}"
    for (sql,) in connection.execute(others).fetchall():
        yield _ended_statement(sql)
    if schema_open:
        yield "PRAGMA writable_schema=OFF;\n"
    yield "COMMIT;\n"


def _lines_of(connection: Connection, part: Part) -> Iterator[str]:
    """As `_lines_of_all`, but only what `part` says: virtual tables are made by their own statement, and their tables are theirs to make."""
    kinds = {str(name): str(kind) for name, kind in connection.execute("SELECT name, type FROM pragma_table_list")}
    entries = connection.execute(
        f"SELECT type, name, sql FROM sqlite_schema WHERE sql NOT NULL AND {_NOT_OURS} AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
        "AND (?1 IS NULL OR tbl_name = ?1 COLLATE NOCASE) ORDER BY type NOT IN ('table'), rowid",
        (part.table,),
    ).fetchall()
    if part.table is not None and not any(kind in ("table", "view") for kind, _, _ in entries):
        raise NotFound(f"there is no table {part.table!r}")
    yield "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"
    for kind, name, sql in entries:
        if kinds.get(str(name)) == "shadow":
            continue
        if part.schema and (
            made := _making_statement(str(name), str(sql)) if kind == "table" else _ended_statement(sql)
        ):
            yield made
        if part.rows and kind == "table":
            if kinds.get(str(name)) == "virtual":
                raise Invalid(f"{name} is a virtual table, which only a whole export can hold with its rows")
            yield from _rows_of_table(connection, str(name))
    yield "COMMIT;\n"


def _ended_statement(sql: object) -> str:
    """A statement with its end, which a comment must not swallow."""
    return f"{sql}\n;\n" if "--" in str(sql) else f"{sql};\n"


def _making_statement(name: str, sql: str) -> str | None:
    """What makes the table; None for a table that SQLite makes by itself."""
    if name == "sqlite_sequence":
        return "DELETE FROM sqlite_sequence;\n"
    if len(name) == len("sqlite_stat1") and name.startswith("sqlite_stat"):
        return "ANALYZE sqlite_schema;\n"
    if name.startswith("sqlite_"):
        return None
    if "/*" in sql or "--" in sql:  # a comment may have swallowed the end
        sql = next((sql + end for end in ("", "*/", "\n") if is_complete(f"{sql}{end};")), sql)
    if _QUOTED_TABLE(sql):
        sql = f"CREATE TABLE IF NOT EXISTS {sql[13:]}"
    return f"{sql};\n"


def _rows_of_table(connection: Connection, table: str) -> Iterator[str]:
    columns = [str(row[1]) for row in connection.execute(f"PRAGMA table_info({quoted_text(table)})").fetchall()]
    start, origin = f"INSERT INTO {quoted_name(table)} VALUES(", quoted_name(table) + _WITHOUT_OURS.get(table, "")
    done = 0
    for read in _WAYS:  # what one can't read the next one reads, from there on
        try:
            names = [quoted_name(name) for name in columns]
            for count, lines in read(connection, names, f"{origin} LIMIT -1 OFFSET {done}", start):
                yield lines
                done += count
            return
        except (TooBigError, UnicodeDecodeError):
            if read is _WAYS[-1]:
                raise


Lines = Iterator[tuple[int, str]]
"""Of how many rows, and the statements that insert them."""


def _short_rows(connection: Connection, names: list[str], origin: str, start: str) -> Lines:
    """Many rows at once, as long as no value is long (invariant 4)."""
    most = max(1, min(ROWS_TOGETHER, VALUES_TOGETHER // len(names)))
    with short_values(connection, SHORT_BYTES):
        rows = connection.execute(f"SELECT {','.join(names)} FROM {origin}")
        while some := list(islice(rows, most)):
            marks, columns = zip(*map(_marked_values, zip(*some, strict=True)), strict=True)
            line = f"{start.replace('%', '%%')}{','.join(marks)});\n"
            yield len(some), "".join(map(line.__mod__, zip(*columns, strict=True)))


def _any_rows(connection: Connection, names: list[str], origin: str, start: str) -> Lines:
    for row in connection.execute(f"SELECT {','.join(names)} FROM {origin}"):
        yield 1, f"{start}{','.join(map(literal_of, row))});\n"


def _raw_rows(connection: Connection, names: list[str], origin: str, start: str) -> Lines:
    """Rows with text that is none: text as bytes."""
    pairs = ",".join(
        f"typeof({name}),CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) ELSE {name} END" for name in names
    )
    [(encoding,)] = connection.execute("PRAGMA encoding").fetchall()
    for row in connection.execute(f"SELECT {pairs} FROM {origin}"):
        yield 1, f"{start}{','.join(_raw_literals(row, str(encoding)))});\n"


_WAYS: Final = (_short_rows, _any_rows, _raw_rows)


def _marked_values(values: tuple[Value, ...]) -> tuple[str, Iterable[object]]:
    """A mark for the values of a column, and values that become `literal` of each in it.

    Most columns hold one kind of values, most text nothing awkward, and most REALs a fraction.
    """
    kinds = set(map(type, values))
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is int:
        return "%d", values
    if kind is str and not _is_awkward("".join(cast("tuple[str, ...]", values))):
        return "'%s'", values
    if kind is float:
        reals = cast("tuple[float, ...]", values)
        return "%s", [
            text if "." in (text := f"{real:.17g}") and "+" not in text else _real_literal(real) for real in reals
        ]
    return "%s", [_LITERALS[type(value)](value) for value in values]


def _raw_literals(row: Row, encoding: str) -> Iterator[str]:
    for kind, value in zip(row[::2], row[1::2], strict=True):
        if kind == "text" and isinstance(value, bytes):
            yield _raw_text(value, encoding)
        else:
            yield literal_of(value)


def _raw_text(value: bytes, encoding: str) -> str:
    """A text from its bytes in the database's encoding; what is not text is written byte for byte, as UTF-8 would have it."""
    try:
        return literal_of(value.decode(encoding))
    except UnicodeDecodeError:
        if encoding != "UTF-8":
            value = value.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")
        return f"CAST({literal_of(value)} AS TEXT)"


def quoted_name(name: str) -> str:
    """A name as the shell writes it: bare if that can be, else in double quotes."""
    if _PLAIN_NAME(name) and name.upper() not in _KEYWORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


def quoted_text(text: str) -> str:
    """Text in single quotes."""
    return "'" + text.replace("'", "''") + "'"


def literal_of(value: Value) -> str:
    """A value as SQL that gives exactly this value."""
    return _LITERALS[type(value)](value)


def _is_awkward(text: str) -> bool:
    return "'" in text or "\n" in text or "\r" in text or "\0" in text


def _text_literal(value: str) -> str:
    if not _is_awkward(value):
        return f"'{value}'"
    before, after = "", ""
    marked = value
    for char, number, short, long in (
        ("\n", 10, "\\n", "\\012"),
        ("\r", 13, "\\r", "\\015"),
        ("\0", 0, "\\0", "\\000"),
    ):
        if char in value:
            mark = _unused_mark(marked, short, long)
            marked = marked.replace(char, mark)
            before, after = f"replace({before}", f"{after}"
            after = f",'{mark}',char({number})){after}"
    return f"{before}{quoted_text(marked)}{after}"


def _unused_mark(text: str, short: str, long: str) -> str:
    """A mark that `text` does not hold."""
    for mark in (short, long):
        if mark not in text:
            return mark
    number = 0
    while (mark := f"({short}{number})") in text:
        number += 1
    return mark


def _real_literal(value: float) -> str:
    if value in (float("inf"), float("-inf")):
        return "1e999" if value > 0 else "-1e999"
    if _INT64_MIN <= value < -_INT64_MIN and value == int(value):
        return f"{'-' if not value and copysign(1, value) < 0 else ''}{int(value)}.0"
    return f"{value:.17g}"


_LITERALS: Final[dict[type, Callable[..., str]]] = {
    type(None): lambda _: "NULL",
    int: str,
    float: _real_literal,
    str: _text_literal,
    bytes: lambda value: f"X'{value.hex()}'",
}

"""A CSV file as rows of one table.

Knows CSV (RFC 4180, with `,` `;` tab or `|` between fields) and which values SQLite can hold exactly.
The first record names the columns. Two passes: one finds the types, one inserts.

1. A value is stored so that it reads back as the same value: a column is INTEGER or REAL only if every value in it
   survives that (no leading zeros or `+`, 64 bits, at most 17 digits with a fraction); every other column is TEXT.
2. An empty field is NULL, quoted or not. A blank line is no record.
3. A record with more or fewer fields than there are names, and an unclosed quote, are errors that name the line.
4. A table that is missing is made; into one that is there rows go by column name, with that table's own types.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from virke.engine.sqlite import Connection, Error, Guard, Value, total_changes, translate
from virke.errors import Invalid, SqlError
from virke.transfer.sniff import DELIMITERS
from virke.transfer.source import Progress, Source, silent
from virke.transfer.sql_dump import Loaded

FIELD_CHARS_MAX: Final = 256 << 20
SAMPLE_RECORDS: Final = 100
_INTEGER = re.compile(r"0|-?[1-9][0-9]*").fullmatch
_REAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_INTEGER_DIGITS_SAFE: Final = 18  # any such integer fits in 64 bits
_REAL_DIGITS_MAX: Final = 17
_EXACT_INTEGER_MAX: Final = 1 << 53


class Type(IntEnum):
    """What the values of a column have in common, from narrow to wide."""

    EMPTY = 0
    INTEGER = 1
    REAL = 2
    TEXT = 3


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file that was read once: how its fields are told apart, its column names and their types."""

    delimiter: str
    columns: tuple[str, ...]
    types: tuple[Type, ...]


def load_csv(
    connection: Connection, guard: Guard, source: Source, *, encoding: str, table: str, progress: Progress = silent
) -> Loaded:
    """Insert all records of `source` into `table`.

    Raises:
        Invalid: the file is no table, its columns are not the table's, or the table refuses a record
            (`SqlError`; names the line).
    """
    if not table or "\0" in table:
        raise Invalid("the table for a CSV file needs a name")
    found = survey(source, encoding)
    there = _columns_of(connection, table)
    before = total_changes(connection)
    try:
        if not there:
            connection.execute(_create(table, found)).fetchall()
        convert = _converters(found, there, table)
    except Error as error:
        raise Invalid(f"can't make table {table!r}: {translate(error, guard).message}") from error
    names, marks = ",".join(map(_quoted, found.columns)), ",".join("?" * len(found.columns))
    records = _Records(source, encoding, found.delimiter, progress)
    next(iter_records := iter(records))
    rows = _values(records, iter_records, convert, found.columns)
    try:
        connection.executemany(f"INSERT INTO {_quoted(table)}({names}) VALUES({marks})", rows).fetchall()
    except Error as error:
        meant = translate(error, guard)
        code = meant.code if isinstance(meant, SqlError) else 1
        raise SqlError(f"line {records.line}: {meant.message}; nothing was changed", code=code) from error
    return Loaded(1 if there else 2, total_changes(connection) - before)


class _Records:
    """The records of a file; `line` is where the latest one begins."""

    def __init__(self, source: Source, encoding: str, delimiter: str, progress: Progress = silent) -> None:
        self.line = 1
        self._name = source.name
        csv.field_size_limit(max(csv.field_size_limit(), FIELD_CHARS_MAX))  # one for the process: only ever raised
        self._reader = csv.reader(_lines(source.text(encoding, progress)), delimiter=delimiter, strict=True)

    def __iter__(self) -> Iterator[list[str]]:
        while True:
            self.line = self._reader.line_num + 1
            try:
                record = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise Invalid(f"{self._name}, line {self.line}: {_reason(error)}", line=self.line) from error
            if record:
                yield record


def _reason(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quoted field begins in this record and never ends"
    return f"not CSV: {error}"


def _lines(chunks: Iterable[str]) -> Iterator[str]:
    """Lines with their ends (`\\n`, `\\r\\n` or `\\r`), as the csv module wants them."""
    rest = ""
    for chunk in chunks:
        whole = rest + chunk
        # A `\r` at the end may be half of a `\r\n`: it waits for the next chunk.
        cut = max(whole.rfind("\n"), whole.rfind("\r", 0, -1)) + 1
        yield from _LINE(whole, 0, cut)
        rest = whole[cut:]
    yield from _LINE(rest, 0, len(rest))


def _LINE(text: str, begin: int, end: int) -> Iterator[str]:
    return (found.group() for found in _LINES(text, begin, end))


_LINES = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+").finditer


# First pass: names and types


def survey(source: Source, encoding: str) -> Table:
    """Read the whole file once.

    Raises:
        Invalid: no records, a column without a name or with another's, or a ragged record; names the line.
    """
    delimiter = _delimiter(source, encoding)
    records = _Records(source, encoding, delimiter)
    each = iter(records)
    columns = _header(next(each, []), records.line, source.name)
    width = len(columns)
    types = [Type.EMPTY] * width
    open_columns = list(range(width))
    for record in each:
        if len(record) != width:
            raise Invalid(
                f"{source.name}, line {records.line}: {len(record)} fields, but the header names {width} columns",
                line=records.line,
            )
        for column in open_columns:
            if (value := record[column]) and (wider := _type_of(value, types[column])) is not types[column]:
                types[column] = wider
        if Type.TEXT in types and any(types[column] is Type.TEXT for column in open_columns):
            open_columns = [column for column in open_columns if types[column] is not Type.TEXT]
    return Table(delimiter, columns, _settled(source, encoding, delimiter, types))


def _header(names: Sequence[str], line: int, file: str) -> tuple[str, ...]:
    if not names:
        raise Invalid(f"{file} holds no record: its first line must name the columns")
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name.strip() or "\0" in name:
            raise Invalid(f"{file}, line {line}: column {number} has no name; the first line must name the columns")
        if (twin := seen.setdefault(name.strip().lower(), number)) != number:
            raise Invalid(f"{file}, line {line}: columns {twin} and {number} are both named {name.strip()!r}")
    return tuple(name.strip() for name in names)


def _type_of(value: str, so_far: Type) -> Type:
    """The narrowest type that holds `value` and all values of the type `so_far`."""
    if _INTEGER(value):
        if len(value) > _INTEGER_DIGITS_SAFE and not -(1 << 63) <= int(value) < 1 << 63:
            return Type.TEXT
        return max(so_far, Type.INTEGER)
    if _REAL(value):
        digits = re.split("[eE]", value)[0].replace(".", "").lstrip("-0")
        if len(digits) <= _REAL_DIGITS_MAX and abs(float(value)) < float("inf"):
            return max(so_far, Type.REAL)
    return Type.TEXT


def _settled(source: Source, encoding: str, delimiter: str, types: Sequence[Type]) -> tuple[Type, ...]:
    return tuple(types)


def _delimiter(source: Source, encoding: str) -> str:
    """The mark that cuts the first records into the same number of fields, the largest there is."""
    best, width = ",", 1
    for mark in DELIMITERS:
        counts = _sample_widths(source, encoding, mark)
        if len(counts) == 1 and (fields := counts.pop()) > width:
            best, width = mark, fields
    return best

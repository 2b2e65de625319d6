"""Inserts the records of a CSV file into one table.

Knows tables and affinities; knows CSV only by its records (`csv_file`).

1. A table that is missing is made, with the types that the whole file has.
2. Into a table that is there, records go by column name (without a header: by position), with that table's own types; a name that
   it does not have is an error.
3. A field of nothing is NULL; where the table refuses NULL and has a default, it is the default.
4. Every error names the line where its record begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from operator import length_hint
from typing import Final

from virke.engine.sqlite import Connection, Error, Guard, Value, total_changes
from virke.errors import Invalid
from virke.transfer.csv_file import CHARS_TOGETHER, Layout, Records, body_records, survey_file
from virke.transfer.csv_types import EMPTY_TEXT, Type
from virke.transfer.form import AS_FOUND, Form
from virke.transfer.source import Progress, Source, silent_progress
from virke.transfer.sql_dump import Loaded
from virke.transfer.table import Column, by_name, columns_of, create_sql, insert_sql, refused_error

Convert = Callable[[str], Value]
CONVERTED_TOGETHER: Final = 200

_DECLARED: Final = {
    Type.EMPTY: "TEXT",
    Type.INTEGER: "INTEGER",
    Type.BIG: "INTEGER",
    Type.REAL: "REAL",
    Type.TEXT: "TEXT",
}
_CONVERT: Final[dict[Type, Convert]] = {
    Type.EMPTY: str,
    Type.INTEGER: int,
    Type.BIG: int,
    Type.REAL: float,
    Type.TEXT: str,
}


def load_csv(
    connection: Connection,
    guard: Guard,
    source: Source,
    *,
    encoding: str,
    table: str,
    form: Form = AS_FOUND,
    progress: Progress = silent_progress,
) -> Loaded:
    """Insert all records of `source` into `table`.

    Raises:
        Invalid: the file is not a table, its columns are not the table's, or SQLite refuses a record (`SqlError`).
    """
    layout = survey_file(source, encoding, progress, form=form)
    before = total_changes(connection)
    try:
        there = columns_of(connection, table)
        if not there:
            connection.execute(
                create_sql(table, layout.columns, [_DECLARED[type_] for type_ in layout.types])
            ).fetchall()
    except Error as error:
        raise refused_error(f"can't make table {table!r}", error, guard) from error
    into = _columns_into(layout, there, table) if there else []
    if there and not layout.has_header:
        layout = replace(layout, columns=tuple(column.name for column in into))
    rows = _Rows(Records(source, encoding, layout.delimiter, progress=progress), layout, into)
    try:
        connection.executemany(insert_sql(table, layout.columns, into), iter(rows)).fetchall()
    except Error as error:
        raise refused_error(f"{source.name}, line {rows.line}", error, guard) from error
    return Loaded(1 if there else 2, total_changes(connection) - before, warnings=layout.warnings)


def _columns_into(layout: Layout, there: Sequence[Column], table: str) -> list[Column]:
    """The column of the table for each of the file. Raises `Invalid`: there is none."""
    if not layout.has_header:
        if len(layout.columns) > len(there):
            raise Invalid(f"table {table!r} has {len(there)} columns, and the first line {len(layout.columns)} fields")
        return list(there[: len(layout.columns)])
    return by_name(layout.columns, there, table)


def _field_converters(layout: Layout, into: Sequence[Column]) -> list[Convert]:
    """For each field what makes a value of it: text where the column's affinity does the rest."""
    if not into:
        return [_CONVERT[type_] for type_ in layout.types]
    return [_CONVERT[type_] if column.keeps_types else str for column, type_ in zip(into, layout.types, strict=True)]


class _Rows:
    """The records as rows of values: converted by column, many at once."""

    def __init__(self, records: Records, layout: Layout, into: Sequence[Column]) -> None:
        self._records = records
        self._layout = layout
        self._convert = convert = _field_converters(layout, into)
        is_text = [column.keeps_types or not column.is_numeric for column in into] or [make is str for make in convert]
        self._empty = ["" if text and make is str else None for text, make in zip(is_text, convert, strict=True)]
        self._lines: list[int] = []
        self._given: Iterator[tuple[Value, ...]] = iter(())

    @property
    def line(self) -> int:
        """Where the record of the latest row begins (rule 4)."""
        at = max(0, len(self._lines) - 1 - length_hint(self._given))
        return self._lines[at] if self._lines else self._records.line

    def __iter__(self) -> Iterator[tuple[Value, ...]]:
        records, some, chars = self._records, list[list[str]](), 0
        lines: list[int] = []
        for record in body_records(records, self._layout):
            some.append(record)
            lines.append(records.line)
            chars += records.chars
            if len(some) == CONVERTED_TOGETHER or chars > CHARS_TOGETHER:
                yield from self._rows_of(some, lines)
                some, lines, chars = [], [], 0
        yield from self._rows_of(some, lines)

    def _rows_of(self, records: list[list[str]], lines: list[int]) -> Iterator[tuple[Value, ...]]:
        if not records:
            return iter(())
        self._lines = lines
        columns = map(_column_values, self._convert, zip(*records, strict=True), self._empty)
        self._given = iter(list(zip(*columns, strict=True)))
        return self._given


def _column_values(make: Convert, fields: tuple[str, ...], empty: Value) -> Sequence[Value]:
    """What the fields of one column are; `empty` is what a field of `""` is."""
    if EMPTY_TEXT in fields:
        return [empty if field == EMPTY_TEXT else make(field) if field else None for field in fields]
    if make is str:
        return [field or None for field in fields] if "" in fields else fields
    return [make(field) if field else None for field in fields] if "" in fields else list(map(make, fields))

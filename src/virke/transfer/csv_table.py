"""Inserts the records of a CSV file into one table.

Knows tables and affinities; knows CSV only by its records (`csv_file`).

1. A table that is missing is made, with the types that the whole file has.
2. Into a table that is there, records go by column name (without a header: by position), with that table's own types; a name that
   it does not have is an error.
3. A field of nothing is NULL; where the table refuses NULL and has a default, it is the default.
4. Every error names the line where its record begins.
5. The file is read once: a column has the type that its values at the beginning have. Where a later one does not fit in, nothing is kept,
   the rest is read for the types alone, and then everything once more, with those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import is_, length_hint
from typing import Final

from virke.engine.sqlite import Connection, Error, Guard, Value, total_changes
from virke.errors import Invalid
from virke.transfer.csv_file import Columns, Layout, Rows
from virke.transfer.csv_records import Batch
from virke.transfer.csv_types import EMPTY_TEXT, Type
from virke.transfer.form import AS_FOUND, Form
from virke.transfer.source import Progress, Source, silent_progress
from virke.transfer.sql_dump import Loaded
from virke.transfer.table import Column, by_name, columns_of, create_sql, insert_sql, refused_error

Convert = Callable[[str], Value]
AHEAD_CHARS: Final = 1 << 18

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
    known: Layout | None = None,
) -> Loaded | Layout:
    """Insert all records of `source` into `table`; or say what the file is like (`known`), to be called again with a new copy (rule 5).

    Raises:
        Invalid: the file is not a table, its columns are not the table's, or SQLite refuses a record (`SqlError`).
    """
    before = total_changes(connection)
    rows = Rows(source, encoding, progress, form=form, known=known)
    inserted, where = None, f"can't make table {table!r}"
    try:
        there = columns_of(connection, table)
        into = _columns_into(rows, there, table, named=form.has_header) if there else []
        inserted = _Inserted(rows, known, into)
        if not there:
            connection.execute(create_sql(table, rows.columns, inserted.declared)).fetchall()
        where = ""
        columns = rows.columns if form.has_header or not there else [column.name for column in into]
        connection.executemany(insert_sql(table, columns, into), iter(inserted)).fetchall()
    except Error as error:
        layout = rows.finish()  # what is wrong with the file itself comes first
        if inserted and not inserted.holds(layout.types):
            return layout
        raise refused_error(where or f"{source.name}, line {inserted and inserted.line}", error, guard) from error
    layout = rows.finish()
    if not inserted.holds(layout.types):
        return layout
    return Loaded(1 if there else 2, total_changes(connection) - before, warnings=(known or layout).warnings)


def _columns_into(rows: Rows, there: Sequence[Column], table: str, *, named: bool) -> list[Column]:
    """The column of the table for each of the file. Raises `Invalid`: there is none."""
    names = rows.columns
    try:
        if named:
            return by_name(names, there, table)
        if len(names) > len(there):
            raise Invalid(f"table {table!r} has {len(there)} columns, and the first line {len(names)} fields")
    except Invalid:
        rows.finish()  # what is wrong with the file itself comes first
        raise
    return list(there[: len(names)])


def _field_converters(types: Sequence[Type], into: Sequence[Column]) -> list[Convert]:
    """For each field what makes a value of it: text where the column's affinity does the rest, exactly (of a REAL it may not)."""
    if not into:
        return [float if type_ is Type.REAL else str for type_ in types]
    return [_CONVERT[type_] if column.keeps_types else str for column, type_ in zip(into, types, strict=True)]


class _Inserted:
    """The records as rows of values, converted by column, many at once; they end where one shows that a column is wider (rule 5)."""

    def __init__(self, rows: Rows, known: Layout | None, into: Sequence[Column]) -> None:
        self._known = known is not None
        self._is_stopped = False
        self._batches = iter(rows)
        self._rows = rows
        self._into = into
        self._ahead = list(self._read_ahead())
        self._types = known.types if known else rows.types
        self._convert = convert = _field_converters(self._types, into)
        is_text = [column.keeps_types or not column.is_numeric for column in into] or [
            _DECLARED[type_] == "TEXT" for type_ in self._types
        ]
        self._empty = ["" if text and make is str else None for text, make in zip(is_text, convert, strict=True)]
        self._batch: Batch | None = None
        self._given: Iterator[Sequence[Value]] = iter(())

    def _read_ahead(self) -> Iterator[tuple[Batch, Columns]]:
        """Enough of the beginning to see what most columns are."""
        chars = 0
        while not self._known and chars < AHEAD_CHARS and (some := next(self._batches, None)):
            chars += some[0].chars
            yield some

    @property
    def declared(self) -> list[str]:
        """The type of each column of a new table."""
        return [_DECLARED[type_] for type_ in self._types]

    def holds(self, types: Sequence[Type]) -> bool:
        """Whether all rows are as they would be with columns of these types, and the table is; not if one was left out."""
        if self._known or types == self._types:
            return not self._is_stopped
        return not self._is_stopped and self._plan(types) == self._plan(self._types)

    def _plan(self, types: Sequence[Type]) -> object:
        return _field_converters(types, self._into), not self._into and [_DECLARED[type_] for type_ in types]

    @property
    def line(self) -> int:
        """Where the record of the latest row begins (rule 4)."""
        if self._batch is None:
            return 1
        return self._batch.line_of(max(0, len(self._batch.records) - 1 - length_hint(self._given)))

    def __iter__(self) -> Iterator[Sequence[Value]]:
        return chain.from_iterable(self._some())

    def _some(self) -> Iterator[Iterator[Sequence[Value]]]:
        for batch, columns in chain(self._ahead, self._batches):
            if not self.holds(self._rows.types):
                self._is_stopped = True
                return
            self._batch, self._given = batch, iter(self._values(batch, columns))
            yield self._given

    def _values(self, batch: Batch, columns: Columns) -> Sequence[Sequence[Value]]:
        make = _values_of_marked if batch.has_marks else _column_values
        values = list(map(make, self._convert, columns, self._empty))
        return batch.records if all(map(is_, values, columns)) else list(zip(*values, strict=True))


def _values_of_marked(make: Convert, fields: tuple[str, ...], empty: Value) -> Sequence[Value]:
    """As `_column_values`; `empty` is what a field of `""` is."""
    if EMPTY_TEXT in fields:
        return [empty if field == EMPTY_TEXT else make(field) if field else None for field in fields]
    return _column_values(make, fields)


def _column_values(make: Convert, fields: tuple[str, ...], _: Value = None) -> Sequence[Value]:
    """What the fields of one column are."""
    if make is str:
        return fields if all(fields) else [field or None for field in fields]
    return list(map(make, fields)) if all(fields) else [make(field) if field else None for field in fields]

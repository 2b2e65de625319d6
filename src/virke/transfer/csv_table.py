"""Inserts the records of a CSV file into one table.

Knows tables and affinities; knows CSV only by its records (`csv_file`).

1. A table that is missing is made, with the types that the whole file has.
2. Into a table that is there, records go by column name, with that table's own types; a name that it does not have
   is an error.
3. An empty field is NULL. Every error names the line where its record begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from virke.engine.sqlite import Connection, Error, Guard, Value, total_changes, translate
from virke.errors import Invalid, SqlError, VirkeError
from virke.transfer.csv_file import Layout, Records, Type, survey
from virke.transfer.source import Progress, Source, silent
from virke.transfer.sql_dump import Loaded

Convert = Callable[[str], Value]

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
    connection: Connection, guard: Guard, source: Source, *, encoding: str, table: str, progress: Progress = silent
) -> Loaded:
    """Insert all records of `source` into `table`.

    Raises:
        Invalid: the file is no table, its columns are not the table's, or SQLite refuses a record (`SqlError`).
    """
    if not table.strip() or "\0" in table:
        raise Invalid("the table for a CSV file needs a name")
    layout = survey(source, encoding, progress)
    before = total_changes(connection)
    try:
        there = _columns_of(connection, table)
        if not there:
            connection.execute(_create(table, layout)).fetchall()
    except Error as error:
        raise _refused(f"can't make table {table!r}", error, guard) from error
    convert = _converters(layout, there, table)
    records = Records(source, encoding, layout.delimiter, progress=progress)
    try:
        connection.executemany(_insert(table, layout), _rows(records, convert)).fetchall()
    except Error as error:
        raise _refused(f"{source.name}, line {records.line}", error, guard) from error
    return Loaded(1 if there else 2, total_changes(connection) - before)


def _refused(where: str, error: Exception, guard: Guard) -> VirkeError:
    meant = translate(error, guard)
    message = f"{where}: {meant.message}; nothing was changed"
    return SqlError(message, sqlite_code=meant.sqlite_code) if isinstance(meant, SqlError) else type(meant)(message)


def quoted(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def _create(table: str, layout: Layout) -> str:
    columns = zip(layout.columns, layout.types, strict=True)
    return f"CREATE TABLE {quoted(table)}({', '.join(f'{quoted(name)} {_DECLARED[type_]}' for name, type_ in columns)})"


def _insert(table: str, layout: Layout) -> str:
    names, marks = ",".join(map(quoted, layout.columns)), ",".join("?" * len(layout.columns))
    return f"INSERT INTO {quoted(table)}({names}) VALUES({marks})"


def _columns_of(connection: Connection, table: str) -> dict[str, str]:
    """Name (in lower case) to declared type of all columns that can be written; empty if there is no such table."""
    rows = connection.execute(f"PRAGMA table_xinfo({quoted(table)})").fetchall()
    return {str(row[1]).lower(): str(row[2]).upper() for row in rows if row[6] in (0, 1)}


def _converters(layout: Layout, there: dict[str, str], table: str) -> list[Convert]:
    """For each field what makes a value of it: text where the column's affinity does the rest."""
    if not there:
        return [_CONVERT[type_] for type_ in layout.types]
    if unknown := [name for name in layout.columns if name.lower() not in there]:
        raise Invalid(
            f"table {table!r} has no column {', '.join(map(repr, unknown))} that a file could fill; "
            f"it has {', '.join(there)}"
        )
    columns = zip(layout.columns, layout.types, strict=True)
    return [_CONVERT[type_] if _keeps_types(there[name.lower()]) else str for name, type_ in columns]


def _keeps_types(declared: str) -> bool:
    """Whether a column of this declared type stores text as text, and numbers as numbers."""
    numeric_or_text = any(part in declared for part in ("INT", "CHAR", "CLOB", "TEXT"))
    return declared in ("", "ANY") or ("BLOB" in declared and not numeric_or_text)


def _rows(records: Records, convert: Sequence[Convert]) -> Iterator[tuple[Value, ...]]:
    each = iter(records)
    next(each)  # the header
    for record in each:
        yield tuple([make(value) if value else None for make, value in zip(convert, record, strict=True)])

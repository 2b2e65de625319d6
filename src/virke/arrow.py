"""The rows of a statement as batches of Arrow, for Polars, DuckDB, pandas and what else reads it (extra `arrow`).

Knows rows, one at a time, and pyarrow; knows no store.

1. What is in memory is one batch: results of any size pass through.
2. A column has one type in all batches: what `types` says, else what the first batch shows and the declared type says of
   columns that it leaves open.
3. A value that its column's type can't hold exactly is an error that names both: nothing is rounded, cut off or made NULL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

from virke.errors import Invalid, UsageError

if TYPE_CHECKING:
    import pyarrow

    from virke.engine.rows import Rows
    from virke.engine.sqlite import Parameters, Row, Value

BATCH_ROWS: Final = 32_768
BATCH_BYTES: Final = 16 << 20
_PART_ROWS: Final = 512
_HINT: Final = 'say the type: types={"COLUMN": pyarrow.string()}, or CAST the column in the statement'


class Asked(Protocol):
    """A database, embedded or of a node."""

    def query_rows(self, sql: str, params: Parameters = ()) -> Rows:
        """The rows of one reading statement."""


def fetch_arrow(
    database: Asked,
    sql: str,
    params: Parameters = (),
    *,
    types: Mapping[str, pyarrow.DataType | str] | None = None,
    batch_rows: int = BATCH_ROWS,
) -> pyarrow.RecordBatchReader:
    """The rows of one reading statement as batches of at most `batch_rows`, read as they are asked for.

    `types` are those of columns, as pyarrow's or by its names for them (`{"at": "timestamp[us]"}`); texts are read as what they say.

    Raises:
        UsageError: pyarrow is not installed. Invalid: a type is unknown, a name is that of two columns, or (then or from the
            batch) a value does not fit its column. Else as `Database.query_rows`.
    """
    try:
        arrow = import_module("pyarrow")
    except ImportError as error:
        raise UsageError("Arrow needs the package pyarrow", hint="pip install 'virke[arrow]'") from error
    if type(batch_rows) is not int or batch_rows < 1:
        raise Invalid(f"batch_rows must be a number from 1 on, not {batch_rows!r}")
    rows = database.query_rows(sql, params)
    try:
        first = _take_rows(rows, batch_rows)
        schema = _schema_of(arrow, rows, first, dict(types or {}))
        batch = _batch_of(arrow, schema, first)
    except BaseException:
        rows.close()
        raise
    return arrow.RecordBatchReader.from_batches(
        schema, _batches_of(arrow, schema, rows, first=batch, batch_rows=batch_rows)
    )


def _batches_of(arrow: Any, schema: Any, rows: Rows, *, first: Any, batch_rows: int) -> Iterator[Any]:
    try:
        batch = first
        while batch.num_rows:
            yield batch
            batch = _batch_of(arrow, schema, _take_rows(rows, batch_rows))
    finally:
        rows.close()


def _take_rows(rows: Rows, limit: int) -> list[Row]:
    """The rows of the next batch."""
    taken: list[Row] = []
    left = BATCH_BYTES
    while left > 0 and len(taken) < limit:
        wanted = min(_PART_ROWS, limit - len(taken))
        part = rows.take(wanted)
        taken += part
        if len(part) < wanted:
            break
        left -= sum(len(value) for row in part for value in row if isinstance(value, str | bytes))
    return taken


def _schema_of(arrow: Any, rows: Rows, first: Sequence[Row], types: Mapping[str, Any]) -> Any:
    names = rows.columns
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"two columns are called {twice!r}", hint="give each a name of its own: `SELECT a.id AS a_id`")
    if unknown := types.keys() - set(names):
        raise Invalid(f"there is no column {min(unknown)!r} to have a type", hint=f"the columns are {', '.join(names)}")
    fields = []
    for at, (name, decltype) in enumerate(zip(names, rows.decltypes, strict=True)):
        if name in types:
            found = _type_named(arrow, types[name])
        else:
            found = _type_by_values(arrow, name, {type(row[at]) for row in first}, decltype)
        fields.append(arrow.field(name, found))
    return arrow.schema(fields)


def _type_named(arrow: Any, wanted: Any) -> Any:
    if not isinstance(wanted, str):
        return wanted
    try:
        return arrow.type_for_alias(wanted)
    except ValueError as error:
        raise Invalid(f"pyarrow has no type {wanted!r}") from error


def _type_by_values(arrow: Any, name: str, kinds: set[type], decltype: str | None) -> Any:
    """The type of a column by the values of its first batch, and where those are all NULL by its declared type."""
    kinds.discard(type(None))
    declared = _declared_kind(decltype or "")
    if not kinds:
        kinds = {declared}
    if kinds <= {int, float}:
        return arrow.int64() if kinds == {int} and declared is not float else arrow.float64()
    if len(kinds) > 1:
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise Invalid(f"column {name!r} has values of several kinds: {found}", hint=_HINT)
    return arrow.string() if kinds == {str} else arrow.binary()


def _declared_kind(decltype: str) -> type:
    """The kind of value that a column of this type is meant for (SQLite's rules of affinity)."""
    word = decltype.upper()
    if "INT" in word or "BOOL" in word:
        return int
    if any(part in word for part in ("CHAR", "CLOB", "TEXT", "DATE", "TIME", "UUID", "JSON")) or not word:
        return str
    return bytes if "BLOB" in word else float


def _batch_of(arrow: Any, schema: Any, rows: Sequence[Row]) -> Any:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [_column_array(arrow, field, values) for field, values in zip(schema, columns, strict=True)]
    return arrow.RecordBatch.from_arrays(arrays, schema=schema)


def _column_array(arrow: Any, field: Any, values: Sequence[Value]) -> Any:
    """The values of one column. Raises `Invalid`: one does not fit."""
    wanted = field.type
    try:
        if arrow.types.is_string(wanted) or arrow.types.is_large_string(wanted):
            return arrow.array([str(value) if isinstance(value, int | float) else value for value in values], wanted)
        if arrow.types.is_integer(wanted) or arrow.types.is_floating(wanted) or arrow.types.is_binary(wanted):
            return arrow.array(values, wanted)
        return arrow.array(values).cast(wanted)
    except (arrow.ArrowException, OverflowError, UnicodeError) as error:
        raise Invalid(f"column {field.name!r} is {wanted}, and a value does not fit: {error}", hint=_HINT) from error

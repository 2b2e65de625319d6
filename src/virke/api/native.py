"""Virke's own language: the bodies of requests as statements, results as JSON.

Knows operations' parts and the engine's results; knows no route.

1. A value is JSON's own, or an object with one key (`engine.values`): nothing is lost, in either direction.
2. A body may have no other fields than those that are read: a misspelt one is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from virke.api.codec import Codec
from virke.api.failures import describe_error
from virke.api.pieces import rows_of
from virke.engine.results import QueryResult, Request
from virke.engine.values import Json, decode_value, encode_value
from virke.errors import Invalid, VirkeError

if TYPE_CHECKING:
    from virke.engine.rows import Rows
    from virke.engine.sqlite import Parameters, Row, Value

STATEMENT_FIELDS: Final = frozenset({"sql", "params"})
INT64: Final = 1 << 63
ROWS_OF_A_PART: Final = 256
BYTES_OF_A_PART: Final = 64 << 10
PARAMS: Final = "`params` is a list of values, or an object of values by name"


def object_of(body: Json, fields: frozenset[str] | None, what: str = "the body") -> dict[str, Json]:
    """An object that has no other fields than these; None: any. Raises `Invalid`."""
    if not isinstance(body, dict):
        raise Invalid(f"{what} must be a JSON object")
    if fields is None:
        return body
    if unknown := sorted(body.keys() - fields):
        raise Invalid(f"{what} has a field {unknown[0]!r} that means nothing; it may have {', '.join(sorted(fields))}")
    return body


def statement_of(body: Json, more: frozenset[str] = frozenset()) -> Request:
    """A statement and its parameters. Raises `Invalid`: it is none."""
    found = {"sql": body} if isinstance(body, str) else object_of(body, STATEMENT_FIELDS | more, "a statement")
    sql = found.get("sql")
    if not isinstance(sql, str):
        raise Invalid("a statement is an object with the text `sql` and, if it takes any, `params`")
    return sql, parameters_of(found.get("params"))


def parameters_of(body: Json) -> Parameters:
    """Parameters by place or by name. Raises `Invalid`."""
    match body:
        case None:
            return ()
        case list():
            return tuple(parameter_of(value) for value in body)
        case dict():
            return {name.lstrip(":@$"): parameter_of(value) for name, value in body.items()}
        case _:
            raise Invalid(PARAMS)


def rows_in(body: Mapping[str, Json]) -> tuple[Parameters, ...] | None:
    """What `rows` has: parameters for each time that a statement is run; None if there is no such field. Raises `Invalid`."""
    rows = body.get("rows")
    if rows is not None and not isinstance(rows, list):
        raise Invalid("`rows` is a list of lists or objects of values")
    return None if rows is None else tuple(parameters_of(row) for row in rows)


def parameter_of(body: Json) -> Value:
    """One value. Raises `Invalid`: SQLite has no such value."""
    try:
        value = decode_value(body)
    except (ValueError, TypeError) as error:
        raise Invalid(f"{body!r} is not a value: {error}") from error
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int) and not -INT64 <= value < INT64:
        raise Invalid(f"{value} does not fit SQLite's 64-bit integers")
    return value


def result_of(result: QueryResult) -> dict[str, object]:
    """A result as JSON, for `pieces`."""
    found: dict[str, object] = {
        "columns": result.columns,
        "decltypes": result.decltypes,
        "rows": rows_of(result.rows, row_of),
        "rows_affected": result.rows_affected,
        "last_insert_rowid": encode_value(result.last_insert_rowid),
        "version": result.version,
        "bookmark": result.bookmark,
    }
    if result.meta is not None:
        found["meta"] = asdict(result.meta)
    return found


def row_of(row: Sequence[Value]) -> list[Json]:
    """A row as JSON."""
    return [encode_value(value) for value in row]


class Streamed:
    """The rows of one reading statement, the first of which was read already: what fails until then has a status of its own."""

    def __init__(self, rows: Rows, close: Callable[[], None], stale_ms: int | None = None) -> None:
        """`close` is called once, when the rows end or are no longer wanted. Raises what reading the first row raises."""
        self.rows = rows
        self.close = close
        self.stale_ms = stale_ms
        self._first = list(islice(rows, 1))

    def __iter__(self) -> Iterator[Row]:
        return chain(self._first, self.rows)

    def lines(self, codec: Codec) -> Iterator[bytes]:
        """As lines; see `lines_of`."""
        rows = self.rows
        state = {"version": rows.version, "bookmark": rows.bookmark}
        head = {"columns": rows.columns, "decltypes": rows.decltypes, **state}
        end = {"rows_affected": 0, "last_insert_rowid": None, **state}
        return lines_of(head, self, end, codec)


def lines_of_result(result: QueryResult, codec: Codec) -> bytes:
    """A result that is there as a whole, as lines."""
    found = result_of(result)
    head = {name: found[name] for name in ("columns", "decltypes", "version", "bookmark")}
    end = {name: value for name, value in found.items() if name not in ("columns", "decltypes", "rows")}
    return b"".join(lines_of(head, result.rows, end, codec))


def lines_of(
    head: Mapping[str, object], rows: Iterable[Row], end: Mapping[str, object], codec: Codec
) -> Iterator[bytes]:
    """A head, a line for each row, and a last line that says how many there are, or how it failed.

    The status has been sent by the time that a later row fails, so an error is the last line; without a last line the
    answer was cut off. A part is of at most `ROWS_OF_A_PART` rows, or a row longer than `BYTES_OF_A_PART`.
    """
    count, size = 0, 0
    part = [codec.dumps(head)]
    try:
        for row in rows:
            part.append(codec.dumps([encode_value(value) for value in row]))
            count += 1
            size += len(part[-1])
            if len(part) >= ROWS_OF_A_PART or size >= BYTES_OF_A_PART:
                yield b"\n".join(part) + b"\n"
                part.clear()
                size = 0
        last: Mapping[str, object] = {"rows": count} | dict(end)
    except VirkeError as error:
        last = {"error": describe_error(error)}
    yield b"".join(line + b"\n" for line in (*part, codec.dumps(last)))

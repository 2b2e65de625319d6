"""Results as Hrana's JSON.

1. Every field is there, whatever it is: clients of some languages need them all.
2. `affected_row_count` is of INSERT, UPDATE and DELETE, `last_insert_rowid` of INSERT; other statements have none.
3. How many rows SQLite read is not counted here: `rows_read` is 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from virke.api import pieces
from virke.api.codec import Codec
from virke.api.hrana import sql as texts
from virke.api.hrana import values
from virke.api.hrana.complaints import described_error
from virke.engine.programs import Skipped
from virke.engine.results import QueryResult
from virke.engine.sqlite import Description
from virke.errors import VirkeError
from virke.lazy_dataclasses import dataclass

if TYPE_CHECKING:
    from virke.engine.sqlite import Value

COLUMNS_KEPT: Final = 256
_COLUMNS: Final[dict[int, tuple[object, bytes]]] = {}
"""By the identity of what SQLite says of a statement's columns, which stays the same object: those, and their JSON."""
_BEFORE: Final = b'{"baton":null,"base_url":null,"results":[{"type":"ok","response":{"type":"execute","result":{"cols":'
_AFTER: Final = (
    b',"affected_row_count":0,"last_insert_rowid":null,"replication_index":null,"rows_read":0,"rows_written":0,'
    b'"query_duration_ms":0.0}}}]}'
)
_WRITTEN: Final = (
    _BEFORE + b'[],"rows":[],"affected_row_count":%d,"last_insert_rowid":%b,"replication_index":null,"rows_read":0,'
    b'"rows_written":%d,"query_duration_ms":0.0}}}%b]}'
)
_CLOSED: Final = _AFTER[:-2] + b',{"type":"ok","response":{"type":"close"}}]}'
END: Final[dict[str, object]] = {"type": "replication_index", "replication_index": None}
"""The last line of a cursor that is whole."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a statement answered, and what its text says of it; `rowid` is the newest of its stream."""

    result: QueryResult
    verb: str
    wants_rows: bool = True
    rowid: int = 0

    @property
    def affected(self) -> int:
        """Rows inserted, updated or deleted."""
        return self.result.rows_affected if texts.changes_rows(self.verb) else 0

    @property
    def last_rowid(self) -> int | None:
        """The rowid that was inserted last, if the statement inserts."""
        return self.rowid if texts.inserts_rows(self.verb) else None


StepAnswer = Done | VirkeError | Skipped


def columns_of(names: Sequence[str], decltypes: Sequence[str | None]) -> list[dict[str, object]]:
    """The columns of a result."""
    return [{"name": name, "decltype": decltype} for name, decltype in zip(names, decltypes, strict=True)]


def row_of(row: Sequence[Value]) -> list[dict[str, object]]:
    """A row of a result. Raises `Refused`: text that is not UTF-8."""
    return [values.encode_value(value) for value in row]


def rows_of(result: QueryResult) -> object:
    """The rows of a result, for `pieces`. Raises `Refused`: text that is not UTF-8."""
    rows = pieces.rows_of(result.rows, row_of)
    if isinstance(rows, pieces.Long):  # what can't be said is said before the first row is
        for row in result.rows:
            values.check_row(row)
    return rows


def result_of(done: Done) -> dict[str, object]:
    """The result of a statement. Raises `Refused`: text that is not UTF-8."""
    result, rowid, affected = done.result, done.last_rowid, done.affected
    return {
        "cols": columns_of(result.columns, result.decltypes),
        "rows": rows_of(result) if done.wants_rows else [],
        "affected_row_count": affected,
        "last_insert_rowid": None if rowid is None else str(rowid),
        "replication_index": None,
        "rows_read": 0,
        "rows_written": affected,
        "query_duration_ms": 0.0,
    }


def body_of_read(result: QueryResult, codec: Codec, *, wants_rows: bool, closes: bool) -> bytes | None:
    """The body of a pipeline's answer that has this result of a read, and perhaps the end of the stream, byte for byte.

    None: it is to be made of `result_of`, which this is a fifth of. Raises `Refused`: as that.
    """
    rows, known = result.rows, result.known_columns
    if len(rows) > pieces.FEW or not known:
        return None
    columns = _COLUMNS.get(id(known))
    if columns is None or columns[0] is not known:
        if len(_COLUMNS) >= COLUMNS_KEPT:
            _COLUMNS.clear()
        columns = known, codec.dumps(columns_of(result.columns, result.decltypes))
        _COLUMNS[id(known)] = columns
    shown = codec.dumps([[values.encode_value(value) for value in row] for row in rows]) if wants_rows else b"[]"
    return b"".join((_BEFORE, columns[1], b',"rows":', shown, _CLOSED if closes else _AFTER))


def body_of_write(done: Done, *, closes: bool) -> bytes | None:
    """As `body_of_read`, of a write that answers no rows. None: it does, or may."""
    if done.result.columns or done.result.rows:
        return None
    affected, rowid = done.affected, done.last_rowid
    shown = b"null" if rowid is None else b'"%d"' % rowid
    return _WRITTEN % (affected, shown, affected, b',{"type":"ok","response":{"type":"close"}}' if closes else b"")


def batch_of(answers: Sequence[StepAnswer]) -> dict[str, object]:
    """The result of a batch: for each step a result, an error, or neither."""
    results: list[object] = []
    errors: list[object] = []
    for answer in answers:
        found, error = None, answer if isinstance(answer, VirkeError) else None
        if isinstance(answer, Done):
            try:
                found = result_of(answer)
            except VirkeError as wrong:
                error = wrong
        results.append(found)
        errors.append(described_error(error) if error else None)
    return {"step_results": results, "step_errors": errors, "replication_index": None}


def entries_of(answers: Sequence[StepAnswer]) -> Iterator[dict[str, object]]:
    """What a cursor says of its steps: their columns, rows and ends, or errors."""
    for number, answer in enumerate(answers):
        if isinstance(answer, Done):
            yield from _entries_of_step(number, answer)
        elif isinstance(answer, VirkeError):
            yield step_error(number, answer)
    yield END


def _entries_of_step(number: int, done: Done) -> Iterator[dict[str, object]]:
    yield step_begin(number, columns_of(done.result.columns, done.result.decltypes))
    try:
        for row in done.result.rows if done.wants_rows else ():
            yield {"type": "row", "row": row_of(row)}
    except VirkeError as error:
        yield step_error(number, error)
        return
    yield step_end(done.affected, done.last_rowid)


def step_begin(number: int, columns: list[dict[str, object]]) -> dict[str, object]:
    """A step begins to answer."""
    return {"type": "step_begin", "step": number, "cols": columns}


def step_end(affected: int = 0, rowid: int | None = None) -> dict[str, object]:
    """A step is over. Its rowid is a number here, as sqld has it."""
    return {"type": "step_end", "affected_row_count": affected, "last_insert_rowid": rowid}


def step_error(number: int, error: VirkeError) -> dict[str, object]:
    """A step failed."""
    return {"type": "step_error", "step": number, "error": described_error(error)}


def description_of(sql: str, found: Description) -> dict[str, object]:
    """What SQLite says of a statement."""
    return {
        "params": [{"name": name} for name in texts.parameter_names(sql, found.parameter_names)],
        "cols": [{"name": column.name, "decltype": column.decltype} for column in found.columns],
        "is_explain": found.is_explain,
        "is_readonly": found.read_only,
    }


def ok_result(kind: str, **fields: object) -> dict[str, object]:
    """A request that was carried out."""
    return {"type": "ok", "response": {"type": kind, **fields}}


def once_of(found: Mapping[str, object]) -> dict[str, object]:
    """The result of a request as version 1 has it: `{"result"}`, or the error itself."""
    match found:
        case {"response": {"result": result}}:
            return {"result": result}
        case {"error": dict(error)}:
            return error
        case _:
            raise AssertionError("a request has a result or an error")


def error_result(error: VirkeError) -> dict[str, object]:
    """A request that was not."""
    return {"type": "error", "error": described_error(error)}

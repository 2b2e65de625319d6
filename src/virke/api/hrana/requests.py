"""What a client asks of a stream, as values.

Knows Hrana's JSON; knows no stream.

1. A request is checked whole before anything of it is done: values, conditions, and that `close` comes last.
2. Fields that mean nothing here are passed over, as the specification demands of both sides; optional ones may be null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from virke.api.hrana import interactive, values
from virke.api.hrana.complaints import Refused
from virke.engine.programs import AllOf, AnyOf, Autocommit, Condition, Not, Succeeded
from virke.engine.values import Json
from virke.lazy_dataclasses import dataclass

if TYPE_CHECKING:
    from virke.engine.sqlite import Parameters, Value

DEPTH_MAX: Final = 64
"""How deep conditions may be nested."""
STEPS_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Text:
    """SQL, given or stored: exactly one of both."""

    sql: str | None
    sql_id: int | None


@dataclass(frozen=True, slots=True)
class AskedStatement:
    """One statement with its arguments."""

    text: Text
    params: Parameters = ()
    wants_rows: bool = True


@dataclass(frozen=True, slots=True)
class BatchStep:
    """A statement that runs if its condition holds."""

    statement: AskedStatement
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Execute:
    """One statement."""

    statement: AskedStatement


@dataclass(frozen=True, slots=True)
class Batch:
    """Statements, each under a condition."""

    steps: tuple[BatchStep, ...]


@dataclass(frozen=True, slots=True)
class RunSequence:
    """Statements in one text, until one fails; their rows are not wanted."""

    text: Text


@dataclass(frozen=True, slots=True)
class Describe:
    """What SQLite says of a statement."""

    text: Text


@dataclass(frozen=True, slots=True)
class StoreSql:
    """SQL to remember."""

    sql_id: int
    sql: str


@dataclass(frozen=True, slots=True)
class CloseSql:
    """SQL to forget."""

    sql_id: int


@dataclass(frozen=True, slots=True)
class GetAutocommit:
    """Whether no transaction is open."""


@dataclass(frozen=True, slots=True)
class Close:
    """The end of the stream."""


StreamRequest = (
    Execute | Batch | RunSequence | Describe | StoreSql | CloseSql | GetAutocommit | Close | interactive.Interactive
)


class Alone:
    """A pipeline of one statement, and perhaps the end of its stream, on a stream of its own: most are one of these."""

    __slots__ = ("closes", "params", "sql", "wants_rows")

    def __init__(self, sql: str, params: tuple[Value, ...], *, wants_rows: bool, closes: bool) -> None:
        self.sql = sql
        self.params = params
        self.wants_rows = wants_rows
        self.closes = closes


def alone_of(body: Json) -> Alone | None:
    """As `pipeline_of`, in a fifth of the time, for a pipeline that is `Alone`; None for all others, and what is wrong."""
    if type(body) is not dict or body.get("baton") is not None:
        return None
    asked = body.get("requests")
    if type(asked) is not list or not 1 <= len(asked) <= 2:
        return None
    first, closes = asked[0], len(asked) == 2
    if closes and (type(last := asked[1]) is not dict or last.get("type") != "close"):
        return None
    if type(first) is not dict or first.get("type") != "execute" or type(found := first.get("stmt")) is not dict:
        return None
    sql, args, wants_rows = found.get("sql"), found.get("args"), found.get("want_rows")
    if type(sql) is not str or found.get("sql_id") is not None or found.get("named_args") not in (None, []):
        return None
    if args is not None and type(args) is not list:
        return None
    if wants_rows is not None and type(wants_rows) is not bool:
        return None
    params = tuple([values.decode_value(one) for one in args]) if args else ()
    return Alone(sql, params, wants_rows=wants_rows is not False, closes=closes)


def pipeline_of(body: Json) -> tuple[str | None, tuple[StreamRequest, ...]]:
    """The baton and the requests of a pipeline. Raises `Refused`."""
    found = object_of(body, "the body")
    requests = found.get("requests")
    if not isinstance(requests, list):
        raise Refused("`requests` must be a list of requests")
    parsed = tuple([_parsed_request(one, _OF_PIPELINES) for one in requests])
    if len(parsed) > 1 and any(isinstance(one, Close) for one in parsed[:-1]):
        raise Refused("`close` must be the last request: the stream is closed by then")
    return _baton_in(found), parsed


def cursor_of(body: Json) -> tuple[str | None, Batch]:
    """The baton and the batch of a cursor. Raises `Refused`."""
    found = object_of(body, "the body")
    return _baton_in(found), batch_of(found.get("batch"))


def request_of(body: Json) -> StreamRequest:
    """One request of a stream. Raises `Refused`."""
    return _parsed_request(body, _PARSERS)


def _parsed_request(body: Json, parsers: Mapping[str, Callable[[Mapping[str, Json]], StreamRequest]]) -> StreamRequest:
    found = object_of(body, "a request")
    kind = found.get("type")
    parse = parsers.get(kind) if isinstance(kind, str) else None
    if parse is None:
        raise Refused(f"a request of type {kind!r} is not known; there are {', '.join(_PARSERS)}")
    return parse(found)


def object_of(body: Json, what: str) -> Mapping[str, Json]:
    """An object of JSON. Raises `Refused`."""
    if not isinstance(body, dict):
        raise Refused(f"{what} must be a JSON object")
    return body


def _baton_in(body: Mapping[str, Json]) -> str | None:
    baton = body.get("baton")
    if baton is not None and not isinstance(baton, str):
        raise Refused("`baton` must be a text or null")
    return baton


def statement_of(body: Json) -> AskedStatement:
    """A statement. Raises `Refused`."""
    found = object_of(body, "`stmt`")
    wants_rows = found.get("want_rows")
    if wants_rows is not None and not isinstance(wants_rows, bool):
        raise Refused("`want_rows` must be true or false")
    return AskedStatement(_sql_text_in(found), _params_in(found), wants_rows is not False)


def _sql_text_in(body: Mapping[str, Json]) -> Text:
    sql, sql_id = body.get("sql"), body.get("sql_id")
    if sql is not None and not isinstance(sql, str):
        raise Refused("`sql` must be a text")
    if (sql is None) == (sql_id is None):
        raise Refused(f"either `sql` or `sql_id` is needed{', but not both' if sql is not None else ''}")
    return Text(sql, None if sql_id is None else _checked_number(sql_id, "sql_id"))


def _params_in(body: Mapping[str, Json]) -> Parameters:
    args, named = _list_in(body, "args"), _list_in(body, "named_args")
    if args and named:
        raise Refused(
            "Specifying both positional and named arguments is not supported", "ARGS_BOTH_POSITIONAL_AND_NAMED"
        )
    if not named:
        return tuple([values.decode_value(one) for one in args])
    found = {}
    for one in named:
        match one:
            case {"name": str(name), "value": value}:
                found[name[1:] if name[:1] in ":@$" else name] = values.decode_value(value)
            case _:
                raise Refused('each of `named_args` must be {"name", "value"}')
    return found


def _list_in(body: Mapping[str, Json], name: str) -> Sequence[Json]:
    found = body.get(name)
    if found is None:
        return ()
    if not isinstance(found, list):
        raise Refused(f"`{name}` must be a list")
    return found


def _checked_number(value: Json, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -(1 << 31) <= value < 1 << 31:
        raise Refused(f"`{name}` must be a whole number of 32 bits")
    return value


def batch_of(body: Json) -> Batch:
    """A batch. Raises `Refused`: also for a condition that names a step that does not come before it."""
    steps = object_of(body, "`batch`").get("steps")
    if not isinstance(steps, list) or len(steps) > STEPS_MAX:
        raise Refused(f"`steps` must be a list of at most {STEPS_MAX} steps")
    return Batch(tuple(_batch_step(one, number) for number, one in enumerate(steps)))


def _batch_step(body: Json, number: int) -> BatchStep:
    found = object_of(body, "a step")
    condition = found.get("condition")
    parsed = None if condition is None else condition_of(condition, number)
    return BatchStep(statement_of(found.get("stmt")), parsed)


def condition_of(body: Json, step: int, depth: int = 0) -> Condition:
    """The condition of this step. Raises `Refused`."""
    if depth > DEPTH_MAX:
        raise Refused(f"conditions may be nested {DEPTH_MAX} deep, no more")
    match body:
        case {"type": "ok", "step": int(number)}:
            return Succeeded(_earlier_step(number, step))
        case {"type": "error", "step": int(number)}:
            return Not(Succeeded(_earlier_step(number, step)))  # of a step that was passed over too, as sqld has it
        case {"type": "not", "cond": cond}:
            return Not(condition_of(cond, step, depth + 1))
        case {"type": "and", "conds": list(conds)}:
            return AllOf(tuple(condition_of(one, step, depth + 1) for one in conds))
        case {"type": "or", "conds": list(conds)}:
            return AnyOf(tuple(condition_of(one, step, depth + 1) for one in conds))
        case {"type": "is_autocommit"}:
            return Autocommit()
        case _:
            raise Refused("a condition is one of ok, error, not, and, or, is_autocommit, with what it is about")


def _earlier_step(number: int, step: int) -> int:
    if isinstance(number, bool) or not 0 <= number < step:
        raise Refused(f"Invalid reference to step in a batch condition: {number} does not come before step {step}")
    return number


_CLOSE: Final = Close()
_PARSERS: Final[Mapping[str, Callable[[Mapping[str, Json]], StreamRequest]]] = {
    "close": lambda body: _CLOSE,
    "execute": lambda body: Execute(statement_of(body.get("stmt"))),
    "batch": lambda body: batch_of(body.get("batch")),
    "sequence": lambda body: RunSequence(_sql_text_in(body)),
    "describe": lambda body: Describe(_sql_text_in(body)),
    "store_sql": lambda body: StoreSql(_checked_number(body.get("sql_id"), "sql_id"), _sql_in(body)),
    "close_sql": lambda body: CloseSql(_checked_number(body.get("sql_id"), "sql_id")),
    "get_autocommit": lambda body: GetAutocommit(),
}
_OF_PIPELINES: Final[Mapping[str, Callable[[Mapping[str, Json]], StreamRequest]]] = {**_PARSERS, **interactive.PARSERS}
"""Those of Virke's own client too."""


def _sql_in(body: Mapping[str, Json]) -> str:
    sql = body.get("sql")
    if not isinstance(sql, str):
        raise Refused("`sql` must be a text")
    return sql

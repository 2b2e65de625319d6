"""The values that SQLite takes and gives, what else callers may give, and the check of parameters before anything runs.

Knows Python's own types and, by the way they behave, numpy's scalars; imports no library that has such values.

1. `plain` is called once, where a call comes in: everything below it sees `Plain` values only, so that a write that is kept
   (journal, key, client) is the one that was checked.
2. A moment is text that sorts as the moments do, and that SQLite's own functions read and write: a blank between date and
   time, as `CURRENT_TIMESTAMP` has it (a `T` would sort after it), and UTC where the value has an offset.
3. What has no exact meaning is an error before anything runs, and says what to give instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from itertools import chain
from operator import index
from typing import TYPE_CHECKING, Final, Protocol, SupportsIndex, TypeAlias

from virke.engine.sqlite.statement import Statement
from virke.errors import Invalid, WrongValue

if TYPE_CHECKING:
    from decimal import Decimal
    from uuid import UUID


class Scalar(Protocol):
    """A number of numpy: one value that says which of Python's it is."""

    @property
    def ndim(self) -> int:
        """0: it is one value, not an array of them."""

    def item(self) -> object:
        """The value."""


Value = None | int | float | str | bytes
Plain = Value | bytearray | memoryview
Parameter: TypeAlias = "Plain | date | time | Decimal | UUID | SupportsIndex | Scalar"
Parameters = Sequence[Parameter] | Mapping[str, Parameter]
Row = tuple[Value, ...]

PLAIN_TYPES: Final = frozenset({type(None), bool, int, float, str, bytes, bytearray, memoryview})
_SEQUENCES: Final = frozenset({tuple, list})
_AS_TEXT: Final = frozenset({("decimal", "Decimal"), ("uuid", "UUID")})
"""Known by name: a program that has such values has imported their modules, and no other pays for that."""


def plain(params: Parameters) -> Parameters:
    """The same parameters, as values that SQLite has; what is not a sequence or mapping is left to the check.

    Raises:
        Invalid: there is no exact value in SQLite for one of them.
    """
    kind = type(params)
    if (kind is tuple or kind is list) and PLAIN_TYPES.issuperset(map(type, params)):
        return params
    if isinstance(params, Mapping):
        if PLAIN_TYPES.issuperset(map(type, params.values())):
            return params
        return {name: _plain_value(value) for name, value in params.items()}
    if isinstance(params, (str, bytes, bytearray, memoryview)) or not isinstance(params, Sequence):
        return params
    return tuple(_plain_value(value) for value in params)


def plain_rows(rows: Iterable[Parameters]) -> tuple[Parameters, ...]:
    """`plain` for each of many rows. Raises as `plain`."""
    given = tuple(rows)
    if _SEQUENCES.issuperset(map(type, given)) and PLAIN_TYPES.issuperset(map(type, chain.from_iterable(given))):
        return given
    return tuple(map(plain, given))


def _plain_value(value: object) -> Plain:
    """One value. Bases come after what is derived from them: a `datetime` is a `date`, a `bool` an `int`."""
    match value:
        case None | bool() | bytearray() | memoryview():
            return value
        case int():
            return int.__int__(value)  # members of an enumeration say something else of themselves
        case float():
            return float.__float__(value)
        case str():
            return str.__str__(value)
        case bytes():
            return bytes(value)
        case datetime():
            return _moment_text(value)
        case date() | time():
            return value.isoformat()
    if any((kind.__module__, kind.__qualname__) in _AS_TEXT for kind in type(value).__mro__):
        return str(value)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return _of_scalar(value)
    if isinstance(value, SupportsIndex):
        try:
            return index(value)
        except TypeError as error:  # an array of numpy has the method, and no one value
            raise _unsupported_error(value) from error
    raise _unsupported_error(value)


def _moment_text(value: datetime) -> str | None:
    if value != value:  # what pandas has for "no moment"
        return None
    return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat(" ")


def _of_scalar(value: object) -> Plain:
    found = value.item()  # type: ignore[attr-defined]
    if getattr(getattr(value, "dtype", None), "kind", None) == "M" and isinstance(found, int):
        found = value.astype("datetime64[us]").item()  # type: ignore[attr-defined] # finer moments say a number
    if found is value:
        raise _unsupported_error(value)
    return _plain_value(found)


def _unsupported_error(value: object) -> WrongValue:
    name = type(value).__name__
    hints = {
        "timedelta": "use value.total_seconds()",
        "list": "use json.dumps(value), or one parameter for each item",
        "tuple": "use json.dumps(value), or one parameter for each item",
        "dict": "use json.dumps(value)",
        "ndarray": "use array.tobytes(), or executemany with a row for each item",
        "NAType": "use None",
    }
    return WrongValue(
        f"a parameter of type {name} is not supported",
        hint=hints.get(name, "use int, float, str, bytes, None, datetime, date, time, Decimal or UUID"),
    )


def check_parameters(statement: Statement, params: Parameters) -> None:
    """Refuse parameters that do not fit, before anything runs.

    Raises:
        Invalid: a wrong count, a missing name, or a type that SQLite does not have.
    """
    if type(params) is not tuple and isinstance(params, Mapping):  # nearly all are tuples, and asking takes long
        missing = [name for name in statement.parameter_names if name is None or name not in params]
        if missing:
            raise Invalid(f"missing parameter {missing[0] or '?'!r}: the statement needs {statement.parameter_count}")
        values: Sequence[object] = list(params.values())
    else:
        is_none = isinstance(params, (str, bytes, bytearray, memoryview)) or not isinstance(params, (tuple, Sequence))
        if is_none:
            raise Invalid("parameters must be a list, a tuple or a mapping, not a single value")
        if len(params) != statement.parameter_count:
            raise Invalid(
                f"wrong number of parameters: the statement needs {statement.parameter_count}, {len(params)} given"
            )
        values = params
    for value in values:
        check_value(value)


def check_value(value: object) -> None:
    """Raise `Invalid` unless SQLite can store `value` (None, bool, int of 64 bits, float, str, bytes-like)."""
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise WrongValue(f"integer {value} does not fit in 64 bits")
    elif isinstance(value, memoryview):
        if not value.c_contiguous:
            raise WrongValue("a memoryview with gaps can't be a parameter; use bytes(view)")
    elif value is not None and not isinstance(value, (float, str, bytes, bytearray)):
        raise _unsupported_error(value)

"""The values that SQLite takes and gives, and the check of parameters before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from virke.engine.sqlite.statement import Statement
from virke.errors import Invalid

Value = None | int | float | str | bytes
Parameter = Value | bytearray | memoryview
Parameters = Sequence[Parameter] | Mapping[str, Parameter]
Row = tuple[Value, ...]


def check_parameters(statement: Statement, params: Parameters) -> None:
    """Refuse parameters that do not fit, before anything runs.

    Raises:
        Invalid: a wrong count, a missing name, or a type that SQLite does not have.
    """
    if isinstance(params, Mapping):
        missing = [name for name in statement.parameter_names if name is None or name not in params]
        if missing:
            raise Invalid(f"missing parameter {missing[0] or '?'!r}: the statement needs {statement.parameter_count}")
        values: Sequence[object] = list(params.values())
    else:
        if isinstance(params, (str, bytes, bytearray, memoryview)) or not isinstance(params, Sequence):
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
            raise Invalid(f"integer {value} does not fit in 64 bits")
    elif isinstance(value, memoryview):
        if not value.c_contiguous:
            raise Invalid("a memoryview with gaps can't be a parameter; use bytes(view)")
    elif value is not None and not isinstance(value, (float, str, bytes, bytearray)):
        raise Invalid(
            f"a parameter of type {type(value).__name__} is not supported (use int, float, str, bytes or None)"
        )

"""Values on their way in (adapters) and out (converters, `text_factory`), with `sqlite3`'s own registries.

Knows Python's types and the columns of a result; knows no connection.

1. What goes in is what `sqlite3` would bind, or an error of the same class before anything runs. Types that `sqlite3` has no adapter
   for and Virke knows (Decimal, UUID, numpy's scalars) go in as they do everywhere in Virke.
2. A converter gets the bytes of the value, as SQLite would give it as text; NULL and an empty blob stay None.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, cast

from virke.dbapi.errors import ProgrammingError
from virke.engine.sqlite import Parameter, Parameters, plain
from virke.errors import Invalid

Convert = Callable[[tuple[object, ...]], tuple[object, ...]]
_PLAIN: Final = frozenset({int, float, str, bytes, type(None)})
_BASES: Final = frozenset((base, sqlite3.PrepareProtocol) for base in (int, float, str, bytearray))
_TOO_LARGE: Final = "Python int too large to convert to SQLite INTEGER"
ROWS_TOGETHER: Final = 100
_UNFAILING: Final = _PLAIN - {int, str}
_SEQUENCES: Final = frozenset({tuple, list})


def bind_params(params: Any, names: Callable[[], Sequence[str | None]]) -> Parameters:
    """Parameters as SQLite takes them; `names` are those of the statement, asked for if the mapping has names of its own.

    Raises:
        ProgrammingError, OverflowError, UnicodeEncodeError, BufferError: as `sqlite3`.
    """
    kind = type(params)
    if (kind is tuple or kind is list) and _PLAIN.issuperset(map(type, params)) and not _is_any_base_adapted():
        for value in params:
            if type(value) is str:
                if not value.isascii():
                    value.encode()  # or the error that says which character has no encoding
            elif type(value) is int and not -(1 << 63) <= value < 1 << 63:
                raise OverflowError(_TOO_LARGE)
        given: Parameters = params
        return given
    if isinstance(params, Mapping):
        if type(params) is not dict or not {type(value) for value in params.values()} <= _PLAIN:
            params = {name: _named_value(params, name, at) for at, name in enumerate(names(), 1)}
        return {str(name): _bound_value(value, f":{name}") for name, value in params.items()}
    if not hasattr(type(params), "__getitem__") or not hasattr(type(params), "__len__"):
        raise ProgrammingError("parameters are of unsupported type")
    given = params if isinstance(params, list | tuple) else [params[at] for at in range(len(params))]
    return [_bound_value(value, at) for at, value in enumerate(given, 1)]


def bind_rows(rows: Iterable[Any], names: Callable[[], Sequence[str | None]]) -> Iterator[Parameters]:
    """`bind` for each of many rows; those that hold nothing to look at twice are looked at together. Raises as `bind`."""
    left = iter(rows)
    while some := list(islice(left, ROWS_TOGETHER)):
        yield from some if _are_plain(some) else (bind_params(row, names) for row in some)


def _are_plain(rows: list[Any]) -> bool:
    """Whether `bind` would give these rows back as they are, and find no fault with them."""
    if not _SEQUENCES.issuperset(map(type, rows)) or len(set(map(len, rows))) > 1 or _is_any_base_adapted():
        return False
    return all(map(_is_plain_column, zip(*rows, strict=True)))


def _fits_integer(value: int) -> bool:
    return -(1 << 63) <= value < 1 << 63  # a range would look for a member of an enumeration one by one


def _is_plain_column(values: tuple[Any, ...]) -> bool:
    kinds = set(map(type, values))
    if kinds == {int}:
        return _fits_integer(min(values)) and _fits_integer(max(values))
    if kinds == {str}:
        return "".join(values).isascii()
    return kinds <= _UNFAILING


def _named_value(params: Mapping[str, object], name: str | None, at: int) -> object:
    if name is None:
        raise ProgrammingError(f"Binding {at} has no name, but you supplied a dictionary (which has only names).")
    try:
        return params[name]
    except LookupError:
        raise ProgrammingError(f"You did not supply a value for binding parameter :{name}.") from None


def _is_any_base_adapted() -> bool:
    return not _BASES.isdisjoint(sqlite3.adapters)


def _bound_value(value: object, where: object) -> Parameter:
    kind = type(value)
    if kind not in _PLAIN or _is_any_base_adapted():
        adapter = sqlite3.adapters.get((kind, sqlite3.PrepareProtocol))
        if (
            getattr(adapter, "__module__", "") != "sqlite3.dbapi2"
        ):  # its own for dates are deprecated, and ours say the same
            value = sqlite3.adapt(value, sqlite3.PrepareProtocol, value)
    match value:
        case None | float() | bytes():
            return value
        case str():
            if not value.isascii():
                value.encode()  # or the error that says which character has no encoding
            return value
        case int():
            if not _fits_integer(value):
                raise OverflowError(_TOO_LARGE)
            return value
        case _:
            return _other_parameter(value, where)


def _other_parameter(value: object, where: object) -> Parameter:
    try:
        [found] = plain([cast(Parameter, value)])
        view = memoryview(found) if isinstance(found, bytearray | memoryview) else None
    except Invalid as error:
        try:
            view = memoryview(cast(bytes, value))
        except TypeError:
            raise ProgrammingError(f"Error binding parameter {where}: {error.message}") from error
    if view is None:
        return found
    if not view.c_contiguous:
        raise BufferError("underlying buffer is not C-contiguous")
    return bytes(view)


def row_converter(
    columns: Sequence[str], decltypes: Sequence[str | None], detect_types: int, text_factory: Callable[[bytes], object]
) -> Convert | None:
    """What makes a row of what SQLite answered; None if that is the row already."""
    if not detect_types and text_factory is str:
        return None
    converters = [
        _column_converter(name, decltype, detect_types) for name, decltype in zip(columns, decltypes, strict=False)
    ]
    if not any(converters) and text_factory is str:
        return None
    texts = None if text_factory is str else text_factory

    def one(value: object, converter: Callable[[bytes], object] | None) -> object:
        if converter is not None:
            data = as_bytes(value)
            return converter(data) if data else None
        return texts(as_bytes(value)) if texts and isinstance(value, str) else value

    return lambda row: tuple(map(one, row, converters))


def _column_converter(name: str, decltype: str | None, detect_types: int) -> Callable[[bytes], object] | None:
    found = None
    if detect_types & sqlite3.PARSE_COLNAMES and "[" in name:
        found = sqlite3.converters.get(name[name.index("[") + 1 :].partition("]")[0].upper())
    if found is None and detect_types & sqlite3.PARSE_DECLTYPES and decltype:
        found = sqlite3.converters.get(decltype.replace("(", " ").partition(" ")[0].upper())
    return found


def as_bytes(value: object) -> bytes:
    """A value as SQLite has it as text, in bytes; empty for NULL."""
    match value:
        case None:
            return b""
        case bytes():
            return value
        case str():
            return value.encode(errors="surrogateescape")
        case _:
            return str(value).encode()

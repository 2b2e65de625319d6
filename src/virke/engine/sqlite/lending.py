"""Functions, tables and collations of SQLite's shell, lent to a connection when a statement first asks for one.

Knows which there are and how SQLite learns of them; what they do is in `shell`. They have no place on a connection that never asks.

1. One is lent only where SQLite knows none of that name: what an application added stays, and what it adds later replaces it.
2. None reaches a file or another statement: `readfile`, `writefile`, `edit`, `fsdir`, `sha3_query` and the like are not lent (P12).
3. All are innocuous and give the same for the same, so that CHECKs, indexes and views may have them.
4. Each takes time that grows with the length of its arguments alone, and what may take long looks at the request's deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import apsw

from virke.engine.shell import decimals, texts
from virke.engine.shell.regexp import Pattern, WrongPattern
from virke.engine.sqlite.guard import Guard
from virke.engine.sqlite.linear import reader_of_text
from virke.engine.sqlite.randomness import integer_of
from virke.engine.sqlite.series import NAME as SERIES
from virke.engine.sqlite.series import Series
from virke.errors import SqlError

PATTERNS_KEPT: Final = 16
"""Of each connection and function."""
REAL_BYTES: Final = 8
SHA3_BITS: Final = 256
_FLAGS: Final = apsw.SQLITE_DETERMINISTIC | apsw.SQLITE_INNOCUOUS
_MISSING: Final = ("no such function: ", "unknown function: ", "no such table: ", "no such collation sequence: ")
"""What SQLite says; the second of what a schema asks for that was read before."""
_Value = None | int | float | str | bytes
_Text = Callable[[_Value], str]


def missing_in(error: Exception) -> str | None:
    """The name of what SQLite does not know, in small letters, if that is something that can be lent."""
    for words in _MISSING:
        _, found, name = str(error).rpartition(words)
        name = name.lower().removeprefix("main.").removesuffix("()")
        if found and name in (_COLLATIONS if "collation" in words else {SERIES} if "table" in words else FUNCTIONS):
            return name
    return None


def lend_by_name(connection: apsw.Connection, guard: Guard, name: str) -> None:
    """Let the connection have what is called `name`: one of what `missing_in` finds."""
    if name == SERIES:
        connection.create_module(SERIES, cast("apsw.VTModule", Series()), eponymous_only=True, read_only=True)
    if name in FUNCTIONS:
        FUNCTIONS[name](connection, guard, name)
    if name in _COLLATIONS:
        connection.create_collation(name, _COLLATIONS[name])


def lend_all(connection: apsw.Connection, guard: Guard) -> None:
    """Lend everything, to a connection that runs statements of which it knows nothing before."""
    for name in {*FUNCTIONS, *_COLLATIONS, SERIES}:
        lend_by_name(connection, guard, name)


def lent_arguments(name: str) -> tuple[int, ...]:
    """With how many arguments what is lent under this name is called."""
    return (1, 2) if name in FUNCTIONS else ()


def _lend_matching(connection: apsw.Connection, guard: Guard, name: str) -> None:
    text = reader_of_text(connection)
    known: dict[str, Pattern] = {}

    def regexp(pattern: _Value, subject: _Value) -> int | None:
        if pattern is None or subject is None:
            return None
        wanted = text(pattern)
        found = known.get(wanted)
        if found is None:
            try:
                found = Pattern(wanted, guard.check, folds=name == "regexpi")
            except WrongPattern as error:
                raise SqlError(f"{error} in the pattern of REGEXP") from error
            if len(known) >= PATTERNS_KEPT:
                known.clear()
            known[wanted] = found
        return int(found.matches(text(subject)))

    _register_function(connection, name, regexp, 2)


def _lend_hashing(connection: apsw.Connection, guard: Guard, name: str) -> None:
    text = reader_of_text(connection)

    def bytes_of(value: _Value) -> bytes:
        return value if isinstance(value, bytes) else text(value).encode(errors="surrogateescape")

    def sha1(value: _Value) -> str | None:
        return None if value is None else texts.sha1(bytes_of(value))

    def sha3(value: _Value, bits: _Value = SHA3_BITS) -> bytes | None:
        found = None if value is None else texts.sha3(bytes_of(value), bits if isinstance(bits, int) else 0)
        if found is None and value is not None:
            raise SqlError("SHA3 size should be one of: 224 256 384 512")
        return found

    if name == "sha1":
        _register_function(connection, name, sha1, 1)
    else:
        _register_function(connection, name, sha3, 1)
        _register_function(connection, name, sha3, 2)


def _lend_encoding(connection: apsw.Connection, guard: Guard, name: str) -> None:
    def base64(value: _Value) -> _Value:
        match value:
            case bytes():
                return texts.to_base64(value)
            case str():
                return texts.from_base64(value)
            case _:
                raise SqlError("base64 accepts only blob or text")

    _register_function(connection, name, base64, 1)


def _lend_decimals(connection: apsw.Connection, guard: Guard, name: str) -> None:
    text = reader_of_text(connection)

    def number(value: _Value) -> decimals.Decimal:
        return _decimal_of(value if isinstance(value, float) else text(value))

    def made(make: Callable[..., object]) -> Callable[..., _Value]:
        def call(*given: _Value) -> _Value:
            if None in given:
                return None
            try:
                found = make(*map(number, given))
            except decimals.TooManyDigits as error:
                raise SqlError(str(error)) from error
            return found if isinstance(found, int) else str(found)

        return call

    if name == "decimal_sum":
        _lend_sum(connection, number)
        return
    make, arguments = _DECIMALS[name]
    _register_function(connection, name, made(make), arguments)


def _decimal_of(value: float | str) -> decimals.Decimal:
    try:
        return decimals.read_decimal(value)
    except decimals.TooManyDigits as error:
        raise SqlError(str(error)) from error


def _lend_sum(connection: apsw.Connection, number: Callable[[_Value], decimals.Decimal]) -> None:
    def start() -> tuple[list[decimals.Decimal], Callable[..., None], Callable[..., _Value]]:
        return [], step, lambda sums: str(sums[0]) if sums else None

    def step(sums: list[decimals.Decimal], value: _Value) -> None:
        if value is not None:
            sums[:] = [decimals.add(sums[0], number(value)) if sums else number(value)]

    connection.create_aggregate_function("decimal_sum", start, 1, flags=_FLAGS)


def _lend_splitting(connection: apsw.Connection, guard: Guard, name: str) -> None:
    text = reader_of_text(connection)

    def real(value: _Value) -> float:
        if isinstance(value, bytes) and len(value) == REAL_BYTES:
            return decimals.real_of(value)
        return float(value) if isinstance(value, int | float) else float(str(_decimal_of(text(value))))

    def ieee754(value: _Value) -> str | None:
        if value is None:
            return None
        mantissa, exponent = decimals.split_real(real(value))
        return f"ieee754({mantissa},{exponent})"

    def joined(mantissa: _Value, exponent: _Value) -> float:
        return decimals.joined_real(integer_of(mantissa), integer_of(exponent))

    one: dict[str, Callable[[_Value], _Value]] = {
        "ieee754": ieee754,
        "ieee754_mantissa": lambda value: None if value is None else decimals.split_real(real(value))[0],
        "ieee754_exponent": lambda value: None if value is None else decimals.split_real(real(value))[1],
        "ieee754_from_blob": lambda value: (
            decimals.real_of(value) if isinstance(value, bytes) and len(value) == REAL_BYTES else None
        ),
        "ieee754_to_blob": lambda value: None if value is None else decimals.bytes_of(real(value)),
    }
    _register_function(connection, name, one[name], 1)
    if name == "ieee754":
        _register_function(connection, name, joined, 2)


def _register_function(connection: apsw.Connection, name: str, function: Callable[..., _Value], arguments: int) -> None:
    connection.create_scalar_function(name, function, arguments, deterministic=True, flags=_FLAGS)


def _compare_decimals(one: str, other: str) -> int:
    return decimals.compare(_decimal_of(one), _decimal_of(other))


_DECIMALS: Final[dict[str, tuple[Callable[..., object], int]]] = {
    "decimal": (lambda one: one, 1),
    "decimal_add": (decimals.add, 2),
    "decimal_sub": (lambda one, other: decimals.add(one, decimals.negative_of(other)), 2),
    "decimal_mul": (decimals.multiply, 2),
    "decimal_cmp": (decimals.compare, 2),
}
FUNCTIONS: Final[dict[str, Callable[[apsw.Connection, Guard, str], None]]] = {
    **dict.fromkeys(("regexp", "regexpi"), _lend_matching),
    **dict.fromkeys(("sha1", "sha3"), _lend_hashing),
    "base64": _lend_encoding,
    **dict.fromkeys((*_DECIMALS, "decimal_sum"), _lend_decimals),
    **dict.fromkeys(
        ("ieee754", "ieee754_mantissa", "ieee754_exponent", "ieee754_from_blob", "ieee754_to_blob"), _lend_splitting
    ),
}
_COLLATIONS: Final[dict[str, Callable[[str, str], int]]] = {"uint": texts.compare_uint, "decimal": _compare_decimals}

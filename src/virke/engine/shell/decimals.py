"""Decimal numbers of any length, and the parts of floating-point numbers, as SQLite's shell has them (decimal.c, ieee754.c).

Pure. A number is an integer of its digits, how many of them are a fraction, and its sign: `-0` has one, too.

1. Sums and products are exact: nothing is rounded.
2. A number has at most `DIGITS_MAX` digits, because the time of a product grows with their square.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Final

from virke.lazy_dataclasses import dataclass

DIGITS_MAX: Final = 4000
_NUMBER: Final = r"[ \t\n\v\f\r]*([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?"
_EXPONENT_DIGITS_MAX: Final = 6
_EXPONENT_BITS: Final = 52
_BIAS: Final = 1075
_MANTISSA_MAX: Final = 1 << 53
_SPARE_EXPONENT: Final = 1 << 20


class TooManyDigits(ValueError):
    """A number has more digits than `DIGITS_MAX`."""

    def __init__(self) -> None:
        super().__init__(f"decimals have at most {DIGITS_MAX} digits")


@dataclass(frozen=True, slots=True)
class Decimal:
    """`digits` (never negative) with so many of them behind the point."""

    digits: int
    fraction: int = 0
    is_negative: bool = False

    @property
    def _signed(self) -> int:
        return -self.digits if self.is_negative else self.digits

    def __str__(self) -> str:
        text = str(self.digits).rjust(self.fraction + 1, "0")
        sign = "-" if self.is_negative else ""
        return sign + (f"{text[: -self.fraction]}.{text[-self.fraction :]}" if self.fraction else text)


def read_decimal(value: float | str) -> Decimal:
    """The number that a text begins with; a REAL's exact value. Raises `TooManyDigits`."""
    if isinstance(value, float):
        return _exact_decimal(value)
    found = re.match(_NUMBER, str(value))
    assert found, "it matches the empty text, too"
    sign, whole, part, exponent = found[1], found[2], found[3] or "", found[4] or "0"
    if len(exponent) > _EXPONENT_DIGITS_MAX or len(whole) + len(part) > DIGITS_MAX or abs(int(exponent)) > DIGITS_MAX:
        raise TooManyDigits
    digits, fraction = int(whole + part or "0"), len(part) - int(exponent)
    if fraction < 0:
        digits, fraction = digits * 10**-fraction, 0
    return _bounded_decimal(Decimal(digits, fraction, sign == "-"))


def _exact_decimal(value: float) -> Decimal:
    if not math.isfinite(value):
        return Decimal(0)
    over, under = abs(value).as_integer_ratio()
    places = under.bit_length() - 1
    return Decimal(over * 5**places, places, value < 0)


def _bounded_decimal(number: Decimal) -> Decimal:
    if number.fraction > DIGITS_MAX or number.digits.bit_length() > DIGITS_MAX * 3.33:
        raise TooManyDigits
    return number


def add(one: Decimal, other: Decimal) -> Decimal:
    """Their sum, with as many places as the one with more."""
    places = max(one.fraction, other.fraction)
    found = one._signed * 10 ** (places - one.fraction) + other._signed * 10 ** (places - other.fraction)
    return _bounded_decimal(Decimal(abs(found), places, found < 0))


def negative_of(one: Decimal) -> Decimal:
    """The same with the other sign."""
    return Decimal(one.digits, one.fraction, not one.is_negative)


def multiply(one: Decimal, other: Decimal) -> Decimal:
    """Their product, without zeros at its end that neither of them has so many of."""
    digits, places = one.digits * other.digits, one.fraction + other.fraction
    least = min(one.fraction, other.fraction)
    while places > least and not digits % 10:
        digits, places = digits // 10, places - 1
    return _bounded_decimal(Decimal(digits, places, one.is_negative is not other.is_negative))


def compare(one: Decimal, other: Decimal) -> int:
    """-1, 0 or 1."""
    difference = add(one, negative_of(other))
    return 0 if not difference.digits else -1 if difference.is_negative else 1


def split_real(value: float) -> tuple[int, int]:
    """The mantissa, which is odd or 0, and the exponent of a number: m × 2^e."""
    bits = struct.unpack(">Q", struct.pack(">d", abs(value)))[0]
    if not bits:
        return 0, -_BIAS
    exponent, mantissa = bits >> _EXPONENT_BITS, bits & ((1 << _EXPONENT_BITS) - 1)
    mantissa = mantissa | 1 << _EXPONENT_BITS if exponent else mantissa << 1
    while exponent < _BIAS and mantissa and not mantissa & 1:
        mantissa, exponent = mantissa >> 1, exponent + 1
    return (-mantissa if value < 0 else mantissa), exponent - _BIAS


def joined_real(mantissa: int, exponent: int) -> float:
    """The number m × 2^e; infinity where that is too large."""
    size = abs(mantissa)
    while size >= _MANTISSA_MAX:
        size, exponent = size >> 1, exponent + 1
    try:
        found = math.ldexp(size, max(min(exponent, _SPARE_EXPONENT), -_SPARE_EXPONENT))
    except OverflowError:
        found = math.inf
    return -found if mantissa < 0 else found


def real_of(data: bytes) -> float:
    """The number whose eight bytes these are."""
    return float(struct.unpack(">d", data)[0])


def bytes_of(value: float) -> bytes:
    """Its eight bytes."""
    return struct.pack(">d", value)

"""SQLite's values as JSON and back, without loss: what the journal and the table of keyed requests keep.

Knows None, int, float, str, bytes and bool; knows no SQL.

1. `decode(encode(value))` is the same value of the same type, except that a bool becomes 0 or 1, as SQLite stores it.
2. What JSON has no word for is an object with one key: `int64` beyond 2^53, `real` for infinities (`Infinity`, `-Infinity`) and
   NaN, `base64` for bytes, `text_base64` for text that is not valid UTF-8 (a `str` with surrogate escapes, PEP 383).
3. `inf`, `-inf` and `nan` were written once, and are read for ever.
"""

from __future__ import annotations

import base64
import math
import re
from typing import TYPE_CHECKING, Final

from virke.errors import Invalid, WrongValue
from virke.lazy_patterns import pattern

if TYPE_CHECKING:
    from virke.engine.sqlite import Parameter, Value

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
_EXACT_IN_A_DOUBLE: Final = 1 << 53
_WORDS: Final = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
_INTEGER: Final = pattern(r"[+-]?[0-9]{1,19}")
_REAL: Final = pattern(r"[+-]?(?:inf|infinity|nan|[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?)", re.IGNORECASE)


def encode_value(value: Parameter) -> Json:
    """One value as JSON. Raises `Invalid`: it is not one that SQLite has (`sqlite.plain`)."""
    match value:
        case bool():
            return int(value)
        case None:
            return None
        case int():
            return value if abs(value) <= _EXACT_IN_A_DOUBLE else {"int64": str(value)}
        case float():
            return value if math.isfinite(value) else {"real": _WORDS[repr(value)]}
        case str():
            return _encode_text(value)
        case bytes() | bytearray() | memoryview():
            return {"base64": base64.b64encode(bytes(value)).decode()}
        case _:
            raise Invalid(
                f"a parameter of type {type(value).__name__} is not supported (use int, float, str, bytes or None)"
            )


def _encode_text(text: str) -> Json:
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return {"text_base64": base64.b64encode(text.encode(errors="surrogateescape")).decode()}
        except UnicodeEncodeError as error:
            raise WrongValue(f"text is not valid Unicode: {error}") from error
    return text


def decode_value(stored: Json) -> Value:
    """The value that `encode_value` wrote. Raises `Invalid`, `ValueError`: it did not."""
    match stored:
        case None | int() | float() | str():
            return stored
        case {"int64": str(text)} if len(stored) == 1 and _INTEGER.fullmatch(text):
            return int(text)
        case {"real": str(text)} if len(stored) == 1 and _REAL.fullmatch(text):
            return float(text)
        case {"base64": str(text)} if len(stored) == 1:
            return base64.b64decode(text, validate=True)
        case {"text_base64": str(text)} if len(stored) == 1:
            return base64.b64decode(text, validate=True).decode(errors="surrogateescape")
        case _:
            raise Invalid(f"{stored!r} is not a value")

"""Values of Hrana's JSON: each an object that names its type.

1. Integers are texts, so that none loses digits on its way; a number in JSON is a REAL.
2. A float that is not finite is answered as `null`, which JSON leaves as the only way; it can't be sent.
3. Blobs are base64 without padding; with padding they are understood too.
4. Text that is not UTF-8 has no form here: it is an error, never another text.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from virke.api.hrana.complaints import Refused
from virke.engine.values import Json

if TYPE_CHECKING:
    from virke.engine.sqlite import Value

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_INT64: Final = 1 << 63
_SHORT: Final = 19
"""So many digits may be more than 64 bits hold."""
_NULL: Final[dict[str, object]] = {"type": "null"}


def decode_value(body: Json) -> Value:
    """The value of an argument. Raises `Refused`: it is none."""
    if (
        type(body) is dict and type(value := body.get("value")) is str
    ):  # nearly all, and much faster so than by patterns
        kind = body.get("type")
        if kind == "text":
            return value
        if kind == "integer" and len(value) < _SHORT and value.isdigit() and value.isascii():
            return int(value)
    match body:
        case {"type": "null"}:
            return None
        case {"type": "integer", "value": str(text)} if _INTEGER.fullmatch(text) and -_INT64 <= int(text) < _INT64:
            return int(text)
        case {"type": "float", "value": int(number) | float(number)} if not isinstance(number, bool):
            return _finite_float(number)
        case {"type": "blob", "base64": str(text)}:
            return _decoded_blob(text)
        case {"type": "integer", "value": value}:
            raise Refused(f"an integer is a text of its decimal digits that fits in 64 bits, not {value!r}")
        case {"type": "float", "value": value}:
            raise Refused(f"a float is a finite number, not {value!r}")
        case _:
            raise Refused(f"{body!r} is not a value: its type is one of null, integer, float, text, blob")


def _finite_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError as error:
        raise Refused("a float is a finite number; this one is beyond what a double holds") from error


def _decoded_blob(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"a blob is base64: {error}") from error


def encode_value(value: Value) -> dict[str, object]:
    """A value of a result. Raises `Refused`: it is text that is not UTF-8."""
    kind = type(value)
    if kind is str:
        return {"type": "text", "value": value if value.isascii() else _checked_text(value)}  # type: ignore[union-attr, arg-type]
    if kind is int:
        return {"type": "integer", "value": str(value)}
    if value is None:
        return _NULL
    if kind is float:
        return {"type": "float", "value": value if math.isfinite(value) else None}  # type: ignore[arg-type]
    return {"type": "blob", "base64": base64.b64encode(value).rstrip(b"=").decode()}  # type: ignore[arg-type]


def check_row(row: Sequence[Value]) -> None:
    """Raise `Refused` if a value of the row can't be encoded."""
    for value in row:
        if type(value) is str and not value.isascii():
            _checked_text(value)


def _checked_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused(
            "the statement was carried out, but its result has text that is not UTF-8, which this protocol has no "
            "form for; select CAST(… AS BLOB)",
            "TEXT_NOT_UTF8",
        ) from error
    return text

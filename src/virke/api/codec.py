"""JSON as bytes and back. Which library does it is the server's choice; this is Python's own.

1. A value that is text but not valid Unicode never gets here: `engine.values` has wrapped it. In a name (of a table in an odd
   schema) or a message it is answered with question marks, which is better than no answer.
"""

from __future__ import annotations

import json
import math
from typing import Protocol

from virke.engine.values import Json
from virke.errors import Invalid


class Codec(Protocol):
    """JSON of one library."""

    def loads(self, data: bytes) -> Json:
        """What the bytes say. Raises `Invalid`: they are no JSON."""

    def dumps(self, value: object) -> bytes:
        """The bytes of a value of lists, tuples, dicts, texts, numbers, bools and None."""


class PlainCodec:
    """Python's own JSON."""

    def loads(self, data: bytes) -> Json:
        try:
            value: Json = json.loads(data, parse_constant=_refuse_constant, parse_float=_finite_real)
            if b"\\u" in data:  # half of a surrogate pair is not text: it has no bytes
                json.dumps(value, ensure_ascii=False).encode()
            return value
        except (ValueError, RecursionError) as error:
            raise Invalid(f"the body is not JSON: {error}") from error

    def dumps(self, value: object) -> bytes:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(errors="replace")


def _finite_real(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits} is beyond what a double holds; send {{'real': 'Infinity'}}")
    return number


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON; send {{'real': '{word}'}}")

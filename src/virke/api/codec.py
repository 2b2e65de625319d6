"""JSON as bytes and back. Which library does it is the server's choice; this is Python's own.

1. Text that is not valid Unicode never gets here: `engine.values` has wrapped it.
"""

from __future__ import annotations

import json
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
            return json.loads(data, parse_constant=_refuse)  # type: ignore[no-any-return]
        except (ValueError, RecursionError) as error:
            raise Invalid(f"the body is not JSON: {error}") from error

    def dumps(self, value: object) -> bytes:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON; send {{'real': '{word}'}}")

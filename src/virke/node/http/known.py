"""A head that is known byte for byte, except for the length of the body: the next request with it needs no parsing.

Pure: knows bytes; knows no connection.

1. Only a request that came whole and alone is remembered, after the parser took it, and after its head was judged.
2. What is taken by it is the same bytes, another number of digits, and a body of exactly so many bytes: to any other reader it
   is that request again. Whatever differs is for the parser, which is between two requests and sees it from its first byte.
"""

from __future__ import annotations

import re
from typing import Final

from virke.lazy_dataclasses import dataclass

HEAD_BYTES_MAX: Final = 2 << 10
"""A longer head is not remembered."""
DIGITS_MAX: Final = 4
"""Of the length of a body that is taken by a known head."""
_ZERO: Final = ord("0")
_LENGTH: Final = re.compile(rb"\r\n(?i:content-length):[ \t]*([1-9][0-9]*)(?=\r\n)")


@dataclass(frozen=True, slots=True)
class KnownHead:
    """The bytes of a head up to the length of the body, and from there on to the body."""

    before: bytes
    after: bytes

    def body_in(self, data: bytes) -> bytes | None:
        """The body, if this is one whole request with this head and nothing else."""
        before, after = self.before, self.after
        if not data.startswith(before):
            return None
        at = len(before)
        end = data.find(b"\r", at, at + DIGITS_MAX + 1)
        digits = data[at:end]
        if end < 0 or not digits.isdigit() or digits[0] == _ZERO or not data.startswith(after, end):
            return None
        body = data[end + len(after) :]
        return body if len(body) == int(digits) else None


def head_of_whole(data: bytes) -> KnownHead | None:
    """The head of a request that the parser took, if that and its body are all of these bytes."""
    found = _LENGTH.search(data, 0, HEAD_BYTES_MAX)
    head_bytes = data.find(b"\r\n\r\n") + 4
    if found is None or not found.end() < head_bytes <= HEAD_BYTES_MAX or len(data) != head_bytes + int(found[1]):
        return None
    return KnownHead(data[: found.start(1)], data[found.end(1) : head_bytes])

"""Hashes, base64 and the order `uint`, as SQLite's shell has them (sha1.c, shathree.c, base64.c, uint.c).

Pure. Knows texts and bytes; knows no SQL.
"""

from __future__ import annotations

import hashlib
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from typing import Final

BYTES_OF_A_LINE: Final = 54
"""What 72 characters of base64 are."""
_RUNS: Final = r"[0-9]+|[^0-9]"
_BEFORE_ITS_END: Final = r"[A-Za-z0-9+/ \t\n\v\f\r]*"
SHA3: Final[dict[int, Callable[[bytes], hashlib._Hash]]] = {
    224: hashlib.sha3_224,
    256: hashlib.sha3_256,
    384: hashlib.sha3_384,
    512: hashlib.sha3_512,
}


def sha1(data: bytes) -> str:
    """As 40 digits."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def sha3(data: bytes, size: int) -> bytes | None:
    """With so many bits; None if there is no such size."""
    return SHA3[size](data).digest() if size in SHA3 else None


def to_base64(data: bytes) -> str:
    """Lines of 72 characters, each with its end."""
    lines = (data[at : at + BYTES_OF_A_LINE] for at in range(0, len(data), BYTES_OF_A_LINE))
    return "".join(b2a_base64(line).decode() for line in lines)


def from_base64(text: str) -> bytes:
    """What it stands for, up to the first character that is not of base64."""
    found = re.match(_BEFORE_ITS_END, text)
    assert found, "it matches the empty text, too"
    digits = "".join(found[0].split())
    digits = digits[:-1] if len(digits) % 4 == 1 else digits
    return a2b_base64(digits + "=" * (-len(digits) % 4))


def compare_uint(one: str, other: str) -> int:
    """Below 0, 0 or above 0: runs of digits are compared as numbers, the rest character by character."""
    first, second = _sort_keys(one), _sort_keys(other)
    return (first > second) - (first < second)


def _sort_keys(text: str) -> list[tuple[int, int, str]]:
    """A run of digits sorts where its first digit does; of two numbers the longer is greater."""
    found = []
    for run in re.findall(_RUNS, text):
        if "0" <= run[0] <= "9":
            digits = run.lstrip("0")
            found.append((ord("0"), len(digits), digits))
        else:
            found.append((ord(run), 0, ""))
    return found

"""How long the row of a register is: the same for many changes, so that SQLite writes only those of its pages that differ.

Knows how SQLite lays out a row; knows neither connections nor what is in a record. Decision 0039.

A root changes at its beginning (head, ring) and at its end (a commit more); 30 to 50 KB between them stay where they are.
SQLite frees the pages of a row and takes others if the new row has another length, and overwrites them where they are if it
has the same: then equal pages are not written. So each row ends in bytes that fill it, and that change as little as may be.

1. The filler is never part of a record: it is a column of its own, which reading leaves out. It is what these bytes of the
   row were before: a root that becomes shorter, as its commits went into a segment, leaves them where they are. Else it is zeros.
2. The first page of a row is full, so that the beginning of a root is on that page alone. A page of 4096 bytes takes 4061
   of a row's, each further one 4092 (sqlite.org/fileformat2.html, section 1.6); where pages are of another size, or the
   length can't be met to the byte, a change writes more and nothing is wrong.
3. A length is kept for as long as the record fits, and is not far too small for it: roots grow and shrink by what they
   carry inline.
"""

from __future__ import annotations

from typing import Final

FIRST_PAGE: Final = 4061
FURTHER_PAGE: Final = 4092
STEP: Final = 4
KEPT: Final = 16
"""How many times as long as it needs to be a row may stay."""
_FIXED: Final = 1 + 1 + 32
"""The length of the header, the type of the generation, and the generation."""


def pages_for(key: str, length: int, pages: int | None) -> int:
    """How many further pages the row of a record of `length` bytes gets; it has `pages`, or None if that is not known."""
    least = max(0, -(-(_without_filler(key, length) + 1 - FIRST_PAGE) // FURTHER_PAGE))
    if pages is not None and least <= pages <= KEPT * (least + 1):
        return pages
    most = 0
    while most < least:
        most = most * STEP + STEP - 1
    return most


def filler_bytes(key: str, length: int, pages: int) -> int:
    """How many bytes bring the row to this number of further pages."""
    room = FIRST_PAGE + pages * FURTHER_PAGE - _without_filler(key, length)
    return next(room - width for width in (1, 2, 3, 4) if _type_bytes(12 + 2 * (room - width)) <= width)


def _without_filler(key: str, length: int) -> int:
    """Bytes of a row, less its filler and the type of that."""
    key_bytes = len(key.encode())
    return _FIXED + _type_bytes(13 + 2 * key_bytes) + _type_bytes(12 + 2 * length) + key_bytes + length


def _type_bytes(serial: int) -> int:
    return -(-serial.bit_length() // 7)

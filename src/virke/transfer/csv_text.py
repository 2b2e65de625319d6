"""One table as CSV (RFC 4180), the way `csv_file` reads it.

Knows tables and CSV; writes nothing and knows no file.

1. The first record names the columns. Fields are separated by commas, records end with a line feed.
2. NULL is an empty field (where there is but one column, a blank line) and an empty text is a quoted one: `virke db import` tells
   them apart, other readers may not.
3. Numbers have the fewest digits that give them back, infinities are `Infinity`. A BLOB is its bytes in hexadecimal. Text
   that is not valid in the database's encoding can't be in a CSV file, and is an error.
4. Memory holds one row and one piece of text of about `PIECE_CHARS`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from virke.engine.sqlite import Connection, Value
from virke.transfer.dump import joined_pieces
from virke.transfer.table import names_of, rows_of

_QUOTED: Final = frozenset(',"\r\n')


def csv_text(connection: Connection, table: str) -> Iterator[str]:
    """A table or view as CSV, in pieces of whole records; the connection must not change meanwhile.

    Raises:
        NotFound: there is no such table. Invalid: a text in it is not valid Unicode.
        apsw's errors: the table can't be read (`virke.engine.sqlite.translate` says what they mean).
    """
    names = names_of(connection, table)
    return joined_pieces(map(_record_line, chain([names], rows_of(connection, table))))


def _record_line(values: Sequence[Value]) -> str:
    line = ",".join([_field_text(value) for value in values])
    return f"{line}\n"


def _field_text(value: Value) -> str:
    match value:
        case None:
            return ""
        case bytes():
            return value.hex()
        case float():
            return repr(value) if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"
        case int():
            return str(value)
        case _:
            needs_quotes = not value or not _QUOTED.isdisjoint(value) or value != value.strip()
            return '"' + value.replace('"', '""') + '"' if needs_quotes else value

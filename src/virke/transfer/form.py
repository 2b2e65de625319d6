"""What a caller says of a file that is imported, and the file itself does not: its encoding, and how its columns are to be read."""

from __future__ import annotations

import codecs
from typing import Final

from virke.errors import Invalid
from virke.lazy_dataclasses import dataclass

TYPES: Final = ("infer", "text")


@dataclass(frozen=True, slots=True)
class Form:
    """`encoding`: of its text, None for what its first bytes say. `has_header`: whether the first record of a table names the columns.

    `types`: `infer` makes numbers of columns that are all numbers, `text` leaves every value as it is written.
    """

    encoding: str | None = None
    has_header: bool = True
    types: str = TYPES[0]

    def __post_init__(self) -> None:
        """Raises `Invalid`: there are no such types, or there is no such encoding of text."""
        if self.types not in TYPES:
            raise Invalid(f"unknown types {self.types!r}; known: {', '.join(TYPES)}")
        if self.encoding is not None:
            try:
                b"".decode(self.encoding)
                codecs.getincrementaldecoder(self.encoding)
            except LookupError as error:
                raise Invalid(
                    f"unknown encoding {self.encoding!r}; some that are known: utf-8, cp1252, latin-1, cp437, utf-16"
                ) from error


AS_FOUND: Final = Form()

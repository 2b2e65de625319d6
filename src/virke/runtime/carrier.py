"""How a visitor's bookmark travels: in a cookie, in a header, or not at all.

Pure. The visitor's bookmark is given with an answer only if its request wrote: other answers stay cacheable.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from virke.api.table import BOOKMARK
from virke.errors import UsageError
from virke.lazy_dataclasses import dataclass

COOKIE: Final = "virke_bookmark"
MAX_AGE_S: Final = 60
"""Longer than any store shows an older state."""
_COOKIE: Final = re.compile(rf'(?:^|;)[ \t]*{COOKIE}=[ \t]*"?([^;"\s]*)')

By = Literal["cookie", "header", False]


@dataclass(frozen=True, slots=True)
class Carrier:
    """One way to travel. Raises `UsageError`: it is none."""

    by: By

    def __post_init__(self) -> None:
        if self.by not in ("cookie", "header") and self.by is not False:
            raise UsageError(f'bookmark must be "cookie", "header" or False, not {self.by!r}')

    @property
    def header(self) -> str | None:
        """The header of a request that may have a bookmark, in lower case."""
        return {"cookie": "cookie", "header": BOOKMARK}.get(str(self.by))

    def bookmark_in(self, value: str | None) -> str | None:
        """The bookmark in the value of that header."""
        if not value or self.by != "cookie":
            return value or None
        found = _COOKIE.search(value)
        return found[1] if found else None

    def given(self, bookmark: str | None) -> list[tuple[str, str]]:
        """The headers of an answer whose request wrote this; none if it wrote nothing."""
        if bookmark is None or self.by is False:
            return []
        if self.by == "header":
            return [(BOOKMARK, bookmark)]
        cookie = f"{COOKIE}={bookmark}; Max-Age={MAX_AGE_S}; Path=/; HttpOnly; SameSite=Lax"
        return [("set-cookie", cookie)]

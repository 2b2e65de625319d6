"""CORS: which pages of other sites may ask this node from a browser, and see its answers.

Pure: knows headers; the caller knows whether the store has tokens.

1. Only where a token is needed: without one, any page in a browser of this machine could use the databases.
2. No cookies and no HTTP authentication: the browser adds nothing by itself, a page has to have a token.
3. Every answer says it, errors too: else a page sees that something failed, and not what.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from virke.api.messages import Response
from virke.errors import UsageError

ANY: Final = "*"
METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
SEEN: Final = "virke-bookmark, virke-stale, server-timing, retry-after, www-authenticate"
"""Headers of answers that a page may read."""
KEPT_S: Final = 600
_ORIGIN: Final = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::[0-9]{1,5})?\Z")
_NAMES: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:\s*,\s*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*\Z")


class Cors:
    """The origins that may ask."""

    def __init__(self, origins: Sequence[str] = ()) -> None:
        """Raises `UsageError`: one of them is not an origin."""
        self._origins = frozenset(origins)
        for origin in self._origins - {ANY}:
            if not _ORIGIN.match(origin):
                raise UsageError(
                    f"an origin is a scheme and a host in small letters, without a path (https://app.example.com), or *: {origin}"
                )

    @property
    def is_on(self) -> bool:
        """Whether any page may ask."""
        return bool(self._origins)

    def allows(self, headers: Mapping[str, str]) -> bool:
        """Whether the page that asks may."""
        return ANY in self._origins or headers.get("origin", "") in self._origins

    def preflight(self, method: str, headers: Mapping[str, str]) -> Response | None:
        """The answer, before `seen`, to a browser that asks whether a page may ask; None if that is not what is asked."""
        if method != "OPTIONS" or not headers.get("access-control-request-method") or not self.allows(headers):
            return None
        asked = headers.get("access-control-request-headers", "").strip()
        more = (("access-control-allow-headers", asked),) if _NAMES.match(asked) else ()
        return Response(
            200,
            headers=(
                ("access-control-allow-methods", METHODS),
                *more,
                ("access-control-max-age", str(KEPT_S)),
            ),
        )

    def seen(self, response: Response, headers: Mapping[str, str]) -> Response:
        """A response that the page which asked may see."""
        if ANY in self._origins:
            return response.with_headers(("access-control-allow-origin", ANY), ("access-control-expose-headers", SEEN))
        origin = ("access-control-allow-origin", headers["origin"])
        return response.with_headers(origin, ("vary", "origin"), ("access-control-expose-headers", SEEN))

"""A request as every framework has it: what a function that chooses the database is given.

Pure. Made of an ASGI scope, a WSGI environ or Django's META; `raw` is what it was made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, Final

from virke.lazy_dataclasses import dataclass

_PREFIX: Final = "HTTP_"
_BARE: Final = ("CONTENT_TYPE", "CONTENT_LENGTH")


class Headers(Mapping[str, str]):
    """Headers by name, in any case; those of one name are joined by commas, cookies by semicolons."""

    def __init__(self, pairs: Iterator[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in pairs:
            lower = name.lower()
            joint = "; " if lower == "cookie" else ", "
            self._values[lower] = f"{self._values[lower]}{joint}{value}" if lower in self._values else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({', '.join(self._values)})"


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `host` is without its port, `path` without the query; `raw` is the scope, environ or Django's request."""

    method: str
    path: str
    query: str
    headers: Headers
    raw: Any = field(repr=False)

    @property
    def host(self) -> str:
        """The host that was asked, in lower case, without its port; empty if the request does not say."""
        host = self.headers.get("host", "").lower()
        return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host


def of_scope(scope: Mapping[str, Any]) -> Request:
    """The request of an ASGI scope."""
    pairs = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope.get("headers") or ())
    query: bytes = scope.get("query_string") or b""
    return Request(str(scope.get("method", "GET")), str(scope["path"]), query.decode("latin-1"), Headers(pairs), scope)


def of_environ(environ: Mapping[str, Any], raw: object = None) -> Request:
    """The request of a WSGI environ, or of what has its keys."""
    pairs = (
        (name.removeprefix(_PREFIX).replace("_", "-"), str(value))
        for name, value in environ.items()
        if name.startswith(_PREFIX) or (name in _BARE and value)
    )
    path = str(environ.get("SCRIPT_NAME", "")) + str(environ.get("PATH_INFO", ""))
    method, query = str(environ.get("REQUEST_METHOD", "GET")), str(environ.get("QUERY_STRING", ""))
    return Request(method, path, query, Headers(pairs), environ if raw is None else raw)

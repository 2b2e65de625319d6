"""The page at `/_/`: static files of this folder, which use the public HTTP API and nothing else.

Knows paths and headers; knows no database. What the files do is JavaScript of our own, without a build step.

1. Files need no token: they hold no data. Without tokens in the store they are for this machine alone, as all of the API is.
2. Nothing is loaded from elsewhere, no script or style stands in the HTML, and no text becomes markup: the policy of the page says so
   to the browser (`CSP`), and Trusted Types refuse every way to write HTML.
3. A browser asks each time whether a file is still the same (`ETag`), so that a page never runs with files of two versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from virke.api.messages import Response
from virke.errors import Invalid, NotFound

ROOT: Final = "/_/"
BARE: Final = "/_"
TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
CSP: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = (
    ("cache-control", "no-cache"),
    ("content-security-policy", CSP),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
)


def is_page(path: str) -> bool:
    """Whether a path is one of the page's."""
    return path.startswith(ROOT) or path == BARE


@cache
def _file_of_page(name: str) -> tuple[bytes, str] | None:
    """The content of a file of the page and its ETag; None if there is none of this name."""
    if name.count(".") != 1 or name.rpartition(".")[2] not in TYPES:
        return None
    path = files(__package__).joinpath(name)
    if not path.is_file():
        return None
    data = path.read_bytes()
    return data, f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def respond_with_file(method: str, path: str, headers: Mapping[str, str]) -> Response:
    """The response to a request for a file of the page.

    Raises:
        NotFound: there is no such file. Invalid: it is asked for by a method other than GET and HEAD.
    """
    if method not in ("GET", "HEAD"):
        raise Invalid(f"{path} takes GET, not {method}")
    if path == BARE:
        return Response(308, b"", (("location", ROOT),))
    name = path.removeprefix(ROOT) or "index.html"
    found = _file_of_page(name) if name.replace(".", "").isalnum() and name.isascii() and len(name) < 64 else None
    if found is None:
        raise NotFound(f"there is no {path}; the page is at {ROOT}")
    data, etag = found
    known = [tag.strip().removeprefix("W/") for tag in headers.get("if-none-match", "").split(",")]
    if etag in known or "*" in known:
        return Response(304, b"", (("etag", etag), *HEADERS))
    return Response(200, data, (("content-type", TYPES[name.rpartition(".")[2]]), ("etag", etag), *HEADERS))

"""HTTP requests and responses as values.

1. Names of headers are in lower case. The path is as it was sent: nothing has been decoded, so that a `%2F` is no slash.
2. A body is whole, or comes part by part where it may be of any size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes

from virke.errors import Invalid

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
QUERY_FIELDS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `path` and `query` (what stands behind the `?`) are as they were sent.

    A body that may be of any size (`routes.has_endless_body`) comes as `parts`; asking for the next one may block.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    parts: Iterator[bytes] | None = None

    def fields(self) -> dict[str, str]:
        """The fields of the query; the last one of a name counts. Raises `Invalid`: it is not UTF-8, or there are too many."""
        try:
            pairs = parse_qsl(self.query, keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX)
        except ValueError as error:
            raise Invalid(f"the query of the URL can't be read: {error}") from error
        return dict(pairs)


@dataclass(frozen=True, slots=True)
class Response:
    """One response; a body that comes part by part is an iterator, whose parts may block."""

    status: int
    body: bytes | Iterator[bytes] = b""
    headers: tuple[tuple[str, str], ...] = (("content-type", JSON),)

    def with_headers(self, *headers: tuple[str, str]) -> Response:
        """The same with more headers."""
        return Response(self.status, self.body, (*self.headers, *headers))


def segments(path: str) -> list[str]:
    """The parts of a path between its slashes, decoded. Raises `Invalid`: one is not UTF-8."""
    try:
        return [unquote_to_bytes(part).decode() for part in path.removeprefix("/").split("/")]
    except UnicodeDecodeError as error:
        raise Invalid("the path of the URL is not UTF-8") from error

"""HTTP requests and responses as values.

1. Names of headers are in lower case. The path is as it was sent: nothing has been decoded, so that a `%2F` is not a slash.
2. A body is whole, or comes part by part where it may be of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes

from virke.errors import Invalid
from virke.lazy_dataclasses import dataclass

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
QUERY_FIELDS_MAX: Final = 64


def bearer_token(headers: Mapping[str, str]) -> str | None:
    """The token that a request shows, None if it shows none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


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

    def fields(self, known: frozenset[str]) -> dict[str, str]:
        """The fields of the query; the last one of a name counts.

        Raises:
            Invalid: it is not UTF-8, there are too many, or one means nothing here.
        """
        try:
            pairs = parse_qsl(self.query, keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX)
        except ValueError as error:
            raise Invalid(f"the query of the URL can't be read: {error}") from error
        fields = dict(pairs)
        if unknown := fields.keys() - known:
            may = f"it may have {', '.join(sorted(known))}" if known else "this route takes none"
            raise Invalid(f"the query of the URL has a field {min(unknown)!r} that means nothing; {may}")
        return fields


@dataclass(frozen=True, slots=True)
class Response:
    """One response; the parts of a body that comes part by part may block."""

    status: int
    body: bytes | Parts = b""
    headers: tuple[tuple[str, str], ...] = (("content-type", JSON),)

    def with_headers(self, *headers: tuple[str, str]) -> Response:
        """The same with more headers."""
        return Response(self.status, self.body, (*self.headers, *headers))


class Parts:
    """The rest of a body whose first part has been made already: what was wrong with it so far was an error, not a body."""

    def __init__(
        self, parts: Iterator[bytes], close: Callable[[], None], interrupt: Callable[[], None] | None = None
    ) -> None:
        """`close` is called once, when the body ends or is no longer wanted. Raises what making the first part raises."""
        self._parts = parts
        self._interrupt = interrupt
        self._close: Callable[[], None] | None = close
        self._first: bytes | None = None
        try:
            self._first = next(parts, b"")
        except BaseException:
            self.close()
            raise

    @property
    def first(self) -> bytes:
        """The first part, which is still to come."""
        return self._first or b""

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """The next part. Raises what making it raises; then the body can't be completed."""
        first, self._first = self._first, None
        if first is not None:
            return first
        try:
            return next(self._parts)
        except BaseException:
            self.close()
            raise

    def interrupt(self) -> None:
        """From another thread: no further part is wanted, so the one that is being made may fail."""
        if self._interrupt is not None:
            self._interrupt()

    def close(self) -> None:
        """No further part is wanted; harmless when done."""
        close, self._close = self._close, None
        if close is not None:
            close()


def path_segments(path: str) -> list[str]:
    """The parts of a path between its slashes, decoded. Raises `Invalid`: one is not UTF-8."""
    try:
        return [unquote_to_bytes(part).decode() for part in path.removeprefix("/").split("/")]
    except UnicodeDecodeError as error:
        raise Invalid("the path of the URL is not UTF-8") from error

"""The heads of requests and answers: which ones are taken, and how they are written.

Pure: knows bytes and names of headers; knows no connection. What the parser (httptools) refuses by itself is not repeated:
whitespace before a colon, folded lines, bare line ends, a Content-Length that is not one number, or comes with Transfer-Encoding.

1. Two readers of the same bytes must not see different requests. What could be read in two ways is refused, and the
   connection ends.
2. A path is one that begins with a slash. The form with a whole URL is for proxies, `*` and CONNECT are for none here.
3. A header that says who asks, from where or of whom is there once.
4. The only transfer coding is `chunked`, and only with HTTP/1.1; another one is 501.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

from virke.api.codec import PlainCodec
from virke.api.failures import error_response
from virke.errors import Busy, Invalid, TimedOut, TooLarge, VirkeError
from virke.lazy_dataclasses import dataclass

Header = tuple[bytes, bytes]
_TARGET: Final = re.compile(rb"/[!-~]*\Z")
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::[0-9]*)?\Z")
_ODD_NAME: Final = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z-]")
_ODD_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
LINES_KEPT: Final = 1024
"""Headers of answers that are remembered as they are sent."""
_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}
_ONCE: Final = (b"authorization", b"host", b"origin")
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not passed on: a status and words."""

    status: int
    words: str


def refusal_of(method: bytes, target: bytes, version: str, headers: Sequence[Header]) -> Refusal | None:
    """Why the head of a request is not taken; None if it is. Names of headers are in lower case."""
    if version not in ("1.0", "1.1"):
        return Refusal(505, "this server speaks HTTP/1.1")
    if method == b"CONNECT" or not _TARGET.match(target) or b"#" in target or b"\\" in target:
        return Refusal(400, "the target of a request must be a path that begins with a slash")
    hosts = [value for name, value in headers if name == b"host"]
    if (not hosts and version == "1.1") or not all(map(_HOST.match, hosts)):
        return Refusal(400, "a request needs one header Host, with a name and perhaps a port")
    names = [name for name, _ in headers]
    if any(names.count(name) > 1 for name in _ONCE):
        return Refusal(400, "Authorization, Host and Origin may be there once")
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and (version != "1.1" or any(name == b"content-length" for name, _ in headers)):
        return Refusal(400, "Transfer-Encoding has no place in this request")
    if codings and codings != [b"chunked"]:
        return Refusal(501, "the only transfer coding here is chunked")
    expected = [value.lower() for name, value in headers if name == b"expect"]
    if expected and expected != [b"100-continue"]:
        return Refusal(417, "the only expectation here is 100-continue")
    return None


def has_body(headers: Iterable[Header]) -> bool:
    """Whether a head says that a body follows."""
    return any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)


def upgrade_of(headers: Iterable[Header]) -> bytes:
    """The protocol that a request wants to change to, in lower case."""
    return b",".join(value for name, value in headers if name == b"upgrade").strip().lower()


def scope_of(method: bytes, target: bytes, version: str, headers: list[Header]) -> dict[str, object]:
    """What ASGI says of a request that is taken, except where it is from."""
    path, _, query = target.partition(b"?")
    text = path.decode("ascii")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": version,
        "root_path": "",
        "method": method.decode("ascii"),
        "path": unquote(text) if "%" in text else text,
        "raw_path": path,
        "query_string": query,
        "headers": headers,
    }


def address_of(found: object) -> tuple[str, int] | None:
    """Host and port of a socket's end; None for one that has none."""
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) and len(found) >= 2 else None


def head_of(status: int, headers: Iterable[Header]) -> bytes:
    """The head of an answer. Raises `ValueError`: a name or a value would end its line early."""
    status_line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    return b"".join([status_line, *map(_line_of, headers), b"\r\n"])


@lru_cache(LINES_KEPT)  # nearly the same come with every answer: a date, lengths, times of a few digits
def _line_of(header: Header) -> bytes:
    name, value = header
    if _ODD_NAME.search(name) or _ODD_VALUE.search(value):
        raise ValueError(f"an answer can't have the header {name!r}: {value!r}")
    return b"%b: %b\r\n" % header


def response_of(refusal: Refusal, default: Iterable[Header]) -> bytes:
    """The whole answer to a request that is not passed on; the connection ends with it."""
    response = error_response(_error_of(refusal), PlainCodec(), status=refusal.status)
    assert isinstance(response.body, bytes), "an error is not streamed"
    named = [(name.encode(), value.encode()) for name, value in response.headers]
    length = (b"content-length", b"%d" % len(response.body))
    return head_of(refusal.status, [*default, *named, length, (b"connection", b"close")]) + response.body


def _error_of(refusal: Refusal) -> VirkeError:
    kind = {408: TimedOut, 431: TooLarge, 503: Busy}.get(refusal.status, Invalid)
    return kind(refusal.words, hint="nothing was done, and this connection ends")

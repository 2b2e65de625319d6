"""Requests that come in and responses that go out, by host calls.

Knows the host's handles; knows no route and no program.

1. Names of headers are in lower case; a header that comes several times has its values in one, as HTTP joins them. One is
   asked of the host when it is asked for: each costs a call.
2. The path is as it was sent, however long it is.
3. A body that is made part by part is sent as it comes. If making a part fails, the response is broken off, so that no
   client takes it for whole.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final, TypeVar

from wit_world.imports import http_body, http_downstream, http_resp
from wit_world.imports.async_io import Pollable
from wit_world.imports.http_req import Request as Handle

from virke.api.messages import Parts, Response
from virke.edge.guest.calls import CHUNK_BYTES, Failed, body_of, write_body
from virke.errors import Invalid, TooLarge

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")
NAME_BYTES: Final = 16 << 10
VALUE_BYTES: Final = 4 << 10
URI_BYTES: Final = 8 << 10
MOST_BYTES: Final = 128 << 10
"""The platform's own limit of a request's head."""
METHOD_CHARS: Final = 64
NO_BODY: Final = (204, 304)
OF_THE_CONNECTION: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer"})


class Fields(Mapping[str, str]):
    """The headers of a request, or of a backend's response (rule 1)."""

    def __init__(self, handle: Handle | http_resp.Response) -> None:
        self._handle = handle
        self._known: dict[str, str | None] = {}
        self._names: list[str] | None = None

    def __getitem__(self, name: str) -> str:
        if name not in self._known:
            values = self.values_of(name)
            glue = "; " if name == "cookie" else ", "
            self._known[name] = glue.join(values) if values else None
        found = self._known[name]
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        if self._names is None:
            cursor = 0
            names: list[str] = []
            while True:
                some, following = _call_with_room(partial(self._names_at, cursor), NAME_BYTES)
                names += [name.lower() for name in some.split("\0") if name]
                if following is None:
                    break
                cursor = following
            self._names = list(dict.fromkeys(names))
        return iter(self._names)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _names_at(self, cursor: int, size: int) -> tuple[str, int | None]:
        return self._handle.get_header_names(size, cursor)

    def _values_at(self, name: str, cursor: int, size: int) -> tuple[bytes, int | None]:
        return self._handle.get_header_values(name, size, cursor)

    def values_of(self, name: str) -> list[str]:
        """Each value of a header, in the order they came."""
        cursor = 0
        values: list[str] = []
        while True:
            some, following = _call_with_room(partial(self._values_at, name, cursor), VALUE_BYTES)
            values += [value.decode("latin-1") for value in some.removesuffix(b"\0").split(b"\0")] if some else []
            if following is None:
                return values
            cursor = following


class Arrived:
    """A request that came in. Its body is read once, whole or as a file."""

    def __init__(self, handle: Handle, body: Pollable) -> None:
        """Raises `Invalid`: its head can't be read."""
        self.method = handle.get_method(METHOD_CHARS)
        uri = _call_with_room(handle.get_uri, URI_BYTES)
        scheme, found, rest = uri.partition("://")
        if not found:
            scheme, rest = "https", uri
        slash = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
        self.scheme, self.authority, target = scheme, rest[:slash], rest[slash:]
        path, _, self.query = target.partition("?")
        self.path = path or "/"
        self.headers = Fields(handle)
        self._handle = handle
        self._body = body

    @property
    def client(self) -> str:
        """The address that it came from, "" if it is not known."""
        found = http_downstream.downstream_client_ip_addr(self._handle)
        if found is None:
            return ""
        is_4 = len(found.value) == 4
        return (
            ".".join(map(str, found.value))
            if is_4
            else str(IPv6Address(b"".join(n.to_bytes(2, "big") for n in found.value)))
        )

    def body(self, bytes_max: int) -> bytes:
        """The whole body. Raises `TooLarge`, `Invalid`: it broke off."""
        announced = http_body.get_known_length(self._body)
        if (announced or 0) > bytes_max:
            raise _too_large(bytes_max)
        parts, size = [], 0
        for part in self.parts():
            size += len(part)
            if size > bytes_max:
                raise _too_large(bytes_max)
            parts.append(part)
        if announced is not None and size != announced:
            raise Invalid(f"the body broke off after {size} of {announced} bytes")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def take_body(self) -> Pollable:
        """The body as it comes, for whoever it is sent to."""
        return self._body

    def parts(self) -> Iterator[bytes]:
        """The body as it comes. Raises `Invalid`: it broke off."""
        try:
            while part := http_body.read(self._body, CHUNK_BYTES):
                yield part
        except Failed as error:
            raise Invalid("the body broke off") from error

    @property
    def file(self) -> io.BufferedReader:
        """The body as a file that reads it when it is read."""
        return io.BufferedReader(_File(self.parts()), 64 << 10)


class _File(io.RawIOBase):
    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, into: WriteableBuffer) -> int:
        view = memoryview(into).cast("B")
        if not self._left:
            self._left = next(self._parts, b"")
        some, self._left = self._left[: len(view)], self._left[len(view) :]
        view[: len(some)] = some
        return len(some)


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(
        f"the body is larger than the {bytes_max >> 20} MiB that a request may have at the edge",
        hint="send it to a node, or use the CLI: both take bodies of any size for imports",
    )


def _call_with_room(call: Callable[[int], T], first: int) -> T:
    """What a call answers that wants to know how much room there is. Raises `Invalid`: it is more than there ever is."""
    size = first
    while True:
        try:
            return call(size)
        except Failed as error:
            needed = getattr(error.value, "value", None)
            if not isinstance(needed, int) or size >= MOST_BYTES:
                raise Invalid("the head of the request can't be read") from error
            size = min(max(needed, 2 * size), MOST_BYTES)


def send_response(response: Response, *, with_body: bool = True) -> None:
    """Send a response; one whose body comes part by part is sent as it comes. Raises what making a part raises."""
    head = http_resp.Response.new()
    head.set_status(response.status)
    for name, value in response.headers:
        if name.lower() not in OF_THE_CONNECTION:
            head.append_header(name, value.encode("latin-1", "replace"))
    body = response.body
    if not with_body or response.status in NO_BODY:
        close_parts(body)
        body = b""
    if isinstance(body, bytes):
        http_resp.send_downstream(head, body_of(body))
        return
    streamed = http_body.new()
    http_resp.send_downstream_streaming(head, streamed)
    try:
        for part in body:
            if part:
                write_body(streamed, part)
    except BaseException:
        streamed.__exit__(None, None, None)  # dropped, not closed: it is broken off (rule 3)
        raise
    finally:
        close_parts(body)
    http_body.close(streamed)


def close_parts(body: bytes | Parts) -> None:
    """No further part is wanted."""
    if isinstance(body, Parts):
        body.close()

"""A WSGI program, called with what came in.

Knows WSGI (PEP 3333); knows no framework and no database.

1. The path is decoded as PEP 3333 has it, the query is as it was sent, headers that came several times are joined.
2. The body of a request is read when the program reads it. That of a response goes out as it is made, unless the first part is
   all of it by the program's own word.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from virke.api.messages import Parts, Response
from virke.edge.guest.http import Arrived

Environ = dict[str, Any]
App = Callable[[Environ, Callable[..., object]], Iterable[bytes]]
PORTS: Final = {"https": "443", "http": "80"}
_PLAIN: Final = ("content-type", "content-length")


class Wsgi:
    """A WSGI program as what a sandbox serves."""

    def __init__(self, app: App) -> None:
        self._app = app

    def __call__(self, arrived: Arrived, later: list[Callable[[], object]]) -> Response:
        """The response to a request. Raises what the program raises."""
        del later  # what a program does after its answer, it does in `close`
        head = _Head()
        result = self._app(environ_of(arrived), head.start)
        close = getattr(result, "close", lambda: None)
        parts = Parts(_written_parts(head, iter(result)), close)
        status, headers = head.begun()
        first = parts.first
        announced = next((value for name, value in headers if name.lower() == "content-length"), None)
        if announced == str(len(first)) or (not first and isinstance(result, list | tuple)):
            parts.close()
            return Response(status, first, headers)
        return Response(status, parts, headers)


class _Head:
    """What the program says before its body."""

    def __init__(self) -> None:
        self._status: str | None = None
        self._headers: list[tuple[str, str]] = []
        self.written: list[bytes] = []

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], object]:
        """What PEP 3333 calls `start_response`."""
        if self._status is not None and exc_info is None:
            raise AssertionError("start_response was called twice")
        self._status, self._headers = status, list(headers)
        return self.written.append

    def begun(self) -> tuple[int, tuple[tuple[str, str], ...]]:
        """Status and headers. Raises `RuntimeError`: the program did not say them."""
        if self._status is None:
            raise RuntimeError("the program made a body without start_response")
        return int(self._status.split(" ", 1)[0]), tuple(self._headers)


def _written_parts(head: _Head, parts: Iterator[bytes]) -> Iterator[bytes]:
    """What the program makes, and what it writes by the callable of `start_response` before that."""
    first = next(parts, b"")
    yield b"".join((*head.written, first))
    head.written.clear()
    for part in parts:
        if head.written:
            yield b"".join(head.written)
            head.written.clear()
        yield part


def environ_of(arrived: Arrived) -> Environ:
    """The request as PEP 3333 has it."""
    host, _, port = arrived.authority.partition(":")
    environ: Environ = {
        "REQUEST_METHOD": arrived.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(arrived.path).decode("latin-1"),
        "QUERY_STRING": arrived.query,
        "RAW_URI": arrived.path + (f"?{arrived.query}" if arrived.query else ""),
        "SERVER_NAME": host,
        "SERVER_PORT": port or PORTS.get(arrived.scheme, "443"),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": arrived.scheme,
        "wsgi.input": arrived.file,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if arrived.client:
        environ["REMOTE_ADDR"] = arrived.client
    for name in arrived.headers:
        variable = name.upper().replace("-", "_")
        environ[variable if name in _PLAIN else f"HTTP_{variable}"] = arrived.headers[name]
    return environ

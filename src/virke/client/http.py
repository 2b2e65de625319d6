"""HTTP to one node: connections that are kept, TLS that is verified, and honest errors. The only file here that does I/O.

Knows sockets, timeouts and HTTP; knows no route. Sends each request once: what is sent again is `exchange`'s choice.

1. `NotSent` is raised only if no byte of the request left: no address, no connection, a TLS handshake that failed. All
   else that goes wrong before the whole answer is there is `NoAnswer`.
2. An answer is whole, or it is none: one that does not say where it ends, or ends early, is `NoAnswer`.
3. A connection is kept if its answer was read to the end, and used again within `IDLE_S`, less than a node keeps it.
4. A process that was forked opens connections of its own.
5. Nothing that is raised here shows a header of the request: the token is in them.
6. A request whose body is there as a whole leaves in one piece: two would wake the node twice.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

from virke.client.address import Address
from virke.client.exchange import Answer, NoAnswer, NotSent, Request
from virke.collector import outside
from virke.engine.terms import Cancel

CONNECT_S: Final = 10.0
IDLE_S: Final = 30.0
KEPT_MAX: Final = 16
PIECE_BYTES: Final = 1 << 16
_TRUST: Final = (
    "the certificate is not trusted: is this the node that was meant? SSL_CERT_FILE names certificates of your own"
)
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 60_000))
"""So that a node whose machine is gone is noticed while its answer is waited for."""


class _OnePiece(HTTPConnection):
    """A connection that holds back what is sent while `held` is there."""

    held: list[bytes] | None = None

    def send(self, data: Any) -> None:
        """Send it, or hold it back."""
        if self.held is None or not isinstance(data, bytes):
            super().send(data)
        else:
            self.held.append(data)

    def flush(self) -> None:
        """Send what is held back, and from here on everything at once."""
        held, self.held = self.held, None
        if held:
            self.send(b"".join(held))


class _OnePieceTls(_OnePiece, HTTPSConnection):
    """The same over TLS."""


class Connections:
    """The connections of one client to one node, for any number of threads."""

    def __init__(self, address: Address) -> None:
        self._address = address
        parts = urlsplit(address.url)
        self._prefix = parts.path
        self._is_tls = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._lock = threading.Lock()
        self._idle: list[tuple[_OnePiece, float]] = []
        self._tls: ssl.SSLContext | None = None
        self._process = os.getpid()

    def send(self, request: Request, cancel: Cancel | None = None) -> Answer:
        """Send one request, once. Raises `NotSent`, `NoAnswer`; `TimedOut`: it was cancelled."""
        if cancel is not None:
            cancel.check()
        connection = self._take_connection()
        response: HTTPResponse | None = None
        is_whole = False
        try:
            assert connection.sock is not None, "it is connected"
            connection.sock.settimeout(max(self._address.timeout_s, request.patience_s))
            if cancel is not None:
                cancel.attach(Running(connection))
            response = self._exchange_on(connection, request)
            _check_has_end(response)
            headers = {name.lower(): value for name, value in response.getheaders()}
            if request.streams and response.status == 200:
                is_whole = True  # from here on the stream gives the connection back
                return Answer(response.status, headers, stream=Body(self, connection, response, cancel))
            body = response.read()
            is_whole = True
            self._give_back(connection, response)
            return Answer(response.status, headers, body)
        except (OSError, HTTPException, ValueError) as error:
            if cancel is not None:
                cancel.check()
            raise NoAnswer(_error_text(error), is_late=isinstance(error, TimeoutError)) from error
        finally:
            if not is_whole:
                _close_connection(connection, response)
            if cancel is not None and not (is_whole and request.streams):
                cancel.detach()

    def _exchange_on(self, connection: _OnePiece, request: Request) -> HTTPResponse:
        headers = {"User-Agent": "virke", **self._address.headers, **request.headers}
        is_whole_body = request.body is None or isinstance(request.body, bytes)
        if not is_whole_body:
            headers["Transfer-Encoding"] = "chunked"
        try:
            connection.held = [] if is_whole_body else None
            connection.request(
                request.method, self._prefix + request.path, request.body, headers, encode_chunked=not is_whole_body
            )
            connection.flush()
        except (BrokenPipeError, ConnectionResetError):
            return connection.getresponse()  # a node answers early that it does not want the body
        return connection.getresponse()

    # Connections

    def _take_connection(self) -> _OnePiece:
        with self._lock:
            if self._process != os.getpid():
                self._process, self._idle = os.getpid(), []
            while self._idle:
                connection, since_s = self._idle.pop()
                if time.monotonic() - since_s < IDLE_S and not _has_ended(connection):
                    return connection
                connection.close()
        return self._new_connection()

    def _new_connection(self) -> _OnePiece:
        connection: _OnePiece
        connect_s = min(CONNECT_S, self._address.timeout_s)
        if self._is_tls:
            connection = _OnePieceTls(self._host, self._port, timeout=connect_s, context=self._tls_context())
        else:
            connection = _OnePiece(self._host, self._port, timeout=connect_s)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise NotSent(error.verify_message, hint=_TRUST) from error
        except (OSError, HTTPException, ValueError) as error:
            connection.close()
            raise NotSent(_error_text(error)) from error
        sock = connection.sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def _give_back(self, connection: _OnePiece, response: HTTPResponse) -> None:
        response.close()  # it was read to its end, but does not always see that by itself
        with self._lock:
            if not response.will_close and len(self._idle) < KEPT_MAX and self._process == os.getpid():
                self._idle.append((connection, time.monotonic()))
                return
        connection.close()

    def close(self) -> None:
        """Close the connections that no request uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()


class Running:
    """A request that another thread can end."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._sock = connection.sock

    def expire(self) -> None:
        """End it: the node sees its client go away, and whoever waits for the answer here gets none."""
        try:
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        except OSError:
            return  # it had ended by itself


class Body:
    """A body that is read piece by piece. The connection goes back at its end; it is given up before."""

    def __init__(
        self, connections: Connections, connection: _OnePiece, response: HTTPResponse, cancel: Cancel | None
    ) -> None:
        self._release: Callable[[_OnePiece, HTTPResponse], None] = connections._give_back
        self._connection: _OnePiece | None = connection
        self._response = response
        self._cancel = cancel

    def read(self) -> bytes:
        """The next piece; empty at its end. Raises `NoAnswer`: it was cut off."""
        if self._connection is None:
            return b""
        try:
            piece = self._response.read1(PIECE_BYTES)
            if not piece and self._response.length:
                raise NoAnswer(f"{self._response.length} bytes are missing at the end")
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            raise NoAnswer(_error_text(error)) from error
        except BaseException:
            self.close()
            raise
        if not piece:
            self._end_body(is_whole=True)
        return piece

    def close(self) -> None:
        """Give it up; harmless when done."""
        outside(partial(self._end_body, is_whole=False))

    def _end_body(self, *, is_whole: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._cancel is not None:
            self._cancel.detach()
        if is_whole:
            self._release(connection, self._response)
        else:
            _close_connection(connection, self._response)


def _check_has_end(response: HTTPResponse) -> None:
    """A body that ends with its connection may have been cut off."""
    if response.length is None and not response.chunked:
        raise NoAnswer("the answer does not say where it ends")


def _has_ended(connection: HTTPConnection) -> bool:
    """Whether the other side has closed an idle connection, or said what it was not asked for."""
    if connection.sock is None:
        return True
    if not hasattr(select, "poll"):
        return bool(select.select([connection.sock], [], [], 0)[0])
    poll = select.poll()  # select takes no file number beyond 1023
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _close_connection(connection: HTTPConnection, response: HTTPResponse | None) -> None:
    if response is not None:
        response.close()
    connection.close()


def _error_text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]

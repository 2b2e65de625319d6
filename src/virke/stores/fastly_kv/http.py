"""A small HTTP client: one server, connections that are kept, and honest errors.

Knows HTTP, timeouts and limits; knows no vendor, and not what a request means. Nothing is repeated or redirected
here: whether a request may be sent again is for the caller to say, who knows what it does.

1. `NotSent` is raised only if no byte of the request can have reached the server: no free connection, no address, no
   connection, or a TLS handshake that failed. All else that goes wrong before the whole answer is there is `NoAnswer`,
   and the server may have carried the request out.
2. An answer is whole, or it is none: a body that ends early, does not say where it ends, is larger than
   `answer_bytes_max`, or is not there after `answer_s`, is `NoAnswer`. (Headers that were cut off look like an
   answer whose body ends with the connection: an empty 200.)
3. A process that was forked opens connections of its own: on one that it shares with its parent, each would get the
   other's answers.
4. Nothing that this module raises shows a header of the request: there are secrets in them.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Timeout

from virke.lazy_dataclasses import dataclass

CONNECTIONS_MAX: Final = 32
ANSWER_BYTES_MAX: Final = 32 << 20
ANSWER_S: Final = 300.0
_PIECE_BYTES: Final = 1 << 16
_BODILESS: Final = (204, 304)
_progress: Final = threading.local()
"""Whether this thread's request has a connection that it may have been written to."""


class NotSent(Exception):
    """The request never left: the server has definitely not carried it out."""


class NoAnswer(Exception):
    """The request went out, wholly or in part, and no whole answer came: it may have been carried out."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (names in lower case) and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Tcp(HTTPConnection):
    def putrequest(
        self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False
    ) -> None:  # here a plain connection is opened only later, and says so by the class of its error
        _progress.begun = True
        super().putrequest(method, url, skip_host, skip_accept_encoding)


class _Tls(HTTPSConnection):
    def putrequest(
        self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False
    ) -> None:  # the handshake is done
        _progress.begun = True
        super().putrequest(method, url, skip_host, skip_accept_encoding)


class _TcpPool(HTTPConnectionPool):
    ConnectionCls = _Tcp


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _Tls


class HttpClient:
    """A client of `base_url`, for any number of threads."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float,
        connections_max: int = CONNECTIONS_MAX,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        answer_s: float = ANSWER_S,
    ) -> None:
        """`timeout_s` is for each step: a free connection, connecting, sending a piece, the next piece of the answer.

        Raises:
            ValueError: `base_url` is no `http://…` or `https://…`.
        """
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("the base of an HTTP client starts with http:// or https:// and names a host")
        self._path = url.path.rstrip("/")
        self._timeout_s = timeout_s
        self._answer_bytes_max = answer_bytes_max
        self._answer_s = answer_s
        timeout = Timeout(connect=timeout_s, read=timeout_s)
        pool: Callable[..., HTTPConnectionPool] = _TcpPool
        if url.scheme == "https":
            pool = partial(_TlsPool, cert_reqs="CERT_REQUIRED")
        self._open = partial(pool, url.hostname, url.port, timeout=timeout, maxsize=connections_max, block=True)
        self._of_process = os.getpid(), self._open()

    def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send one request, once. `path` (with its query) is added to the base, and is percent-encoded already.

        Raises:
            NotSent: definitely not carried out. NoAnswer: perhaps carried out.
        """
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Length"] = str(len(body))
        _progress.begun = False
        try:
            response = self._pool.urlopen(
                method,
                self._path + path,
                body=None if body is None else io.BytesIO(body),  # sent in pieces, each with its own timeout
                headers=sent,
                retries=False,
                redirect=False,
                pool_timeout=self._timeout_s,  # type: ignore[arg-type]  # handed to a queue, which takes fractions
                preload_content=False,
                decode_content=False,
            )
        except HTTPError as error:
            if isinstance(error, ConnectTimeoutError) or not _progress.begun:  # refused and unknown hosts are among it
                raise NotSent(_text_of_error(error)) from error
            raise NoAnswer(_text_of_error(error)) from error
        whole = False
        try:
            answer = Answer(
                response.status,
                {name.lower(): value for name, value in response.headers.items()},
                self._read_body(response),
            )
            whole = True
        except HTTPError as error:
            raise NoAnswer(_text_of_error(error)) from error
        finally:
            if not whole:
                response.close()  # what else comes on this connection belongs to the answer that was given up
            response.release_conn()
        return answer

    @property
    def _pool(self) -> HTTPConnectionPool:
        process, pool = self._of_process
        if process != os.getpid():
            pool = self._open()
            self._of_process = os.getpid(), pool
        return pool

    def _read_body(self, response: BaseHTTPResponse) -> bytes:
        ends = response.headers.get("content-length", "").isdecimal() or response.headers.get("transfer-encoding")
        if response.status not in _BODILESS and not ends:
            raise NoAnswer("the answer does not say where it ends")
        body = bytearray()
        until = time.monotonic() + self._answer_s
        while piece := response.read1(_PIECE_BYTES):
            body += piece
            if len(body) > self._answer_bytes_max:
                raise NoAnswer(f"the answer has more than {self._answer_bytes_max} bytes")
            if time.monotonic() > until:
                raise NoAnswer(f"the answer was not there after {self._answer_s:g} s")
        return bytes(body)


def _text_of_error(error: HTTPError) -> str:
    return f"{type(error).__name__}: {error}"[:300]

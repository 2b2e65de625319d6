"""The node that takes the writes: one request to it, and its answer, by the calls of the host.

Knows one backend and the fields of a request; knows no route and no database.

1. A request is sent once, and what became of it is told honestly: `NotReached` says that it certainly did not arrive.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from wit_world.imports import http_req, http_resp
from wit_world.imports.async_io import Pollable
from wit_world.imports.backend import Backend

from virke.edge.guest.calls import Failed, reason_of
from virke.edge.guest.configuration import Writes

BACKEND: Final = "writes"
_NEVER_SENT: Final = frozenset(
    "SendErrorDetail_DnsTimeout SendErrorDetail_DnsError SendErrorDetail_DestinationNotFound "
    "SendErrorDetail_DestinationUnavailable SendErrorDetail_DestinationIpUnroutable SendErrorDetail_ConnectionRefused "
    "SendErrorDetail_ConnectionTimeout SendErrorDetail_ConnectionLimitReached SendErrorDetail_TlsCertificateError "
    "SendErrorDetail_TlsConfigurationError".split()
)


class NotReached(Exception):
    """The request did not arrive: nothing was done."""


class NotAnswered(Exception):
    """The request may have arrived, and no whole answer came."""


class NodeBackend:
    """One node."""

    def __init__(self, writes: Writes) -> None:
        self.url = writes.url
        self.token = writes.token
        self._host = urlsplit(writes.url).netloc
        self._backend: Backend | None = None

    def send(
        self, method: str, path: str, fields: Iterable[tuple[str, str]], *, body: Pollable, token: str | None
    ) -> tuple[http_resp.Response, Pollable]:
        """The answer to a request, its body unread; `path` with the query. Raises `NotReached`, `NotAnswered`."""
        try:
            if self._backend is None:
                self._backend = Backend.open(BACKEND)
            request = http_req.Request.new()
            request.set_method(method)
            request.set_uri(f"{self.url}{path}")
            request.insert_header("host", self._host.encode())
            if token:
                request.insert_header("authorization", f"Bearer {token}".encode())
            for name, value in fields:
                request.append_header(name, value.encode("latin-1"))
            pending = http_req.send_async_uncached(request, body, self._backend)
        except Failed as error:
            raise NotReached(f"the node at {self.url} can't be asked: {reason_of(error)}") from error
        try:
            return http_req.await_response(pending)
        except Failed as error:
            raise self._translated_failure(error) from error

    def _translated_failure(self, error: Failed[object]) -> NotReached | NotAnswered:
        detail = getattr(error.value, "detail", None)
        why = reason_of(error) if detail is None else type(detail).__name__.removeprefix("SendErrorDetail_")
        if detail is not None and type(detail).__name__ in _NEVER_SENT:
            return NotReached(f"the node at {self.url} can't be reached: {why}; nothing was changed")
        return NotAnswered(f"the node at {self.url} did not answer: {why}")

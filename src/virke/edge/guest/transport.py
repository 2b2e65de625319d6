"""Requests of the client of a node, sent by the calls of the host: its `Transport` at the edge.

Knows the client's requests and answers, and how the node is reached; knows no SQL.

1. As the client needs it: `NotSent` only if nothing was done, else `NoAnswer`; an answer is whole, or it is none.
"""

from __future__ import annotations

from collections.abc import Iterator

from wit_world.imports import http_body
from wit_world.imports.async_io import Pollable

from virke.client.exchange import Answer, NoAnswer, NotSent, Request
from virke.edge.guest.calls import CHUNK_BYTES, Failed, body_of, reason_of, whole_body
from virke.edge.guest.http import Fields
from virke.edge.guest.node import NodeBackend, NotAnswered, NotReached
from virke.engine.terms import Cancel


class HostTransport:
    """One node, asked by host calls."""

    def __init__(self, node: NodeBackend) -> None:
        self._node = node

    def send(self, request: Request, cancel: Cancel | None = None) -> Answer:
        """See `Transport.send`."""
        if cancel is not None:
            cancel.check()
        try:
            response, body = self._node.send(
                request.method, request.path, _fields_of(request), body=_body_of(request.body), token=self._node.token
            )
        except NotReached as error:
            raise NotSent(str(error)) from error
        except NotAnswered as error:
            raise NoAnswer(str(error)) from error
        status, fields = response.get_status(), Fields(response)
        headers = {name.lower(): ", ".join(fields.values_of(name)) for name in fields}
        if request.streams and status == 200:
            return Answer(status, headers, stream=_Pieces(body))
        try:
            return Answer(status, headers, whole_body(body))
        except (Failed, EOFError) as error:
            raise NoAnswer(f"the answer broke off: {reason_of(error)}") from error

    def close(self) -> None:
        """Nothing is kept open: the host has the connections."""


class _Pieces:
    """A body that is read as it comes."""

    def __init__(self, body: Pollable) -> None:
        self._body: Pollable | None = body

    def read(self) -> bytes:
        """See `Stream.read`."""
        if self._body is None:
            return b""
        try:
            return http_body.read(self._body, CHUNK_BYTES)
        except Failed as error:
            raise NoAnswer(f"the answer broke off: {reason_of(error)}") from error

    def close(self) -> None:
        """See `Stream.close`."""
        if self._body is not None:
            http_body.close(self._body)
            self._body = None


def _fields_of(request: Request) -> Iterator[tuple[str, str]]:
    yield "user-agent", "virke"
    for name, value in request.headers.items():
        yield name.lower(), value


def _body_of(body: bytes | Iterator[bytes] | None) -> Pollable:
    if body is None or isinstance(body, bytes):
        return body_of(body or b"")
    return body_of(b"".join(body))

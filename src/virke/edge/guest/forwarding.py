"""Writes through a node: what this place can't do, or a node does better, is sent there and answered from there.

Knows which operations are meant, and what of a request goes on; performs nothing itself.

A KV store takes about one write a second to one key, and sandboxes can't put their commits together. A node does. Reads stay
here: they need no node, and what a client's write left is shown by the bookmark that came with its answer.

1. What certainly writes, or needs more than one request (a stream with a transaction), is sent to the node as it came: with
   the client's own token, which the node holds against the same store. The configured token is sent only where a client
   needs none.
2. What may write is tried here as a read; only if SQLite says that it writes is it sent. So is a read that is too large here.
3. A request is sent once. If it certainly did not reach the node, that is `Unavailable`; if its answer does not come, what became
   of a write is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from wit_world.imports import http_body, http_resp
from wit_world.imports.async_io import Pollable

from virke.api.hrana import requests
from virke.api.hrana.operations import Cursor, Once, Pipeline
from virke.api.messages import Parts, Response
from virke.api.operations import (
    DescribeStatement,
    GetHealth,
    GetMetrics,
    GetMigrations,
    GetSchema,
    GetSettings,
    GetStatus,
    GetVersions,
    ListDatabases,
    ListTokens,
    Operation,
    Run,
)
from virke.edge.guest.calls import CHUNK_BYTES, body_of
from virke.edge.guest.http import OF_THE_CONNECTION, Arrived, Fields
from virke.edge.guest.node import NodeBackend, NotAnswered, NotReached
from virke.edge.guest.words import READS
from virke.engine.sqlite import keyword
from virke.errors import OutcomeUnknown, Unavailable

_READ_HERE: Final = (
    DescribeStatement,
    GetHealth,
    GetMigrations,
    GetSchema,
    GetSettings,
    GetStatus,
    GetVersions,
    ListDatabases,
    ListTokens,
)
_OWN: Final = frozenset({"host", "content-length", "authorization"})


def is_for_the_node(operation: Operation) -> bool:
    """Whether an operation is not even tried here (rule 1)."""
    match operation:
        case Run(requests=asked):
            return operation.is_program or any(keyword(sql) not in READS for sql, _ in asked)
        case Pipeline(_, baton, asked):
            return baton is not None or not all(_only_reads(one) for one in asked)
        case Once(_, request):
            return not _only_reads(request)
        case Cursor() | GetMetrics():
            return True
        case _:
            return not isinstance(operation, _READ_HERE)


def _only_reads(request: requests.StreamRequest) -> bool:
    """Whether a request of a stream certainly reads; what may write is not tried, for its error would be the answer."""
    match request:
        case requests.Execute(statement):
            return statement.text.sql is not None and keyword(statement.text.sql) in ("SELECT", "VALUES")
        case requests.Batch(steps):
            return all(_only_reads(requests.Execute(step.statement)) for step in steps)
        case requests.Describe() | requests.GetAutocommit() | requests.Close():
            return True
        case _:
            return False


class Forwarding:
    """One node."""

    def __init__(self, node: NodeBackend) -> None:
        self._node = node

    def send(self, arrived: Arrived, body: bytes | None, token: str | None, database: str | None) -> Response:
        """What the node answers to a request; `body` None: what has not been read of it. `database`: where the path names none.

        Raises:
            Unavailable: the node was not reached. OutcomeUnknown: it did not answer.
        """
        path = arrived.path if database is None else f"/db/{quote(database)}{arrived.path}"
        query = f"?{arrived.query}" if arrived.query else ""
        sent = arrived.take_body() if body is None else body_of(body)
        try:
            return _response_of(
                *self._node.send(
                    arrived.method, path + query, _fields_of(arrived), body=sent, token=token or self._node.token
                )
            )
        except NotReached as error:
            raise Unavailable(str(error)) from error
        except NotAnswered as error:
            raise OutcomeUnknown(str(error)) from error


def _fields_of(arrived: Arrived) -> Iterator[tuple[str, str]]:
    """The fields that go on to the node."""
    for name in arrived.headers:
        if name not in _OWN and name not in OF_THE_CONNECTION and not name.startswith(("fastly-", "x-forwarded-")):
            for value in arrived.headers.values_of(name):
                yield name, value


def _response_of(answered: http_resp.Response, body: Pollable) -> Response:
    headers = Fields(answered)
    pairs = tuple(
        (name, value)
        for name in headers
        if name not in OF_THE_CONNECTION and name != "content-length"
        for value in headers.values_of(name)
    )
    return Response(answered.get_status(), Parts(_chunks_of_body(body), lambda: None), pairs)


def _chunks_of_body(body: Pollable) -> Iterator[bytes]:
    """The body as it comes; an end that is none is a `Failed`, which breaks the answer off here too."""
    while chunk := http_body.read(body, CHUNK_BYTES):
        yield chunk

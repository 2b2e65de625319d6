"""Hrana's messages over a WebSocket, as values: what a client says, and what it is answered.

Knows Hrana's JSON; knows no socket.

1. What a client stores belongs to its connection, and is looked up when a message comes: a text that is forgotten
   afterwards was still meant by it.
2. A message that breaks the protocol is `Refused`, which ends the connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from virke.api.hrana import requests
from virke.api.hrana.complaints import Refused, described_error
from virke.engine.values import Json
from virke.errors import VirkeError
from virke.lazy_dataclasses import dataclass

SUBPROTOCOLS: Final = ("hrana3", "hrana2", "hrana1")
"""The newest first: the first that a client offers too is spoken."""
STORED_MAX: Final = 256
OF_STREAMS: Final = frozenset({"execute", "batch", "sequence", "describe", "get_autocommit"})


@dataclass(frozen=True, slots=True)
class Hello:
    """The client says who it is."""

    jwt: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its kind, the stream or cursor that it is of, and what is asked of a stream."""

    id: int
    kind: str
    stream: int = 0
    cursor: int = 0
    count: int = 0
    request: requests.StreamRequest | None = None


class Stored:
    """The SQL texts of one connection."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}

    def keep(self, sql_id: int, sql: str) -> None:
        """Store a text. Raises `Refused`."""
        if sql_id in self._texts:
            raise Refused(f"SQL text {sql_id} already exists", "SQL_EXISTS")
        if len(self._texts) >= STORED_MAX:
            raise Refused(f"the connection stores {STORED_MAX} SQL texts, it can't store more", "SQL_STORE_TOO_MANY")
        self._texts[sql_id] = sql

    def forget(self, sql_id: int) -> None:
        """Forget a text; harmless if it is not there."""
        self._texts.pop(sql_id, None)

    def given(self, request: requests.StreamRequest) -> requests.StreamRequest:
        """The same request with its texts in place of their numbers. Raises `Refused`."""
        match request:
            case requests.Execute(statement):
                return requests.Execute(self._with_stored_text(statement))
            case requests.Batch(steps):
                return requests.Batch(
                    tuple(replace(step, statement=self._with_stored_text(step.statement)) for step in steps)
                )
            case requests.RunSequence(text):
                return requests.RunSequence(self._stored_text(text))
            case requests.Describe(text):
                return requests.Describe(self._stored_text(text))
            case _:
                return request

    def _with_stored_text(self, statement: requests.AskedStatement) -> requests.AskedStatement:
        return replace(statement, text=self._stored_text(statement.text))

    def _stored_text(self, text: requests.Text) -> requests.Text:
        if text.sql_id is None:
            return text
        if text.sql_id not in self._texts:
            raise Refused(f"SQL text {text.sql_id} not found", "SQL_NOT_FOUND")
        return requests.Text(self._texts[text.sql_id], None)


def message_of(body: Json) -> Hello | Asked:
    """A message of a client. Raises `Refused`."""
    match body:
        case {"type": "hello", **rest}:
            jwt = rest.get("jwt")
            if jwt is not None and not isinstance(jwt, str):
                raise Refused("`jwt` must be a text or null")
            return Hello(jwt)
        case {"type": "request", "request_id": int(number), "request": dict(request)}:
            return _parsed_message(number, request)
        case _:
            raise Refused("a message is a hello, or a request with its `request_id`")


def _parsed_message(number: int, body: Mapping[str, Json]) -> Asked:
    kind = body.get("type")
    if kind in ("open_stream", "close_stream"):
        return Asked(number, str(kind), stream=_number_in(body, "stream_id"))
    if kind == "open_cursor":
        batch = requests.batch_of(body.get("batch"))
        return Asked(number, "open_cursor", _number_in(body, "stream_id"), _number_in(body, "cursor_id"), request=batch)
    if kind == "close_cursor":
        return Asked(number, "close_cursor", cursor=_number_in(body, "cursor_id"))
    if kind == "fetch_cursor":
        return Asked(number, "fetch_cursor", cursor=_number_in(body, "cursor_id"), count=_number_in(body, "max_count"))
    if kind == "close":
        raise Refused("a stream is closed by `close_stream` here")
    request = requests.request_of(dict(body))
    stream = _number_in(body, "stream_id") if kind in OF_STREAMS else 0
    return Asked(number, str(kind), stream=stream, request=request)


def _number_in(body: Mapping[str, Json], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(f"`{name}` must be a whole number")
    return value


def response_message(number: int, found: Mapping[str, object]) -> dict[str, object]:
    """The message for a request that a stream answered."""
    if found["type"] == "ok":
        return {"type": "response_ok", "request_id": number, "response": found["response"]}
    return {"type": "response_error", "request_id": number, "error": found["error"]}


def ok_message(number: int, kind: str, **fields: object) -> dict[str, object]:
    """The message for a request that was carried out."""
    return {"type": "response_ok", "request_id": number, "response": {"type": kind, **fields}}


def error_message(number: int, error: VirkeError) -> dict[str, object]:
    """The message for a request that was not."""
    return {"type": "response_error", "request_id": number, "error": described_error(error)}

"""One request and its answer: ASGI's `receive` and `send` for the application.

Knows ASGI and how answers are framed; knows its connection only as something to write to.

1. Head and body, or the first part of it, are one write.
2. A body goes out in pieces, and each waits until the one before has gone: what a client does not take is held once.
3. `send` raises `OSError` once the client is gone, so that no work goes on for it. `receive` says so too.
4. The client is asked to go on (`100 Continue`) when the application wants its body, not before.
5. `extensions["virke.kept"]` is a dictionary of the application's, the same for requests of a connection whose heads are the
   same except for the length of the body.
6. An application that has `at_once` is given a request that is there whole before a task is made for it. It answers, says
   what is to be run, or answers later; in any case `receive` has no body any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Final, Protocol

from virke.lazy_dataclasses import dataclass
from virke.node.http.heads import CONTINUE, Header, head_of

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
PIECE_BYTES: Final = 64 << 10
AT_ONCE_BYTES: Final = 16 << 10
"""A longer body is not given to `at_once`."""
CLOSE: Final[Header] = (b"connection", b"close")
CHUNKED: Final[Header] = (b"transfer-encoding", b"chunked")
PLAIN: Final[Header] = (b"content-type", b"text/plain; charset=utf-8")
log: Final = logging.getLogger("virke.node.http")


@dataclass(slots=True)  # not frozen: that costs twice as much to make, and each answer is one
class Answer:
    """A whole answer, the body at most `PIECE_BYTES` long; its length is said by whoever sends it."""

    status: int
    headers: list[Header]
    body: bytes


@dataclass(frozen=True, slots=True)
class Later:
    """The answer comes by `Reply`; `gone` is called if the client goes before that."""

    gone: Callable[[], None]


Reply = Callable[[Answer | Application], None]
"""Takes the answer, or what is to be run for it, once and on the loop; harmless when the client is gone."""
AtOnce = Callable[[Message, bytes, Reply], Answer | Application | Later]
"""What an application answers to a request that is there whole, or what is to be run for it."""


class Line(Protocol):
    """What an exchange needs of its connection."""

    is_ending: bool
    is_writable: bool

    @property
    def default_headers(self) -> list[Header]:
        """Those of every answer."""

    def write(self, data: bytes | memoryview) -> None:
        """Send, in order."""

    def write_soon(self, data: bytes) -> None:
        """Send, in order, in a moment."""

    async def drain(self) -> None:
        """Until what was written has mostly gone, or the client has."""

    def want_more(self) -> None:
        """Read on."""

    def answered(self, exchange: Exchange) -> None:
        """The answer is written."""

    def start(self, exchange: Exchange, application: Application) -> None:
        """Run it, as a task."""

    def abort(self) -> None:
        """Drop the connection: the answer can't be finished."""


class Exchange:
    """A request that has a head, and the answer to it."""

    def __init__(self, line: Line, scope: Message, kept: dict[str, Any], *, keeps_alive: bool, expects: bool) -> None:
        self.scope = scope
        self.keeps_alive = keeps_alive
        """Whether another request may follow on the connection; settled when the head of the answer is written."""
        self.is_received = False
        self.body_bytes = 0
        self.is_begun = self.is_answered = False
        self._line = line
        self._expects = expects
        self._parts: list[bytes] = []
        self.held_bytes = 0
        self._is_delivered = self._is_gone = False
        self._changed: asyncio.Event | None = None
        self._leaving: list[Callable[[], None]] = []
        scope["extensions"] = {"virke.leaving": self.when_gone, "virke.kept": kept}
        self._head = b""
        self._has_body = True
        self._is_chunked = False
        self._left: int | None = None

    # The connection's side

    def put(self, part: bytes) -> None:
        """A part of the body came."""
        self._parts.append(part)
        self.held_bytes += len(part)
        self.body_bytes += len(part)
        self._signal_change()

    def end_body(self) -> None:
        """The body is whole."""
        self.is_received = True
        self._signal_change()

    def leave(self) -> None:
        """The client is gone."""
        self._is_gone = True
        self._signal_change()
        for call in self._leaving:
            call()

    def when_gone(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call this when the client goes, as long as the answer is not written; what is returned takes it back."""
        if self._is_gone:
            call()
        self._leaving.append(call)
        return partial(self._leaving.remove, call)

    def _signal_change(self) -> None:
        if self._changed is not None:
            self._changed.set()

    def begin(self, at_once: AtOnce) -> Application | None:
        """Have a request answered that is there whole; what is to be run if that takes more than a moment."""
        body = b"".join(self._parts)
        self._parts, self.held_bytes = [], 0
        return self.begin_with(body, at_once)

    def begin_with(self, body: bytes, at_once: AtOnce) -> Application | None:
        """As `begin`, with a body that was not put here."""
        self.is_received = self._is_delivered = True
        found = at_once(self.scope, body, self._reply_later)
        if isinstance(found, Answer):
            self._send_answer(found, self._line.write_soon)
        elif isinstance(found, Later):
            self._leaving.append(found.gone)
        else:
            return found
        return None

    def _reply_later(self, found: Answer | Application) -> None:
        """What `Later` promised."""
        if self._is_gone:
            return
        self._leaving.clear()
        if isinstance(
            found, Answer
        ):  # of a commit, which many wait for: the first goes on while the others are answered
            self._send_answer(found, self._line.write)
        else:
            self._line.start(self, found)

    def _send_answer(self, found: Answer, write: Callable[[bytes], None]) -> None:
        length = len(found.body)
        self._begin_response(found.status, [*found.headers, (b"content-length", b"%d" % length)], length)
        write(self._head + found.body if self._has_body else self._head)
        self._head = b""
        self._end_response()

    async def run(self, application: Application) -> None:
        """Have the request answered."""
        try:
            await application(self.scope, self.receive, self.send)
        except OSError:
            if not self._is_gone:
                log.exception("an application failed")
        except Exception:
            log.exception("an application failed")
        except BaseException:
            self._line.abort()
            raise
        if self.is_answered or self._is_gone:
            return
        if self.is_begun:
            log.error("an application left its answer unfinished")
            self._line.abort()
        else:
            await self.send({"type": "http.response.start", "status": 500, "headers": [PLAIN, CLOSE]})
            await self.send({"type": "http.response.body", "body": b"the server has a fault of its own\n"})

    # The application's side

    async def receive(self) -> Message:
        """The next part of the body; after the last one, that the client is gone, or answered."""
        if self._expects and not self.is_begun and not self.body_bytes:
            self._expects = False
            self._line.write(CONTINUE)
        while not (self._is_gone or self.is_answered):
            if self._parts or (self.is_received and not self._is_delivered):
                return self._next_part()
            self._changed = self._changed or asyncio.Event()
            self._changed.clear()
            self._line.want_more()
            await self._changed.wait()
        return {"type": "http.disconnect"}

    def _next_part(self) -> Message:
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts, self.held_bytes = [], 0
        self._is_delivered = self.is_received
        self._line.want_more()
        return {"type": "http.request", "body": body, "more_body": not self.is_received}

    async def send(self, message: Message) -> None:
        """A part of the answer. Raises `OSError`: the client is gone."""
        if self._is_gone:
            raise ConnectionResetError("the client is gone")
        kind = message["type"]
        if kind == "http.response.start" and not self.is_begun:
            headers = list(message.get("headers", ()))
            length = next((int(value) for name, value in headers if name.lower() == b"content-length"), None)
            self._begin_response(message["status"], headers, length)
        elif kind == "http.response.body" and self.is_begun and not self.is_answered:
            await self._send_body(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"{kind} has no place here")

    def _begin_response(self, status: int, headers: list[Header], length: int | None) -> None:
        self._has_body = self.scope["method"] != "HEAD" and status not in (204, 304)
        self._is_chunked = self._has_body and length is None and self.scope["http_version"] == "1.1"
        self._left = length if self._has_body else 0
        says_close = CLOSE in headers
        self.keeps_alive &= not (says_close or self._line.is_ending) and self.is_received
        self.keeps_alive &= self._left is not None or self._is_chunked
        if self._is_chunked:
            headers.append(CHUNKED)
        if not self.keeps_alive and not says_close:
            headers.append(CLOSE)
        self._head = head_of(status, [*self._line.default_headers, *headers])
        self.is_begun = True

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        if not self._has_body:
            body = b""
        elif self._is_chunked:
            body = _framed_chunk(body, is_last=not more)
        elif self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the body of an answer has another length than its head says")
        head, self._head = self._head, b""
        if len(body) <= PIECE_BYTES:
            await self._write_data(head + body if head else body)
        else:
            await self._write_data(head)
            view = memoryview(body)
            for at in range(0, len(body), PIECE_BYTES):
                await self._write_data(view[at : at + PIECE_BYTES])
        if not more:
            self._end_response()

    def _end_response(self) -> None:
        self.is_answered = True
        if self._changed is not None:
            self._changed.set()
        self._line.answered(self)

    async def _write_data(self, data: bytes | memoryview) -> None:
        if not self._line.is_writable:
            await self._line.drain()
            if self._is_gone:
                raise ConnectionResetError("the client is gone")
        if data:
            self._line.write(data)


def _framed_chunk(body: bytes, *, is_last: bool) -> bytes:
    framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return framed + b"0\r\n\r\n" if is_last else framed

"""Requests that another worker does: sent on to its socket as they came, and its answer sent back as it comes.

Knows HTTP/1.1 as this server speaks it, ASGI and Unix sockets; knows no database.

1. A request is sent once. If its connection ends before the answer is there, it is not sent again: a write may have been
   done, which is `OutcomeUnknown`. A connection that could not be made has sent nothing, which is `Unavailable`.
2. A client that goes away ends its connection to the other worker, which ends what it does for it.
3. Connections are kept for the next request, for less time than the other end keeps them.
4. The other worker holds the request against its token again; who can open the sockets is this user alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from dataclasses import replace
from typing import Final, TypeVar

from virke.errors import OutcomeUnknown, Unavailable, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.node.bodies import Send
from virke.node.leaving import ClientGone, Message, Receive, wait_until_gone
from virke.node.workers.crew import Crew
from virke.node.workers.merging import merged_metrics

IDLE_S: Final = 30.0
IDLE_MAX: Final = 64
METRICS_S: Final = 5.0
"""How long another worker is waited for when all are asked for their metrics."""
PIECE_BYTES: Final = 64 << 10
HOPS: Final = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"expect", b"upgrade"})
"""Headers that belong to one connection; the framing of a body is said again."""
NOT_THERE: Final = "the process that writes this database is being started again; nothing was changed, try again"
T = TypeVar("T")
log: Final = logging.getLogger("virke.node")


@dataclass(slots=True)
class Line:
    """A connection to another worker."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used_s: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the other end has not closed it."""
        return not self.reader.at_eof() and not self.writer.is_closing()


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer. `length` is that of its body; None: in chunks."""

    status: int
    headers: list[tuple[bytes, bytes]]
    length: int | None
    is_last: bool


@dataclass(frozen=True, slots=True)
class Relayed:
    """Another worker has answered, with this status."""

    status: int


class Forwarding:
    """What sends requests on, for one event loop."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self._idle: dict[int, list[Line]] = {}

    async def relay(self, worker: int, scope: Message, body: bytes | None, *, receive: Receive, send: Send) -> Relayed:
        """Have another worker answer a request; `body` is None if it has still to be received.

        Raises:
            Unavailable, OutcomeUnknown: there is no answer, and nothing of one was sent. ClientGone: no client waits for it.
        """
        line = await self._line_to(worker)
        may_be_kept = False
        try:
            try:
                await _write_request(line, scope, body, receive)
                head = await _unless_gone(_read_head(line.reader), receive)
            except (OSError, EOFError, ValueError) as error:
                raise _error_of_lost(scope["method"]) from error
            if scope["method"] == "HEAD" or head.status in (204, 304):
                head = replace(head, length=0)
            may_be_kept = await _pass_answer_on(line.reader, head, send) and not head.is_last
            return Relayed(head.status)
        finally:
            if may_be_kept:
                self._keep_line(worker, line)
            else:
                line.writer.close()

    async def metrics(self, scope: Message, own: bytes) -> bytes:
        """The metrics of all workers that are there, for a request that came from outside; else the own ones."""
        if self.crew.is_alone or scope.get("client") is None:
            return own
        others = [worker for worker in range(self.crew.count) if worker != self.crew.index]
        found = await asyncio.gather(*(self._fetch_body(worker, scope) for worker in others), return_exceptions=True)
        texts = {self.crew.index: own} | {
            worker: text for worker, text in zip(others, found, strict=True) if isinstance(text, bytes)
        }
        return merged_metrics(dict(sorted(texts.items())))

    async def _fetch_body(self, worker: int, scope: Message) -> bytes:
        """The body of another worker's answer to the same request. Raises `Unavailable`: there is none."""
        parts: list[bytes] = []

        async def keep(message: Message) -> None:
            parts.append(message.get("body", b""))

        async def wait() -> Message:
            await asyncio.sleep(METRICS_S)
            return {"type": "http.disconnect"}

        relayed = await self.relay(worker, {**scope, "method": "GET"}, b"", receive=wait, send=keep)
        if relayed.status != 200:
            raise Unavailable(f"worker {worker} answered {relayed.status}")
        return b"".join(parts)

    async def connect(self, worker: int) -> Line:
        """A new connection to another worker. Raises `Unavailable`."""
        try:
            return Line(*await asyncio.open_unix_connection(self.crew.socket_of(worker)))
        except OSError as error:
            raise Unavailable(NOT_THERE) from error

    def close(self) -> None:
        """Close the connections that are kept."""
        for lines in self._idle.values():
            for line in lines:
                line.writer.close()
        self._idle.clear()

    async def _line_to(self, worker: int) -> Line:
        kept, now_s = self._idle.get(worker, []), asyncio.get_running_loop().time()
        while kept:
            line = kept.pop()
            if line.is_open and now_s < line.used_s + IDLE_S:
                return line
            line.writer.close()
        return await self.connect(worker)

    def _keep_line(self, worker: int, line: Line) -> None:
        kept = self._idle.setdefault(worker, [])
        if len(kept) < IDLE_MAX and line.is_open:
            line.used_s = asyncio.get_running_loop().time()
            kept.append(line)
        else:
            line.writer.close()


def head_of(scope: Message, *more: tuple[bytes, bytes], without: frozenset[bytes] = HOPS) -> bytes:
    """The head of a request as it came, except for what belongs to its connection."""
    path = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string", b"")
    target = path + b"?" + query if query else path
    headers = [pair for pair in scope["headers"] if pair[0].lower() not in without]
    lines = [b"%b %b HTTP/1.1" % (scope.get("method", "GET").encode(), target)]
    return b"\r\n".join([*lines, *(b"%b: %b" % pair for pair in (*headers, *more)), b"", b""])


async def _write_request(line: Line, scope: Message, body: bytes | None, receive: Receive) -> None:
    if body is not None:
        line.writer.write(head_of(scope, (b"content-length", b"%d" % len(body))) + body)
        return await line.writer.drain()
    line.writer.write(head_of(scope, (b"transfer-encoding", b"chunked")))
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if part := message.get("body", b""):
            line.writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await line.writer.drain()
        if not message.get("more_body"):
            line.writer.write(b"0\r\n\r\n")
            return await line.writer.drain()


async def _unless_gone(reading: Awaitable[T], receive: Receive) -> T:
    """What is read, unless the client goes away before. Raises `ClientGone`."""
    answering, watching = asyncio.ensure_future(reading), asyncio.ensure_future(wait_until_gone(receive))
    try:
        await asyncio.wait((answering, watching), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientGone
        return answering.result()
    finally:
        for task in (answering, watching):
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def _read_head(reader: asyncio.StreamReader) -> Head:
    """Raises `EOFError`, `ValueError`, `OSError`: there is none."""
    lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
    _, status, *_ = lines[0].split(b" ", 2)
    pairs = [(name.lower(), value.strip()) for name, _, value in (one.partition(b":") for one in lines[1:])]
    found = dict(pairs)
    length = None if b"chunked" in found.get(b"transfer-encoding", b"") else int(found.get(b"content-length", b"0"))
    is_last = found.get(b"connection", b"").lower() == b"close"
    kept = [pair for pair in pairs if pair[0] not in HOPS and pair[0] != b"date"]
    if length is not None:
        kept.append((b"content-length", b"%d" % length))
    return Head(int(status), kept, length, is_last)


async def _pass_answer_on(reader: asyncio.StreamReader, head: Head, send: Send) -> bool:
    """Send an answer on, as it comes; False if it ended early: so does what the client gets. Raises `ClientGone`."""
    parts = _parts_of_body(reader, head)
    try:
        await send({"type": "http.response.start", "status": head.status, "headers": head.headers})
        while True:
            try:
                part = await anext(parts, None)
            except (OSError, EOFError, ValueError) as error:
                log.warning("an answer of another worker was cut off: %s", error)
                return False
            await send({"type": "http.response.body", "body": part or b"", "more_body": part is not None})
            if part is None:
                return True
    except OSError as error:
        raise ClientGone from error


async def _parts_of_body(reader: asyncio.StreamReader, head: Head) -> AsyncIterator[bytes]:
    """The body of an answer as it comes. Raises `EOFError`, `ValueError`, `OSError`: it ended early."""
    if head.length is not None:
        left = head.length
        while left:
            part = await reader.readexactly(min(left, PIECE_BYTES))
            left -= len(part)
            yield part
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")


def _error_of_lost(method: str) -> VirkeError:
    if method in ("GET", "HEAD"):
        return Unavailable("the process that was asked ended before it answered; try again")
    return OutcomeUnknown(
        "the process that writes this database ended before it answered: it may have been done; look at the data, or "
        "repeat it with its Idempotency-Key"
    )

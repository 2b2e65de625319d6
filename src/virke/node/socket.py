"""Hrana over WebSockets: many streams on one connection.

Knows ASGI's WebSockets and `Streams`; knows no HTTP.

1. The requests of one stream are done in order, those of several at the same time. A text that is stored is there for
   every message after it.
2. At most `WAITING_MAX` requests are open; beyond that nothing more is read, so that the client has to wait.
3. When the connection ends, so do its streams, and what they were running.
4. Before `hello` nothing is done. A message that breaks the protocol ends the connection, with the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import takewhile
from typing import Any, Final

from virke.api.codec import Codec
from virke.api.hrana import answers, requests, sockets
from virke.api.hrana.complaints import Refused, described_error
from virke.api.hrana.sockets import Asked, Hello, Stored
from virke.api.pieces import bytes_of
from virke.engine.database import Database
from virke.errors import Busy, VirkeError
from virke.node.limits import Rooms, Taken
from virke.node.streams import Live, Streams
from virke.scopes import Scope

STREAMS_MAX: Final = 1024
WAITING_MAX: Final = 256
BROKEN: Final = 1002
REFUSED: Final = 1008
Message = dict[str, Any]
Open = Callable[[str | None], Awaitable[tuple[Database, Scope]]]
"""The database of a connection, and what its client may do, who has this token. Raises `Denied`, `NotFound`, …"""


class _Stream:
    """A stream of a connection: requests wait for the one before."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.line = asyncio.Lock()


class _Cursor:
    """What a batch answered that was not fetched yet, entry by entry; it holds the room of that until it is over."""

    def __init__(self, stream: _Stream, taken: Taken) -> None:
        self.stream = stream
        self.taken = taken
        self._entries: Iterator[dict[str, object]] = iter(())
        self._next: dict[str, object] | None = None
        self._is_closed = False

    @property
    def is_over(self) -> bool:
        """Whether everything was fetched."""
        return self._next is None

    def fill(self, entries: Iterator[dict[str, object]]) -> None:
        """These are its entries; of one that was closed meanwhile no request will ask for them."""
        if self._is_closed:
            self.close()
        else:
            self._entries = takewhile(lambda entry: entry is not answers.END, entries)
            self._next = next(self._entries, None)

    def fetch(self, count: int) -> list[dict[str, object]]:
        """The next entries, at most so many."""
        found: list[dict[str, object]] = []
        while self._next is not None and len(found) < count:
            found.append(self._next)
            self._next = next(self._entries, None)
        if self._next is None:
            self.taken.give_back()
        return found

    def close(self) -> None:
        """Nothing more is fetched."""
        self._is_closed = True
        self._entries, self._next = iter(()), None
        self.taken.give_back()


class Socket:
    """One connection."""

    def __init__(
        self,
        streams: Streams,
        codec: Codec,
        open_database: Open,
        send: Callable[[Any], Awaitable[None]],
        *,
        rooms: Rooms,
    ) -> None:
        self._streams = streams
        self._codec = codec
        self._open_database = open_database
        self._send = send
        self._rooms = rooms
        self._database: Database | None = None
        self._scope = Scope.READ
        self._stored = Stored()
        self._open: dict[int, _Stream] = {}
        self._cursors: dict[int, _Cursor] = {}
        self.spoken: str | None = None
        """The protocol that was agreed on."""
        self.hello = ""
        """The client's last hello, as it came."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(WAITING_MAX)

    async def serve(self, receive: Callable[[], Awaitable[Any]], offered: list[str]) -> None:
        """Speak until the client goes away, or breaks the protocol. Raises what `open_database` does that is not an error."""
        await receive()  # websocket.connect
        spoken = next((one for one in sockets.SUBPROTOCOLS if one in offered), None)
        if offered and spoken is None:
            await self._send({"type": "websocket.close", "code": BROKEN})
            return
        self.spoken = spoken
        await self._send({"type": "websocket.accept", "subprotocol": spoken})
        try:
            while (message := await receive())["type"] == "websocket.receive":
                if not await self._take_message(message):
                    return
        except Refused as error:
            await self._close_with(BROKEN, error)
        finally:
            await self._end_streams()

    async def _take_message(self, message: Message) -> bool:
        """One message; whether the connection goes on. Raises `Refused`."""
        text = message.get("text")
        if text is None:
            raise Refused("Received a binary WebSocket message, which is not supported in this encoding")
        try:
            found = sockets.message_of(self._codec.loads(text.encode()))
        except VirkeError as error:
            raise Refused(error.message) from error
        if isinstance(found, Hello):
            self.hello = text
            return await self._greet_client(found)
        if self._database is None:
            raise Refused("Received a request before hello message")
        await self._room.acquire()
        taken = self._rooms.request()
        try:
            taken.take_body(len(text))
            doing = self._begin_request(found, self._database, taken)
        except Busy as error:
            doing = _already_known(sockets.error_message(found.id, error))
        task = asyncio.ensure_future(self._answer_when_done(doing, found.id, taken))
        self._tasks.add(task)
        task.add_done_callback(self._forget_task)
        return True

    def _forget_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    async def _greet_client(self, hello: Hello) -> bool:
        try:
            self._database, self._scope = await self._open_database(hello.jwt)
        except VirkeError as error:
            await self._send_message({"type": "hello_error", "error": described_error(error)})
            await self._close_with(REFUSED, error)
            return False
        await self._send_message({"type": "hello_ok"})
        return True

    async def _answer_when_done(self, doing: Awaitable[dict[str, object]], number: int, taken: Taken) -> None:
        with taken:
            try:
                found = await doing
            except VirkeError as error:
                found = sockets.error_message(number, error)
            try:
                await self._send_message(found, taken)
            except VirkeError as error:
                await self._send_message(sockets.error_message(number, error), taken)

    def _begin_request(self, asked: Asked, database: Database, taken: Taken) -> Awaitable[dict[str, object]]:
        """What has to be awaited for the answer; here, in the order of messages, what later ones build on is done."""
        try:
            match asked:
                case Asked(kind="open_stream"):
                    self._open_stream(asked.stream, database)
                case Asked(kind="close_stream"):
                    return self._close_stream(asked.id, self._open.pop(asked.stream, None))
                case Asked(kind="close_cursor"):
                    return self._close_cursor(asked.id, self._cursors.pop(asked.cursor, None))
                case Asked(kind="fetch_cursor"):
                    if asked.cursor not in self._cursors:
                        raise Refused(f"Cursor {asked.cursor} not found", "CURSOR_NOT_OPEN")
                    return self._fetch_entries(asked, self._cursors[asked.cursor])
                case Asked(request=requests.StoreSql(sql_id, sql)):
                    self._stored.keep(sql_id, sql)
                case Asked(request=requests.CloseSql(sql_id)):
                    self._stored.forget(sql_id)
                case Asked(request=request) if request is not None:
                    stream = self._open.get(asked.stream)
                    if stream is None:
                        raise Refused(f"Stream {asked.stream} not found", "STREAM_NOT_OPEN")
                    request = self._stored.given(request)
                    if asked.kind == "open_cursor" and isinstance(request, requests.Batch):
                        if asked.cursor in self._cursors:
                            raise Refused(f"Cursor {asked.cursor} already exists", "CURSOR_EXISTS")
                        self._cursors[asked.cursor] = cursor = _Cursor(stream, self._rooms.request())
                        return self._open_cursor(asked.id, cursor, request)
                    return self._run_request(asked.id, stream, request, taken)
            return _already_known(sockets.ok_message(asked.id, asked.kind))
        except VirkeError as error:
            return _already_known(sockets.error_message(asked.id, error))

    def _open_stream(self, number: int, database: Database) -> None:
        if number in self._open:
            raise Refused(f"Stream {number} already exists", "STREAM_EXISTS")
        if len(self._open) >= STREAMS_MAX:
            raise Refused(f"{STREAMS_MAX} streams are open on this connection; close some", "STREAM_TOO_MANY")
        live = self._streams.open(database, self._scope)
        live.is_in_use = False
        self._open[number] = _Stream(live)

    async def _close_stream(self, number: int, stream: _Stream | None) -> dict[str, object]:
        if stream is not None:
            async with stream.line:  # what was asked before is answered
                self._streams.drop(stream.live)
        return sockets.ok_message(number, "close_stream")

    async def _run_request(
        self, number: int, stream: _Stream, request: requests.StreamRequest, taken: Taken
    ) -> dict[str, object]:
        async with stream.line:
            live = stream.live
            live.is_in_use, live.taken = True, taken
            try:
                return sockets.response_message(number, await self._streams.drive(live, live.stream.respond(request)))
            finally:
                self._streams.rest(live)

    async def _open_cursor(self, number: int, cursor: _Cursor, batch: requests.Batch) -> dict[str, object]:
        async with cursor.stream.line:
            live = cursor.stream.live
            live.is_in_use, live.taken = True, cursor.taken
            try:
                found = await self._streams.drive(live, live.stream.batch(batch))
                cursor.fill(answers.entries_of(found))
            except VirkeError as error:
                cursor.fill(iter([{"type": "error", "error": described_error(error)}]))
            finally:
                self._streams.rest(live)
        return sockets.ok_message(number, "open_cursor")

    async def _close_cursor(self, number: int, cursor: _Cursor | None) -> dict[str, object]:
        if cursor is not None:
            async with cursor.stream.line:  # what was asked before is answered
                cursor.close()
        return sockets.ok_message(number, "close_cursor")

    async def _fetch_entries(self, asked: Asked, cursor: _Cursor) -> dict[str, object]:
        async with cursor.stream.line:
            entries = cursor.fetch(asked.count)
        return sockets.ok_message(asked.id, "fetch_cursor", entries=entries, done=cursor.is_over)

    async def _send_message(self, message: dict[str, object], taken: Taken | None = None) -> None:
        text = bytes_of(message, self._codec).decode()
        if taken is not None:
            taken.send(len(text))
        await self._send({"type": "websocket.send", "text": text})

    async def _close_with(self, code: int, error: VirkeError) -> None:
        reason = error.message.encode()[:120].decode(errors="ignore")
        await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def _end_streams(self) -> None:
        """End the streams; those that run something are interrupted."""
        for task in self._tasks:
            task.remove_done_callback(self._forget_task)
        for stream in self._open.values():
            self._streams.end(stream.live)
        for cursor in self._cursors.values():
            cursor.close()
        for task in self._tasks:
            task.add_done_callback(_forget_error)


async def _already_known(found: dict[str, object]) -> dict[str, object]:
    return found


def _forget_error(task: asyncio.Task[None]) -> None:
    """The client is gone: there is no one to answer."""
    if not task.cancelled():
        task.exception()

"""A connection: bytes become requests, their answers go out in order, and everything that is waited for has an end.

Knows asyncio's transports and httptools (its only importer), and the words of uvicorn's servers, which construct it.

1. Requests are answered in the order in which they came; at most `PIPELINED_MAX` are parsed ahead, the rest stays as bytes.
2. What is refused ends the connection, after the answers to what came before it. Nothing behind it is read as a request.
3. A client that is slow to send a head or a body, idle for too long, or does not take its answer, is dropped.
4. After its last answer what a client still sends is read and thrown away for a moment, so that the answer reaches it.
5. A head that is, except for the length of its body, the one before it on the connection is not judged again. Where a request
   comes whole, and its head is the same byte for byte, it is not even parsed: it is read as that one was.
"""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, Final

import httptools

from virke.node.http.exchange import AT_ONCE_BYTES, Application, AtOnce, Exchange, Message
from virke.node.http.heads import Header, Refusal, address_of, has_body, refusal_of, response_of, scope_of, upgrade_of
from virke.node.http.known import DIGITS_MAX, HEAD_BYTES_MAX, KnownHead, head_of_whole

if TYPE_CHECKING:
    from virke.node.http.listener import Listener

SLICE_BYTES: Final = 16 << 10
"""How much is parsed at once: what has to be held of requests that were not asked for yet is less than twice that."""
PIPELINED_MAX: Final = 16
HELD_BYTES_MAX: Final = 64 << 10
"""Of a body that the application has not asked for."""
assert 10**DIGITS_MAX <= AT_ONCE_BYTES
NO_HTTP: Final = Refusal(400, "this is not HTTP/1.1 as it is understood here")
TOO_LONG: Final = Refusal(431, "the head of the request is too large")
TOO_SLOW: Final = Refusal(408, "the request took too long to come")
NO_ROOM: Final = Refusal(503, "too many connections are open")
NO_CHANGE: Final = Refusal(
    400, "a request that changes the protocol has no body, and is the only one on its connection"
)


class Connection(asyncio.Protocol):
    """One connection of a listener."""

    def __init__(self, listener: Listener, config: Any, server_state: Any, app_state: dict[str, Any]) -> None:
        self._listener = listener
        self._limits = listener.limits
        self._traffic = listener.traffic
        self._config = config
        self._state = server_state
        self._app_state = app_state
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Exchange] = deque()
        self._unstarted: Exchange | None = None
        """The first of the queue, until the bytes that came with its head are parsed."""
        self._at_once: AtOnce | None = getattr(config.loaded_app, "at_once", None)
        self._receiving: Exchange | None = None
        self._refusal: Refusal | None = None
        self._held = b""
        self._known: KnownHead | None = None
        """Of the last request, if it came whole and alone, and the parser has seen nothing behind it."""
        self._in_head = self._is_deaf = self._is_reading_paused = self._changes = False
        self._url, self._head_bytes, self._fed_bytes = b"", 0, 0
        self._headers: list[Header] = []
        self._length: Header | None = None
        self._before: tuple[bytes, bytes, str, list[Header], Message] | None = None
        """Of the last head that was taken: method, target, version, headers without the length, and its scope."""
        self._unsent = b""
        """Goes out when the listener says so, or before anything else does."""
        self._kept: dict[str, Any] = {}
        """What the application keeps of that head."""
        self._writable: asyncio.Event | None = None
        self.is_ending, self.is_writable = False, True
        self.read_by = self.write_by = inf

    # From the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; it is turned away if there are too many."""
        self._transport = transport
        self._traffic.connections += 1
        if len(self._state.connections) >= self._limits.connections:
            self._traffic.refused += 1
            self.write(response_of(NO_ROOM, self.default_headers))
            transport.close()
            self._is_deaf = True
            return
        self._state.connections.add(self)
        self._listener.opened(self)
        self._from_to: dict[str, object] = {
            "scheme": "http" if transport.get_extra_info("ssl_object") is None else "https",
            "server": address_of(transport.get_extra_info("sockname")),
            "client": address_of(transport.get_extra_info("peername")),
        }
        self.read_by = self._loop.time() + self._limits.head_s

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone."""
        self._state.connections.discard(self)
        self._listener.closed(self)
        self._is_deaf = True
        for exchange in self._queue:
            exchange.leave()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._traffic.bytes_in += len(data)
        if self._is_deaf:
            return
        known, self._known = self._known, None
        if known is not None and self.is_writable and not self._queue:
            body = known.body_in(data)
            if body is not None:
                self._known = known
                self._take_known(body)
                return
        if self._held:
            self._held += data
        else:
            self._feed_parser(data)
            self._remember_head(data)

    def eof_received(self) -> bool:
        """The client sends no more, and is taken to be gone: the transport closes itself."""
        return False

    def pause_writing(self) -> None:
        """What was written waits for the client."""
        self.is_writable = False
        self.write_by = self._loop.time() + self._limits.send_s

    def resume_writing(self) -> None:
        """The client took most of it."""
        self.is_writable = True
        if not self._transport.is_closing():
            self.write_by = inf
        if self._writable is not None:
            self._writable.set()

    # From the listener and the server

    def shutdown(self) -> None:
        """Answer what was begun, and end."""
        self.is_ending = True
        if not self._queue and not self._is_deaf:
            self._is_deaf = True
            self._close_transport()

    def look(self, now: float) -> None:
        """End what is overdue."""
        if now >= self.write_by or (self._is_deaf and now >= self.read_by):
            self._drop_connection()
        elif now >= self.read_by and (not self._queue or self._queue[0] is self._receiving):
            self._miss_deadline()

    def _miss_deadline(self) -> None:
        """What the client should have sent by now is not there."""
        front = self._queue[0] if self._queue else None
        if self._transport.get_write_buffer_size() or (front is not None and front.is_begun):
            self._drop_connection()
            return
        self._traffic.dropped += 1
        if front is not None:
            self._queue.clear()
            front.leave()
        self._end(TOO_SLOW if front is not None or self._in_head else None)

    def _drop_connection(self) -> None:
        self._traffic.dropped += 1
        self.abort()

    # From exchanges

    @property
    def default_headers(self) -> list[Header]:
        """Those of every answer: the date."""
        return self._state.default_headers  # type: ignore[no-any-return]

    def write(self, data: bytes | memoryview) -> None:
        """Send, in order."""
        if self._unsent:
            data, self._unsent = self._unsent + data, b""
        self._traffic.bytes_out += len(data)
        self._transport.write(data)

    def write_soon(self, data: bytes) -> None:
        """Send, in order, with what other connections have to send by then."""
        if not self._unsent:
            self._listener.flush_soon(self)
        self._unsent += data

    def flush(self) -> None:
        """Send what is to be sent soon."""
        data, self._unsent = self._unsent, b""
        if data and not self._transport.is_closing():
            self._traffic.bytes_out += len(data)
            self._transport.write(data)

    async def drain(self) -> None:
        """Until what was written has mostly gone, or the client has."""
        while not self.is_writable:
            self._writable = self._writable or asyncio.Event()
            self._writable.clear()
            await self._writable.wait()

    def want_more(self) -> None:
        """Read on, if this was waited for."""
        if self._is_reading_paused and not self._held:
            self._read_on()

    def abort(self) -> None:
        """Drop the connection, whatever was not sent yet."""
        self._transport.abort()

    def answered(self, exchange: Exchange) -> None:
        """The answer to the first of the queue is written: go on with the next, or end."""
        self._state.total_requests += 1
        if not self._queue or self._transport.is_closing():
            return
        self._queue.popleft()
        if self._is_deaf and not (self._queue or self._refusal):
            self._end(None)
        elif not exchange.keeps_alive or self.is_ending:
            self._queue.clear()
            self._end(None)
        elif self._queue:
            self.start(self._queue[0], self._config.loaded_app)
            self._go_on()
        elif self._refusal is not None:
            self._end(self._refusal)
        else:
            self.read_by = self._loop.time() + (self._limits.head_s if self._in_head else self._limits.idle_s)
            if self._held or self._is_reading_paused:
                self._go_on()

    def _go_on(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._feed_parser(held)
        if self._is_reading_paused and not self._held and not self._is_deaf:
            self._read_on()

    # Parsing

    def _feed_parser(self, data: bytes) -> None:
        """Parse it, as far as there is room for requests."""
        for at in range(0, len(data), SLICE_BYTES):
            if len(self._queue) >= PIPELINED_MAX:
                self._held = data[at:]
                self._pause_reading()
                return
            piece = data if len(data) <= SLICE_BYTES else data[at : at + SLICE_BYTES]
            try:
                self._parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                if self._unstarted is not None:  # of a protocol that is not spoken here
                    self._start_first(self._unstarted)
                self._change_protocol(data[at + upgrade.args[0] :])
                return
            except httptools.HttpParserError:
                self._refuse_request(self._parser_refusal())
            self._fed_bytes += len(piece)
            if self._is_overlong():
                self._refuse_request(TOO_LONG)
            if self._unstarted is not None:
                self._start_first(self._unstarted)
            if self._is_deaf:
                return

    def _take_known(self, body: bytes) -> None:
        """A whole request came, alone, whose head is the one before it: the parser is between the two, and stays there."""
        assert self._before is not None, "else no head is known"
        assert self._at_once is not None, "else none is remembered"
        self._length = b"content-length", b"%d" % len(body)
        scope = {**self._before[4], "headers": [*self._before[3], self._length], "state": self._app_state.copy()}
        exchange = Exchange(self, scope, self._kept, keeps_alive=True, expects=False)
        exchange.body_bytes = len(body)
        self._queue.append(exchange)
        self.read_by = inf
        application = exchange.begin_with(body, self._at_once)
        if application is not None:
            self.start(exchange, application)

    def _remember_head(self, data: bytes) -> None:
        """Remember a head that was parsed, if that request is all that came."""
        if self._before and self._at_once and not (self._receiving or self._in_head or self._is_deaf):
            self._known = head_of_whole(data)

    def _parser_refusal(self) -> Refusal:
        """Why the parser gave up: before the end of a head, what is known of it may say it better."""
        if self._in_head and self._headers:
            found = refusal_of(self._parser.get_method(), self._url, "1.1", self._whole_headers())
            if found is not None and found.status == 501:
                return found
        return NO_HTTP

    def _is_overlong(self) -> bool:
        """Whether more came than a head, or the framing of a body, may take."""
        if self._in_head:
            return self._fed_bytes > self._limits.head_bytes + SLICE_BYTES
        body_bytes = self._receiving.body_bytes if self._receiving else inf
        return self._fed_bytes - body_bytes > self._limits.head_bytes + 8 * body_bytes + SLICE_BYTES

    def on_message_begin(self) -> None:
        """The parser met the first byte of a request."""
        self._url, self._headers, self._length = b"", [], None
        self._in_head = True
        self._head_bytes = self._fed_bytes = 0
        if not self._queue:
            self.read_by = self._loop.time() + self._limits.head_s

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._url += url
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; one behind a body is thrown away: nothing here asks for it."""
        self._head_bytes += len(name) + len(value) + 4
        if not self._in_head:
            return
        name = name.lower()
        if name == b"content-length" and self._length is None:
            self._length = name, value
        else:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        if self._is_deaf:
            return
        method, version = self._parser.get_method(), self._parser.get_http_version()
        before = self._before
        if before is not None and self._headers == before[3] and (method, self._url, version) == before[:3]:
            self._begin_exchange({**before[4], "headers": self._whole_headers()}, keeps_alive=True, expects=False)
        else:
            self._judge_head(method, version)

    def _whole_headers(self) -> list[Header]:
        return self._headers if self._length is None else [*self._headers, self._length]

    def _judge_head(self, method: bytes, version: str) -> None:
        """Take a head, or refuse it."""
        headers = self._whole_headers()
        if self._head_bytes > self._limits.head_bytes or len(headers) > self._limits.headers:
            self._refuse_request(TOO_LONG)
        elif (refusal := refusal_of(method, self._url, version, headers)) is not None:
            self._refuse_request(refusal)
        elif self._parser.should_upgrade():
            self._changes = upgrade_of(headers) == b"websocket" and self._config.ws_protocol_class is not None
            if has_body(headers) or (self._changes and (self._queue or method != b"GET")):
                self._refuse_request(NO_CHANGE)
            elif not self._changes:
                self._take_head(method, version, headers, keeps_alive=False)
        else:
            keeps_alive = version == "1.1" and self._parser.should_keep_alive()
            self._take_head(method, version, headers, keeps_alive=keeps_alive)

    def _take_head(self, method: bytes, version: str, headers: list[Header], *, keeps_alive: bool) -> None:
        self._before, self._kept = None, {}
        names = {name for name, _ in headers}
        expects = version == "1.1" and b"expect" in names
        scope = scope_of(method, self._url, version, headers) | self._from_to
        if keeps_alive and not expects and self._head_bytes <= HEAD_BYTES_MAX and b"transfer-encoding" not in names:
            self._before = method, self._url, version, self._headers, dict(scope)
        self._begin_exchange(scope, keeps_alive=keeps_alive, expects=expects)

    def _begin_exchange(self, scope: Message, *, keeps_alive: bool, expects: bool) -> None:
        scope["state"] = self._app_state.copy()
        exchange = Exchange(self, scope, self._kept, keeps_alive=keeps_alive, expects=expects)
        self._receiving = exchange
        self._queue.append(exchange)
        self._expect_body(exchange)
        if len(self._queue) == 1:
            self._unstarted = exchange

    def on_body(self, part: bytes) -> None:
        """A part of a body."""
        exchange = self._receiving
        if exchange is None or self._is_deaf:
            return
        exchange.put(part)
        if exchange.held_bytes > HELD_BYTES_MAX:
            self._pause_reading()
        else:
            self._expect_body(exchange)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._receiving is None or self._is_deaf:
            return
        exchange, self._receiving = self._receiving, None
        self.read_by = inf
        exchange.end_body()
        if not exchange.keeps_alive:
            self._is_deaf = True  # what follows the last request is not one

    def _expect_body(self, exchange: Exchange) -> None:
        """From now on the rest of a body has so long: what it came late before is not forgotten."""
        if exchange.body_bytes == 0:
            self._body_began = self._loop.time()
        earned_s = exchange.body_bytes / self._limits.body_bytes_per_s
        self.read_by = self._body_began + self._limits.body_s + earned_s

    # Ending, changing

    def _start_first(self, exchange: Exchange) -> None:
        """Start the first of the queue; answered at once if it is there whole, alone, and may be answered so."""
        self._unstarted = None
        application: Application | None = self._config.loaded_app
        is_whole = exchange.is_received and exchange.body_bytes <= AT_ONCE_BYTES
        if self._at_once is not None and is_whole and len(self._queue) == 1 and self.is_writable:
            application = exchange.begin(self._at_once)
        if application is not None:
            self.start(exchange, application)

    def start(self, exchange: Exchange, application: Application) -> None:
        """Run what answers it, as a task."""
        task = self._loop.create_task(exchange.run(application))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _refuse_request(self, refusal: Refusal) -> None:
        """Nothing more is read; the refusal goes out after the answers to what came before."""
        if self._is_deaf:
            return
        self._traffic.refused += 1
        self._is_deaf = True
        if self._receiving is not None:
            self._receiving.leave()
            self._queue.remove(self._receiving)
            if self._receiving is self._unstarted:
                self._unstarted = None
            if self._receiving.is_begun:
                self.abort()
                return
            self._receiving = None
        if self._queue:
            self._refusal = refusal
        else:
            self._end(refusal)

    def _end(self, refusal: Refusal | None) -> None:
        """Say why, if there is a reason, and close; if more may come, after that was read."""
        if self._transport.is_closing():
            return
        if refusal is not None:
            self.write(response_of(refusal, self.default_headers))
        may_come = refusal is not None or self._receiving is not None or self._in_head or bool(self._held)
        self._is_deaf, self._held = True, b""
        if not may_come:
            self._close_transport()
            return
        self.read_by = self._loop.time() + self._limits.linger_s
        if self._is_reading_paused:
            self._read_on()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _close_transport(self) -> None:
        self.flush()
        self.write_by = self._loop.time() + self._limits.send_s
        self._transport.close()

    def _change_protocol(self, rest: bytes) -> None:
        """The request wants another protocol: WebSocket has it from here on, with what came behind its head."""
        if not self._changes:
            return
        self._state.connections.discard(self)
        self._listener.closed(self)
        self._is_deaf = True
        head = [self._parser.get_method(), b" ", self._url, b" HTTP/1.1\r\n"]
        for name, value in self._whole_headers():
            head += (name, b": ", value, b"\r\n")
        other = self._config.ws_protocol_class(config=self._config, server_state=self._state, app_state=self._app_state)
        self._listener.changed(self._transport)
        self._transport.set_protocol(other)
        other.connection_made(self._transport)
        other.data_received(b"".join([*head, b"\r\n", rest]))

    def _pause_reading(self) -> None:
        if not self._is_reading_paused and not self._transport.is_closing():
            self._is_reading_paused = True
            self.read_by = inf
            self._transport.pause_reading()

    def _read_on(self) -> None:
        self._is_reading_paused = False
        if self._transport.is_closing():
            return
        self._transport.resume_reading()
        if self._receiving is not None and not self._is_deaf:
            earned_s = self._receiving.body_bytes / self._limits.body_bytes_per_s
            self._body_began = self._loop.time() - earned_s  # while nothing was read, the client was not slow
            self._expect_body(self._receiving)

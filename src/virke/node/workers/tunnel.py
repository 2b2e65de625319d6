"""A WebSocket whose streams another worker has: its messages are carried there and back.

Knows the frames of RFC 6455 as a client on this machine needs them, and ASGI; knows nothing of what the messages say.

1. The client said hello here, and its token was good; the other worker hears the same hello, and its answer is the
   client's.
2. When one side ends, so does the other: streams never outlive their client, nor a client its streams.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from virke.errors import Unavailable
from virke.lazy_dataclasses import dataclass
from virke.node.workers.forwarding import HOPS, Forwarding, Line, head_of

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PONG: Final = 0xA
_FINAL: Final = 0x80
_MASKED: Final = 0x80
_MASK: Final = bytes(4)
"""What a client has to send its bytes under; between two processes of one machine nothing has to be hidden from a proxy."""
_OWN: Final = HOPS | {
    b"sec-websocket-key",
    b"sec-websocket-version",
    b"sec-websocket-extensions",
    b"sec-websocket-protocol",
}
RESTARTING: Final = 1012
"""The server is being started again."""
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Carried:
    """A connection that was accepted here: its request, the protocol that was agreed on, and its client's hello."""

    scope: Any
    spoken: str | None
    hello: str


async def carry_messages(
    forwarding: Forwarding, worker: int, carried: Carried, *, receive: Receive, send: Send
) -> None:
    """Carry messages between a client that was accepted here and another worker, until one of both ends."""
    try:
        line = await forwarding.connect(worker)
        await _begin_tunnel(line, carried)
    except Unavailable as error:
        return await send({"type": "websocket.close", "code": RESTARTING, "reason": error.message})
    there, back = asyncio.ensure_future(_carry_there(line, receive)), asyncio.ensure_future(_carry_back(line, send))
    try:
        await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
        if there.done():
            there.result()
        else:
            await send({"type": "websocket.close", **back.result()})
    finally:
        for task in (there, back):
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        line.writer.close()
    return None


async def _begin_tunnel(line: Line, carried: Carried) -> None:
    """The handshake, and the hello. Raises `Unavailable`."""
    more = [
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", base64.b64encode(secrets.token_bytes(16))),
    ]
    if carried.spoken:
        more.append((b"sec-websocket-protocol", carried.spoken.encode()))
    try:
        line.writer.write(head_of(carried.scope, *more, without=_OWN))
        head = await line.reader.readuntil(b"\r\n\r\n")
    except (OSError, EOFError, ValueError) as error:
        line.writer.close()
        raise Unavailable("the process that writes this database ended; connect again") from error
    if b" 101 " not in head.partition(b"\r\n")[0]:
        line.writer.close()
        raise Unavailable("the process that writes this database takes no connection; connect again")
    _send_frame(line, TEXT, carried.hello.encode())


async def _carry_there(line: Line, receive: Receive) -> None:
    """What the client says, until it goes away."""
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        _send_frame(line, TEXT, text.encode()) if text is not None else _send_frame(
            line, BINARY, message.get("bytes") or b""
        )
        with suppress(OSError):  # `_carry_back` sees its end
            await line.writer.drain()
    _send_frame(line, CLOSE, b"")


async def _carry_back(line: Line, send: Send) -> dict[str, object]:
    """What the other worker says; how it ended the connection."""
    text = b""
    try:
        while True:
            kind, is_final, data = await _read_frame(line.reader)
            match kind:
                case 0x0 | 0x1:
                    text += data
                    if is_final:
                        await send({"type": "websocket.send", "text": text.decode()})
                        text = b""
                case 0x8:
                    _send_frame(line, CLOSE, data[:2])
                    code = int.from_bytes(data[:2]) if len(data) >= 2 else 1000
                    return {"code": code, "reason": data[2:].decode(errors="replace")}
                case 0x9:
                    _send_frame(line, PONG, data)
    except (OSError, EOFError):
        return {"code": RESTARTING, "reason": "the process that writes this database ended"}


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, bool, bytes]:
    """One frame of a server: its kind, whether it is the last of its message, what is in it. Raises `EOFError`, `OSError`."""
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size >= 126:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8))
    return first & 0x0F, bool(first & _FINAL), await reader.readexactly(size)


def _send_frame(line: Line, kind: int, data: bytes) -> None:
    """Send a frame."""
    size = len(data)
    if size < 126:
        head = bytes([_FINAL | kind, _MASKED | size])
    elif size < 1 << 16:
        head = bytes([_FINAL | kind, _MASKED | 126]) + size.to_bytes(2)
    else:
        head = bytes([_FINAL | kind, _MASKED | 127]) + size.to_bytes(8)
    line.writer.write(head + _MASK + data)

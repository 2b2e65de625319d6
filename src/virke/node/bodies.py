"""Bodies that come and go part by part: between the loop, which has the socket, and a thread, which makes or takes the parts.

Knows ASGI's messages; knows no database.

1. A part is asked for when the one before it was taken: who is slower holds the other up, and nothing piles up between.
2. No thread waits for a client that reads slowly; one that neither sends nor takes anything for `STALL_S` is given up.
3. A client that goes away ends what makes its answer, and what takes its body.
4. What fails when the status has been sent cuts the answer off, so that no client takes a part for the whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final

from virke.api.messages import JSON, Parts, Response
from virke.errors import TimedOut, VirkeError
from virke.node.leaving import ClientGone, Message, Receive, wait_until_gone
from virke.node.threads import Threads

Send = Callable[[Message], Awaitable[None]]
log: Final = logging.getLogger("virke.node")
STALL_S: Final = 60.0
JSON_HEADER: Final = (b"content-type", JSON.encode())
_KNOWN: Final = {("content-type", JSON): JSON_HEADER}


class Arriving:
    """The body of a request, part by part, for a thread that is not the loop's."""

    def __init__(self, receive: Receive, loop: asyncio.AbstractEventLoop, stall_s: float = STALL_S) -> None:
        self._receive = receive
        self._loop = loop
        self._stall_s = stall_s
        self._is_whole = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """The next part. Raises `ClientGone`; `TimedOut`: nothing came for too long."""
        if self._is_whole:
            raise StopIteration
        coming = asyncio.run_coroutine_threadsafe(self._next_message(), self._loop)
        try:
            message = coming.result(self._stall_s)
        except TimeoutError:
            coming.cancel()
            raise TimedOut(f"nothing of the body came for {self._stall_s:.0f} s") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        self._is_whole = not message.get("more_body")
        part: bytes = message.get("body", b"")
        return part

    async def _next_message(self) -> Message:
        return await self._receive()


def encoded_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them."""
    return [_KNOWN.get(one) or (one[0].encode("latin-1"), one[1].encode("latin-1")) for one in headers]


async def send_response(
    response: Response, send: Send, receive: Receive, threads: Threads, *, with_body: bool = True
) -> None:
    """Send a response; parts of a body are made in `threads`."""
    headers = encoded_headers(response.headers)
    start = {"type": "http.response.start", "status": response.status, "headers": headers}
    body = response.body
    if isinstance(body, bytes):
        headers.append((b"content-length", b"%d" % len(body)))
        await send(start)
        await send({"type": "http.response.body", "body": body if with_body else b""})
        return
    try:
        await send(start)
        if with_body:
            await _send_parts(body, send, receive, threads)
        await send({"type": "http.response.body", "body": b""})
    except VirkeError as error:
        log.warning("an answer was cut off: %s", error)
    except (ClientGone, TimeoutError):
        log.info("a client went away, or stopped reading, in the middle of an answer")
    finally:
        await asyncio.get_running_loop().run_in_executor(threads.ending, body.close)


async def _send_parts(parts: Parts, send: Send, receive: Receive, threads: Threads) -> None:
    loop = asyncio.get_running_loop()
    watching = asyncio.ensure_future(wait_until_gone(receive))
    try:
        while True:
            making = loop.run_in_executor(threads.going_on, next, parts, None)
            try:
                await asyncio.wait((making, watching), return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not making.done():
                    parts.interrupt()
                    await asyncio.wait((making,))
            part = making.result()
            if watching.done():
                raise ClientGone
            if part is None:
                return
            if not part:
                continue
            async with asyncio.timeout(STALL_S):
                await send({"type": "http.response.body", "body": part, "more_body": True})
    finally:
        watching.cancel()

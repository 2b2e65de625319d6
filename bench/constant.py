"""`python -m bench.constant`: our HTTP server with an application that reads each request and answers a constant."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from virke.node.http.listener import Listener
from virke.node.server import Address, limits_here, listen_on, serve_app, url_of

_BODY: Final = b'{"baton":null,"base_url":null,"results":[' + b" " * 300 + b"]}"
_HEAD: Final = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))],
}


async def application(
    scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """The application."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    await send(_HEAD)
    await send({"type": "http.response.body", "body": _BODY})


if __name__ == "__main__":
    address = Address("127.0.0.1", 0)
    listening = listen_on(address)
    serve_app(
        application,
        listening,
        address,
        lambda: print(f"constant serves {url_of(listening, address)}", file=sys.stderr, flush=True),
        listener=Listener(limits_here()),
        message_bytes=1 << 20,
    )

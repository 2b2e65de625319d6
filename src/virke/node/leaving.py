"""Whether the client of a request is still there, and what is to be done when it goes.

Knows ASGI's `receive`, and what our own HTTP says besides (`extensions["virke.leaving"]`); knows no request.

1. Under our own HTTP it costs a call. Under another server a task asks `receive`, which nothing else may ask meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

EXTENSION: Final = "virke.leaving"
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class ClientGone(Exception):
    """The client went away before its request was answered."""


class Leaves(Protocol):
    """Whose leaving can be waited for."""

    def then(self, call: Callable[[], None]) -> Callable[[], object]:
        """Call this on the loop when the client goes; what is returned takes it back."""


class Leaving:
    """The client of one request, once its body was read."""

    def __init__(self, scope: Message, receive: Receive) -> None:
        self._receive = receive
        self._subscribe = (scope.get("extensions") or {}).get(EXTENSION)

    async def __call__(self) -> None:
        """Return when the client has gone away."""
        await wait_until_gone(self._receive)

    def then(self, call: Callable[[], None]) -> Callable[[], object]:
        """Call this on the loop when the client goes; what is returned takes it back."""
        if self._subscribe is not None:
            return self._subscribe(call)  # type: ignore[no-any-return]
        watching = asyncio.ensure_future(wait_until_gone(self._receive))
        watching.add_done_callback(lambda done: None if done.cancelled() else call())
        return watching.cancel


async def wait_until_gone(receive: Receive) -> None:
    """Return when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass

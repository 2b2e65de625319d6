"""Calling an app in this process, as a server would, without one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
App = Callable[..., Any]


@dataclass
class Heard:
    """What an app sent to one request."""

    messages: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        """The status of the answer."""
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer."""
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(message.get("body", b"") for message in self.messages[1:])


async def nothing() -> dict[str, Any]:
    """What a client sends that has no body."""
    return {"type": "http.request", "body": b"", "more_body": False}


def scope_of(path: str = "/", headers: Iterable[tuple[str, str]] = (), kind: str = "http") -> dict[str, Any]:
    """The scope of a request."""
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": kind, "method": "GET", "path": path, "query_string": b"", "headers": pairs}


async def asked(app: App, path: str = "/", **headers: str) -> Heard:
    """One request to an ASGI app."""
    heard = Heard()
    await app(scope_of(path, [(name.replace("_", "-"), value) for name, value in headers.items()]), nothing, heard)
    return heard


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do it on an event loop of its own."""
    return asyncio.run(work)

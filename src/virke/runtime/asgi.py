"""Requests of ASGI: Starlette, FastAPI, Litestar and all others.

Knows ASGI's messages; knows no framework. `request.state.db` is there where a framework shows the scope's state so.

1. Bodies pass through as they come, and so does all that is not HTTP: a WebSocket has its database, and its own answer.
2. An error that the program lets through is answered here, if it is a visitor's and no answer has begun.
3. When the last app of this program in the process has shut down, its databases are closed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Final

from virke.errors import UsageError, VirkeError
from virke.runtime.answers import Answer, answer_to
from virke.runtime.calls import in_thread, is_awaited_here
from virke.runtime.request import of_scope
from virke.runtime.visits import Visit, Visits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

CONNECTIONS: Final = ("http", "websocket")


class AsgiMiddleware:
    """An ASGI app around another, which gives each of its requests a database."""

    def __init__(self, app: App, visits: Visits) -> None:
        self.app = app
        self._visits = visits

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(scope, receive, send)
        elif scope["type"] in CONNECTIONS:
            await self._serve_request(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _serve_request(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if not is_awaited_here():
            raise UsageError("virke.runtime runs on asyncio, and this server runs on another event loop")
        brought = _header_of_request(scope, self._visits.carrier.header)
        visit = self._visits.begun(partial(of_scope, scope), brought, partial(_translate_error, scope))
        scope.setdefault("state", {})["db"] = visit.db
        sending = _Sending(send, visit)
        with self._visits.during(visit):
            try:
                await self.app(scope, receive, sending)
            except VirkeError as error:
                answer = answer_to(error)
                if answer is None or sending.has_begun or scope["type"] != "http":
                    raise
                await _send_answer(answer, sending)

    async def _run_lifespan(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        self._visits.apps += 1

        async def close_first(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                self._visits.apps -= 1
                if not self._visits.apps:
                    await in_thread(self._visits.opened.close)
            await send(message)

        await self.app(scope, receive, close_first)


class _Sending:
    """What the app sends; the answer's head gets what the visit has to say."""

    def __init__(self, send: Send, visit: Visit) -> None:
        self._send = send
        self._visit = visit
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            if given := self._visit.headers:
                added = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
        await self._send(message)


def _header_of_request(scope: MutableMapping[str, Any], header: str | None) -> str | None:
    """The value of a header of the request; cookies may come in several."""
    if header is None:
        return None
    wanted = header.encode("latin-1")
    values = [value for name, value in scope["headers"] if name.lower() == wanted]
    return b"; ".join(values).decode("latin-1") if values else None


async def _send_answer(answer: Answer, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _translate_error(scope: MutableMapping[str, Any], error: VirkeError) -> VirkeError:
    """The error as the framework understands it that has the request."""
    if "litestar_app" not in scope:
        return error
    from virke.runtime.litestar import translate_error

    return translate_error(error)

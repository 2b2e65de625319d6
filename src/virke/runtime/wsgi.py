"""Requests of WSGI: Flask and all others. The database is `environ["virke.db"]`.

Knows WSGI's calls; knows no framework.

1. Bodies pass through as they come; while the program makes the next part of one, its request is the current one.
2. An error that the program lets through is answered here, if it is a visitor's and no answer has begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Final

from virke.errors import VirkeError
from virke.runtime.answers import answer_to
from virke.runtime.request import of_environ
from virke.runtime.visits import Visit, Visits

Environ = dict[str, Any]
Write = Callable[[bytes], object]
ErrorInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
StartResponse = Callable[..., Write]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

DB: Final = "virke.db"
FILE_WRAPPER: Final = "wsgi.file_wrapper"


class WsgiMiddleware:
    """A WSGI app around another, which gives each of its requests a database."""

    def __init__(self, app: App, visits: Visits) -> None:
        self.app = app
        self._visits = visits

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        header = self._visits.carrier.header
        brought = environ.get(f"HTTP_{header.upper().replace('-', '_')}") if header else None
        visit = self._visits.begun(partial(of_environ, environ), brought)
        environ[DB] = visit.db
        start = _Start(start_response, visit)
        with self._visits.during(visit):
            try:
                body = self.app(environ, start)
            except VirkeError as error:
                return start.answered(error)
        if isinstance(body, list | tuple) or _is_file(body, environ):
            return body
        return _Body(body, self._visits, visit, start)


class _Start:
    """What the app begins its answer with; its head gets what the visit has to say."""

    def __init__(self, start_response: StartResponse, visit: Visit) -> None:
        self._start_response = start_response
        self._visit = visit
        self.has_begun = False

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: ErrorInfo | None = None) -> Write:
        self.has_begun = True
        every = [*headers, *(((name.title(), value)) for name, value in self._visit.headers)]
        return self._start_response(status, every, exc_info) if exc_info else self._start_response(status, every)

    def answered(self, error: VirkeError) -> list[bytes]:
        """The body of the answer to an error; raises it where there is none, or one has begun."""
        answer = answer_to(error)
        if answer is None or self.has_begun:
            raise error
        self(answer.line, [(name.title(), value) for name, value in answer.headers])
        return [answer.body]


class _Body:
    """The parts of a body that is made while it is sent."""

    def __init__(self, body: Iterable[bytes], visits: Visits, visit: Visit, start: _Start) -> None:
        self._body = body
        self._visits = visits
        self._visit = visit
        self._start = start
        self._parts: Iterator[bytes] | None = None

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        with self._visits.during(self._visit):
            try:
                if self._parts is None:
                    self._parts = iter(self._body)
                return next(self._parts)
            except VirkeError as error:
                self._parts = iter(self._start.answered(error))
        return next(self._parts)

    def close(self) -> None:
        """The server has sent it all, or gives up."""
        close = getattr(self._body, "close", None)
        if close is not None:
            with self._visits.during(self._visit):
                close()


def _is_file(body: Iterable[bytes], environ: Environ) -> bool:
    """Whether the server can send the body by itself, as a file."""
    wrapper = environ.get(FILE_WRAPPER)
    return isinstance(wrapper, type) and isinstance(body, wrapper)

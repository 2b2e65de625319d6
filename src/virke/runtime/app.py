"""Where a web program gets its database from: `fire, middleware, Bindings = virke(db="my-app-db")`.

Knows which framework calls the middleware, by what it is called with; what is done then is that framework's file's.

1. Nothing is opened, and no file is read, before a request needs its database.
2. One `middleware` serves all frameworks, and any number of apps.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from virke.runtime import flask, starlette
from virke.runtime.asgi import AsgiMiddleware
from virke.runtime.binding import VirkeDB
from virke.runtime.carrier import By, Carrier
from virke.runtime.opened import Opened
from virke.runtime.place import Source, current_place
from virke.runtime.protocols import Protocol, protocol_of
from virke.runtime.visits import Db, Visits
from virke.runtime.wsgi import WsgiMiddleware

if TYPE_CHECKING:
    from virke.opening import Where

App = TypeVar("App", bound=Callable[..., object])
_TOP_LEVEL: Final = "<module>"


class Bindings:
    """What a program's requests have."""

    def __init__(self, visits: Visits) -> None:
        self._visits = visits

    def __repr__(self) -> str:
        return "Bindings(db)"

    @property
    def db(self) -> VirkeDB:
        """The database of the running request. Raises `UsageError`: none is running here."""
        return self._visits.current.db


class Middleware:
    """Gives each request a database: for ASGI and WSGI apps, Flask's object, and an entry of Django's MIDDLEWARE."""

    __name__ = "virke"
    sync_capable = True  # these two are what Django asks
    async_capable = True

    def __init__(self, visits: Visits) -> None:
        self._visits = visits

    def __call__(self, app: App) -> App:
        """The app, with a database for each request. Raises `UsageError`: the kind of app can't be recognised."""
        if flask.is_flask(app):
            return flask.with_database(app, self._visits)
        if starlette.is_starlette(app):
            return starlette.with_middleware(app, self)
        match protocol_of(app):
            case Protocol.ASGI:
                return self.asgi(app)
            case Protocol.WSGI:
                return self.wsgi(app)
            case Protocol.DJANGO:
                return self.django(app)

    def asgi(self, app: App) -> App:
        """An ASGI app, with a database for each request."""
        return cast("App", AsgiMiddleware(cast("Any", app), self._visits))

    def wsgi(self, app: App) -> App:
        """A WSGI app, with a database for each request."""
        return cast("App", WsgiMiddleware(cast("Any", app), self._visits))

    def django(self, app: App) -> App:
        """What Django calls with a request, with a database for each."""
        from virke.runtime.django import request_handler

        return cast("App", request_handler(app, self._visits))


class Fire:
    """Serves an app: on Python with uvicorn, on `PORT` (3000) and `HOST` (127.0.0.1)."""

    def __call__(self, app: Callable[..., object]) -> None:
        """Serve an ASGI or WSGI app until SIGINT or SIGTERM.

        At the top level of a module that a server imports it does nothing: that server serves the app.

        Raises:
            UsageError: the extra `runtime` is not installed, or PORT is not a port.
        """
        caller = sys._getframe(1)
        module = str(caller.f_globals.get("__name__", "")) if caller.f_code.co_name == _TOP_LEVEL else ""
        current_place().fire(app, module)


class Runtime(NamedTuple):
    """What `virke()` returns."""

    fire: Fire
    middleware: Middleware
    Bindings: Bindings


def virke(
    db: Db = None,
    *,
    store: Where = None,
    token: str | None = None,
    create: bool = False,
    bookmark: By = "cookie",
) -> Runtime:
    """The runtime of a web program whose database is `db`.

    `db` is a name, a function of the request that returns one, or None: what `VIRKE_DB` or `virke.toml` says. `store`,
    `token` and `create` are those of `virke.connect`. `bookmark` is how a visitor who wrote is shown no older state by
    another process: a `cookie`, a `header`, or not (False).

    Raises:
        UsageError: `bookmark` is none of the three. What is wrong with the rest is said by the first request.
    """
    visits = Visits(db, Opened(Source(store, token, create)), Carrier(bookmark))
    return Runtime(Fire(), Middleware(visits), Bindings(visits))

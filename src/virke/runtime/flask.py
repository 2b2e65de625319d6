"""Flask: a WSGI app that handles its errors by itself, so a handler is registered with it.

Knows what Flask's object is called with; imports nothing of it.

1. The app's own handlers for errors of these classes, or more special ones, come first, whenever they were registered.
"""

from __future__ import annotations

from typing import Any, TypeVar

from virke.errors import VirkeError
from virke.runtime.answers import answer_to
from virke.runtime.visits import Visits
from virke.runtime.wsgi import WsgiMiddleware

App = TypeVar("App")


def is_flask(app: object) -> bool:
    """Whether an object is used as Flask's are."""
    return callable(getattr(app, "wsgi_app", None)) and callable(getattr(app, "register_error_handler", None))


def with_database(app: App, visits: Visits) -> App:
    """Give the requests of a Flask app a database; returns the app."""
    flask: Any = app
    flask.wsgi_app = WsgiMiddleware(flask.wsgi_app, visits)
    handlers = flask.error_handler_spec[None][None]
    if VirkeError not in handlers:
        flask.register_error_handler(VirkeError, answer_error)
    return app


def answer_error(error: VirkeError) -> tuple[bytes, int, list[tuple[str, str]]]:
    """The answer to an error that the app does not handle; raises it where there is none."""
    answer = answer_to(error)
    if answer is None:
        raise error
    return answer.body, answer.status, list(answer.headers)

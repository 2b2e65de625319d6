"""Starlette and FastAPI: the app's object takes middleware itself, inside of what answers its errors.

Knows what Starlette's object is called with; imports nothing of it. Its requests are ASGI's (`asgi`).
"""

from __future__ import annotations

from typing import Any, TypeVar

App = TypeVar("App")


def is_starlette(app: object) -> bool:
    """Whether an object is used as Starlette's are, and has not begun to serve."""
    return callable(getattr(app, "add_middleware", None)) and getattr(app, "middleware_stack", app) is None


def with_middleware(app: App, middleware: object) -> App:
    """What `app.add_middleware(middleware)` does; returns the app."""
    starlette: Any = app
    starlette.add_middleware(middleware)
    return app

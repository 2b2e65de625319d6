"""Serving an app on a socket: uvicorn, and a2wsgi before it for an app that speaks WSGI. The only file that imports a2wsgi.

Knows `PORT` and `HOST`; knows no database.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from virke.errors import UsageError
from virke.runtime.protocols import Protocol, protocol_of

PORT: Final = 3000
HOST: Final = "127.0.0.1"
"""This machine alone: a container sets HOST to 0.0.0.0."""
PORT_MAX: Final = 65535
INSTALL: Final = "pip install 'virke[runtime]'"


def listen_address(environ: Mapping[str, str] = os.environ) -> tuple[str, int]:
    """Where to listen, by `HOST` and `PORT`. Raises `UsageError`: the port is none."""
    text = environ.get("PORT") or str(PORT)
    if not (text.isascii() and text.isdigit() and int(text) <= PORT_MAX):
        raise UsageError(f"PORT must be a number from 0 to {PORT_MAX}, not {text!r}")
    return environ.get("HOST") or HOST, int(text)


def serve_app(app: Callable[..., Any], *, host: str | None = None, port: int | None = None) -> None:
    """Serve an ASGI or WSGI app until SIGINT or SIGTERM. Raises `UsageError`: the extra `runtime` is not installed."""
    usual_host, usual_port = listen_address()
    try:
        from a2wsgi import WSGIMiddleware

        from virke.asgi_server import Config, Server
    except ImportError as error:
        raise UsageError(f"fire needs {error.name}, which is not installed", hint=INSTALL) from error
    served: Any = WSGIMiddleware(app) if protocol_of(app) is Protocol.WSGI else app
    config = Config(served, host=host or usual_host, port=usual_port if port is None else port, log_level="info")
    Server(config).run()

"""Programs that are built in, and the place that `virke.runtime` runs in here: the databases of the service's own store.

Knows the runtime and the parts of the sandbox; knows no request.

1. A program's own `store` and `token` are for other places: here it has the store that the service is linked to.
2. Where a node takes the writes, the program's writes and transactions go there too (`divided`).
3. `fire(app)` says what is served, as it starts a server elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from virke.client.address import address_of
from virke.client.node import Node
from virke.core.ids import check_name
from virke.core.page import PAGE_SIZE_DEFAULT
from virke.edge.guest.asgi import Asgi
from virke.edge.guest.divided import DividedDatabase
from virke.edge.guest.garbage import keep_what_is_here
from virke.edge.guest.late import import_all
from virke.edge.guest.loop import Inline
from virke.edge.guest.node import NodeBackend
from virke.edge.guest.service import SERVICE
from virke.edge.guest.transport import HostTransport
from virke.edge.guest.wsgi import Wsgi
from virke.engine.catalog import make_database
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.errors import UsageError
from virke.runtime import place
from virke.runtime.place import Place, Source
from virke.runtime.protocols import Protocol, protocol_of

_INLINE = Inline()


def open_database(name: str | None, source: Source) -> Database:
    """Open it. Raises `NotFound`, `Invalid`, `Unavailable`, `UsageError`: no name is given, and none is configured."""
    parts = SERVICE.parts
    found = name or parts.configured.db
    if not found:
        raise UsageError("no database is named: virke(db=…), or item `db` of the service's Config Store")
    databases = parts.databases
    if source.create:
        make_database(
            databases.store,
            check_name(found),
            databases.environment,
            if_not_exists=True,
            page_size=PAGE_SIZE_DEFAULT,
        )
    here = databases.opened(found)
    return here if parts.node is None else DividedDatabase(here, _client_of(parts.node, databases.environment))


def _client_of(node: NodeBackend, environment: Environment) -> Node:
    """The client of the node that takes the writes; it waits for no longer than a request may."""
    return Node(address_of(node.url, node.token), HostTransport(node), pause=environment.wait)


def serve_program(app: Callable[..., Any]) -> None:
    """What is served from now on. Raises `UsageError`: it is neither a WSGI nor an ASGI app."""
    kind = protocol_of(app)
    if kind is Protocol.DJANGO:
        raise UsageError(f"{app!r} is neither a WSGI nor an ASGI app")
    SERVICE.program = Asgi(app) if kind is Protocol.ASGI else Wsgi(app)


def fire(app: Callable[..., Any], module: str) -> None:
    """What `fire(app)` of a program does here (rule 3)."""
    del module
    serve_program(app)


def use(module: str, name: str = "") -> None:
    """Import a program (`app` of its module if no name is given, or what it calls `fire` with) and serve it.

    Once, while the component is built. Raises `UsageError`: the module has no such app.
    """
    found = import_module(module)
    import_all()
    if name or SERVICE.program is None:
        app: Any = found
        for part in (name or "app").split("."):
            app = getattr(app, part, None)
        if not callable(app):
            raise UsageError(f"{module} has no app {name or 'app'!r}", hint="write MODULE:APP, or call fire(app) in it")
        serve_program(app)
    keep_what_is_here()


place.use_place(Place(open_database, lambda: _INLINE, fire))

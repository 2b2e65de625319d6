"""What one sandbox serves: the routes of the databases, and the program that was built in, if one was.

Knows the parts and how a request goes through them.

1. The parts are made by the first request, and kept for those that come after: while the component is built there is no
   host to ask.
2. With a program inside, everything goes to it. Only where the service was configured so do the database's routes answer
   as well.
3. Upkeep is done after the answer, by a request that wrote and one step of it: a sandbox that only reads would race with
   those that write (P13).
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Final

from wit_world.imports import compute_runtime

from virke.api.failures import error_response
from virke.api.messages import Response
from virke.edge.guest.access import Access
from virke.edge.guest.api import CODEC, INTERNAL, Api, Served, is_route
from virke.edge.guest.configuration import Configuration, read_configuration
from virke.edge.guest.databases import Databases
from virke.edge.guest.forwarding import Forwarding
from virke.edge.guest.garbage import collect_after_answer
from virke.edge.guest.http import Arrived
from virke.edge.guest.node import NodeBackend
from virke.edge.guest.store import Opened, open_store
from virke.edge.limits import LIMITS
from virke.engine.allowance import Allowance
from virke.engine.bare import Bare, open_ahead
from virke.engine.environment import Environment
from virke.engine.sqlite import forget_randomness
from virke.errors import VirkeError
from virke.stores.bounded import bounded_store

OPENED_AHEAD: Final[list[Bare]] = []
"""Of the sandbox: opened while the component was built."""
Program = Callable[[Arrived, list[Callable[[], object]]], Response]
"""Answers a request; what it adds to the list is done after the response was sent."""


def open_connections_ahead() -> None:
    """Open what a sandbox's first request reads or writes with, while no request waits for it; nothing is drawn by that."""
    OPENED_AHEAD.append(open_ahead(LIMITS.caches_bytes >> 10))
    forget_randomness()


class Parts:
    """What the requests of one sandbox share."""

    def __init__(self, configured: Configuration) -> None:
        """Raises `Unavailable`: the KV store is not linked."""
        self.configured = configured
        self.allowance = Allowance(LIMITS, cpu_ms=compute_runtime.get_vcpu_ms)
        environment = Environment(allowance=self.allowance, opened_ahead=OPENED_AHEAD)
        self.opened: Opened = open_store(configured, environment)
        store = bounded_store(self.opened.store, self.allowance)
        self.databases = Databases(store, environment)
        access = Access(store, environment, is_open=configured.is_open)
        self.node = None if configured.writes is None else NodeBackend(configured.writes)
        forwarding = None if self.node is None else Forwarding(self.node)
        self.api = Api(self.databases, access, self.opened.expect, default=configured.db, forwarding=forwarding)

    def begin(self) -> None:
        """A request begins, with all that one may cost."""
        self.allowance.begin()
        self.opened.items.writes = 0

    def end(self) -> None:
        """A request was answered: if it wrote, one step of what is due (rule 3); if there was none, what is garbage is looked for."""
        try:
            self.opened.forget()
            stepped = self.databases.tend() if self.opened.items.writes else False
            if not stepped:
                collect_after_answer()
        except Exception:
            traceback.print_exc(file=sys.stderr)
            self.databases.forget_all()


class Service:
    """One sandbox."""

    def __init__(self) -> None:
        self.program: Program | None = None
        """What was built in."""
        self._parts: Parts | None = None

    @property
    def parts(self) -> Parts:
        """Made when they are first needed. Raises `Invalid`, `Unavailable`: the service is not configured as it has to be."""
        if self._parts is None:
            self._parts = Parts(read_configuration())
        return self._parts

    def respond(self, arrived: Arrived, served: Served) -> Response:
        """The response to a request. Never raises."""
        if self._parts is not None:
            self._parts.begin()
        try:
            if self.program is None or (is_route(arrived.path) and self.parts.configured.has_api):
                return self.parts.api.respond(arrived, served)
            return self.program(arrived, served.later)
        except VirkeError as error:
            return error_response(error, CODEC)
        except BaseException:
            traceback.print_exc(file=sys.stderr)
            return error_response(INTERNAL, CODEC)

    def after(self, served: Served) -> None:
        """What is done once a response was sent: nothing that could change it."""
        for work in served.later:
            try:
                work()
            except BaseException:
                traceback.print_exc(file=sys.stderr)
        if self._parts is not None:
            self._parts.end()
        else:
            collect_after_answer()


SERVICE: Final = Service()

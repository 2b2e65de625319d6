"""The component's entry: what the host calls with a request, and how a sandbox goes on to the next one.

1. Nothing ends a sandbox but the host, its age, or memory that it can't give back: not an error, and no client that went away.
2. Everything that a request may need is imported here, or by what is imported here: there are no files to import from later.
"""

from __future__ import annotations

import sys
import time
import traceback
from typing import Final

from wit_world import exports
from wit_world.imports import compute_runtime, http_downstream
from wit_world.imports.async_io import Pollable
from wit_world.imports.http_req import Request

from virke.api.failures import error_response
from virke.edge.guest.api import CODEC, INTERNAL, Served
from virke.edge.guest.calls import Failed
from virke.edge.guest.garbage import keep_what_is_here
from virke.edge.guest.http import Arrived, send_response
from virke.edge.guest.rehearsal import rehearse_requests
from virke.edge.guest.service import SERVICE, open_connections_ahead
from virke.edge.guest.thaw import thaw
from virke.errors import VirkeError

IDLE_MS: Final = 10_000
"""How long a sandbox waits for its next request."""
LIFE_S: Final = 120.0
"""How long it is used again: then another one reads the configuration again."""
HEAP_MIB: Final = 88
"""Above that it is not used again: what is left of 128 may be too little for a request."""


class HttpIncoming(exports.HttpIncoming):
    """What the host calls, once for each sandbox."""

    def handle(self, request: Request, body: Pollable) -> None:
        """Answer this request, and those that the host has for this sandbox after it."""
        began_s = time.monotonic()
        answer_request(request, body)
        while time.monotonic() < began_s + LIFE_S and compute_runtime.get_heap_mib() < HEAP_MIB:
            options = http_downstream.NextRequestOptions(timeout_ms=IDLE_MS, extra=None)
            try:
                found = http_downstream.await_request(http_downstream.next_request(options))
            except Failed:
                return  # the host has no more
            if found is None:
                return
            answer_request(*found)


def answer_request(request: Request, body: Pollable) -> None:
    """Answer one request, whatever it is."""
    served = Served()
    with request:
        try:
            arrived = Arrived(request, body)
        except VirkeError as error:
            send_response(error_response(error, CODEC))
            return
        response = SERVICE.respond(arrived, served)
        try:
            send_response(response, with_body=arrived.method != "HEAD")
        except Failed as error:
            traceback.print_exception(error, file=sys.stderr)
            _send_instead()
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)  # its client sees that the body broke off
    SERVICE.after(served)


def _send_instead() -> None:
    """The response to a request whose own can't be sent; if it was begun, that shows already."""
    try:
        send_response(error_response(INTERNAL, CODEC))
    except Failed as error:
        traceback.print_exception(error, file=sys.stderr)


thaw()
rehearse_requests()
open_connections_ahead()
keep_what_is_here()

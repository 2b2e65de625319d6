"""moto's S3 server, one request at a time: it checks a condition and writes in two steps, which its threads interleave.

    python -m tests.servers.moto_server HOST PORT

As its own command runs it, a contended swap is lost now and then (127 of 128 were there); a store must not do that (R5).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple


def main(host: str, port: str) -> None:
    """Serve until killed."""
    application: Any = DomainDispatcherApplication(create_backend_app)
    lock = threading.Lock()

    def one_at_a_time(environ: Any, start_response: Any) -> Iterable[bytes]:
        with lock:
            return list(application(environ, start_response))

    run_simple(host, int(port), one_at_a_time, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main(*sys.argv[1:])

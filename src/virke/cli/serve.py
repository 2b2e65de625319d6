"""`virke serve`: the node."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

import click

from virke.cli.logs import FORMATS, LEVELS, set_up
from virke.cli.state import State, global_options, pass_state
from virke.cli.target import own_store_of
from virke.config import MEMORY_MB_MIN, MEMORY_VARIABLE, StoreChoice, load_config, memory_mb_of, scheme_of, store_urls
from virke.errors import UsageError

if TYPE_CHECKING:
    from virke.node.app import App
    from virke.node.cors import Cors
    from virke.node.server import Address
    from virke.node.workers.supervising import Berth

MISSING = "virke serve needs more than the plain install: pip install 'virke[node]'"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@click.option("--tls-cert", type=click.Path(path_type=Path, dir_okay=False), help="A certificate (PEM): serve HTTPS.")
@click.option("--tls-key", type=click.Path(path_type=Path, dir_okay=False), help="Its key (PEM).")
@click.option("--max-body-mb", default=16, show_default=True, type=click.IntRange(1, 4096), help="The largest request.")
@click.option(
    "--timeout-ms",
    type=click.IntRange(1, 3_600_000),
    help="What a statement may take at most, where the database's query_timeout_ms says more.",
)
@click.option(
    "--cors",
    multiple=True,
    metavar="ORIGIN",
    help="A page's origin that may ask from a browser, with a token; * for any. May be repeated.",
)
@click.option(
    "--log-format", default="text", show_default=True, type=click.Choice(FORMATS), help="What logs look like."
)
@click.option("--log-level", default="info", show_default=True, type=click.Choice(LEVELS), help="debug: each request.")
@click.option("--slow-ms", type=click.IntRange(0), help="Log statements that take at least so long, with a receipt.")
@click.option(
    "--journal",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder for deferred writes, on a disk that stays.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes that share the work."
)
@click.option("--as-worker", "berth", hidden=True, help="What a parent says to its worker.")
@global_options
@pass_state
def serve(
    state: State,
    *,
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    max_body_mb: int,
    timeout_ms: int | None,
    cors: tuple[str, ...],
    log_format: str,
    log_level: str,
    slow_ms: int | None,
    journal: Path | None,
    workers: int,
    berth: str | None,
) -> None:
    """Serve the databases of a store over HTTP.

    Any number of these may run on the same store. It ends on SIGTERM, after it has answered what was asked.
    """
    if (tls_cert is None) != (tls_key is None):
        raise UsageError("--tls-cert and --tls-key go together")
    try:
        from virke.node.server import Address, listen_on, url_of
    except ImportError as error:
        raise UsageError(f"{MISSING} ({error.name} is missing)") from error
    from virke.node.cors import Cors

    address, allowed = Address(host, port, tls_cert, tls_key), Cors(cors)
    store = own_store_of(state, "a node serves a store", "name the store that it shall serve: --store URL")

    def run(listening: socket, ready: Callable[[], None], place: Berth | None) -> None:
        set_up(log_format, log_level)
        app = make_app(
            store, state.db, place, max_body_mb, timeout_ms=timeout_ms, cors=allowed, journal=journal, slow_ms=slow_ms
        )
        run_app(app, listening, address, ready, place=place, message_bytes=max_body_mb << 20)

    if berth is not None:
        place = _parsed_berth(berth)
        return run(place.take(), place.say_ready, place)
    _check_who_may_come(host, store)
    try:
        listening = listen_on(address)
    except OSError as error:
        raise UsageError(f"can't listen on {host}:{port}: {error.strerror or error}") from error
    with listening:

        def ready() -> None:
            state.note(f"virke serves {url_of(listening, address)}")

        if workers == 1:
            return run(listening, ready, None)
        set_up(log_format, log_level)
        code = _supervise_workers(workers, listening, ready, store)
    if code:
        raise SystemExit(code)
    return None


def _check_who_may_come(host: str, store: StoreChoice) -> None:
    """Raise `UsageError` if anybody could."""
    from virke.node.access import is_loopback
    from virke.opening import open_store
    from virke.tokens import listing

    if not is_loopback(host) and not listing(open_store(store, create=True)):
        raise UsageError(
            f"{host} can be reached by others, and the store holds no token: make one first with "
            "`virke token create --scope admin --db '*'`, or serve on 127.0.0.1"
        )


def make_app(
    store: StoreChoice,
    default: str | None,
    place: Berth | None,
    body_mb: int,
    *,
    timeout_ms: int | None,
    cors: Cors,
    journal: Path | None,
    slow_ms: int | None,
) -> App:
    """The application of this process: the only one, or the worker of a place."""
    try:
        from virke.node.app import App
        from virke.node.codec import FastCodec
    except ImportError as error:
        raise UsageError(f"{MISSING} ({error.name} is missing)") from error
    from virke.node.databases import of_store
    from virke.node.workers.crew import ALONE

    databases = of_store(store, journals=journal, timeout_ms=timeout_ms, crew=place.crew if place else ALONE)
    return App(databases, FastCodec(), body_mb=body_mb, default=default, cors=cors, slow_ms=slow_ms)


def run_app(
    app: App,
    listening: socket,
    address: Address,
    ready: Callable[[], None],
    *,
    place: Berth | None,
    message_bytes: int,
) -> None:
    """Serve on a listening socket until a signal comes; `ready` is called when it answers."""
    from virke.node.http.listener import Listener
    from virke.node.server import Private, limits_here, serve_app

    listener = Listener(limits_here())
    app.metrics.count_traffic(listener.traffic, lambda: listener.open_count)
    private = Private(place.crew.socket_of(place.crew.index), place.alive_fd) if place else None
    serve_app(app, listening, address, ready, listener=listener, message_bytes=message_bytes, private=private)


# Workers


def _parsed_berth(text: str) -> Berth:
    from virke.node.workers.supervising import Berth

    return Berth.of(text)


def _supervise_workers(count: int, listening: socket, ready: Callable[[], None], store: StoreChoice) -> int:
    """Run so many workers, each of which is this command once more; the exit code. Raises `UsageError`."""
    if not hasattr(os, "fork"):
        raise UsageError("--workers needs Unix sockets and signals, which this system does not have")
    from virke.machine import default_budget_bytes
    from virke.node.workers.supervising import Supervisor
    from virke.opening import open_store

    if any(scheme_of(url)[0] == "memory" for url in store_urls(store.url)):
        raise UsageError("a store in memory is one process's own: it has no --workers")
    open_store(store, create=True)  # what is wrong with it is said once, and not by each worker
    share_mb = max(MEMORY_MB_MIN, (memory_mb_of(load_config()) or default_budget_bytes() >> 20) // count)

    def command(berth: Berth) -> list[str]:
        return [sys.executable, "-m", "virke", *sys.argv[1:], "--as-worker", str(berth)]

    environ = {**os.environ, MEMORY_VARIABLE: str(share_mb)}
    return Supervisor(count, listening, command, environ).run(ready)

"""`virke serve`: the node."""

from __future__ import annotations

from pathlib import Path

import click

from virke.cli.opening import store_of
from virke.cli.state import State, global_options, pass_state
from virke.errors import UsageError

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
    "--journal",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder for deferred writes, on a disk that stays.",
)
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
    journal: Path | None,
) -> None:
    """Serve the databases of a store over HTTP.

    Any number of these may run on the same store. It ends on SIGTERM, after it has answered what was asked.
    """
    if (tls_cert is None) != (tls_key is None):
        raise UsageError("--tls-cert and --tls-key go together")
    try:
        from virke.node.codec import FastCodec
        from virke.node.http.listener import Listener
        from virke.node.server import Address, limits_here
        from virke.node.server import serve as run
    except ImportError as error:
        raise UsageError(f"{MISSING} ({error.name} is missing)") from error
    from virke.node.access import is_loopback
    from virke.node.app import App
    from virke.node.cors import Cors
    from virke.node.databases import of_store
    from virke.tokens import listing

    allowed = Cors(cors)
    databases = of_store(store_of(state), journals=journal, timeout_ms=timeout_ms)
    if not is_loopback(host) and not listing(databases.store):
        raise UsageError(
            f"{host} can be reached by others, and the store holds no token: make one first with "
            "`virke token create --scope admin --db '*'`, or serve on 127.0.0.1"
        )
    app = App(databases, FastCodec(), body_mb=max_body_mb, default=state.db, cors=allowed)
    try:
        run(
            app,
            Address(host, port, tls_cert, tls_key),
            lambda url: state.note(f"virke serves {url}"),
            listener=Listener(limits_here()),
            message_bytes=max_body_mb << 20,
        )
    except OSError as error:
        raise UsageError(f"can't listen on {host}:{port}: {error.strerror or error}") from error

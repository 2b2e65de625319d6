"""`virke studio`: a node on this machine for as long as it is looked at, and its page in the browser."""

from __future__ import annotations

import threading
import webbrowser
from urllib.parse import quote

import click

from virke.cli.logs import set_up
from virke.cli.serve import MISSING, make_app, run_app
from virke.cli.state import State, global_options, pass_state
from virke.cli.target import own_store_of
from virke.config import database_name, load_config
from virke.errors import UsageError

HOST = "127.0.0.1"
BODY_MB = 16


@click.command()
@click.argument("name", required=False)
@click.option("--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@click.option("--no-open", is_flag=True, help="Print the address, and open no browser.")
@global_options
@pass_state
def studio(state: State, *, name: str | None, port: int, no_open: bool) -> None:
    """Look at the data of a store, and change them, in a browser.

    NAME is the database that is shown first, else the one of --db, VIRKE_DB or virke.toml. It answers this machine alone; Ctrl-C ends it.
    """
    store = own_store_of(state, "virke studio serves a store", "a node has the page itself: open /_/ there")
    try:
        from virke.node.cors import Cors
        from virke.node.server import Address, listen_on, url_of
    except ImportError as error:
        raise UsageError(f"{MISSING.replace('virke serve', 'virke studio')} ({error.name} is missing)") from error
    name = name or _configured_database(state)
    if name is not None:
        from virke.opening import connect

        connect(name, store, read_only=True, background=False).close()  # one that does not exist is an error here
    address = Address(HOST, port)
    try:
        listening = listen_on(address)
    except OSError as error:
        raise UsageError(f"can't listen on {HOST}:{port}: {error.strerror or error}") from error
    with listening:
        url = f"{url_of(listening, address)}/_/" + (f"#/{quote(name, safe='')}" if name else "")

        def ready() -> None:
            if state.json:
                state.data({"url": url})
            else:
                state.result(f"virke studio  {url}")
            if not no_open:
                threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()  # some wait for the browser

        set_up("text", "warning")
        app = make_app(store, name, None, BODY_MB, timeout_ms=None, cors=Cors(()), journal=None, slow_ms=None)
        run_app(app, listening, address, ready, place=None, message_bytes=BODY_MB << 20)


def _configured_database(state: State) -> str | None:
    """The database that the options, the environment or virke.toml name; None if none of them does."""
    try:
        return database_name(load_config(), state.db)
    except UsageError:
        return None

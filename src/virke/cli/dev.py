"""`virke dev`: an app and its database on this machine, while the app is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virke.cli.state import State, error_line, global_options, pass_state
from virke.config import database_name, load
from virke.errors import UsageError

if TYPE_CHECKING:
    from virke.project.dev import Urls

MISSING = "virke dev needs more than the plain install"
INSTALL = "pip install 'virke[dev]'"


@click.command()
@click.option("--port", default=3000, show_default=True, type=click.IntRange(0, 65535), help="The app's; 0: any.")
@click.option("--no-reload", is_flag=True, help="Leave the app alone when its files change.")
@global_options
@pass_state
def dev(state: State, *, port: int, no_reload: bool) -> None:
    """Run the app with a database beside it, and again at each change.

    The app is [app] entry in virke.toml, else src/index.ts, index.ts, app.py or main.py. Its database is in the folder .virke,
    unless --store says otherwise; migrations are applied as they appear. Ctrl-C ends all of it.
    """
    try:
        from virke.node.server import listen  # noqa: F401  # the node beside the app needs the same
        from virke.project.dev import develop, prepare, store_for
    except ImportError as error:
        raise UsageError(f"{MISSING} ({error.name} is missing)", hint=INSTALL) from error

    config = load()
    name = database_name(config, state.db)
    store, left_alone = store_for(config, state.store)
    if left_alone:
        state.note(f"working on {store}, not on {left_alone} (--store takes another)")

    def say(line: str) -> None:
        if line.startswith("error: "):
            error_line(line.removeprefix("error: "))
        else:
            state.note(line)

    def show(urls: Urls) -> None:
        if state.json:
            state.data({"app": urls.app, "node": urls.node, "database": name, "store": store})
        else:
            state.result(f"app       {urls.app}")
            state.result(f"database  {urls.node} ({name})")

    project = prepare(config, name, store, port=port, reloads=not no_reload)
    try:
        develop(project, say, show)
    except KeyboardInterrupt:
        state.note("stopped")

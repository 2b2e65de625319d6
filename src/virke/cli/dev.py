"""`virke dev`: an app and its database on this machine, while the app is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from virke.cli.state import State, error_line, global_options, pass_state
from virke.config import database_name, load_config
from virke.errors import UsageError
from virke.interrupts import mark_signals_met

if TYPE_CHECKING:
    from virke.project.dev import Urls

MISSING = "virke dev needs more than the plain install"
INSTALL = "pip install 'virke[dev]'"


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="The app's; 0: any. [default: 3000, with --edge 7676]")
@click.option("--edge", "is_edge", is_flag=True, help="Run it as it runs at Fastly: built, in WebAssembly.")
@click.option(
    "--viceroy", "is_viceroy", is_flag=True, help="With --edge: on Fastly's own simulator, which forgets its data."
)
@click.option("--no-reload", is_flag=True, help="Leave the app alone when its files change.")
@global_options
@pass_state
def dev(state: State, *, port: int | None, is_edge: bool, is_viceroy: bool, no_reload: bool) -> None:
    """Run the app with a database next to it, and again at each change.

    The app is [app] entry in virke.toml, else src/index.ts, index.ts, app.py or main.py. Its database is in the folder .virke,
    unless --store says otherwise; migrations are applied as they appear. Ctrl-C ends all of it.

    With --edge the app, or without one the HTTP API, is built as by virke build and served on a host of Fastly Compute's
    interfaces, over the same database.
    """
    if is_edge:
        return _develop_on_edge(state, 7676 if port is None else port, is_viceroy=is_viceroy, reloads=not no_reload)
    if is_viceroy:
        raise UsageError("--viceroy goes with --edge")
    try:
        from virke.node.server import listen_on  # noqa: F401  # the node next to the app needs the same
        from virke.project.dev import develop_project, prepare_project, store_for
    except ImportError as error:
        raise UsageError(f"{MISSING} ({error.name} is missing)", hint=INSTALL) from error

    config = load_config()
    name = database_name(config, state.db)
    store, left_alone = store_for(config, state.store)
    if left_alone:
        state.note(f"working on {store}, not on {left_alone} (--store takes another)")

    def show(urls: Urls) -> None:
        if state.json:
            state.data({"app": urls.app, "node": urls.node, "database": name, "store": store})
        else:
            state.result(f"app       {urls.app}")
            state.result(f"database  {urls.node} ({name})")
            state.result(f"page      {urls.node}/_/")

    project = prepare_project(config, name, store, port=3000 if port is None else port, reloads=not no_reload)
    try:
        develop_project(project, _sayer_for(state), show)
    except KeyboardInterrupt:
        mark_signals_met()
        state.note("stopped")
    return None


def _sayer_for(state: State) -> Callable[[str], None]:
    def say(text: str) -> None:
        for line in text.splitlines():
            if line.startswith("error: "):
                error_line(line.removeprefix("error: "))
            else:
                state.note(line)

    return say


def _develop_on_edge(state: State, port: int, *, is_viceroy: bool, reloads: bool) -> None:
    try:
        from virke.project.building import plan_of
        from virke.project.dev import free_port, store_for
        from virke.project.edge_dev import EdgeProject, develop_edge
        from virke.project.seed import seed_of
        from virke.project.viceroy import find_viceroy
    except ImportError as error:
        raise UsageError(f"{MISSING} ({error.name} is missing)", hint="pip install 'virke[dev,edge]'") from error

    config = load_config()
    name = database_name(config, state.db)
    store, left_alone = store_for(config, state.store)
    if left_alone:
        state.note(f"working on {store}, not on {left_alone} (--store takes another)")
    items = {"db": name} | ({"api": config.edge["api"]} if "api" in config.edge else {})
    if is_viceroy:
        find_viceroy()  # what is missing is said before anything is built
    plan, seed = plan_of(config), seed_of(config)
    project = EdgeProject(plan, name, store, free_port(port), reloads, items, is_viceroy, seed)

    def show(url: str, own: str | None) -> None:
        if state.json:
            state.data({"url": url, "database_url": own or url, "database": name, "store": store})
        elif own is None:
            state.result(f"ready  {url} ({name})")
        else:
            state.result(f"ready  {url}, its database {own} ({name})")

    try:
        develop_edge(project, _sayer_for(state), show)
    except KeyboardInterrupt:
        mark_signals_met()
        state.note("stopped")

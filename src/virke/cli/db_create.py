"""`virke db create`, `list` and `delete`: databases that come, are there, and go."""

from __future__ import annotations

import sys

import click

from virke.cli.state import State, global_options, pass_state, printable_text
from virke.cli.target import store_of, target_of
from virke.cli.terminal import showing_busy
from virke.errors import UsageError


@click.command()
@click.argument("name", required=False)
@click.option("--if-not-exists", is_flag=True, help="No error if it exists already.")
@click.option("--page-size", type=int, default=4096, show_default=True, help="Bytes in a page: 512 to 65536.")
@global_options
@pass_state
def create(state: State, name: str | None, if_not_exists: bool, page_size: int) -> None:
    """Create a database.

    Without NAME, the one that --db, VIRKE_DB or virke.toml names.
    """
    chosen, store = target_of(state, name)
    from virke.opening import create as create_database

    database = create_database(chosen, store, if_not_exists=if_not_exists, page_size=page_size)
    try:
        status = database.status(history=False)
    finally:
        database.close(push=False)
    if state.json:
        state.data({"name": status.name, "tier": status.tier, "store": status.store, "version": status.version})
    else:
        state.result(f"{status.name}: tier {status.tier}, store {status.store}")


@click.command(name="list")
@global_options
@pass_state
def list_(state: State) -> None:
    """List the databases of the store."""
    store = store_of(state)
    from virke.opening import list_databases

    with showing_busy(state, "Listing the databases"):
        names = list_databases(store)
    if state.json:
        state.data({"databases": names})
        return
    for name in names:
        click.echo(printable_text(name))


@click.command()
@click.argument("name", required=False)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@global_options
@pass_state
def delete(state: State, name: str | None, yes: bool) -> None:
    """Delete a database and all of its history.

    Asks before it does; without a terminal to ask on, --yes is needed.
    """
    chosen, store = target_of(state, name)
    if not yes:
        _confirm_delete(chosen)
    from virke.opening import delete as delete_database

    with showing_busy(state, f"Deleting {chosen}"):
        delete_database(chosen, store)
    if state.json:
        state.data({"deleted": chosen})
    else:
        state.result(f"deleted {chosen}")


def _confirm_delete(name: str) -> None:
    """Return if the answer is yes; end the command otherwise."""
    if not sys.stdin.isatty():
        raise UsageError(f"deleting {name!r} can't be taken back: give --yes to do it without being asked")
    if not click.confirm(f"Delete {printable_text(name)} and all of its history?", err=True):
        raise click.ClickException("nothing was deleted")

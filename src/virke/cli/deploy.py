"""`virke deploy`: the database taken to where the world reaches it; to Fastly, the whole project."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from virke.cli.group import error_body
from virke.cli.state import State, global_options, pass_state
from virke.cli.target import close_after_output
from virke.config import (
    MIGRATIONS,
    NODE_VARIABLE,
    STORE_VARIABLE,
    TOKEN_VARIABLE,
    database_name,
    load_config,
    memory_mb_of,
)
from virke.errors import VirkeError
from virke.keys import TARGETS

if TYPE_CHECKING:
    from virke.project.deploy import Deployed
    from virke.project.destination import Destination


@click.command()
@click.option(
    "--target", type=click.Choice(TARGETS), help="[default: virke.toml, else what is known: node, then store]"
)
@click.option("--dry-run", is_flag=True, help="Rehearse it; create and apply nothing. For fastly: print each call.")
@global_options
@pass_state
def deploy(state: State, *, target: str | None, dry_run: bool) -> None:
    """Take the database to a node or a store, with its migrations; or the project to Fastly Compute.

    Creates it if it is missing, rehearses the migrations that wait, and applies them. Run it as often as you like: where
    there is nothing to do, it does nothing. --store says where; else VIRKE_URL, VIRKE_STORE or virke.toml do.
    With --target fastly: a service with its package, its KV, Config and Secret Store, and the database in the KV store; the
    account is that of FASTLY_API_TOKEN.
    """
    if (target or load_config().deploy.get("target")) == "fastly":
        from virke.cli.deploy_fastly import deploy_fastly

        deploy_fastly(state, dry_run=dry_run)
        return
    from virke.project.deploy import deploy_database as run
    from virke.project.destination import destination_of
    from virke.project.seed import seed_of

    config = load_config()
    name = database_name(config, state.db)
    where = destination_of(config, target, state.store, token=state.token)

    def report(verb: str, what: str) -> None:
        if not state.json:
            state.result(f"{verb} {what}")

    try:
        folder, seed, memory_mb = config.folder / MIGRATIONS, seed_of(config), memory_mb_of(config)
        done = run(name, where, folder, seed=seed, dry_run=dry_run, memory_mb=memory_mb, report=report)
    except VirkeError as error:
        if state.json and "applied" in error.context:
            place = {"database": name, "target": where.target, "url": where.store.url}
            found = {"created": error.context.get("created", False), "applied": error.context["applied"]}
            state.data(place | found | {"error": error_body(error)})
        raise
    if state.json:
        state.data(_json_of_deploy(name, where, done, dry_run=dry_run))
    elif not dry_run:
        _say_outcome(state, name, where, done)
    elif not done.is_change:
        state.result(f"nothing to do: {name} is up to date, version {done.version}")
    if done.database is not None:
        close_after_output(state, done.database)


def _environment_of(where: Destination) -> dict[str, str]:
    """What an app's environment must say, so that the app finds the database."""
    return {NODE_VARIABLE if where.target == "node" else STORE_VARIABLE: where.store.url}


def _say_outcome(state: State, name: str, where: Destination, done: Deployed) -> None:
    if done.is_change:
        state.result(f"{name} is at {where.store.url}, version {done.version}")
    else:
        state.result(f"nothing to do: {name} at {where.store.url} is up to date, version {done.version}")
    shown = " ".join(f"{variable}={shlex.quote(value)}" for variable, value in _environment_of(where).items())
    state.result(f"an app reaches it with {shown}")
    if where.target == "store":
        state.note(f"from other languages through a node: virke serve --store {shlex.quote(where.store.url)}")
    elif "token" in where.store.options:
        state.note(f"and with a token of its own in {TOKEN_VARIABLE}: virke token create, where the node's store is")


def _json_of_deploy(name: str, where: Destination, done: Deployed, *, dry_run: bool) -> dict[str, object]:
    return {
        "database": name,
        "target": where.target,
        "url": where.store.url,
        "would_create" if dry_run else "created": done.is_new,
        "would_apply" if dry_run else "applied": [file.file_name for file in done.files],
        "would_import" if dry_run else "imported": done.seed,
        "environment": _environment_of(where),
        "version": done.version,
    }

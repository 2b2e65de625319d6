"""`virke db migrate`: numbered SQL files, applied in order, reported and undone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virke.cli import render
from virke.cli.group import error_body
from virke.cli.state import State, global_options, pass_state
from virke.cli.target import open_database
from virke.cli.terminal import showing_busy
from virke.config import MIGRATIONS, load_config
from virke.errors import UsageError, VirkeError

if TYPE_CHECKING:
    from virke.engine.database import Database
    from virke.migrations import MigrationFile


@click.command()
@click.option("--status", "report", is_flag=True, help="List the migrations and which are applied.")
@click.option("--dry-run", is_flag=True, help="Rehearse the pending migrations; keep nothing.")
@click.option("--undo", "steps", type=int, is_flag=False, flag_value=1, metavar="[N]", help="Undo the last N. [N: 1]")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="[default: migrations next to virke.toml]")
@global_options
@pass_state
def migrate(state: State, *, report: bool, dry_run: bool, steps: int | None, folder: Path | None) -> None:
    """Apply the migrations of a folder, or undo them.

    Files are named 001_name.sql, 002_name.sql … and are applied in this order, each as one transaction. A file
    001_name.undo.sql says how to take one back; where a migration only added things, Virke derives it.
    """
    if report + dry_run + (steps is not None) > 1:
        raise UsageError("--status, --dry-run and --undo exclude each other")
    chosen = folder or load_config().folder / MIGRATIONS
    with open_database(state) as database:
        if report:
            _show_status(state, database, chosen)
        elif steps is not None:
            _undo_steps(state, database, chosen, steps)
        else:
            _migrate_folder(state, database, chosen, dry_run)


def _show_status(state: State, database: Database, folder: Path) -> None:
    from virke.migrations import status

    found = status(database, folder)
    if state.json:
        rows = [{"number": m.number, "name": m.name, "applied_at": m.applied_at, "undo": m.undo} for m in found]
        state.data({"migrations": rows})
        return
    cells = [(f"{m.number:03}", m.name, m.applied_at or "waits", m.undo) for m in found]
    for line in render.table(["number", "name", "applied", "undo"], cells):
        click.echo(line)


def _migrate_folder(state: State, database: Database, folder: Path, dry_run: bool) -> None:
    from virke.migrations import migrate as run

    verb = "would apply" if dry_run else "applied"
    _run_action(state, database, partial(run, database, folder, dry_run), verb=verb, nothing="nothing to apply")


def _undo_steps(state: State, database: Database, folder: Path, steps: int) -> None:
    from virke.migrations import undo

    _run_action(state, database, partial(undo, database, folder, steps), verb="undid", nothing="nothing to undo")


def _run_action(state: State, database: Database, action: Callable[..., object], *, verb: str, nothing: str) -> None:
    """Do `action`, and say each file as it is done; with `--json`, all of them in one object, an error included."""
    key = verb.replace(" ", "_")
    done: list[MigrationFile] = []

    def report(file: MigrationFile) -> None:
        done.append(file)
        if not state.json:
            work.say(partial(state.result, f"{verb} {file.file_name}"))

    try:
        with showing_busy(state, "Migrating") as work:
            action(report=report)
    except VirkeError as error:
        if state.json and key in error.context:  # before any file ran there is only the error
            state.data(_json_of_files(key, done, database.version) | {"error": error_body(error)})
        raise
    if state.json:
        state.data(_json_of_files(key, done, database.version))
    elif not done:
        state.result(f"{nothing}, version {database.version}")


def _json_of_files(key: str, done: list[MigrationFile], version: int) -> dict[str, object]:
    return {key: [{"number": file.number, "name": file.name} for file in done], "version": version}

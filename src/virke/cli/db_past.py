"""`virke db versions`, `diff` and `restore`: what there was, what has changed since, and how to get it back."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from virke.cli.state import (
    AT_HELP,
    State,
    colour_on,
    counted_noun,
    global_options,
    pass_state,
    printable_text,
    size_text,
)
from virke.cli.target import open_database
from virke.cli.terminal import showing_busy
from virke.cli.times import instant_text, moment_text
from virke.errors import UsageError

if TYPE_CHECKING:
    from virke.engine.results import TableDiff


@click.command()
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many, at most.")
@global_options
@pass_state
def versions(state: State, name: str | None, limit: int) -> None:
    """Print the last versions of the database, newest first.

    Only versions that changed pages are listed; NAME stands for --db NAME.
    """
    state.db = name or state.db
    with showing_busy(state, "Reading the history"), open_database(state) as database:
        found = database.versions(limit)
    if state.json:
        state.data({"versions": [asdict(one) for one in found]})
        return
    rows = [
        (
            str(one.version),
            moment_text(one.time_ms),
            size_text(one.size_bytes),
            "?" if one.pages_changed is None else f"{one.pages_changed:,}",
            one.made_by if one.restored_version is None else f"restore of {one.restored_version}",
        )
        for one in found
    ]
    from virke.cli import render

    style = ("\x1b[1m", "\x1b[0m") if colour_on(sys.stdout) else ("", "")
    for line in render.table(("version", "time", "size", "pages", "made by"), rows, style):
        click.echo(line)


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="[B]", required=False)
@global_options
@pass_state
def diff(state: State, a: str, b: str | None) -> None:
    """Print what differs between versions A and B of the database.

    A and B are each a version (12), a time (2026-11-27T03:00, UTC unless it has an offset), or an age (90s, 15m, 2h, 3d, 1w);
    without B it is the newest version.
    """
    with showing_busy(state, "Comparing the versions"), open_database(state) as database:
        found = database.diff(a, b)
    if state.json:
        state.data(asdict(found))
        return
    if not found.objects and not found.tables:
        state.result(f"versions {found.version_before} and {found.version_after} do not differ")
        return
    state.result(f"from version {found.version_before} to {found.version_after}:")
    from virke.cli import render

    style = ("\x1b[1m", "\x1b[0m") if colour_on(sys.stdout) else ("", "")
    if found.objects:
        objects = [(one.change, one.type, one.name) for one in found.objects]
        for line in render.table(("schema", "type", "name"), objects, style):
            click.echo(line)
    if found.tables:
        names = ("table", "rows before", "rows after", "added", "removed", "changed")
        for line in render.table(names, [_table_row(one) for one in found.tables], style):
            click.echo(line)


def _table_row(one: TableDiff) -> tuple[str, ...]:
    there = tuple("-" if rows is None else f"{rows:,}" for rows in (one.rows_before, one.rows_after))
    return one.name, *there, *("?" if rows is None else f"{rows:,}" for rows in (one.added, one.removed, one.changed))


@click.command()
@click.argument("name", required=False)
@click.option("--at", metavar="VERSION|TIME", required=True, help=AT_HELP)
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@global_options
@pass_state
def restore(state: State, name: str | None, *, at: str, dry_run: bool, yes: bool) -> None:
    """Bring an earlier version of the database back.

    It becomes a new version, so nothing is lost: restoring the version before it undoes it. Asks before it does; without a
    terminal to ask on, --yes is needed. NAME stands for --db NAME.
    """
    state.db = name or state.db
    with open_database(state) as database:
        with showing_busy(state, f"Restoring {database.name}" if yes and not dry_run else "Comparing the versions"):
            done = database.restore(at, dry_run=dry_run or not yes)
        what = f"version {done.restored_version} of {instant_text(done.time_ms)}"
        if not dry_run and not yes and done.pages:
            _confirm_restore(
                f"Make {database.name} what it was at {what} ({counted_noun(done.pages, 'page')} to write)?"
            )
            with showing_busy(state, f"Restoring {database.name}"):
                done = database.restore(done.restored_version)
    if state.json:
        state.data(asdict(done))
    elif not done.pages:
        state.result(f"{what} is what the database shows now; nothing was changed")
    elif dry_run:
        state.result(f"would bring back {what}: {counted_noun(done.pages, 'page')}, {size_text(done.size_bytes)}")
    else:
        undo = f"'virke db restore --at {done.replaced}' undoes it"
        state.result(f"brought back {what} as version {done.version}; {undo}")


def _confirm_restore(question: str) -> None:
    """Return if the answer is yes; end the command otherwise."""
    if not sys.stdin.isatty():
        raise UsageError(
            "a restore asks before it does", hint="--yes does it without; --dry-run says what would change"
        )
    if not click.confirm(printable_text(question), err=True):
        raise click.ClickException("nothing was restored")

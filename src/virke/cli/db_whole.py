"""`virke db verify` and `copy`: whether all of a database is what was written, and the same database in another store.

1. `verify` exits with 0 if everything is whole and 5 if anything is damaged; what is damaged goes to stdout either way.
2. Both work where the newest version can't be read; `copy` then with `--at`.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from virke.cli.state import AT_HELP, State, counted_noun, global_options, pass_state, printable_text, size_text
from virke.cli.target import open_database, own_store_of, target_of
from virke.cli.terminal import showing_progress
from virke.errors import Corrupt

if TYPE_CHECKING:
    from virke.engine.alone import Alone
    from virke.engine.database import Database
    from virke.engine.verifying import Verified


@click.command()
@click.argument("name", required=False)
@global_options
@pass_state
def verify(state: State, name: str | None) -> None:
    """Read everything that is stored and check it.

    Every object that the database and its history need is read from the store, past all caches, and every checksum in it is
    checked; the newest version goes through SQLite's integrity_check, too. Damaged objects are named, with the newest
    version that is whole. Nothing is changed. NAME stands for --db NAME.
    """
    own_store_of(
        state, "verify reads a store itself", "run it where the node runs, with the store that the node serves"
    )
    label, store = target_of(state, name)
    from virke.opening import open_alone

    with open_alone(label, store) as database, showing_progress(state, f"Verifying {label}", in_bytes=True) as report:
        found = database.verify(report)
    if state.json:
        state.data({"whole": found.is_whole} | asdict(found))
    else:
        for one in found.damages:
            click.echo(printable_text(f"{one.kind:<8}{one.object}: {one.what}"))
    read = f"{counted_noun(found.objects, 'object')}, {counted_noun(found.frames, 'frame')}, {size_text(found.bytes)}"
    if not found.is_whole:
        message = f"{label} has {counted_noun(len(found.damages), 'damage')} in what is stored of it ({read} were read)"
        raise Corrupt(message, hint=_hint_for_damage(found))
    if not state.json:
        state.result(f"{label} is whole: version {found.version}, {counted_noun(found.pages, 'page')}; read {read}")


@click.command()
@click.argument("name", required=False)
@click.option("--to", "to", metavar="URL", required=True, help="The store, or the node, that gets the copy.")
@click.option("--as", "new_name", metavar="NAME", help="What the copy is called. [default: as it is called here]")
@click.option("--at", metavar="VERSION|TIME", help=f"Copy an earlier state. {AT_HELP}")
@click.option("--to-token", metavar="TOKEN", help="The token for a node in --to. [default: VIRKE_TOKEN]")
@global_options
@pass_state
def copy(
    state: State, name: str | None, *, to: str, new_name: str | None, at: str | None, to_token: str | None
) -> None:
    """Copy the database to another store.

    The newest version, or the one of --at, with the settings, as one commit; history stays behind. What holds something is
    never overwritten. The copy is read back and compared before it is called done; run again after a kill, it goes through.
    NAME stands for --db NAME.
    """
    label, store = target_of(state, name)
    with ExitStack() as stack:
        from virke.config import StoreChoice, is_node
        from virke.opening import create, open_alone
        from virke.transfer import copy_database

        is_past = at is not None and not is_node(store.url)
        state.db = label
        source: Alone | Database
        if is_past:
            source = stack.enter_context(open_alone(label, store))
        else:
            source = stack.enter_context(open_database(state, read_only=True))
        options = {"token": to_token} if to_token and is_node(to) else {}
        made = create(new_name or label, StoreChoice(to, options), if_not_exists=True)
        stack.callback(made.close)
        report = stack.enter_context(showing_progress(state, f"Copying {label}", in_bytes=True))
        done = copy_database(source, made, at=at, progress=report)
        shown = made.status(history=False).store
    if state.json:
        state.data({"name": new_name or label, "store": shown} | asdict(done))
    else:
        what = f"{counted_noun(done.bytes, 'byte')}, sha256 {done.sha256[:16]}…"
        state.result(f"copied {label} to {new_name or label} at {shown}: {what}, version {done.version}; compared")


def _hint_for_damage(found: Verified) -> str:
    if found.newest_whole is None:
        return "no version in history is whole: restore a copy"
    if found.newest_whole == found.version:
        return f"version {found.version}, the newest, is whole; older ones are not: 'virke db copy --to URL' saves it"
    at = found.newest_whole
    return f"the newest whole version is {at}: 'virke db copy --at {at} --to URL' saves it"

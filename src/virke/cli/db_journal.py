"""`virke db journal`: what this machine's journal of deferred writes has, and setting aside what can't be pushed.

1. It works without the database and without its store: nothing is asked of either.
2. Nothing is deleted: what is set aside is kept in the journal's folder, and the command says which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virke.cli import render
from virke.cli.state import State, counted_noun, global_options, pass_state, printable_text
from virke.cli.target import own_store_of, target_of
from virke.cli.times import instant_text, one_line

if TYPE_CHECKING:
    from virke.engine.results import JournalEntry
    from virke.journal import FileJournal


@click.command()
@click.option("--discard", is_flag=True, help="Set damaged and rejected writes aside; those that are pending stay.")
@global_options
@pass_state
def journal(state: State, discard: bool) -> None:
    """Show the deferred writes that this machine keeps."""
    found = _open_journal(state)
    aside = found.discard() if found and discard else None
    entries, damage = _listed_entries(found)
    if state.json:
        path = str(found.path) if found and found.path else None
        body: dict[str, object] = {"journal": path, "damage": damage, "entries": [_json_of(one) for one in entries]}
        state.data(body | ({"discarded": str(aside) if aside else None} if discard else {}))
        return
    if discard:
        state.result(f"set aside as {aside}" if aside else "nothing is damaged or rejected; nothing was set aside")
    for line in _lines_of_entries(entries, damage):
        click.echo(printable_text(line))


def _open_journal(state: State) -> FileJournal | None:
    from virke.opening import journal_of, open_store

    hint = "run it on the node's machine, with the store that the node serves; `virke db status` counts what is pending"
    store = own_store_of(state, "deferred writes are in a journal of the machine that took them", hint)
    name, _ = target_of(state)
    return journal_of(open_store(store), name)


def _listed_entries(found: FileJournal | None) -> tuple[list[JournalEntry], str | None]:
    from virke.engine.entry import DamagedJournal

    try:
        return (found.listing() if found else []), None
    except DamagedJournal as error:
        return [], error.message


def _lines_of_entries(entries: list[JournalEntry], damage: str | None) -> list[str]:
    if damage:
        return [f"damaged: {damage}"]
    if not entries:
        return ["no writes are pending, rejected or damaged"]
    rows = [
        (str(one.sequence), one.state, instant_text(one.time_ms), one_line(one.sql), one_line(one.reason or ""))
        for one in entries
    ]
    counts = [
        counted_noun(sum(one.state == state for one in entries), f"{state} write")
        for state in ("pending", "rejected", "damaged")
    ]
    return [*render.table(["write", "state", "at", "sql", "reason"], rows), ", ".join(counts)]


def _json_of(one: JournalEntry) -> dict[str, object]:
    return {"id": one.sequence, "state": one.state, "at_ms": one.time_ms, "sql": one.sql, "reason": one.reason}

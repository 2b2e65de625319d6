"""`virke db status`, `settings`, `flush`, `promote`, `upkeep` and `gc`: a database's state and its care."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Final

import click

from virke.cli import render
from virke.cli.state import State, counted_noun, global_options, pass_state, printable_text, size_text
from virke.cli.target import open_database
from virke.cli.terminal import showing_busy, showing_progress
from virke.cli.times import instant_text, one_line
from virke.errors import UsageError

if TYPE_CHECKING:
    from virke.engine.results import Status


@click.command()
@global_options
@pass_state
def status(state: State) -> None:
    """Print size, version, tier and pending writes."""
    with showing_busy(state, "Adding up what is stored"), open_database(state) as database:
        found = database.status()
    if state.json:
        state.data(_status_json(found))
        return
    for label, text in status_lines(found):
        click.echo(printable_text(f"{label:<14}{text}"))
    for write in found.rejected_writes:
        when = instant_text(write.at_ms)
        line = f"{'rejected':<14}{when}: {one_line(write.sql)}: {one_line(write.reason)}"
        click.echo(printable_text(line))


def status_lines(found: Status) -> list[tuple[str, str]]:
    """What `status` prints for people, label and text."""
    return [
        ("database", found.name),
        ("store", found.store),
        ("tier", str(found.tier)),
        ("branch", f"{found.branch} (epoch {found.epoch})"),
        ("version", str(found.version)),
        ("generation", str(found.generation)),
        (
            "size",
            f"{size_text(found.size_bytes)} ({counted_noun(found.page_count, 'page')} of {found.page_size} bytes)",
        ),
        ("last commit", instant_text(found.last_commit_ms)),
        ("pending", f"{counted_noun(found.pending_writes, 'write')}, {len(found.rejected_writes)} rejected"),
        ("stored", f"{counted_noun(found.objects, 'object')}, {size_text(found.stored_bytes)}{_of_history(found)}"),
        ("history", f"from version {found.history_from_version}, {counted_noun(found.history_days, 'day')} kept"),
        *_days_to_come(found),
        ("conflicts", str(found.conflicts)),
        ("health", "ok" if found.healthy else "the store does not answer as it should"),
        *([("upkeep", one_line(found.upkeep_error))] if found.upkeep_error else []),
        *(
            [("upkeep due", f"{_words_for_due(found.upkeep_due)} ('virke db upkeep' does it)")]
            if found.upkeep_due
            else []
        ),
        *([("journal", one_line(found.journal_error))] if found.journal_error else []),
    ]


def _of_history(found: Status) -> str:
    if not found.history_objects:
        return ""
    return f", of which history keeps {counted_noun(found.history_objects, 'object')}, {size_text(found.history_bytes)}"


def _days_to_come(found: Status) -> list[tuple[str, str]]:
    """What writes add a day, and what the collection could free and when; nothing if that is not known."""
    if found.growth_bytes_per_day is None or found.gc_objects is None or found.gc_bytes is None:
        return []
    lines = [("growth", f"{size_text(found.growth_bytes_per_day)} a day")]
    if not found.history_objects:
        return lines
    now = f"{counted_noun(found.gc_objects, 'object')}, {size_text(found.gc_bytes)}" if found.gc_objects else "nothing"
    lines.append(("gc", f"could free {now} now"))
    if found.gc_later_objects and found.gc_later_bytes and found.gc_later_from_ms and found.gc_later_until_ms:
        begins, ends = instant_text(found.gc_later_from_ms), instant_text(found.gc_later_until_ms)
        when = f"on {begins}" if begins == ends else f"from {begins} to {ends}"
        more = f"{counted_noun(found.gc_later_objects, 'object')}, {size_text(found.gc_later_bytes)}"
        lines.append(("", f"{more} more as history ends, {when}"))
    return lines


def _status_json(found: Status) -> dict[str, object]:
    plain = {field.name: _plain_value(getattr(found, field.name)) for field in fields(found)}
    plain["rejected_writes"] = [
        {"id": write.id, "sql": write.sql, "reason": write.reason, "at_ms": write.at_ms}
        for write in found.rejected_writes
    ]
    return plain


def _plain_value(value: object) -> object:
    """A field as JSON shows it."""
    match value:
        case dict():
            return {str(key): _plain_value(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain_value(item) for item in value]
        case None | bool() | int() | float() | str() | bytes():
            return render.json_of(value)
        case _:
            return str(getattr(value, "value", value))


@click.command()
@click.argument("changes", metavar="[KEY=VALUE]...", nargs=-1)
@global_options
@pass_state
def settings(state: State, changes: Sequence[str]) -> None:
    """View or change the settings.

    They belong to the database and hold wherever it is opened.
    """
    wanted = _parsed_pairs(changes)
    with open_database(state) as database:
        found = database.change_settings(wanted) if wanted else database.settings()
    values = found.as_dict()
    if state.json:
        state.data({key: _plain_value(value) for key, value in values.items()})
        return
    if wanted:
        values = {key: values[key] for key in wanted}
    for line in render.table(["key", "value"], [(key, str(value)) for key, value in values.items()]):
        click.echo(line)


def _parsed_pairs(changes: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not key:
            raise UsageError(f"{change!r} is not KEY=VALUE")
        if key in pairs:
            raise UsageError(f"{key!r} is given twice")
        pairs[key] = value
    return pairs


@click.command()
@global_options
@pass_state
def flush(state: State) -> None:
    """Push pending writes to the store now."""
    with showing_busy(state, "Pushing pending writes"), open_database(state) as database:
        done = database.flush()
    if state.json:
        state.data({"pushed": done.pushed, "rejected": done.rejected, "version": done.version})
    else:
        rejected = f", {done.rejected} rejected ('virke db status' says why)" if done.rejected else ""
        state.result(f"pushed {counted_noun(done.pushed, 'write')}{rejected}, version {done.version}")
    if done.rejected:
        click.get_current_context().exit(1)


@click.command()
@global_options
@pass_state
def promote(state: State) -> None:
    """Move the database to object storage.

    Readers and writers go on while it runs; stopped at any point, the database is whole and it can be run again.
    """
    with open_database(state) as database, showing_progress(state, "Promoting", in_bytes=False) as report:
        before = database.status(history=False).tier
        after = database.promote(report)
    if state.json:
        state.data(_status_json(after))
    elif str(before) == str(after.tier):
        state.result(f"{after.name} is in tier {after.tier} already, version {after.version}")
    else:
        state.result(f"promoted {after.name}: tier {before} -> {after.tier}, version {after.version}")


@click.command()
@click.option("--all", "all_of_it", is_flag=True, help="Go on until nothing is due.")
@global_options
@pass_state
def upkeep(state: State, all_of_it: bool) -> None:
    """Merge and move stored objects, as far as that is due.

    One step, or all of them with --all; readers and writers go on. A command that writes does one step by itself, after
    its output, so this is for programs that leave it (connect(upkeep="leave")), and after a step that failed.
    """
    with showing_busy(state, "Merging and moving stored objects"), open_database(state) as database:
        done = database.upkeep(None if all_of_it else 1)
    if state.json:
        state.data({"steps": done.steps, "due": list(done.due)})
    elif done.steps or done.due:
        left = f"still due: {_words_for_due(done.due)}" if done.due else "nothing is due any more"
        state.result(f"did {counted_noun(done.steps, 'step')}, {left}")
    else:
        state.result("nothing was due")


_WORDS: Final = {
    "promote": "moving to object storage",
    "spill": "moving recent commits out of the root",
    "compact": "merging segments",
    "collect": "deleting old objects",
}


def _words_for_due(due: Sequence[str]) -> str:
    return ", ".join(_WORDS[name] for name in due)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@global_options
@pass_state
def gc(state: State, dry_run: bool) -> None:
    """Delete stored objects that nothing needs any more."""
    with showing_busy(state, "Looking for objects that nothing needs"), open_database(state) as database:
        done = database.collect(dry_run=dry_run)
    if state.json:
        body = {
            "deleted": list(done.deleted),
            "bytes": done.bytes,
            "kept": done.kept,
            "waiting": done.waiting,
            "dry_run": done.dry_run,
        }
        state.data(body)
        return
    verb = "would delete" if dry_run else "deleted"
    waiting = f", {done.waiting} wait for the grace period" if done.waiting else ""
    state.result(
        f"{verb} {counted_noun(len(done.deleted), 'object')} ({size_text(done.bytes)}), kept {done.kept}{waiting}"
    )

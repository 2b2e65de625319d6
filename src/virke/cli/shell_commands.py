"""The dot commands of `virke shell`: which there are, and what each does.

Each is a function of the session and of its arguments; its docstring's first line is what `.help` says.

1. A command that reaches a file works where it was typed, and nowhere else (rule 1 of `shell`).
2. Commands of sqlite3's shell that would leave the database (`.shell`, `.load`, `.open`, …) are refused by name, wherever they stand.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from virke.cli import render
from virke.cli.shell_show import receipt_of
from virke.cli.state import fit_for, printable_text
from virke.errors import Denied, Invalid, NotFound, UsageError
from virke.lazy_dataclasses import dataclass

if TYPE_CHECKING:
    from virke.cli.shell_session import ShellSession

MODES: Final = (*render.FORMATS, "line")
ELSEWHERE: Final = {
    ".open": "end this shell, and open another one: virke shell NAME",
    ".output": "redirect the shell's output: echo 'SELECT 1' | virke shell > FILE",
    ".once": "redirect the shell's output: echo 'SELECT 1' | virke shell > FILE",
    ".excel": "redirect the shell's output: echo '.mode csv' …",
    ".backup": "use .export FILE.sqlite",
    ".save": "use .export FILE.sqlite",
    ".restore": "use .import FILE.sqlite",
    ".clone": "use .export FILE.sqlite",
    ".timer": "use .meta on",
}
REFUSED: Final = frozenset(
    ".cd .load .log .shell .system .py .connection .vfsname .dbconfig .limit .archive .edit".split()
)


class Leave(Exception):
    """`.quit` was given."""


@dataclass(frozen=True, slots=True)
class Prompter:
    """Where a command stands: whether it was typed, and how lines of a file are run."""

    is_typed: bool
    read: Callable[[Iterable[str]], None]


def run_command(line: str, session: ShellSession, prompter: Prompter) -> None:
    """Run one line that begins with a dot.

    Raises:
        UsageError: there is no such command, or it takes other arguments. Denied: it is refused here (rules 1 and 2).
        VirkeError: what the command met.
    """
    try:
        name, *given = shlex.split(line.rstrip(";"), posix=True)
    except ValueError as error:
        raise UsageError(f"{line.split()[0]}: {error}") from error
    if name in ELSEWHERE or name in REFUSED:
        raise Denied(
            f"{name} would leave the database, and is not here", hint=ELSEWHERE.get(name, ".help lists what is")
        )
    command = COMMANDS.get(name)
    if command is None:
        raise UsageError(f"there is no command {name}", hint=".help lists them")
    if name in OF_FILES and not prompter.is_typed:
        raise Denied(f"{name} reaches a file, and works only where it is typed: this text may be another's")
    if not command.least <= len(given) <= command.most:
        raise UsageError(f"usage: {command.usage(name)}")
    command.run(session, prompter, given)


@dataclass(frozen=True, slots=True)
class Command:
    """What a command is called with, and what it does."""

    run: Callable[[ShellSession, Prompter, list[str]], None]
    arguments: str
    help: str
    least: int = 0
    most: int = 0

    def usage(self, name: str) -> str:
        """The command with its arguments."""
        return f"{name} {self.arguments}".rstrip()


def _show_help(session: ShellSession, prompter: Prompter, given: list[str]) -> None:
    rows = [(command.usage(name), command.help) for name, command in COMMANDS.items()]
    width = max(len(usage) for usage, _ in rows)
    for usage, text in rows:
        click.echo(f"{usage:<{width}}  {text}")
    click.echo("Statements end with `;`. Ctrl-C cancels one, Ctrl-D ends the shell.")


def _quit_shell(session: ShellSession, prompter: Prompter, given: list[str]) -> None:
    raise Leave


def _list_tables(session: ShellSession, prompter: Prompter, given: list[str]) -> None:
    sql = (
        "SELECT name, type FROM main.sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite~_%' ESCAPE '~' "
        "AND name LIKE ? ORDER BY name"
    )
    for name, _ in session.ask(sql, (given[0] if given else "%",)):
        click.echo(printable_text(str(name)))


def _list_indexes(session: ShellSession, prompter: Prompter, given: list[str]) -> None:
    sql = "SELECT name FROM main.sqlite_schema WHERE type = 'index' AND tbl_name LIKE ? ORDER BY name"
    for (name,) in session.ask(sql, (given[0] if given else "%",)):
        click.echo(printable_text(str(name)))


def _show_schema(session: ShellSession, prompter: Prompter, given: list[str]) -> None:
    from virke.engine import schema

    for entry in schema.schema_entries(session.ask(schema.QUERY), given[0] if given else None):
        click.echo(fit_for(sys.stdout, f"{entry.sql};"))


def _change_mode(session: ShellSession, prompter: Prompter, given: list[str]) -> None:
    if not given:
        click.echo(session.mode)
    elif given[0] in MODES:
        session.mode = given[0]
    else:
        raise UsageError(f"a mode is one of {', '.join(MODES)}, not {given[0]!r}")


def _is_on(given: str) -> bool:
    if given not in ("on", "off"):
        raise UsageError(f"it is on or off, not {given!r}")
    return given == "on"


def _change_meta(session: ShellSession, prompter: Prompter, given: list[str]) -> None:
    if given:
        session.shows_meta = _is_on(given[0])
    else:
        click.echo(receipt_of(session))


def _change_bail(session: ShellSession, prompter: Prompter, given: list[str]) -> None:
    session.bails = _is_on(given[0])


def _show_status(session: ShellSession, prompter: Prompter, given: list[str]) -> None:
    from virke.cli.db_status import status_lines

    for label, text in status_lines(session.call(session.database.status)):
        click.echo(printable_text(f"{label:<14}{text}"))


def _print_words(session: ShellSession, prompter: Prompter, given: list[str]) -> None:
    click.echo(printable_text(" ".join(given)))


def _read_file(session: ShellSession, prompter: Prompter, given: list[str]) -> None:
    from virke.transfer.source import open_input

    path = Path(given[0])
    if not path.exists():
        raise NotFound(f"no such file: {path}")
    with open_input(path) as file:
        try:
            prompter.read(line.decode("utf-8") for line in file)
        except UnicodeDecodeError as error:
            raise Invalid(f"{path} is not UTF-8: {error.reason}") from error


def _import_file(session: ShellSession, prompter: Prompter, given: list[str]) -> None:
    from virke.transfer import import_file

    session.check_no_transaction("an import")
    path = Path(given[0])
    if not path.exists():
        raise NotFound(f"no such file: {path}")
    done = session.call(partial(import_file, session.database, path, table=given[1] if len(given) > 1 else None))
    session.state.note(f"imported {path} ({done.kind}), version {done.version}")


def _export_file(session: ShellSession, prompter: Prompter, given: list[str]) -> None:
    from virke.transfer import export_file

    table = given[1] if len(given) > 1 else None
    done = session.call(partial(export_file, session.database, Path(given[0]), table=table))
    session.state.note(f"exported {done.path} ({done.format})")


COMMANDS: Final[dict[str, Command]] = {
    ".bail": Command(_change_bail, "on|off", "Whether input that is not typed ends at its first error (on).", 1, 1),
    ".export": Command(_export_file, "FILE [TABLE]", "Export as SQL, SQLite, CSV or NDJSON, by FILE's name.", 1, 2),
    ".help": Command(_show_help, "", "Show this list."),
    ".import": Command(_import_file, "FILE [TABLE]", "Import SQL, a SQLite file, or CSV or JSON into TABLE.", 1, 2),
    ".indexes": Command(_list_indexes, "[TABLE]", "List the indexes; TABLE may have % and _.", 0, 1),
    ".meta": Command(_change_meta, "[on|off]", "Show what the last statement cost, or show it after each one.", 0, 1),
    ".mode": Command(_change_mode, "[MODE]", f"How rows are shown: {', '.join(MODES)}.", 0, 1),
    ".print": Command(_print_words, "TEXT...", "Print a text.", 0, 1000),
    ".quit": Command(_quit_shell, "", "End the shell, as .exit and Ctrl-D do."),
    ".exit": Command(_quit_shell, "", "End the shell."),
    ".read": Command(_read_file, "FILE", "Run the statements of a file.", 1, 1),
    ".schema": Command(_show_schema, "[TABLE]", "Show the CREATE statements.", 0, 1),
    ".status": Command(_show_status, "", "Show size, version, tier and pending writes."),
    ".tables": Command(_list_tables, "[PATTERN]", "List tables and views; PATTERN may have % and _.", 0, 1),
}
OF_FILES: Final = frozenset({".read", ".import", ".export"})

"""`virke shell`: statements and dot commands, typed at a terminal or read from a pipe.

Knows lines and statements; what runs them is `shell_session`, what dot commands do is `shell_commands`.

1. What is typed is trusted, what is read is not: a dot command that reaches a file is refused in a pipe and in a file that `.read`
   reads, because the text may be another person's (a dump, a download). SQL can't reach files in either (P12).
2. At a terminal an error is shown and the next line is read; elsewhere it ends the shell, with the line it is on and its exit code.
3. Ctrl-C ends the statement that runs, or forgets the one that is typed; a second one, before the first was heeded, ends the process.
4. A transaction that is open at the end is rolled back, and the shell says so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from sqlite3 import complete_statement
from typing import TYPE_CHECKING, Final

import click

from virke.cli.group import report_error
from virke.cli.shell_commands import Leave, Prompter, run_command
from virke.cli.state import State, global_options, pass_state
from virke.cli.target import open_database
from virke.errors import TooLarge, VirkeError
from virke.interrupts import Ended, mark_signal_heeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from virke.cli.shell_session import ShellSession
    from virke.engine.database import Database

LINES_BYTES_MAX: Final = 64 << 20
"""How long one statement may be."""


@click.command()
@click.argument("name", required=False)
@click.option("--read-only", is_flag=True, help="Refuse every statement that writes.")
@global_options
@pass_state
def shell(state: State, *, name: str | None, read_only: bool) -> None:
    """Type statements and see their rows; `.help` lists what else there is.

    NAME is the database, else the one of --db, VIRKE_DB or virke.toml. Statements end with `;`. Standard input that is not a terminal
    is read to its end, or to the first error.
    """
    state.db = name or state.db
    open_shell(state, read_only=read_only)


def open_shell(state: State, *, read_only: bool = False) -> None:
    """Run the shell on the database that the options name, to the end of its input."""
    from virke.cli.shell_session import ShellSession

    with open_database(state, read_only=read_only) as database:
        session = ShellSession(database, state)
        try:
            if sys.stdin.isatty():
                _converse_at_terminal(session, database, state)
            else:
                Reader(session, is_typed=False).read(sys.stdin)
        finally:
            session.close()


def _converse_at_terminal(session: ShellSession, database: Database, state: State) -> None:
    """Prompt, and read what is typed, until its end (rules 2 and 3)."""
    from virke.cli.shell_input import Typed

    typed = Typed(session.names)
    state.note(f"virke shell on {database.name}; .help lists the commands, .quit ends it")
    reader = Reader(session, is_typed=True)
    with typed:
        while True:
            try:
                line = typed.line(session.prompt(is_begun=bool(reader.text)))
                if line is None:
                    return
                reader.take(line)
            except Leave:
                return
            except Ended:
                raise
            except KeyboardInterrupt:
                reader.forget()
                click.echo(err=True)
            except Exception as error:
                report_error(error, state.json)
            mark_signal_heeded()


class Reader:
    """Lines become statements and commands."""

    def __init__(self, session: ShellSession, *, is_typed: bool) -> None:
        self.text = ""
        self._session, self._is_typed = session, is_typed
        self._line = self._began = 0

    def forget(self) -> None:
        """Forget the statement that was begun."""
        self.text = ""

    def read(self, lines: Iterable[str]) -> None:
        """Run all lines of a pipe or a file; what follows the last `;` is a statement too. Raises the first error (rule 2)."""
        try:
            for line in self._bounded_lines(lines):
                self._line += 1
                self._began = self._began if self.text else self._line
                self._do_with_place(partial(self.take, line.rstrip("\r\n")))
            self._do_with_place(partial(self._session.run, self.text))
        except Leave:
            return

    def _bounded_lines(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            if len(self.text) + len(line) > LINES_BYTES_MAX:
                raise TooLarge(
                    f"a statement is longer than {LINES_BYTES_MAX >> 20} MiB: `virke db import` takes SQL files"
                )
            yield line

    def _do_with_place(self, work: Callable[[], None]) -> None:
        """Do something, and let its error say where it is."""
        try:
            work()
        except VirkeError as error:
            if not self._session.bails:
                report_error(error, self._session.state.json)
                self.forget()
                return
            error.context.setdefault("line", self._began)
            error.message = f"line {error.context['line']}: {error.message}"
            raise

    def take(self, line: str) -> None:
        """One line more: a command, or a part of statements, which are run when they are complete. Raises what they raise."""
        if not self.text and (not line.strip() or line.lstrip().startswith("--")):
            return
        if not self.text and line.lstrip().startswith("."):
            run_command(line.strip(), self._session, Prompter(self._is_typed, self._read_file))
            return
        self.text = f"{self.text}\n{line}" if self.text else line.lstrip()
        if ";" in line and complete_statement(self.text):
            text, self.text = self.text, ""
            self._session.run(text)

    def _read_file(self, lines: Iterable[str]) -> None:
        Reader(self._session, is_typed=False).read(lines)

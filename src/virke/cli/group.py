"""Groups of commands that are loaded when they are run, and the one place where an error becomes an exit code.

Imports click and nothing heavier, so that help and completion are fast.

1. Help and completion of names load no command.
2. Nothing leaves `RootGroup.main` but `SystemExit`: no traceback, unless `VIRKE_DEBUG` asks for it.
3. One error is one line on stderr, and one more for its hint, or one JSON object with `--json`; on a terminal a caret shows where it is (`caret`).
4. What comes after the output (upkeep) changes neither it nor the exit code.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn

import click
from click.shell_completion import CompletionItem

from virke.cli.state import State, error_line, fit_for, json_text, printable_text
from virke.errors import Corrupt, SqlError, UsageError, VirkeError, exit_code
from virke.interrupts import Ended, exit_code_of, mark_signals_met
from virke.nearest import meant_hint

EXIT_USAGE: Final = 2
EXIT_BROKEN_PIPE: Final = 141
"""As if ended by SIGPIPE, like other programs whose reader went away."""

Table = Mapping[str, tuple[str, str]]
"""Name of a command → (`module:attribute`, its one line of help)."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def __init__(self, *args: Any, table: Table, **options: Any) -> None:
        super().__init__(*args, **options)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments begin with. Raises `UsageError`: there is none of that name."""
        name = args[0]
        if name not in self.table and not name.startswith("-"):
            message = f"No such command '{name}' (see '{ctx.command_path} --help')"
            raise UsageError(message, **meant_hint(name, self.table))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command from the table."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=row[1]) for name, row in self.table.items() if name.startswith(incomplete)]


class RootGroup(LazyGroup):
    """The group behind `virke`: runs a command line and ends the process."""

    def main(  # type: ignore[override]  # never returns, also with standalone_mode=False
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **options: Any
    ) -> NoReturn:
        """Run `args` (default: the process's) and exit with the code of the outcome."""
        line = list(sys.argv[1:] if args is None else args)
        complete_var = options.pop("complete_var", None)
        self._main_shell_completion({}, "virke", complete_var)
        _ready_streams()
        state = State()
        try:
            code = self._run_line(line, state)
            sys.stdout.flush()
            _finish_after_output(state)
        except KeyboardInterrupt as end:
            code = _report_interrupt(end)
        except (SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # a panic of a client library is no `Exception`
            code = report_error(error, state.json or "--json" in line)
        mark_signals_met()
        sys.exit(code)

    def _run_line(self, line: list[str], state: State) -> int:
        """Run a command line; the exit code that it asks for."""
        try:
            with self.make_context("virke", line, obj=state) as context:
                self.invoke(context)
        except click.exceptions.Exit as end:
            return end.exit_code
        return 0


def _finish_after_output(state: State) -> None:
    """Do what is left to do after the output; `virke db status` shows what stays due."""
    sys.stderr.flush()
    if state.after_output:
        with suppress(Exception):
            try:
                state.after_output()
            except KeyboardInterrupt:
                mark_signals_met()


def _ready_streams() -> None:
    """Let the standard streams take any text, and nothing be where one was closed before the process began."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # it ends with the process
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _report_interrupt(end: KeyboardInterrupt) -> int:
    """Leave the line of a `^C` on the terminal, say what the command noted about its end, and give the exit code."""
    with suppress(OSError):  # the terminal may have gone
        if not isinstance(end, Ended):
            click.echo(err=True)
        for note in getattr(end, "__notes__", ()):
            click.echo(printable_text(note), err=True)
    return exit_code_of(end)


def report_error(error: BaseException, as_json: bool) -> int:
    """Say what went wrong, and give the exit code."""
    if os.environ.get("VIRKE_DEBUG") and not isinstance(error, click.ClickException):
        from traceback import format_exception

        click.echo(fit_for(sys.stderr, "".join(format_exception(error))), err=True, nl=False)
    if isinstance(error, click.UsageError) and not isinstance(error, click.exceptions.NoArgsIsHelpError):
        error = _own_usage_error(error)
    if isinstance(error, Corrupt):
        error.context.setdefault("hint", "'virke db verify' names what is damaged, and the newest whole version")
    match error:
        case click.Abort():
            return exit_code_of(error)
        case OSError(errno=errno.EPIPE):
            _silence_stdout()
            return EXIT_BROKEN_PIPE
        case VirkeError(kind=kind, message=message, retryable=retryable):
            code = exit_code(error)
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
            return EXIT_USAGE
        case MemoryError():
            kind, message, retryable, code = "too_large", "out of memory: ask for less at once", False, 1
        case click.ClickException():
            kind, message, retryable, code = "error", error.format_message(), False, error.exit_code
        case FileNotFoundError(filename=None) if _is_folder_gone():
            kind, retryable, code = "error", False, 1
            message = "the current folder does not exist any more: change into one that does"
        case OSError(strerror=str(reason), filename=name):
            kind, message, retryable, code = "error", f"{name}: {reason}" if name else reason, False, 1
        case _:
            kind, retryable, code = "internal", False, 1
            message = f"internal error: {type(error).__name__}: {error} (set VIRKE_DEBUG=1 for the traceback)"
    if as_json:
        plain = {"code": kind, "message": " ".join(message.split()), "retryable": retryable}
        body = error_body(error) if isinstance(error, VirkeError) else plain
        click.echo(json_text({"error": body}, sys.stderr), err=True)
    elif kind == "internal":
        click.echo(printable_text(" ".join(message.split())), err=True)
    else:
        error_line(message)
        if isinstance(error, SqlError) and sys.stderr.isatty():
            from virke.cli.caret import caret_lines  # only for an error: it loads what measures text

            for line in caret_lines(error):
                click.echo(line, err=True)
        if isinstance(error, VirkeError) and (hint := error.context.get("hint")):
            click.echo(printable_text(f"hint: {hint}"), err=True)
    return code


def _own_usage_error(error: click.UsageError) -> UsageError:
    """What click says of a command line, with where its help is; a word too many may be the name of a database."""
    path = error.ctx.command_path if error.ctx else "virke"
    message = f"{error.format_message().rstrip('.')} (see '{path} --help')"
    takes_db = error.ctx is not None and any(parameter.name == "db" for parameter in error.ctx.command.params)
    if takes_db and "extra argument" in message:
        return UsageError(message, hint="the database is named by --db NAME, or by VIRKE_DB")
    return UsageError(message)


def error_body(error: VirkeError) -> dict[str, object]:
    """An error as JSON: code, message, whether to try again; its hint, and where it is, if it has them."""
    known = {
        key: error.context[key] for key in ("hint", "file", "line", "statement") if error.context.get(key) is not None
    }
    if isinstance(error, SqlError) and error.offset is not None:
        known["offset"] = error.offset
    return {"code": error.kind, "message": " ".join(error.message.split()), "retryable": error.retryable} | known


def _is_folder_gone() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _silence_stdout() -> None:
    """Keep the interpreter from writing the rest of stdout, and from complaining, when it ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is not a file
        return

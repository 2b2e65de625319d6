"""What the global options of one run say, and how a command prints.

Imports click and nothing heavier: every command, the help included, loads this.

1. Data goes to stdout; notes, questions and errors go to stderr.
2. A global option may stand before or after the command; the one furthest right holds.
3. Colour is written only to a terminal, and never with `NO_COLOR`.
4. JSON is made by `json_text` and nowhere else: it reads back the same whatever the stream's encoding is.
5. No character that acts on a terminal reaches one: what is printed is `printable` (one line), `json_text`, or, where text
   goes out as it is to files and pipes (CSV, the schema, an export), `fit_for` the stream.
"""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Final, TextIO, TypeVar

import click

from virke.lazy_dataclasses import dataclass

Command = TypeVar("Command", bound=Callable[..., Any])

_CONTROL: Final = (
    {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
    | {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}
    | {code: f"\\u{code:04x}" for code in (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))}
)
"""Characters that would move the cursor, change the terminal's state or reorder a line, and how they are shown."""
_CONTROL_IN_LINES: Final = {code: shown for code, shown in _CONTROL.items() if chr(code) not in "\t\n"}
_CONTROL_IN_JSON: Final = {code: f"\\u{code:04x}" for code in _CONTROL if code >= 0x7F}
"""What `json.dumps` leaves as it is."""


@dataclass(slots=True)
class State:
    """The global options."""

    db: str | None = None
    store: str | None = None
    token: str | None = field(default=None, repr=False)
    json: bool = False
    quiet: bool = False
    after_output: Callable[[], None] | None = None
    """What is left to do when all output is written; whether it succeeds changes neither output nor exit code."""

    def result(self, text: str) -> None:
        """Print what a command did, for people; nothing with `--quiet`."""
        if not self.quiet:
            click.echo(printable_text(text))

    def note(self, text: str) -> None:
        """Print a remark to stderr; nothing with `--quiet`."""
        if not self.quiet:
            click.echo(printable_text(text), err=True)

    def data(self, value: Mapping[str, object]) -> None:
        """Print a JSON object."""
        click.echo(json_text(value, sys.stdout, indent=2))


def json_text(value: object, stream: TextIO, *, indent: int | None = None) -> str:
    """`value` as JSON for `stream`: characters beyond ASCII as they are in UTF-8, escaped in any other encoding.

    Characters that act on a terminal are always escaped.
    """
    is_utf8 = codecs.lookup(stream.encoding or "utf-8").name == "utf-8"
    text = json.dumps(value, ensure_ascii=not is_utf8, allow_nan=False, indent=indent)
    return text if text.isascii() and "\x7f" not in text else text.translate(_CONTROL_IN_JSON)


def printable_text(text: str) -> str:
    """`text` on one line, without characters that act on a terminal."""
    return text if text.isascii() and text.isprintable() else text.translate(_CONTROL)


def fit_for(stream: TextIO, text: str) -> str:
    """Text of any number of lines as it is, but on a terminal without characters that act on it."""
    return text.translate(_CONTROL_IN_LINES) if stream.isatty() else text


def counted_noun(number: int, noun: str) -> str:
    """`1 row`, `2 rows`, `15,607 rows`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def size_text(size_bytes: int) -> str:
    """Bytes for people, in powers of 1024."""
    amount, units = float(size_bytes), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return counted_noun(size_bytes, "byte") if units[0] == "bytes" else f"{amount:.1f} {units[0]}"


def colour_on(stream: TextIO) -> bool:
    """Whether `stream` shows colours: it is a terminal, and neither `NO_COLOR` nor a dumb terminal says no."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def error_line(text: str) -> None:
    """Print `error: text` on one line of stderr."""
    label = click.style("error:", fg="red", bold=True) if colour_on(sys.stderr) else "error:"
    click.echo(f"{label} {printable_text(' '.join(text.split()))}", err=True)


def _storing_option(name: str) -> Callable[[click.Context, click.Parameter, object], None]:
    """A callback that stores an option which was given in the state of this run."""

    def callback(context: click.Context, parameter: click.Parameter, value: object) -> None:
        if value:
            setattr(context.ensure_object(State), name, value)

    return callback


AT_HELP: Final = (
    "A version (12), a time (2026-11-27T03:00, UTC unless it has an offset), or an age (90s, 15m, 2h, 3d, 1w)."
)
"""Of every `--at`."""


def global_options(command: Command) -> Command:
    """Decorate a command with `--db`, `--store`, `--token`, `--json` and `--quiet`."""
    for option in (
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            callback=_storing_option("quiet"),
            help="Print data only.",
        ),
        click.option(
            "--json", is_flag=True, expose_value=False, callback=_storing_option("json"), help="Print JSON, errors too."
        ),
        click.option(
            "--store",
            metavar="URL",
            expose_value=False,
            callback=_storing_option("store"),
            help="Where databases live, or the URL of a node. [env: VIRKE_URL, VIRKE_STORE; default: virke.toml, else the "
            "folder .virke]",
        ),
        click.option(
            "--token",
            metavar="TOKEN",
            expose_value=False,
            callback=_storing_option("token"),
            help="The token that a node is shown. [env: VIRKE_TOKEN; default: virke.toml]",
        ),
        click.option(
            "--db",
            metavar="NAME",
            expose_value=False,
            callback=_storing_option("db"),
            help="The database. [env: VIRKE_DB; default: virke.toml]",
        ),
    ):
        command = option(command)
    return command


pass_state = click.make_pass_decorator(State, ensure=True)

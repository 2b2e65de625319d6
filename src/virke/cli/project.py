"""Commands around a project, not a database: `init`, `completion`, and the text of `--version`."""

from __future__ import annotations

import re
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from virke import __version__
from virke.cli.state import State, global_options, pass_state
from virke.config import write_new
from virke.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def version_line() -> str:
    """Virke's version and SQLite's."""
    from virke.engine.sqlite import SQLITE_VERSION

    return f"virke {__version__} (SQLite {SQLITE_VERSION})"


@click.command()
@click.option("--name", metavar="NAME", help="The project; its database is NAME-db. [default: the folder's name]")
@global_options
@pass_state
def init(state: State, name: str | None) -> None:
    """Write a virke.toml into the current folder.

    A file that is there already is never touched.
    """
    folder = Path.cwd()
    if name is None:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.name).strip("-.") or "my-app"
    elif not _NAME.fullmatch(name):
        raise UsageError(f"invalid project name {name!r}: use letters, digits, '_', '-' and '.'")
    path = write_new(folder, name)
    if state.json:
        state.data({"path": str(path), "project": name, "database": f"{name}-db"})
    else:
        state.result(f"wrote {path.name}: project {name}, database {name}-db")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    For bash: eval "$(virke completion bash)"
    """
    found = get_completion_class(shell)
    assert found is not None  # click has all three
    click.echo(found(context.find_root().command, {}, "virke", "_VIRKE_COMPLETE").source())

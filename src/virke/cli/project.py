"""What is about the program itself: `completion`, and the text of `--version`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from virke import __version__


def version_line() -> str:
    """Virke's version and SQLite's."""
    from virke.engine.sqlite import SQLITE_VERSION

    return f"virke {__version__} (SQLite {SQLITE_VERSION})"


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

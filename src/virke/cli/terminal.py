"""What only a terminal needs: progress bars, and how wide a text is drawn.

The only file that imports rich, and only when it draws a bar or meets a character that is not ASCII.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from virke.cli.state import State, printable

Report = Callable[[int, int], None]
"""Called with how much is done and how much there is in all (0: unknown)."""


def cell_width(text: str) -> int:
    """How many columns of a terminal `text` takes: 2 for East Asian wide ones and emoji, 0 for combining ones."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


@contextmanager
def progress(state: State, label: str, *, in_bytes: bool) -> Iterator[Report | None]:
    """A progress bar on stderr while the block runs; None unless stderr is a terminal and neither --quiet nor --json."""
    if state.quiet or state.json or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(label), total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield report

"""What only a terminal needs: progress bars, what goes on for longer than a moment, and how wide a text is drawn.

The only file that imports rich, and only when it draws a bar or meets a character that is not ASCII.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import TYPE_CHECKING, Final

from virke.cli.state import State, printable_text

if TYPE_CHECKING:
    from rich.progress import Progress

A_MOMENT_S: Final = 1.0

Report = Callable[[int, int], None]
"""Called with how much is done and how much there is in all (0: unknown)."""


def cell_width(text: str) -> int:
    """How many columns of a terminal `text` takes: 2 for East Asian wide ones and emoji, 0 for combining ones."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


@contextmanager
def showing_progress(state: State, label: str, *, in_bytes: bool) -> Iterator[Report | None]:
    """A progress bar on stderr while the block runs; None unless stderr is a terminal and neither --quiet nor --json."""
    if not _shows_progress(state):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable_text(label), total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield report


def _shows_progress(state: State) -> bool:
    return not state.quiet and not state.json and sys.stderr.isatty()


class Busy:
    """A line on stderr that says what goes on and since when; drawn when it has gone on for a second."""

    def __init__(self, label: str, *, is_shown: bool) -> None:
        self._label = label
        self._is_shown = is_shown
        self._lock = Lock()
        self._timer: Timer | None = None
        self._bar: Progress | None = None

    def begin(self) -> None:
        """It goes on from now."""
        if self._is_shown:
            self._timer = Timer(A_MOMENT_S, self._draw)
            self._timer.daemon = True
            self._timer.start()

    def end(self) -> None:
        """Nothing of it is left on the terminal."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._bar is not None:
                self._bar.stop()
                self._bar = None

    def say(self, line: Callable[[], None]) -> None:
        """Print what was done so far; what goes on now goes on from now."""
        self.end()
        line()
        self.begin()

    def _draw(self) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        console = Console(stderr=True)
        with self._lock:
            if self._timer is None or self._bar is not None:  # it ended meanwhile, or went on (`say`) and was drawn
                return
            self._bar = Progress(
                *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            self._bar.add_task(printable_text(self._label), total=None)
            [task] = self._bar.tasks
            task.start_time = self._bar.get_time() - A_MOMENT_S
            self._bar.start()


@contextmanager
def showing_busy(state: State, label: str) -> Iterator[Busy]:
    """Say on stderr what goes on, if it takes longer than a second; as `progress`, only on a terminal."""
    shown = Busy(label, is_shown=_shows_progress(state))
    shown.begin()
    try:
        yield shown
    finally:
        shown.end()

"""What goes on for longer than a second is said on a terminal, and leaves nothing there."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from tests.cli.conftest import SEED_TOML, Virke
from tests.cli.test_terminal import on_terminal
from virke.cli import terminal
from virke.cli.state import State
from virke.cli.terminal import showing_busy


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Over:
    """A timer whose time is over as soon as it starts."""

    def __init__(self, interval: float, function: Callable[[], None]) -> None:
        assert interval == 1.0
        self._function = function

    def start(self) -> None:
        self._function()

    def cancel(self) -> None:
        """It was called already."""


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal on which a second is over at once."""
    monkeypatch.setattr(terminal, "Timer", Over)
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_what_goes_on_is_said_and_nothing_is_left(drawn: io.StringIO) -> None:
    """The line is cleared, whether the work ends well or not."""

    def fail() -> None:
        with showing_busy(State(), "Counting \x1b[31mrows"):
            assert "Counting \\x1b[31mrows" in drawn.getvalue()
            raise ZeroDivisionError

    with redirect_stderr(drawn), pytest.raises(ZeroDivisionError):
        fail()
    assert drawn.getvalue().endswith("\x1b[2K")


def test_what_was_done_is_printed_on_a_clear_line(drawn: io.StringIO) -> None:
    with redirect_stderr(drawn), showing_busy(State(), "Migrating") as work:
        work.say(lambda: print("applied 001", file=drawn))
    before, _, after = drawn.getvalue().partition("applied 001\n")
    assert before.endswith("\x1b[2K")
    assert "Migrating" in before
    assert "Migrating" in after


def test_a_timer_that_is_late_draws_nothing_again(drawn: io.StringIO) -> None:
    """What was said may fall between its time and its drawing; the line that is there is the one that is cleared."""
    with redirect_stderr(drawn), showing_busy(State(), "Migrating") as work:
        shown = work._bar
        work._draw()
        assert work._bar is shown
    work._draw()
    assert work._bar is None


@pytest.mark.parametrize("state", [State(quiet=True), State(json=True)])
def test_nothing_is_said_where_it_was_not_wanted(drawn: io.StringIO, state: State) -> None:
    with redirect_stderr(drawn), showing_busy(state, "Counting"):
        pass
    assert drawn.getvalue() == ""


def test_a_file_gets_nothing(drawn: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "isatty", lambda: False)
    with redirect_stderr(drawn), showing_busy(State(), "Counting"):
        pass
    assert drawn.getvalue() == ""


def test_a_quick_command_says_nothing(folder: Path, virke: Virke) -> None:
    (folder / "virke.toml").write_text(SEED_TOML)
    assert virke("db", "create").exit_code == 0
    assert "Looking" not in on_terminal("db", "gc", folder=folder)


@pytest.mark.parametrize(
    ("command", "label"),
    [
        (["status"], "Adding up"),
        (["flush"], "Pushing"),
        (["upkeep", "--all"], "Merging"),
        (["gc"], "Looking for objects"),
        (["versions"], "Reading the history"),
        (["diff", "1"], "Comparing"),
        (["restore", "--at", "1", "--yes"], "Restoring my-app-db"),
        (["query", "SELECT 1"], "Running the statement"),
        (["execute", "CREATE TABLE t (a)"], "Running the statements"),
        (["migrate"], "Migrating"),
        (["list"], "Listing"),
        (["delete", "--yes"], "Deleting my-app-db"),
    ],
)
def test_commands_that_may_take_long_say_what_they_do(
    folder: Path, virke: Virke, monkeypatch: pytest.MonkeyPatch, command: list[str], label: str
) -> None:
    (folder / "virke.toml").write_text(SEED_TOML)
    (folder / "migrations").mkdir()
    assert virke("db", "create").exit_code == 0
    monkeypatch.setattr(terminal, "_shows_progress", lambda _: True)
    monkeypatch.setattr(terminal, "Timer", Over)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the runner's stderr for a terminal
    done = virke("db", *command)
    assert done.exit_code == 0, done.stderr
    assert label in done.stderr
    assert label not in done.stdout

"""What is typed at a terminal: lines with editing, completion and a history that outlives the shell.

The only importer of readline, which not every Python has: without it lines are read plainly.

1. The history is in the user's own folder and no other user can read it: statements hold data.
2. Completion never raises: where the store does not answer, there is nothing to complete.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from virke.cli.shell_commands import COMMANDS
from virke.engine.sqlite import KEYWORDS
from virke.errors import VirkeError

HISTORY_LINES: Final = 2000
_DELIMITERS: Final = " \t\n\"'`(),;=<>+-*/|&~[]"


def history_path() -> Path | None:
    """Where the history is kept; None where no home directory is known."""
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        folder = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return folder / "virke" / "history"


class Typed:
    """A terminal as a source of lines; use it as a context manager."""

    def __init__(self, names: Callable[[], list[str]]) -> None:
        self._names = names
        self._found: list[str] = []
        self._path = history_path()

    def __enter__(self) -> Self:
        with suppress(ImportError):
            import readline

            readline.set_completer(self._complete_word)
            readline.set_completer_delims(_DELIMITERS)
            is_libedit = "libedit" in (readline.__doc__ or "")
            readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
            readline.set_history_length(HISTORY_LINES)
            if self._path is not None:
                with suppress(OSError):
                    readline.read_history_file(self._path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ImportError, OSError):
            import readline

            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600))  # before anything is in it (rule 1)
                readline.write_history_file(self._path)

    def line(self, prompt: str) -> str | None:
        """The next line; None at the end (Ctrl-D). Raises `KeyboardInterrupt`."""
        try:
            return input(prompt)
        except EOFError:
            print()
            return None

    def _complete_word(self, token: str, at: int) -> str | None:
        if at == 0:
            self._found = self.candidates(token)
        return self._found[at] if at < len(self._found) else None

    def candidates(self, token: str) -> list[str]:
        """What `token` may become: a command where it begins with a dot, else a name of the schema or a keyword."""
        if token.startswith("."):
            return [f"{name} " for name in COMMANDS if name.startswith(token)]
        head, dot, tail = token.rpartition(".")
        try:
            names = self._names()
        except VirkeError:
            names = []
        found = [f"{head}{dot}{name}" for name in names if name.lower().startswith(tail.lower())]
        if dot:
            return found
        words = sorted(word for word in KEYWORDS if word.startswith(token.upper()))
        return found + [f"{word.lower() if token.islower() else word} " for word in words if token]

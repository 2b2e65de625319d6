"""Processes that end with the one that started them, and all that they started in turn.

Knows process groups and signals; knows nothing of what runs.

1. A child leads a group of its own: a Ctrl-C of the terminal reaches its parent alone, which ends its children in order.
2. After `stop` nothing of the group is left: it is asked (SIGTERM), and after a while ended (SIGKILL).
3. Where the parent is ended at once (a second Ctrl-C, SIGKILL), a sweeper, which has heard of every group, ends them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Self

from virke.errors import UsageError
from virke.interrupts import holding_signals

STOP_S: Final = 3.0
STDERR: Final = 2


class Children:
    """The children of one parent, as long as the `with` block."""

    def __enter__(self) -> Self:
        if not hasattr(os, "killpg"):
            raise UsageError("virke dev needs process groups, which this system does not have")
        command = [sys.executable, "-P", "-m", "virke.project.sweeper"]
        self._sweeper = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, process_group=0)
        return self

    def __exit__(self, *_: object) -> None:
        with self._sweeper:
            self._told.close()

    @property
    def _told(self) -> IO[str]:
        assert self._sweeper.stdin is not None, "it is a pipe"
        return self._sweeper.stdin

    def start(
        self,
        command: Sequence[str],
        folder: Path,
        environ: Mapping[str, str],
        *,
        heard: bool = False,
        has_data: bool = True,
    ) -> Child:
        """Start a process. With `heard`, what it says on stderr is `child.said`; else it says it where its parent does.

        Without `has_data` what it prints on stdout are words too, and go to stderr: stdout is for data.
        """
        with holding_signals():  # else a signal could fall where the process runs and the sweeper has not heard of it
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=None if has_data else STDERR,
                stderr=subprocess.PIPE if heard else None,
                process_group=0,
                text=True,
                errors="replace",
            )
            self.tell(f"+{process.pid}")
        return Child(process, self)

    def tell(self, line: str) -> None:
        """Tell the sweeper of a group that came or went."""
        with suppress(BrokenPipeError):  # it was ended from outside: then the parent is all there is
            self._told.write(f"{line}\n")
            self._told.flush()


class Child:
    """A process that runs, or has ended."""

    def __init__(self, process: subprocess.Popen[str], children: Children) -> None:
        self._process = process
        self._children = children

    @property
    def said(self) -> IO[str]:
        """Its stderr."""
        assert self._process.stderr is not None, "it is heard"
        return self._process.stderr

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait until it has ended; its exit code."""
        return self._process.wait()

    def stop(self) -> None:
        """End it and all of its group (invariant 2)."""
        self._signal_group(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        self._children.tell(f"-{self._process.pid}")

    def _signal_group(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def ending_words(code: int) -> str:
    """How a process with this exit code ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"

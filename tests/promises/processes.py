"""Processes beside the tests: starting workers, listening to them, and killing them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.promises.ledger import SOURCE

WORKER: Final = str(Path(__file__).with_name("worker.py"))
SILENT_S: Final = 120.0
"""A worker that says nothing for so long hangs."""


def start(work: str, url: str, *arguments: object) -> subprocess.Popen[str]:
    """A worker on the database of the store at `url`."""
    command = [sys.executable, WORKER, work, url, *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": SOURCE}, stdout=subprocess.PIPE, text=True)


def said(workers: list[subprocess.Popen[str]]) -> list[list[str]]:
    """What each worker printed, when all are done and none failed."""
    spoken = [worker.communicate(timeout=600)[0].splitlines() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(workers)
    return spoken


class Heard:
    """A worker whose lines are read as they come; only whole lines count."""

    def __init__(self, worker: subprocess.Popen[str], changed: threading.Condition) -> None:
        self._worker = worker
        self._lines: list[str] = []
        self._ended = False
        self._changed = changed
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._worker.stdout is not None
        for line in self._worker.stdout:
            with self._changed:
                if line.endswith("\n"):
                    self._lines.append(line.strip())
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def lines(self) -> list[str]:
        """What was said so far."""
        with self._changed:
            return list(self._lines)

    def wait_for(self, more: int) -> None:
        """Until it has said that many lines more than now."""
        self.wait_until(lambda lines: len(lines) >= more)

    def wait_until(self, enough: Callable[[list[str]], bool]) -> None:
        """Until what it says from now on is enough."""
        with self._changed:
            first = len(self._lines)
            done = self._changed.wait_for(lambda: enough(self._lines[first:]) or self._ended, SILENT_S)
            assert done, "a worker hangs"
            assert enough(self._lines[first:]), "a worker ended by itself"

    def kill(self, after_s: float = 0.0) -> list[str]:
        """`kill -9`, `after_s` from now; returns all that it said."""
        try:
            self._worker.wait(after_s)
        except subprocess.TimeoutExpired:
            self._worker.kill()
        assert self._worker.wait(60) == -9, "a worker ended by itself"
        self._thread.join(60)
        return self.lines

    def to_the_end(self) -> list[str]:
        """All that it says until it is done, without an error."""
        assert self._worker.wait(600) == 0, "a worker failed"
        self._thread.join(60)
        return self.lines

    def end(self) -> None:
        """Make sure that it is over."""
        self._worker.kill()
        self._worker.wait()
        self._thread.join()
        assert self._worker.stdout is not None
        self._worker.stdout.close()


@contextmanager
def heard(workers: Sequence[subprocess.Popen[str]]) -> Iterator[list[Heard]]:
    """Listen to workers, each of which may be waited for what others say; none outlives the block."""
    changed = threading.Condition()
    ears = [Heard(worker, changed) for worker in workers]
    try:
        yield ears
    finally:
        for ear in ears:
            ear.end()

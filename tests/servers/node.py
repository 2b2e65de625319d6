"""A node as a process of its own, on a free port of this machine."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

START_S = 60


class Node:
    """A running node: its URL, its process, and what it `said` on stderr since it was ready."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self.address = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        self.said: list[str] = []
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(self.process.stderr)

    def stop(self) -> int:
        """End it as an operator does; its exit code."""
        self.process.terminate()
        return self.process.wait(START_S)

    def kill(self) -> None:
        """End it at once, as a loss of power does."""
        self.process.kill()
        self.process.wait(START_S)

    def close(self) -> None:
        """Make sure that it is over, and that all it said is heard."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._listening.join(START_S)
        assert self.process.stderr is not None
        self.process.stderr.close()


def start(store: str, folder: Path, *options: str) -> Node:
    """A node on a store, started in `folder`, that is ready. Raises `AssertionError` with what it said instead."""
    command = [sys.executable, "-m", "virke", "serve", "--port", "0", "--store", store, *options]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    if " serves http" not in line:
        with process.stderr:
            said = line + process.stderr.read()
        process.wait()
        raise AssertionError(said)
    return Node(process, line.split()[-1])


@contextmanager
def node(store: str, folder: Path, *options: str) -> Iterator[Node]:
    """A node on a store as long as the block. Raises as `start`."""
    running = start(store, folder, *options)
    try:
        yield running
    finally:
        running.close()

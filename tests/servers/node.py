"""A node as a process of its own, on a free port of this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

START_S = 60


class Node:
    """A running node: its URL, and its process."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self.address = (urlsplit(url).hostname or "", urlsplit(url).port or 0)

    def stop(self) -> int:
        """End it as an operator does; its exit code."""
        self.process.terminate()
        return self.process.wait(START_S)


@contextmanager
def node(store: str, folder: Path, *options: str) -> Iterator[Node]:
    """A node on a store, started in `folder`."""
    command = [sys.executable, "-m", "virke", "serve", "--port", "0", "--store", store, *options]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert " serves http" in line, line + process.stderr.read()
        yield Node(process, line.split()[-1])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()

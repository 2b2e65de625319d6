"""How the demo runs a command, in front or in the background, and sends requests.

What a command says is shown when the demo waits for it, so that the story reads in its order.
"""

from __future__ import annotations

import json
import queue
import shlex
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

WAIT_S: Final = 60


class DemoFailed(Exception):
    """A step did not do what it must do."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The `virke` command, the folder that the demo plays in, and its environment."""

    virke: str
    folder: Path
    environ: Mapping[str, str]

    def run(self, *args: str, inside: Path | None = None, expected: int = 0) -> None:
        """Run `virke` and show it. Raises `DemoFailed`: its exit code is another than expected."""
        line = " ".join(["virke", *map(_quoted, args)])
        print(f"$ {f'cd {inside.name} && ' if inside else ''}{line}", flush=True)
        done = subprocess.run(
            [self.virke, *args],
            cwd=inside or self.folder,
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if expected:
            print(f"(exit code {done.returncode})", flush=True)
        if done.returncode != expected:
            raise DemoFailed(f"{line}: exit code {done.returncode}, not {expected}")


def _quoted(argument: str) -> str:
    """`argument` as a person would write it in a shell: in double quotes where that says the same."""
    quoted = shlex.quote(argument)
    return quoted if quoted == argument or any(mark in argument for mark in '"$`\\!') else f'"{argument}"'


class Background:
    """A command that runs as long as the `with` block; it must end with exit code 0 when it is asked to."""

    def __init__(self, command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None, "it is a pipe"
        for line in self._process.stdout:
            self._lines.put(line.rstrip())
        self._lines.put(None)

    def wait_for(self, words: str) -> str:
        """Show what it says up to a line with these words, which is returned. Raises `DemoFailed` if that never comes."""
        while True:
            try:
                line = self._lines.get(timeout=WAIT_S)
            except queue.Empty:
                line = None
            if line is None:
                raise DemoFailed(f"{words!r} was expected, and did not come")
            print(f"  {line}", flush=True)
            if words in line:
                return line

    def __enter__(self) -> Background:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._listening.join(WAIT_S)
        assert self._process.stdout is not None, "it is a pipe"
        self._process.stdout.close()
        if code and kind is None:
            raise DemoFailed(f"it ended with exit code {code}, not 0")


def curl(url: str, body: object = None, *, expected: int) -> None:
    """Send a request, shown as curl would be called, and show the answer. Raises `DemoFailed`: its status is another."""
    data = None if body is None else json.dumps(body)
    print(" ".join(["$ curl", *([f"-d '{data}'"] if data else []), url]), flush=True)
    try:
        with urlopen(
            Request(url, data.encode() if data else None, {"content-type": "application/json"}), timeout=WAIT_S
        ) as answer:
            status, said = answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            status, said = error.code, error.read().decode()
    print(said.rstrip(), flush=True)
    if status != expected:
        raise DemoFailed(f"{url}: HTTP {status}, not {expected}")

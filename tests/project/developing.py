"""`virke dev` as a process: what it says, what its app answers, and which processes belong to it."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, Request, build_opener

from tests.servers.running import free_ports

WAIT_S: Final = 120


class Dev:
    """A running `virke dev`, and one visitor of its app; `said` is all that it and its app have said so far."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self._port = port
        self.url = f"http://127.0.0.1:{port}"
        self.said: list[str] = []
        self._browser = build_opener(HTTPCookieProcessor())
        self._bookmark: dict[str, str] = {}
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, words: str) -> str:
        """The next line that has these words. Raises `AssertionError` with all that was said, if it never comes."""
        while True:
            try:
                line = self._lines.get(timeout=WAIT_S)
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"{words!r} was not said, but:\n{''.join(self.said)}")
            self.said.append(line)
            if words in line:
                return line

    def wait_until_it_listens(self) -> None:
        """Until the app takes connections: its URL is shown after some seconds, whether it does or not."""
        deadline_s = time.monotonic() + WAIT_S
        while True:
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            assert self.process.poll() is None, "it has ended"
            assert time.monotonic() < deadline_s, "the app does not listen"
            time.sleep(0.05)

    def ask(self, path: str, body: object = None) -> tuple[int, Any]:
        """What the app answers; the bookmark of a write goes with what is asked next, as a browser or a client does it."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data, {"content-type": "application/json"} | self._bookmark)
        try:
            with self._browser.open(request, timeout=WAIT_S) as answer:
                if newest := answer.headers.get("virke-bookmark"):
                    self._bookmark = {"virke-bookmark": newest}
                return answer.status, json.loads(answer.read())
        except HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def family(self) -> set[int]:
        """The processes that it started, and those that they started."""
        said = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        parents = {int(pid): int(parent) for pid, parent in (line.split() for line in said.splitlines())}
        found, grown = {self.process.pid}, True
        while grown:
            more = {pid for pid, parent in parents.items() if parent in found} - found
            found |= more
            grown = bool(more)
        return found - {self.process.pid}

    def end(self, number: int = signal.SIGINT) -> int:
        """End it by a signal; its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(WAIT_S)
        self._listening.join(WAIT_S)
        while (line := self._lines.get()) is not None:
            self.said.append(line)
        return code


def alive(processes: set[int]) -> set[int]:
    """Those that still run; one that nobody has waited for does not."""
    command = ["ps", "-o", "pid=,stat=", "-p", ",".join(map(str, processes))]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return {int(line.split()[0]) for line in said.splitlines() if not line.split()[1].startswith("Z")}


@contextmanager
def developing(folder: Path, *options: str, **variables: str) -> Iterator[Dev]:
    """`virke dev` in a folder, on a free port, as long as the block."""
    [port] = free_ports(1)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("VIRKE")}
    process = subprocess.Popen(
        [sys.executable, "-m", "virke", "dev", "--port", str(port), *options],
        cwd=folder,
        env=environ | {"HOME": str(folder)} | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    dev = Dev(process, port)
    try:
        yield dev
    finally:
        if process.poll() is None:
            dev.end(signal.SIGTERM)
        assert process.stdout is not None
        process.stdout.close()

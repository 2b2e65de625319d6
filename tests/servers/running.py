"""Starting a server as a process of its own, waiting until it answers, and stopping it by its process id."""

from __future__ import annotations

import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
START_S: Final = 60.0
TRIES: Final = 3


def script(name: str) -> str:
    """The path of a command that came with a package of this environment."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment; another process may take one before it is used."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def accepts(port: int) -> bool:
    """Whether somebody listens on `port`."""
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex((HOST, port)) == 0


Command = Callable[[list[int], Path], Sequence[str]]


@contextmanager
def running(
    command: Command, ports: int, *, ready: Callable[[list[int]], bool], environ: Mapping[str, str] | None = None
) -> Iterator[list[int]]:
    """A server that was given `ports` free ports and an empty folder; yields the ports once it is `ready`.

    Raises:
        RuntimeError: it did not start; the end of what it printed is in the message.
    """
    with tempfile.TemporaryDirectory(prefix="virke-server-", ignore_cleanup_errors=True) as name:
        folder, said = Path(name), ""
        for _ in range(TRIES):
            chosen = free_ports(ports)
            with (folder / "log").open("wb") as log:
                process = subprocess.Popen(
                    command(chosen, folder),
                    stdout=log,
                    stderr=log,
                    cwd=folder,
                    env=None if environ is None else {**environ},
                )
            try:
                if _came_up(process, ready, chosen):
                    yield chosen
                    return
                said = (folder / "log").read_text("utf-8", "replace")[-2000:]
            finally:
                process.kill()  # what it stores is thrown away with its folder
                process.wait()
        raise RuntimeError(f"the server did not start: {said}")


def _came_up(process: subprocess.Popen[bytes], ready: Callable[[list[int]], bool], ports: list[int]) -> bool:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        if ready(ports):
            return process.poll() is None  # else somebody else answers on its port
        time.sleep(0.05)
    return False

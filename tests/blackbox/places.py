"""The five places where a database can be, each from nothing: where clients connect to, and what can be killed there."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import pytest

from tests.edge.component import VARIABLE, component
from tests.promises.ledger import SOURCE
from tests.promises.places import be_a_client
from tests.servers.node import start
from tests.servers.running import free_ports
from tests.servers.s3 import seaweedfs
from tests.servers.valkey import valkey
from virke.project.edge_server import READY, Served

NODES: Final = 2


class Server(Protocol):
    """A process that answers clients."""

    def kill(self) -> None:
        """End it at once."""

    def close(self) -> None:
        """Make sure that it is over."""


def prepare(place: str, home: Path, environ: pytest.MonkeyPatch) -> None:
    """An environment of its own for a run; the edge's component is built before, and kept in the user's cache."""
    program = component() if place == "edge" else None
    be_a_client(home, environ)
    if program is not None:
        environ.setenv(VARIABLE, str(program))


@dataclass
class Place:
    """Where clients connect to, the store below, and the processes that serve, with how each is started again."""

    store: str
    addresses: tuple[str, ...]
    servers: list[Server] = field(default_factory=list)
    starts: tuple[Callable[[], Server], ...] = ()

    def replace(self, number: int) -> None:
        """Kill a server, and start it again at its address."""
        self.servers[number].kill()
        self.servers[number].close()
        self.servers[number] = self.starts[number]()

    def close(self) -> None:
        """End all servers."""
        for server in self.servers:
            server.close()


@contextmanager
def local(folder: Path) -> Iterator[Place]:
    """A folder, in which each client embeds the engine."""
    url = f"local:{folder / 'store'}"
    yield Place(url, (url,))


@contextmanager
def object_store(folder: Path) -> Iterator[Place]:
    """SeaweedFS, likewise."""
    with seaweedfs() as server:
        url = server.url(f"blackbox/{secrets.token_hex(8)}")
        yield Place(url, (url,))


@contextmanager
def key_value_store(folder: Path) -> Iterator[Place]:
    """Valkey, likewise."""
    with valkey() as server:
        url = server.url(f"blackbox/{secrets.token_hex(8)}")
        yield Place(url, (url,))


def _served(place: Place) -> Iterator[Place]:
    try:
        place.servers.extend(begin() for begin in place.starts)
        yield place
    finally:
        place.close()


@contextmanager
def node(folder: Path) -> Iterator[Place]:
    """Two nodes on one store, which clients ask over HTTP."""
    store = f"local:{folder / 'store'}"
    ports = free_ports(NODES)
    starts = tuple(_starts_node(store, folder, port) for port in ports)
    yield from _served(Place(store, tuple(f"http://127.0.0.1:{port}" for port in ports), starts=starts))


def _starts_node(store: str, folder: Path, port: int) -> Callable[[], Server]:
    return lambda: start(store, folder, "--port", str(port))


class EdgeServer:
    """The edge's host in a process of its own, as `virke dev --edge` starts it."""

    def __init__(self, served: Served, folder: Path) -> None:
        command = [sys.executable, "-m", "virke.project.edge_server", served.text]
        environment = os.environ | {"PYTHONPATH": SOURCE}
        self._process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, env=environment)
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert line.startswith(READY), line

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Make sure that it is over."""
        self.kill()
        assert self._process.stderr is not None
        self._process.stderr.close()


@contextmanager
def edge_host(folder: Path) -> Iterator[Place]:
    """The component on its host, over a folder; clients ask it over HTTP."""
    store = f"local:{folder / 'store'}"
    [port] = free_ports(1)
    program = str(component())
    yield from _served(
        Place(store, (f"http://127.0.0.1:{port}",), starts=(lambda: EdgeServer(Served(program, store, port), folder),))
    )


PLACES: Final[dict[str, Callable[[Path], AbstractContextManager[Place]]]] = {
    "local": local,
    "seaweedfs": object_store,
    "valkey": key_value_store,
    "node": node,
    "edge": edge_host,
}

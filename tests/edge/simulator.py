"""Fastly's own simulator, Viceroy, for tests: one process, and in it an empty KV store for each test.

A component takes long to be compiled there, and what is in a KV store can't be changed from outside. So the process has many stores,
the Config Store is a file that the simulator reads each time it is opened, and its item `kv` names the store of the test. For
that no sandbox may live on: the component begins with an entry that answers one request. Its clock of the processor stands still,
because that of the simulator goes on while this machine does something else; what it limits is tested on our own host.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.edge.component import component, why_not
from virke.edge.building.component import ENTRY
from virke.errors import UsageError
from virke.project.children import Children
from virke.project.dev import free_port
from virke.project.viceroy import LINK, Simulation, find_viceroy

STORES: Final = 1000
WAIT_S: Final = 60
STILL: Final = """
from wit_world.imports import compute_runtime

compute_runtime.get_vcpu_ms = lambda: 0
"""
"""For the beginning of an entry."""
ENTRY_TEXT: Final = f"""{STILL}
from virke.edge.guest import main

main.LIFE_S = 0.0
HttpIncoming = main.HttpIncoming
"""
HOW: Final = "python -m tests.edge.install_viceroy builds it"


def why_no_simulator() -> str | None:
    """In one line, why nothing runs on the simulator; None if it does."""
    if reason := why_not():
        return reason
    try:
        find_viceroy()
    except UsageError as error:
        return f"not run on Viceroy: {error.message} ({HOW})"
    return None


@dataclass(frozen=True, slots=True)
class Heard:
    """A response, as a client of HTTP has it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(port: int, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Heard:
    """One request on a connection of its own. Raises `http.client.IncompleteRead`: the response broke off."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    try:
        connection.putrequest(method, target, skip_host="host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body or method not in ("GET", "HEAD"):
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return Heard(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


class Simulator:
    """A process that serves, with the store of the test that runs."""

    def __init__(self, port: int, config: Path) -> None:
        self.port = port
        self._config = config
        self._stores = iter(range(STORES))

    def begin(self) -> None:
        """From now on everything is in a KV store where nothing is yet."""
        new = self._config.with_suffix(".new")
        new.write_text(json.dumps({"open": "yes", "kv": f"of-test-{next(self._stores)}"}), encoding="utf-8")
        os.replace(new, self._config)


@contextmanager
def simulator(folder: Path) -> Iterator[Simulator]:
    """A process over the component of the HTTP API."""
    program = component({f"{ENTRY}.py": ENTRY_TEXT.encode()})
    config, manifest = folder / "config.json", folder / "viceroy.toml"
    port = free_port(0)
    served = Simulator(port, config)
    served.begin()
    lines = ["manifest_version = 3", 'name = "tests"', 'language = "other"', f"[local_server.config_stores.{LINK}]"]
    lines += ['format = "json"', f"file = {json.dumps(str(config))}", "[local_server.kv_stores]"]
    lines += [f"of-test-{number} = []" for number in range(STORES)]
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with Children() as children:
        simulation = Simulation(program, manifest, port, children=children)
        try:
            yield served
        finally:
            simulation.stop()

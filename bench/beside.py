"""Servers side by side, as processes of this machine: a node, a real sqld, and our HTTP server answering a constant.

What a request costs a server is its CPU (user and system, all threads) over the requests; a machine that is shared with
other work changes that little, and rates a lot.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final
from urllib.request import Request, urlopen

from bench import load
from bench.load import USERS, Load
from tests.servers.sqld import binary, sqld

_TICKS: Final = os.sysconf("SC_CLK_TCK")
NO_SQLD: Final = "no sqld: `python -m tests.clients.install` brings one"


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: where, and the process that it is."""

    name: str
    url: str
    pid: int

    def cpu_s(self) -> float:
        """The CPU that it has taken so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def ask(self, *sql: str) -> None:
        """Run statements, one after the other."""
        body = json.dumps({"requests": [load.execute(one) for one in sql]}).encode()
        with urlopen(Request(f"{self.url}/v2/pipeline", body, {"content-type": "application/json"})) as answered:
            found = json.loads(answered.read())
        if wrong := [one for one in found["results"] if one["type"] != "ok"]:
            raise RuntimeError(f"{self.name} answered {wrong}")

    def fill(self) -> None:
        """Make the tables that `bench.load` asks for."""
        self.ask(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, email TEXT)",
            "CREATE TABLE log (id INTEGER PRIMARY KEY, who INTEGER, what TEXT)",
            f"WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < {USERS}) "
            "INSERT INTO users SELECT v, 'user number ' || v, 'user' || v || '@example.com' FROM n",
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """Load on a server, and what it cost."""

    load: Load
    cpu_us: float


def measure(server: Served, kind: str, clients: int, seconds: float) -> Measured:
    """Put load on one server; the CPU is of one request."""
    before = server.cpu_s()
    found = load.put(server.url, kind, clients, seconds)
    return Measured(found, (server.cpu_s() - before) * 1e6 / max(1, found.done))


def in_turns(servers: Sequence[Served], kind: str, clients: int, *, seconds: float, rounds: int) -> dict[str, Measured]:
    """The same load on each server, in turns; of the rounds the one with the median rate, and the median CPU."""
    found: dict[str, list[Measured]] = {server.name: [] for server in servers}
    for _ in range(rounds):
        for server in servers:
            found[server.name].append(measure(server, kind, clients, seconds))
    return {name: typical(measured) for name, measured in found.items()}


def typical(measured: Sequence[Measured]) -> Measured:
    """Of the rounds in which the server answered at all the load with the median rate, and the median CPU.

    Under many writers sqld stops answering after some rounds; what it did before is what counts for it.
    """
    answered = [one for one in measured if one.load.rate] or measured
    ordered = sorted(answered, key=lambda one: one.load.rate)
    return Measured(ordered[len(ordered) // 2].load, median(one.cpu_us for one in answered))


@contextmanager
def a_node(store: str | None = None) -> Iterator[Served]:
    """A node on a store (None: a local one), filled."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="virke-bench-"))
        store = store or f"local:{folder}/store"
        virke = [sys.executable, "-m", "virke"]
        subprocess.run(
            [*virke, "db", "create", "bench", "--store", store], check=True, cwd=folder, stdout=subprocess.DEVNULL
        )
        command = [*virke, "serve", "--port", "0", "--store", store, "--db", "bench"]
        served = stack.enter_context(_ready("node", command, folder))
        served.fill()
        yield served


@contextmanager
def a_sqld() -> Iterator[Served]:
    """A real sqld, filled. Raises `RuntimeError`: there is none here."""
    program = binary()
    if program is None:
        raise RuntimeError(NO_SQLD)
    with sqld(program) as (url, process):
        served = Served("sqld", url, process.pid)
        served.fill()
        yield served


@contextmanager
def a_constant() -> Iterator[Served]:
    """Our HTTP server with an application that answers a constant: what a request costs before it is understood."""
    with _ready("constant", [sys.executable, "-m", "bench.constant"], None) as served:
        yield served


@contextmanager
def _ready(name: str, command: list[str], folder: str | None) -> Iterator[Served]:
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            if " serves http" not in line:
                raise RuntimeError(line + process.stderr.read())
            yield Served(name, line.split()[-1], process.pid)
        finally:
            process.terminate()

"""Programs on real servers: each a process of its own in a folder, on a port that it is given."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import virke
from tests.servers.running import accepts, free_ports
from virke.migrations import migrate

START_S: Final = 60.0
STOP_S: Final = 30.0
DB: Final = "my-app-db"
EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"
PYTHON: Final = sys.executable
CLEAN: Final = {name: value for name, value in os.environ.items() if not name.startswith("VIRKE_")}

_GUNICORN: Final = ("-m", "gunicorn", "{module}:{app}", "--bind", "127.0.0.1:{port}", "--no-control-socket")
SERVERS: Final[Mapping[str, Sequence[str]]] = {
    "fire": ("{module}.py",),
    "uvicorn": ("-m", "uvicorn", "{module}:{app}", "--host", "127.0.0.1", "--port", "{port}"),
    "hypercorn": ("-m", "hypercorn", "{module}:{app}", "--bind", "127.0.0.1:{port}"),
    "gunicorn asgi": (*_GUNICORN, "--worker-class", "asgi", "--workers", "2"),
    "gunicorn threads": (*_GUNICORN, "--threads", "8"),
    "gunicorn processes": (*_GUNICORN, "--workers", "3"),
    "gunicorn preload": (*_GUNICORN, "--workers", "2", "--preload"),
}
"""Commands after Python's own name."""


@dataclass
class Answer:
    """What a program answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """Its body, read as JSON."""
        return json.loads(self.body)

    @property
    def bookmark(self) -> str | None:
        """The bookmark in its cookie; None if it sets none."""
        cookies = [one for one in self.headers.get_all("set-cookie") or () if one.startswith("virke_bookmark=")]
        return cookies[0].split(";")[0].partition("=")[2] if cookies else None


@dataclass
class Visitor:
    """A browser: one connection, and the cookies that it was given."""

    port: int
    cookie: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """One request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {**self.headers, **headers}
        if self.cookie is not None:
            sent["cookie"] = f"other=1; virke_bookmark={self.cookie}"
        if body is not None:
            sent["content-type"] = "application/json"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        finally:
            connection.close()
        self.cookie = answer.bookmark or self.cookie
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        """A request that reads."""
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: object, **headers: str) -> Answer:
        """A request that writes."""
        return self.ask("POST", path, body, **headers)


@contextmanager
def program(
    folder: Path, server: str, *, module: str = "app", app: str = "app", environ: Mapping[str, str] | None = None
) -> Iterator[int]:
    """The port of a program on a server, as long as the block. Raises `AssertionError` with what it said instead."""
    (port,) = free_ports(1)
    command = [PYTHON, *(part.format(module=module, app=app, port=port) for part in SERVERS[server])]
    log = folder / f"log-{port}"
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, cwd=folder, stdout=said, stderr=said, env={**CLEAN, **(environ or {}), "PORT": str(port)}
        )
    try:
        _wait_until_it_answers(process, port, log)
        yield port
    finally:
        process.terminate()
        process.wait(STOP_S)


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not accepts(port):
        assert process.poll() is None, f"it ended: {log.read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"it does not listen: {log.read_text()[-3000:]}"
        time.sleep(0.05)


def example(name: str, folder: Path) -> Path:
    """A copy of an example, in a folder of its own."""
    return Path(shutil.copytree(EXAMPLES / name, folder / name))


def deployed(folder: Path, where: str, name: str = DB) -> None:
    """Make the database of a program, with the tables of its migrations."""
    with virke.connect(name, where, create=True) as database:
        migrate(database, folder / "migrations")


def has_closed(port: int) -> bool:
    """Whether nobody listens any more."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0

"""Requests that are answered while the component is built, so that a new sandbox has done all of it before.

What Python and SQLite make when something runs for the first time (caches in the bytecode, of types and of patterns,
SQLite's own start) is in the image, where it costs a request nothing.

Knows a stage instead of a host, and requests like those that come; knows none that came.

1. Nothing that was drawn here decides anything later: every sandbox would draw the same. SQLite forgets its state, ids and
   names come from the system each time, and what the requests share is made again by each of them.
2. A request that is not answered as it should be ends the build.
"""

from __future__ import annotations

import json
from typing import Any, Final

from virke.edge.guest.api import Served
from virke.edge.guest.configuration import read_configuration
from virke.edge.guest.http import Arrived, send_response
from virke.edge.guest.service import Service
from virke.edge.guest.stage import Asked, Body, Stage, play_on_stage
from virke.edge.guest.store import open_store
from virke.engine.catalog import make_database
from virke.engine.environment import Environment
from virke.engine.sqlite import forget_randomness
from virke.scopes import Scope
from virke.tokens.keeping import create as create_token

ACTS: Final = 4
"""How often each is done: CPython specialises what has run a few times."""
NAME: Final = "rehearsal"
PAGE_SIZE: Final = 4096
OBJECTS: Final = {"backend": "objects", "host": "objects.example", "bucket": "rehearsal", "region": "us-east"}
SECRETS: Final = {"objects_key_id": "rehearsal", "objects_secret": "rehearsal"}
SCHEMA: Final = (
    "CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, words TEXT, amount INTEGER NOT NULL DEFAULT 0)",
    "CREATE INDEX thing_amount ON thing (amount)",
)
FILL: Final = """
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
INSERT INTO thing (id, name, words, amount) SELECT n, 'name ' || n, hex(n * n) || ' some words ' || n, n % 97 FROM number
"""
ROWS: Final = 2000
SELECT: Final = "SELECT name, words, amount FROM thing WHERE id = ?"
INSERT: Final = "INSERT INTO thing (name, words, amount) VALUES (?, ?, ?)"
UPDATE: Final = "UPDATE thing SET amount = amount + 1 WHERE id = ?"


def rehearse_requests() -> None:
    """All of it."""
    _play_stage(Stage({}))
    _play_stage(Stage({"objects": json.dumps(OBJECTS), **SECRETS}))
    forget_randomness()


def _play_stage(stage: Stage) -> None:
    with play_on_stage(stage):
        token = _prepared_token()
        first = Sandbox(stage, token)
        first.run("batch", {"statements": list(SCHEMA)})
        first.run("execute", {"sql": FILL, "params": [ROWS]})
        first.end()
        for act in range(ACTS):
            _play_act(stage, token, act)


def _prepared_token() -> str:
    """A token for a database, which is empty."""
    environment = Environment()
    opened = open_store(read_configuration(), environment)
    make_database(opened.store, NAME, environment, if_not_exists=False, page_size=PAGE_SIZE)
    return create_token(opened.store, ["*"], Scope.ADMIN, environment=environment)[0]


def _play_act(stage: Stage, token: str, act: int) -> None:
    """What new sandboxes are asked, and what they are asked next."""
    row = ROWS * act // ACTS + 1
    reading = Sandbox(stage, token)
    reading.run("query", {"sql": SELECT, "params": [row]})
    reading.run("query", {"sql": SELECT, "params": [row]})
    reading.end()
    writing = Sandbox(stage, token)
    writing.run("execute", {"sql": INSERT, "params": [f"new {act}", "some words " * 30, act]})
    writing.run("execute", {"sql": UPDATE, "params": [row]})
    writing.run("batch", {"statements": [{"sql": UPDATE, "params": [row]}, {"sql": SELECT, "params": [row]}]})
    writing.end()


class Sandbox:
    """What one sandbox would answer."""

    def __init__(self, stage: Stage, token: str) -> None:
        self._stage = stage
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._service = Service()

    def run(self, what: str, sent: dict[str, Any]) -> None:
        """One request to the database."""
        request = Asked("POST", f"/db/{NAME}/{what}", self._headers)
        served = Served()
        with request:
            arrived: Any = Arrived(request, Body(json.dumps(sent).encode()))  # type: ignore[arg-type]
            send_response(self._service.respond(arrived, served))
        self._service.after(served)
        assert self._stage.status == 200, self._stage.answer

    def end(self) -> None:
        """Nothing of it stays open."""
        self._service.parts.databases.forget_all()

"""Several nodes on one store, each a process that may be killed and started again, and clients that speak HTTP to them.

A client goes on at another node when its own is gone; a stream stays at the node where it began, as its baton does.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from tests.promises.ledger import NAME
from tests.servers.node import Node, start
from virke.opening import connect

ANSWER_S: Final = 60.0
"""A node that says nothing for so long hangs."""
NONE: Final[Mapping[str, str]] = MappingProxyType({})


class NotSent(Exception):
    """No connection: the request can't have arrived."""


class AnswerLost(Exception):
    """The connection ended before the answer was there: whether the request was carried out is not known."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: its status, its decoded body, and its bookmark, "" if it has none."""

    status: int
    body: Any
    bookmark: str = ""
    is_stale: bool = False

    @property
    def code(self) -> str:
        """The code of the error, "" for a success."""
        return str(self.body["error"]["code"]) if self.status >= 400 else ""


class Nodes:
    """The nodes of a test. `said` is what those that are over by now said."""

    def __init__(self, store: str, folder: Path, count: int, *options: str) -> None:
        self._start: Callable[[], Node] = partial(start, store, folder, *options)
        self.said: list[str] = []
        with ThreadPoolExecutor(count) as pool:
            self.running: list[Node] = list(pool.map(lambda _: self._start(), range(count)))

    def address(self, number: int) -> tuple[str, int]:
        """Where a node listens, or did when it was killed."""
        return self.running[number].address

    def kill(self, number: int) -> None:
        """End a node at once."""
        self.running[number].kill()

    def replace(self, number: int) -> None:
        """Kill a node, and start it again, on another port."""
        self.kill(number)
        old = self.running[number]
        old.close()
        self.said += old.said
        self.running[number] = self._start()

    def close(self) -> None:
        """End all."""
        for node in self.running:
            node.close()
            self.said += node.said

    def check_silent(self) -> None:
        """No node logged a fault of its own; that a worker was started again may be said."""
        said = [line for node in self.running for line in node.said] + self.said
        assert [line for line in said if "started again" not in line] == []


@contextmanager
def nodes(store: str, folder: Path, count: int, *options: str) -> Iterator[Nodes]:
    """So many nodes as long as the block."""
    those = Nodes(store, folder, count, *options)
    try:
        yield those
    finally:
        those.close()


class Client:
    """One client: a connection that stays, to one node at a time. Made for one thread."""

    def __init__(self, those: Nodes, at: int, *, token: str = "") -> None:
        self._nodes = those
        self.at = at
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection: http.client.HTTPConnection | None = None
        self._address = ("", 0)

    def go_to(self, at: int) -> None:
        """From now on ask this node."""
        self.close()
        self.at = at

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] = NONE) -> Answered:
        """One request. Raises `NotSent`, `AnswerLost`."""
        connection = self._connected()
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {**self._headers, **headers})
            answer = connection.getresponse()
            found = json.loads(answer.read() or b"null")
            return Answered(
                answer.status, found, answer.headers.get("Virke-Bookmark", ""), "Virke-Stale" in answer.headers
            )
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise AnswerLost(str(error)) from error

    def execute(self, sql: str, *params: object, headers: Mapping[str, str] = NONE) -> Answered:
        """One statement over our own routes. Raises as `ask`."""
        return self.ask("POST", f"/db/{NAME}/execute", {"sql": sql, "params": list(params)}, headers)

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None or self._nodes.address(self.at) != self._address:
            self.close()
            self._address = self._nodes.address(self.at)
            connection = http.client.HTTPConnection(*self._address, timeout=ANSWER_S)
            try:
                connection.connect()
            except OSError as error:
                raise NotSent(str(error)) from error
            self._connection = connection
        return self._connection

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class StreamError(Exception):
    """A request of a stream was answered with an error: its code."""

    def __init__(self, error: Mapping[str, str]) -> None:
        super().__init__(f"{error.get('code')}: {error.get('message')}")
        self.code = str(error.get("code"))


class Stream:
    """A stream of Hrana's over HTTP: it stays with the node that it began on, and its baton with it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._baton: str | None = None

    def run(self, *statements: str | tuple[str, Sequence[int | str]], closes: bool = False) -> list[list[list[Any]]]:
        """The rows of each statement, all sent as one pipeline; what follows an error was sent as well.

        Raises:
            StreamError: the first one. NotSent, AnswerLost: as `Client.ask`.
        """
        asked: list[dict[str, object]] = [{"type": "execute", "stmt": _statement(one)} for one in statements]
        asked += [{"type": "close"}] if closes else []
        answer = self._client.ask("POST", f"/db/{NAME}/v3/pipeline", {"baton": self._baton, "requests": asked})
        if answer.status != 200:
            raise StreamError({"code": str(answer.status), "message": str(answer.body), **answer.body})
        self._baton = answer.body["baton"]
        for result in answer.body["results"]:
            if result["type"] == "error":
                raise StreamError(result["error"])
        results = [one["response"].get("result") for one in answer.body["results"]]
        return [[[_value(cell) for cell in row] for row in found["rows"]] for found in results if found]

    def close(self) -> None:
        """End it, and what is open on it."""
        if self._baton is not None:
            self.run(closes=True)


def _statement(given: str | tuple[str, Sequence[int | str]]) -> dict[str, object]:
    sql, values = (given, ()) if isinstance(given, str) else given
    kinds = {int: "integer", str: "text"}
    return {"sql": sql, "args": [{"type": kinds[type(value)], "value": str(value)} for value in values]}


def _value(cell: Mapping[str, Any]) -> Any:
    return int(cell["value"]) if cell["type"] == "integer" else cell.get("value")


class Mishaps:
    """Lets something happen every `every_s` seconds, with a number at random, until it is stopped."""

    def __init__(self, happen: Callable[[int], None], count: int, *, every_s: float, seed: int) -> None:
        self._happen = happen
        self._count = count
        self._every_s = every_s
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._error: BaseException | None = None
        self.happened = 0
        self._thread = threading.Thread(target=self._go)

    def __enter__(self) -> Mishaps:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _go(self) -> None:
        try:
            while not self._over.wait(self._every_s):
                self._happen(self._random.randrange(self._count))
                self.happened += 1
        except BaseException as error:
            self._error = error


def begun(store: str, *statements: str, **settings: str | int) -> None:
    """Make the database of a test, with these statements run in it."""
    with connect(NAME, store, create=True, background=False) as database:
        database.batch(list(statements))
        if settings:
            database.change_settings(settings)

"""One run: clients on a place, deaths among them and among what serves them, and what the checker says of it.

    python -m tests.blackbox [PLACE …] [--seconds N] [--seed N]

1. Writers and readers are processes; each that is killed is followed by another, under a new name.
2. Who is killed, and when, comes of the seed, which is printed: a client, or where there are servers one of these.
3. At the end all are killed in the middle of what they do. Then the store is read without any of them.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.blackbox.client import DATABASE, TABLES
from tests.blackbox.history import OPEN, SESSION, STRONG, Counts, History, Read, Write
from tests.blackbox.places import PLACES, Place
from tests.promises.ledger import SOURCE, check_integrity, check_store
from virke.core.settings import Settings
from virke.engine.database import Database
from virke.opening import connect, open_store

CLIENT: Final = str(Path(__file__).with_name("client.py"))
WORKS: Final = ("write", "write", "write", STRONG, SESSION)
DEATH_EVERY_S: Final = 1.0
SILENT_S: Final = 60.0
ENOUGH: Final = 12
Sabotage = Callable[[Database], object]


class Client:
    """A client's process, and its lines."""

    def __init__(self, work: str, name: str, where: str) -> None:
        self.work, self.name, self.where = work, name, where
        command = [sys.executable, CLIENT, work, name, where]
        environment = os.environ | {"PYTHONPATH": SOURCE}
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        self._lines.extend(self._process.stdout)

    def begins(self) -> None:
        """Until it has said enough: it is at work, and some writes were answered."""
        deadline = time.monotonic() + SILENT_S
        while len(self._lines) < ENOUGH and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self._lines) >= ENOUGH, f"{self.work} of {self.where} says nothing"

    def kill(self) -> list[list[str]]:
        """`kill -9`; the words of all whole lines that it said. Raises `AssertionError`: it had ended by itself."""
        self._process.kill()
        code = self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        assert code == -9, f"{self.work} of {self.where} ended by itself: {self._lines[-1:]}"
        return [line.split(maxsplit=3) for line in self._lines if line.endswith("\n")]


@dataclass
class Outcome:
    """What a run came to."""

    place: str
    seed: int
    history: History
    deaths: int
    faults: list[str]

    def __str__(self) -> str:
        outcomes = [write.outcome for write in self.history.writes]
        counted = ", ".join(f"{outcomes.count(one)} {one}" for one in ("kept", "refused", OPEN))
        return (
            f"{self.place}: seed {self.seed}, writes {counted}; {len(self.history.reads)} reads; "
            f"{self.deaths} killed; {len(self.faults)} faults"
        )


class Run:
    """The clients of a place, and what they said."""

    def __init__(self, place: Place, seed: int) -> None:
        self._place = place
        self._chance = random.Random(seed)
        self._names = 0
        self._clients: list[Client] = []
        self.history = History(Settings().max_staleness_ms * 1_000_000)
        self.deaths = 0

    def _join(self, work: str) -> Client:
        self._names += 1
        where = self._place.addresses[self._names % len(self._place.addresses)]
        return Client(work, f"{work}{self._names}", where)

    def go(self, seconds: float) -> None:
        """Let them work for a time, while one after another dies; at the end all do."""
        self._clients = [self._join(work) for work in WORKS]
        try:
            for client in self._clients:
                client.begins()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(self._chance.uniform(0.5, 1.5) * DEATH_EVERY_S)
                self._kill_one()
        finally:
            for client in self._clients:
                self._note(client)

    def _kill_one(self) -> None:
        self.deaths += 1
        number = self._chance.randrange(len(self._clients))
        if self._place.servers and self._chance.random() < 0.5:
            self._place.replace(number % len(self._place.servers))
            return
        client = self._clients[number]
        self._clients[number] = self._join(client.work)
        self._note(client)

    def _note(self, client: Client) -> None:
        tried: dict[int, Write] = {}
        for words in client.kill():
            match words:
                case ["read", began_ns, ended_ns, counts]:
                    found = {writer: Counts(*numbers) for writer, numbers in json.loads(counts).items()}
                    read = Read(client.name, int(began_ns), int(ended_ns), client.work, found)
                    self.history.reads.append(read)
                case ["try", began_ns, number]:
                    tried[int(number)] = Write(client.name, int(number), int(began_ns))
                case [outcome, ended_ns, number]:
                    tried[int(number)] = replace(tried[int(number)], ended_ns=int(ended_ns), outcome=outcome)
        self.history.writes.extend(tried.values())


def run_place(
    name: str,
    folder: Path,
    *,
    seconds: float,
    seed: int,
    settings: Mapping[str, int] = MappingProxyType({}),
    sabotage: Sabotage = lambda _: None,
) -> Outcome:
    """Clients on one place for a time.

    For what the checker has to find: `settings` that promise less than it asks for, and `sabotage` of the database at the end.
    """
    with PLACES[name](folder) as place:
        with connect(DATABASE, place.store, create=True, background=False) as database:
            database.batch(list(TABLES))
            database.change_settings(settings)
        run = Run(place, seed)
        run.go(seconds)

        with connect(DATABASE, place.store, background=False) as database:
            sabotage(database)
            rows, twins = (
                [(str(writer), int(str(number))) for writer, number in database.query(f"SELECT * FROM {table}").rows]
                for table in ("entry", "twin")
            )
            check_integrity(database)
        check_store(open_store(place.store), DATABASE)
    return Outcome(name, seed, run.history, run.deaths, run.history.find_faults(rows, twins))

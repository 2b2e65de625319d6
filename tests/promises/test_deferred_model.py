"""Machines with journals of their own, processes that share one, and other commits in between, in any order.

A write answers its row: id, token and a random value. Afterwards that very row is in history once, or the write is among
the rejected ones and its row is not there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import check_store, opened
from virke.engine.database import Database
from virke.errors import Conflict, OutcomeUnknown, Unavailable
from virke.stores.faulty import Chances, Crash, FaultyStore
from virke.stores.memory import memory_store

pytestmark = pytest.mark.once

MACHINES: Final = ("a", "b")
PROCESSES: Final = 2
STEPS: Final = 60
ACTIONS: Final = ("insert", "insert", "count", "count", "count", "count", "grow", "flush", "flush", "read", "close")
MOVES: Final = 0.1
"""The chance that what happens next may happen on another machine."""
BETWEEN: Final = 0.5
"""The chance that another process acts in the middle of something."""
FAULTS: Final = Chances(
    crash_before=0.02, crash_after=0.03, refuse=0.03, lose_answer=0.03, lose_request=0.03, deliver_late=0.02
)
INSERT: Final = "INSERT INTO thing (token, drawn) VALUES (?, random()) RETURNING id, token, drawn"
COUNTED: Final = "INSERT INTO log VALUES (?)"


class World:
    """One store, machines with a journal each, and what their processes were answered."""

    def __init__(self, seed: int, folder: Path, chances: Chances | None) -> None:
        self.dice = random.Random(seed)
        self._folder = folder
        self._plain = memory_store()
        with opened(self._plain, folder, create=True) as database:
            database.execute("CREATE TABLE thing (id INTEGER PRIMARY KEY, token TEXT, drawn)")
            database.execute("CREATE TABLE log (token TEXT)")
            database.change_settings({"durability": "deferred"})
        self._store = FaultyStore(self._plain, chances=chances, seed=seed).store if chances else self._plain
        self.rows: dict[str, tuple[object, ...]] = {}
        self.counted: set[str] = set()
        self._open: dict[tuple[str, int], Database] = {}
        self._tokens = 0
        self._is_between = False
        self._machine = MACHINES[0]

    def database(self, machine: str, process: int) -> Database:
        """The connection of a process; opened if it is not."""
        if (machine, process) not in self._open:
            self._open[machine, process] = opened(self._store, self._folder / machine)
            self._interleave(machine, process)
        return self._open[machine, process]

    def _interleave(self, machine: str, process: int) -> None:
        """At times another process of the machine acts where this one is about to take a lock of their journal."""
        deferred = self._open[machine, process]._deferred
        assert deferred is not None
        for name in ("appending", "pushing"):
            lock = getattr(deferred.journal, name)

            def after_another(lock: Callable[[], object] = lock) -> object:
                if not self._is_between and self.dice.random() < BETWEEN:
                    self._is_between = True
                    try:
                        for _ in range(self.dice.randrange(1, 5)):
                            self._step(
                                (machine, (process + 1) % PROCESSES), ("insert", "count", "count", "flush", "flush")
                            )
                    finally:
                        self._is_between = False
                return lock()

            setattr(deferred.journal, name, after_another)

    def step(self) -> None:
        """Something happens to one process, which may die of it."""
        if self.dice.random() < MOVES:
            self._machine = self.dice.choice(MACHINES)
        self._step((self._machine, self.dice.randrange(PROCESSES)), ACTIONS)

    def _step(self, key: tuple[str, int], actions: Sequence[str]) -> None:
        try:
            self._act(self.database(*key), self.dice.choice(actions))
        except Crash:
            if dead := self._open.pop(key, None):
                with suppress(Crash):
                    dead.close(push=False)
        except (Unavailable, OutcomeUnknown, Conflict):
            return  # nothing was answered, and what was pending is pending

    def _act(self, database: Database, action: str) -> None:
        self._tokens += 1
        token = str(self._tokens)
        match action:
            case "insert":
                [row] = database.run(INSERT, (token,)).rows
                self.rows[token] = row
            case "count":
                database.execute(COUNTED, (token,))
                self.counted.add(token)
            case "grow":
                database.execute("UPDATE log SET token = token WHERE token = ?", (token,))
                with opened(self._plain, self._folder / "third") as third:
                    third.execute("CREATE TABLE IF NOT EXISTS other (v)")
                    third.execute("INSERT INTO other VALUES (?)", (token,))
            case "flush":
                database.flush()
            case "read":
                database.query("SELECT count(*) FROM thing", consistency="strong")
            case "close":
                key = next(key for key, one in self._open.items() if one is database)
                self._open.pop(key).close(push=False)

    def check(self) -> None:
        """Push everything on a store that is well; then each answer is in history once, or is rejected."""
        for database in self._open.values():
            with suppress(Unavailable, OutcomeUnknown, Conflict, Crash):
                database.close(push=False)
        rejected: dict[str, str] = {}
        for machine in MACHINES:
            with opened(self._plain, self._folder / machine) as database:
                database.flush()
                assert database.status().pending_writes == 0
                rejected |= {str(one.id) + machine: one.reason for one in database.status().rejected_writes}
        with opened(self._plain, self._folder / "third") as third:
            found = third.query("SELECT id, token, drawn FROM thing").rows
            counted = [str(token) for (token,) in third.query("SELECT token FROM log").rows]
            assert third.query("PRAGMA integrity_check").rows == [("ok",)]
        there = {str(row[1]): row for row in found}
        assert len(there) == len(found), "a write is there twice"
        assert all(self.rows.get(token, row) == row for token, row in there.items()), "history differs from an answer"
        missing = [token for token in self.rows if token not in there]
        assert sorted(set(counted)) == sorted(counted), "a write is there twice"
        assert self.counted - set(counted) == set(), "a write that no other can make impossible is missing"
        assert len(missing) <= len(rejected), (missing, rejected)
        check_store(self._plain, "ledger")


@pytest.mark.parametrize("seed", range(30))
def test_p1_p2_p4_what_was_answered_is_in_history_once_or_rejected(seed: int, tmp_path: Path) -> None:
    world = World(seed, tmp_path, None)
    for _ in range(STEPS):
        world.step()
    world.check()


@pytest.mark.parametrize("seed", range(30))
def test_p1_p2_p4_also_where_the_store_fails_and_processes_die(seed: int, tmp_path: Path) -> None:
    world = World(seed, tmp_path, FAULTS)
    for _ in range(STEPS):
        world.step()
    world.check()

"""B16: single statements of eight processes, which all write without a pause to one far database; in virtual time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest

from tests.engine.virtual_time import FarRegister, VirtualTime
from tests.engine.world import NAME, make, reopen
from virke.engine.database import Database
from virke.errors import Conflict
from virke.stores.base import Store
from virke.stores.memory import memory_store

pytestmark = pytest.mark.native  # actors are threads

PROCESSES = 8
TRIP_S = 0.025
LASTS_S = 5.0


@dataclass
class Counted:
    """What became of the statements: answered ones by process, and the lost ones."""

    answered: list[int] = field(default_factory=list)
    conflicts: int = 0


def race(processes: int, seed: int) -> Counted:
    """Each process counts up for so long; what was answered is in the counter, once."""
    inner, time, counted = memory_store(), VirtualTime(), Counted([0] * processes)
    with make(inner) as database:
        database.run_script("CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)")
    until_s = time.now_s + LASTS_S

    def process(number: int) -> None:
        chance = random.Random(seed * 100 + number)
        environment = replace(time.environment(), random_bytes=chance.randbytes, tag=lambda: bytes([number] * 4))
        register = FarRegister(inner.register, time, TRIP_S, seed=seed * 100 + number)
        with Database(Store(inner.url, register, inner.blobs), NAME, environment=environment) as database:
            time.sleep(chance.random() * TRIP_S)
            while time.now_s < until_s:
                try:
                    database.execute("UPDATE counter SET n = n + 1")
                    counted.answered[number] += 1
                except Conflict:
                    counted.conflicts += 1

    time.run(*[lambda number=number: process(number) for number in range(processes)])
    with reopen(inner) as database:
        assert database.query("SELECT n FROM counter").rows == [(sum(counted.answered),)]
    return counted


def test_b16_no_statement_of_eight_processes_is_a_conflict_and_they_keep_half_of_the_rate_of_one() -> None:
    together, alone = race(PROCESSES, seed=1), race(1, seed=1)
    assert together.conflicts == 0
    assert sum(together.answered) >= 0.5 * sum(alone.answered)
    assert min(together.answered) > 0


def test_b16_without_turns_statements_would_be_conflicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What turns are for here: gaps alone leave the order to chance."""
    monkeypatch.setattr("virke.core.turntaking.LOSSES", 10**9)
    assert race(PROCESSES, seed=1).conflicts > 0

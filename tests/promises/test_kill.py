"""kill -9 in the middle: what was answered is there exactly once, nothing is there in part, and everything goes on.

Each test prints the seed of its kill times: how many answers are awaited, and how long after the last one.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import LARGE, NAME, TABLE, Ledger, check_integrity, check_store, exercise, insert
from tests.promises.test_processes import start
from tests.promises.worker import UNIT
from virke.engine.database import Database
from virke.opening import connect
from virke.stores.base import Store
from virke.stores.local.store import local_store

ROUND: Final = 100_000
"""Each round numbers its writes from the next multiple of this."""
KILL_WITHIN_S: Final = 0.03
SETTINGS: Final[dict[str, dict[str, str | int]]] = {
    "flushes": {"durability": "deferred", "flush_interval_ms": 3_600_000},
    "deferred": {"durability": "deferred", "flush_interval_ms": 2},
    "upkeep": {"history_days": 0},
}


def killed(work: str, folder: Path, first: int, chance: random.Random) -> list[str]:
    """What a worker was answered before it was killed."""
    worker = start(work, folder, first)
    assert worker.stdout is not None
    lines = []
    for _ in range(chance.randint(1, 12)):
        lines.append(worker.stdout.readline())
    try:
        worker.wait(timeout=chance.random() * KILL_WITHIN_S)
    except subprocess.TimeoutExpired:
        worker.kill()
    lines.extend(worker.stdout)
    worker.stdout.close()
    assert worker.wait(60) == -9, "the worker ended by itself"
    return [line.strip() for line in lines if line.endswith("\n")]


def begun(store: Store, work: str) -> None:
    """The database that the workers of this kind are for."""
    with connect(NAME, store, create=True, background=False) as database:
        database.execute(TABLE)
        database.change_settings(SETTINGS.get(work, {}))


def noted(work: str, answers: list[str], first: int, ledger: Ledger) -> None:
    """Tell the ledger what must be there: for imports whole units, the one in flight included."""
    numbers = [line for line in answers if line.isdigit()]
    if work != "imports":
        ledger.kept.update(numbers)
        return
    ledger.kept.update(f"{number}.{row}" for number in numbers for row in range(UNIT))
    for number in range(first, first + len(numbers) + 1):
        ledger.units.append(frozenset(f"{number}.{row}" for row in range(UNIT)))


def recover(database: Database, store: Store, ledger: Ledger) -> None:
    """Before and after the flush: all promises; pending writes are pushed once."""
    before = ledger.check(database)
    pending = database.status().pending_writes
    flushed = database.flush()
    assert (flushed.pushed <= pending, flushed.rejected, database.flush().pushed) == (True, 0, 0)
    assert ledger.check(database) == before
    assert database.status().rejected_writes == ()
    check_integrity(database)
    check_store(store)


def survive(work: str, folder: Path, rounds: int, seed: int) -> None:
    """Kill a worker of this kind again and again."""
    print(f"seed {seed}")
    chance, ledger = random.Random(seed), Ledger()
    store = local_store(folder)
    begun(store, work)
    for number in range(1, rounds + 1):
        first = number * ROUND
        noted(work, killed(work, folder, first, chance), first, ledger)
        with connect(NAME, store, background=False) as database:
            recover(database, store, ledger)
            if number % 3 == 0:  # keep it small
                database.execute("DELETE FROM entry")
                ledger = Ledger()
    with connect(NAME, store, background=False) as database:
        database.change_settings({"durability": "sync"})
        exercise(database, ledger, "again")
        recover(database, store, ledger)


def survive_promotions(folder: Path, rounds: int, seed: int) -> None:
    """Kill a promotion of a fresh database each time; the next one ends it."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(rounds):
        place, ledger = folder / str(number), Ledger()
        store = local_store(place)
        begun(store, "promotes")
        with connect(NAME, store, background=False) as database:
            for size in (LARGE, 1_500_000, LARGE):
                ledger.insert(database, f"old-{len(ledger.kept)}", size)
        noted("promotes", killed("promotes", place, ROUND, chance), ROUND, ledger)
        with connect(NAME, store, background=False) as database:
            recover(database, store, ledger)
            assert database.promote().tier == "object"
            insert(database, "after", LARGE)
            ledger.kept.add("after")
            recover(database, store, ledger)


WORKS: Final = ("inserts", "imports", "flushes", "deferred", "upkeep")


@pytest.mark.parametrize("work", WORKS)
def test_p1_p6_a_killed_process_loses_nothing(work: str, tmp_path: Path) -> None:
    survive(work, tmp_path, rounds=2, seed=20_261)


def test_p1_p6_a_killed_promotion_loses_nothing(tmp_path: Path) -> None:
    survive_promotions(tmp_path, rounds=2, seed=20_262)


@pytest.mark.slow
@pytest.mark.parametrize("work", WORKS)
def test_p1_p6_a_process_killed_often_loses_nothing(work: str, tmp_path: Path) -> None:
    survive(work, tmp_path, rounds=18, seed=random.randrange(1 << 32))


@pytest.mark.slow
def test_p1_p6_a_promotion_killed_often_loses_nothing(tmp_path: Path) -> None:
    survive_promotions(tmp_path, rounds=12, seed=random.randrange(1 << 32))

"""kill -9 in the middle: what was answered is there exactly once, nothing is there in part, and everything goes on.

Each test prints the seed of its kill times: how many answers are awaited, and how long after the last one.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import LARGE, NAME, TABLE, Ledger, check_integrity, check_store, exercise, insert
from tests.promises.places import on
from tests.promises.processes import heard, start
from tests.promises.worker import UNIT
from virke.engine.database import Database
from virke.opening import connect, open_store

ROUND: Final = 100_000
"""Each round numbers its writes from the next multiple of this."""
KILL_WITHIN_S: Final = 0.03
SETTINGS: Final[dict[str, dict[str, str | int]]] = {
    "flushes": {"durability": "deferred", "flush_interval_ms": 3_600_000},
    "deferred": {"durability": "deferred", "flush_interval_ms": 2},
    "upkeep": {"history_days": 0},
}


def killed(work: str, url: str, first: int, chance: random.Random) -> list[str]:
    """What a worker was answered before it was killed."""
    with heard([start(work, url, first)]) as [worker]:
        worker.wait_for(chance.randint(1, 12))
        return worker.kill(chance.random() * KILL_WITHIN_S)


def begun(url: str, work: str) -> None:
    """The database that the workers of this kind are for."""
    with connect(NAME, url, create=True, background=False) as database:
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


def recover(database: Database, url: str, ledger: Ledger) -> None:
    """Before and after the flush: all promises; pending writes are pushed once."""
    before = ledger.check(database)
    pending = database.status().pending_writes
    flushed = database.flush()
    assert (flushed.pushed <= pending, flushed.rejected, database.flush().pushed) == (True, 0, 0)
    assert ledger.check(database) == before
    assert database.status().rejected_writes == ()
    check_integrity(database)
    check_store(open_store(url))


def survive(work: str, url: str, rounds: int, seed: int) -> None:
    """Kill a worker of this kind again and again."""
    print(f"seed {seed}")
    chance, ledger = random.Random(seed), Ledger()
    begun(url, work)
    for number in range(1, rounds + 1):
        first = number * ROUND
        noted(work, killed(work, url, first, chance), first, ledger)
        with connect(NAME, url, background=False) as database:
            recover(database, url, ledger)
            if number % 3 == 0:  # keep it small
                database.execute("DELETE FROM entry")
                ledger = Ledger()
    with connect(NAME, url, background=False) as database:
        database.change_settings({"durability": "sync"})
        exercise(database, ledger, "again")
        recover(database, url, ledger)


def survive_promotions(folder: Path, rounds: int, seed: int) -> None:
    """Kill a promotion of a fresh database each time; the next one ends it."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(rounds):
        url, ledger = f"local:{folder / str(number)}", Ledger()
        begun(url, "promotes")
        with connect(NAME, url, background=False) as database:
            for size in (LARGE, 1_500_000, LARGE):
                ledger.insert(database, f"old-{len(ledger.kept)}", size)
        noted("promotes", killed("promotes", url, ROUND, chance), ROUND, ledger)
        with connect(NAME, url, background=False) as database:
            recover(database, url, ledger)
            assert database.promote().tier == "object"
            insert(database, "after", LARGE)
            ledger.kept.add("after")
            recover(database, url, ledger)


WORKS: Final = ("inserts", "imports", "flushes", "deferred", "upkeep")


@on("local")
@pytest.mark.parametrize("work", WORKS)
def test_p1_p6_a_killed_process_loses_nothing(work: str, place: str) -> None:
    survive(work, place, rounds=2, seed=20_261)


@on("seaweedfs", slow=("moto", "local+seaweedfs"))
@pytest.mark.parametrize("work", WORKS)
def test_p1_p6_a_process_killed_on_a_server_loses_nothing(work: str, place: str) -> None:
    survive(work, place, rounds=1, seed=20_263)


def test_p1_p6_a_killed_promotion_loses_nothing(tmp_path: Path) -> None:
    survive_promotions(tmp_path, rounds=2, seed=20_262)


@pytest.mark.slow
@on("local", "seaweedfs")
@pytest.mark.parametrize("work", WORKS)
def test_p1_p6_a_process_killed_often_loses_nothing(work: str, place: str) -> None:
    survive(work, place, rounds=5, seed=random.randrange(1 << 32))


@pytest.mark.prove
@on("local", "seaweedfs")
@pytest.mark.parametrize("work", WORKS)
def test_p1_p6_a_process_killed_very_often_loses_nothing(work: str, place: str) -> None:
    survive(work, place, rounds=18, seed=random.randrange(1 << 32))


@pytest.mark.slow
def test_p1_p6_a_promotion_killed_often_loses_nothing(tmp_path: Path) -> None:
    survive_promotions(tmp_path, rounds=12, seed=random.randrange(1 << 32))

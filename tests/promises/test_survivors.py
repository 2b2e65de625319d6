"""kill -9 of some of many writers on one store: the others go on, a new one joins, and all that was answered is there.

Each test prints the seed of its deaths: who dies, after how many answers, and how long after the last one.
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from itertools import count
from typing import Final

import pytest

from tests.promises.ledger import NAME, TABLE, Ledger, check_integrity, check_store, environment, exercise
from tests.promises.places import on
from tests.promises.processes import Heard, heard, start
from virke.core import collect
from virke.core.ids import Version
from virke.engine.branch import Branch
from virke.engine.volume import Volume
from virke.opening import connect, open_store

pytestmark = pytest.mark.once

SIZES: Final = (0, 0, 3000, 0, 0, 90_000)
"""Random bytes of rows in turn: small commits, spills and large ones."""
KILL_WITHIN_S: Final = 0.05


def begun(url: str) -> None:
    """A database that is promoted soon where there is a choice."""
    with connect(NAME, url, create=True, background=False) as database:
        database.execute(TABLE)
        database.change_settings({"promote_at_mb": 1})


def lines_of_all(url: str, times: int, threads: int, deaths: int, chance: random.Random) -> list[list[str]]:
    """What each worker said: those that were killed, two at a time; two that went on to their end; and newcomers."""
    spoken, names = [], count()
    with ExitStack() as stack:

        def join(times: int) -> Heard:
            worker = start("rows", url, next(names), times, threads, *SIZES)
            [listened] = stack.enter_context(heard([worker]))
            return listened

        survivors, victims = [join(times) for _ in range(2)], [join(0) for _ in range(2)]
        for death in range(deaths):
            victim = victims.pop(chance.randrange(len(victims)))
            victim.wait_for(chance.randint(1, 10))
            spoken.append(victim.kill(chance.random() * KILL_WITHIN_S))
            if death < deaths - 2:
                victims.append(join(0))
            elif death < deaths - 1:
                survivors.append(join(times))
        spoken += [survivor.to_the_end() for survivor in survivors]
    assert [len(lines) for lines in spoken[-3:]] == [times * threads] * 3
    return spoken


def check_deaths(url: str, *, times: int, threads: int, deaths: int, seed: int) -> None:
    """P1, P2, P4, P8: every answered row is there once, at its version; nothing needed is missing, nothing else is left."""
    print(f"seed {seed}")
    begun(url)
    spoken = lines_of_all(url, times, threads, deaths, random.Random(seed))
    ledger, owners = Ledger(), dict[str, int]()
    for process, lines in enumerate(spoken):
        for token, version in map(str.split, lines):
            ledger.kept.add(token)
            assert owners.setdefault(version, process) == process, "two processes were told the same version"
    with connect(NAME, url, background=False) as database:
        ledger.check(database)
        assert max(map(int, owners)) <= database.version
        exercise(database, ledger, "after")
        for _ in range(3):
            database.collect(grace_ms=0)
        ledger.check(database)
        check_integrity(database)
        assert database.status().upkeep_error is None
        assert database.query("SELECT count(*) FROM entry", bookmark=database.bookmark).version == database.version
        last = database.snapshot()
        assert last.volume.snapshot_at(Version(last.version)).head.checksum == last.head.checksum
    check_store(open_store(url))
    assert leftovers(url) == set()


def leftovers(url: str) -> set[str]:
    """Objects of the database that nothing needs."""
    store = open_store(url)
    volume = Volume(Branch(store, NAME, environment()))
    root = volume.branch.refresh().root
    prefix = f"seg/{root.database_id.hex()}/"
    listed = {item.key for blobs in store.blobs.values() for item in blobs.list(prefix)}
    return listed - volume.driver.run(collect.mark_needed(root)).needed_keys


@on("seaweedfs", slow=("local", "moto", "local+seaweedfs"))
def test_p1_p2_survivors_of_killed_writers_lose_nothing(place: str) -> None:
    check_deaths(place, times=6, threads=4, deaths=2, seed=20_264)


@pytest.mark.prove
@on("seaweedfs", "local+seaweedfs")
def test_p1_p2_survivors_of_many_killed_writers_lose_nothing(place: str) -> None:
    check_deaths(place, times=15, threads=4, deaths=8, seed=random.randrange(1 << 32))

"""What every promise test needs: a record of how each write was answered, and checks of a store against it.

A write is named by a token. The table has no unique constraint, so a write that was applied twice shows.
"""

from __future__ import annotations

import itertools
import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from virke.core import collect
from virke.core.page import page_hash
from virke.engine.branch import Branch
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.snapshot import Snapshot
from virke.engine.volume import Volume
from virke.errors import OutcomeUnknown, VirkeError
from virke.opening import connect
from virke.stores.base import Store
from virke.stores.faulty import Crash

NAME: Final = "ledger"
TABLE: Final = "CREATE TABLE entry (token TEXT NOT NULL, filler BLOB)"
SOURCE: Final = os.pathsep.join([str(Path(__file__).resolve().parents[2] / "src"), os.environ.get("PYTHONPATH", "")])
"""PYTHONPATH of the processes that tests start."""
VERSIONS_MAX: Final = 400
SMALL: Final = 0
_CLOCK: Final = itertools.count(1_700_000_000_000)
_TICK_S: Final = 1e-6
LARGE: Final = 80_000
"""Random bytes that make a commit too large to ride in the root."""


def environment() -> Environment:
    """No waiting, and clocks that tick with each look at them, so that how fast the machine is decides nothing.

    The wall clock is one for all nodes, or none would collect after another.
    """
    ticks = itertools.count()
    return Environment(now_ms=lambda: next(_CLOCK), monotonic=lambda: next(ticks) * _TICK_S, sleep=lambda seconds: None)


def opened(store: Store, state: Path, *, create: bool = False, env: Environment | None = None) -> Database:
    """The database of the tests; its journal lies below `state`, and nothing runs in the background."""
    return connect(NAME, store, create=create, state_dir=state, background=False, environment=env or environment())


def insert(database: Database, token: str, size: int = SMALL) -> None:
    """One row, with `size` random bytes; then the upkeep that it made due, which may fail."""
    database.execute("INSERT INTO entry VALUES (?, randomblob(?))", (token, size))
    if database.upkeep_due:
        with suppress(VirkeError):
            database.upkeep(None)


@dataclass
class Ledger:
    """How each write was answered: `kept` (success), `refused` (surely not applied), `open` (unknown, or no answer)."""

    kept: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)
    units: list[frozenset[str]] = field(default_factory=list)
    errors: list[VirkeError] = field(default_factory=list)

    def attempt(self, action: Callable[[], object], *tokens: str) -> bool:
        """Do something that writes all of `tokens` or none, and remember the answer; True if it succeeded."""
        self.units.append(frozenset(tokens))
        try:
            action()
        except OutcomeUnknown as error:
            self.errors.append(error)
            self.open.update(tokens)
        except VirkeError as error:
            self.errors.append(error)
            self.refused.update(tokens)
        except Crash:
            self.open.update(tokens)
            raise
        else:
            self.kept.update(tokens)
            return True
        return False

    def insert(self, database: Database, token: str, size: int = SMALL) -> bool:
        """One row as one write."""
        return self.attempt(lambda: insert(database, token, size), token)

    def check(self, database: Database) -> set[str]:
        """P1, P2, P3, P6: what was answered is there once, what was refused is not; returns what is there."""
        rows = database.query("SELECT token FROM entry", consistency="strong").rows
        found = Counter(str(token) for (token,) in rows)
        assert [token for token, times in found.items() if times > 1] == []
        there = set(found)
        assert self.kept - there == set()
        assert self.refused & there == set()
        for unit in self.units:
            assert unit & there in (unit, set()), "a unit is there in part"
        return there


def fingerprint(snapshot: Snapshot) -> int:
    """The checksum of a snapshot, computed anew from its pages."""
    total = 0
    for number, data in snapshot.pages():
        total ^= page_hash(number, data)
    return total


def check_store(store: Store, name: str = NAME) -> dict[int, int]:
    """P4, P7, P8: every version that history keeps is there and is what was committed; version → checksum.

    Of more than `VERSIONS_MAX`, so many by chance: each takes reading the whole database, and writers that wait for one whose request
    got no answer for half a minute make thousands.
    """
    volume = Volume(Branch(store, name, environment()))
    root = volume.branch.refresh().root
    found = {}
    versions = range(max(1, root.horizon.version), root.head.version + 1)
    for version in sorted(random.sample(versions, VERSIONS_MAX)) if len(versions) > VERSIONS_MAX else versions:
        snapshot = volume.snapshot_at(version)
        assert fingerprint(snapshot) == snapshot.head.checksum, f"version {version} is not what was committed"
        found[version] = snapshot.head.checksum
    marked = volume.driver.run(collect.mark_needed(root))
    listed = {item.key for blobs in store.blobs.values() for item in blobs.list(f"seg/{root.database_id.hex()}/")}
    assert marked.needed_keys - listed == set()
    return found


def check_integrity(database: Database) -> None:
    """SQLite finds nothing wrong."""
    assert database.query("PRAGMA integrity_check").rows == [("ok",)]


def exercise(database: Database, ledger: Ledger, mark: str) -> None:
    """The database goes on working: small and large commits, compaction, and two collections without grace."""
    for number in range(5):
        assert ledger.insert(database, f"{mark}-{number}", LARGE if number else SMALL), ledger.errors[-1]
    database.collect(grace_ms=0)
    database.collect(grace_ms=0)
    assert ledger.insert(database, f"{mark}-last")
    assert database.status().upkeep_error is None


def tokens(database: Database) -> list[object]:
    """What the table holds, in order of insertion."""
    return [token for (token,) in database.query("SELECT token FROM entry ORDER BY rowid", consistency="strong").rows]


def settled(store: Store, folder: Path) -> list[object]:
    """What the store holds, seen from a node without a journal."""
    with opened(store, folder / "elsewhere") as database:
        check_integrity(database)
        found = tokens(database)
    check_store(store)
    return found

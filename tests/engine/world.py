"""What the engine's suites build their worlds from: databases without files, clocks to turn, raw images, dumps.

Knows the engine and plain SQLite (the standard library's) to compare with; opens no file and starts no thread.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass, field
from typing import Final

from virke.core.ids import CommitId, DatabaseId
from virke.core.page import PAGE_SIZE_DEFAULT, lock_page, page_hash
from virke.core.pins import root_key
from virke.core.root import encode_root, first_root
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.snapshot import Snapshot
from virke.stores.base import Store
from virke.stores.memory import memory_store

NAME: Final = "db"
CREATED_MS: Final = 1_700_000_000_000


@dataclass(slots=True)
class Clock:
    """Both clocks of an environment, standing still unless turned; sleeping turns them."""

    now_ms: int = CREATED_MS
    monotonic_s: float = 1000.0
    tick_s: float = 0.0
    """How far the monotonic clock goes on by being looked at."""
    tick_ms: int = 0
    """How far the wall clock goes on by being looked at."""
    slept: list[float] = field(default_factory=list)

    def look(self) -> float:
        self.monotonic_s += self.tick_s
        return self.monotonic_s

    def look_ms(self) -> int:
        shown, self.now_ms = self.now_ms, self.now_ms + self.tick_ms
        return shown

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_s(seconds)

    def pass_s(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.now_ms += int(seconds * 1000)

    @property
    def environment(self) -> Environment:
        return Environment(now_ms=self.look_ms, monotonic=self.look, sleep=self.sleep)


def make(
    store: Store | None = None,
    *,
    page_size: int = PAGE_SIZE_DEFAULT,
    clock: Clock | None = None,
) -> Database:
    """A new, empty database, opened without a journal: what the edge has."""
    store = store or memory_store()
    root = first_root(
        name=NAME,
        database_id=DatabaseId(os.urandom(16)),
        commit_id=CommitId(os.urandom(16)),
        time_ms=CREATED_MS,
        page_size=page_size,
        tier=next(iter(store.blobs)),
    )
    store.register.swap(root_key(NAME), encode_root(root), None)
    return reopen(store, clock=clock)


def reopen(store: Store, *, clock: Clock | None = None) -> Database:
    """The same database as another process sees it."""
    return Database(store, NAME, environment=clock.environment if clock else None)


def store_of(database: Database) -> Store:
    """The store that a database lives in."""
    return database._volume.branch.store


def pages_of(snapshot: Snapshot) -> dict[int, bytes]:
    """Every stored page."""
    return dict(snapshot.pages())


def image(snapshot: Snapshot) -> bytes:
    """The raw file: all pages, zeros for the lock page."""
    pages, size = pages_of(snapshot), snapshot.page_size
    assert sorted(pages) == [n for n in range(1, snapshot.page_count + 1) if n != lock_page(size)]
    assert {len(data) for data in pages.values()} <= {size}
    return b"".join(pages.get(number, bytes(size)) for number in range(1, snapshot.page_count + 1))


def plain(data: bytes) -> sqlite3.Connection:
    """A raw file, opened by plain SQLite."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    if data:
        connection.deserialize(data)
    return connection


def dump_image(data: bytes) -> list[str]:
    """What the `sqlite3` shell's `.dump` says of a raw file that SQLite finds whole, and what it leaves out."""
    connection = plain(data)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        extra = [repr(connection.execute(f"PRAGMA {name}").fetchone()) for name in ("user_version", "encoding")]
        lines = list(connection.iterdump())
        # ANALYZE writes its rows in an order that depends on when the schema was read
        statistics = [line for line in lines if line.startswith('INSERT INTO "sqlite_stat')]
        return [*(line for line in lines if line not in statistics), *sorted(statistics), *extra]
    finally:
        connection.close()


def checksum(snapshot: Snapshot) -> int:
    """The database checksum, computed anew."""
    total = 0
    for number, data in pages_of(snapshot).items():
        total ^= page_hash(number, data)
    return total


def dump_of(snapshot: Snapshot) -> list[str]:
    """The dump of a snapshot whose checksum is right."""
    assert snapshot.head.checksum == checksum(snapshot)
    return dump_image(image(snapshot))

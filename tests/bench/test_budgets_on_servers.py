"""The budgets that can be counted, on a real object store: requests, round trips, and the space that is left taken."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from bench import b01_small_commits as small
from bench import b02_large_commits as large
from bench.data import fill_users
from bench.opening import NAME, connected, counted
from tests.promises.ledger import check_integrity, environment
from tests.promises.places import be_a_client, fresh
from tests.servers.s3 import S3Server
from virke.core import collect
from virke.core.change import INLINE_TOTAL_MIN
from virke.core.effects import Tier
from virke.core.merge import FAN_IN
from virke.engine.branch import Branch
from virke.engine.snapshot import Snapshot
from virke.engine.volume import Volume
from virke.opening import open_store
from virke.stores.memory import memory_store

pytestmark = pytest.mark.once

SPACE_MOST: Final = 2
YOUNG_BYTES: Final = FAN_IN * INLINE_TOTAL_MIN
"""Spills that are too few to be merged, and what still rides in the root."""


@dataclass(frozen=True, slots=True)
class Used:
    """Bytes: of all objects of a database, its root included; of its pages; of its pages as one segment."""

    listed: int
    pages: int
    compacted: int


def commit_and_collect(step: small.Step, commits: int, url: str) -> Used:
    """Many commits without history, then two collections; everything needed is there, and nothing else."""
    with counted(url) as bench:
        database = bench.database
        fill_users(database, small.USERS)
        database.change_settings({"history_days": 0})
        for number in range(commits):
            step(database, number)
            if database.upkeep_due:  # as a command does after its output
                database.upkeep()
        database.upkeep(None)
        for _ in range(2):
            database.collect(grace_ms=0)
        check_integrity(database)
        assert database.status().upkeep_error is None
        snapshot = database.snapshot()
    objects = objects_of(url)
    assert objects.keys() == needed(url)
    root_bytes = sum(item.size_bytes for item in open_store(url).blobs[Tier.OBJECT].list(f"root/{NAME}/"))
    used = Used(sum(objects.values()) + root_bytes, snapshot.page_count * snapshot.page_size, compacted(snapshot))
    print(f"{commits} commits: {used}, {used.listed / used.compacted:.2f} times the compacted database")
    return used


def objects_of(url: str) -> dict[str, int]:
    """Every object below the prefix that is no root, with its size."""
    return {item.key: item.size_bytes for item in open_store(url).blobs[Tier.OBJECT].list("seg/")}


def needed(url: str) -> frozenset[str]:
    """The objects that the database needs."""
    volume = Volume(Branch(open_store(url), NAME, environment()))
    return volume.driver.run(collect.mark_needed(volume.branch.refresh().root)).needed_keys


def compacted(snapshot: Snapshot) -> int:
    """Bytes of the same pages as one segment."""
    with tempfile.TemporaryDirectory() as folder, connected(memory_store(), Path(folder)) as copy:
        copy.long_write().commit_pages(
            copy.snapshot(), page_size=snapshot.page_size, page_count=snapshot.page_count, pages=snapshot.pages()
        )
        return copy.status().stored_bytes


@pytest.fixture
def url(seaweedfs: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh prefix of SeaweedFS."""
    be_a_client(tmp_path, monkeypatch)
    return seaweedfs.url(fresh())


@pytest.mark.parametrize(
    ("step", "commits"),
    [
        (small.update_one_row, 300),
        (small.mixed_sizes, 300),
        pytest.param(small.mixed_sizes, 10_000, marks=pytest.mark.prove),
    ],
)
def test_b1_a_small_commit_is_one_write_on_an_object_store(step: small.Step, commits: int, url: str) -> None:
    """On average, spill and compaction included."""
    costs = small.measure(url, step, commits)
    assert costs.writes_each <= small.WRITES_MOST
    assert costs.bytes_of_budget <= 1


@pytest.mark.parametrize("size", [*large.SIZES, pytest.param("40 MiB", marks=pytest.mark.slow)])
def test_b2_a_large_commit_takes_two_rounds_on_an_object_store(size: str, url: str) -> None:
    """All parts in one round, the swap in another."""
    assert large.rounds(large.SIZES.get(size, 40 << 20), url) <= large.ROUNDS_MOST


@pytest.mark.parametrize(
    ("step", "commits"),
    [
        (small.update_one_row, 500),
        (small.mixed_sizes, 500),
        pytest.param(small.insert_one_row, 3_000, marks=pytest.mark.slow),
        pytest.param(small.update_one_row, 10_000, marks=pytest.mark.prove),
    ],
)
def test_p8_many_commits_leave_no_more_than_twice_the_database(step: small.Step, commits: int, url: str) -> None:
    """Of its pages as SQLite has them; and of their compacted encoding, but for what is too young to be merged.

    The second is the sharper one: pages compress to a quarter here. What is young has a fixed size, which counts in a
    database of a hundred KiB like this one, and not in one of megabytes.
    """
    used = commit_and_collect(step, commits, url)
    assert used.listed <= SPACE_MOST * used.pages
    assert used.listed <= SPACE_MOST * used.compacted + YOUNG_BYTES

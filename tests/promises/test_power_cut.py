"""The power is cut at every point of recorded work: what was answered is there once, and what is there is whole.

The operations on files are recorded once; a simulated disk then forgets what was not synced (power_disk.py), is written
to a folder, and the store and the journal are opened there again. Each fault that is planted must be found.
"""

from __future__ import annotations

import os
import random
import sqlite3
import stat
from dataclasses import replace
from functools import partial
from itertools import cycle, product
from pathlib import Path

import pytest

from tests.promises.power_disk import ALL, FATES, NAMES_ALONE, NOTHING, ROOT, Disk, Enter, Operation, Sync, Write
from tests.promises.power_recording import Connect
from tests.promises.power_works import (
    STORE,
    Machine,
    Spoil,
    Work,
    find_faults,
    record,
    worthwhile,
    write_deferred,
    write_synced,
)

pytestmark = pytest.mark.once

NOWHERE: frozenset[str] = frozenset()
SAFE = {"the store is lost too": NOWHERE, "the store is elsewhere": frozenset({STORE})}
WORKS = [(write_synced, NOWHERE), *((write_deferred, safe) for safe in SAFE.values())]
works = pytest.mark.parametrize(("work", "safe"), WORKS, ids=["synced", *(f"deferred, {where}" for where in SAFE)])


@works
def test_p1_p2_p6_a_power_cut_loses_no_answered_write(work: Work, safe: frozenset[str], tmp_path: Path) -> None:
    recorded = record(work, tmp_path / "machine")
    planned = list(zip(worthwhile(recorded)[::3], cycle(FATES), strict=False))
    told = find_faults(recorded, tmp_path / "left", planned, seed=20_271, safe=safe)
    assert [one for one in told if one] == []
    assert len(planned) > 25


@pytest.mark.prove
@works
def test_p1_p2_p6_a_power_cut_at_every_operation_loses_no_answered_write(
    work: Work, safe: frozenset[str], tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)
    recorded = record(work, tmp_path / "machine")
    most = set(worthwhile(recorded))
    turns = enumerate(zip(range(len(recorded.operations) + 1), cycle(FATES), strict=False))
    planned = [(n, fate) for n, (_, turn) in turns for fate in (FATES if n in most else (turn,))]
    print(f"seed {seed}: {len(recorded.operations)} operations, {len(planned)} power cuts")
    told = find_faults(recorded, tmp_path / "left", planned, seed=seed, safe=safe, deep=True)
    assert [one for one in told if one] == []


# Planted faults


def forget_folders(machine: Machine) -> Machine:
    """Folders are never synced."""
    sync = machine.system.sync

    def only_files(fd: int) -> None:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            sync(fd)

    return replace(machine, system=replace(machine.system, sync=only_files))


def name_before_sync(machine: Machine) -> Machine:
    """A file is synced after it got its name."""
    system, recording = machine.system, machine.recording

    def only_folders(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            system.sync(fd)

    def link(old: Path, new: Path) -> None:
        system.link(old, new)
        inode = recording.inode(new)
        assert inode is not None
        recording.operations.append(Sync(inode))

    return replace(machine, system=replace(system, sync=only_folders, link=link))


def lowered(connect: Connect, path: str) -> sqlite3.Connection:
    """SQLite answers before its log is synced."""
    connection = connect(path)
    script = connection.executescript
    connection.executescript = lambda sql: script(sql.replace("= FULL", "= NORMAL"))  # type: ignore[method-assign]
    return connection


def lower_the_store(machine: Machine) -> Machine:
    """`synchronous = NORMAL` in the store."""
    return replace(machine, connect=partial(lowered, machine.connect))


def lower_the_journal(machine: Machine) -> Machine:
    """`synchronous = NORMAL` in the journal: deferred writes are answered before they are on disk."""
    return replace(machine, journal_connect=partial(lowered, machine.journal_connect))


def write_twice(machine: Machine) -> Machine:
    """Not a fault of a disk: a write is done twice and answered once, so that the checker must see it without a cut."""
    insert = machine.insert

    class Doubling(Machine):
        def insert(self, database: object, token: str, size: int = 0) -> None:
            insert(database, token, size)  # type: ignore[arg-type]
            if token == "small-2":
                database.execute("INSERT INTO entry VALUES ('small-2', NULL)")  # type: ignore[attr-defined]

    return Doubling(**vars(machine))


@pytest.mark.parametrize(
    ("spoil", "work", "said"),
    [
        (forget_folders, write_synced, "lost"),
        (name_before_sync, write_synced, "in part"),
        (lower_the_store, write_synced, "lost"),
        (lower_the_journal, write_deferred, "lost"),
        (forget_folders, write_deferred, "lost"),
        (write_twice, write_synced, "doubled"),
    ],
)
def test_the_check_finds_planted_faults(spoil: Spoil, work: Work, said: str, tmp_path: Path) -> None:
    recorded = record(work, tmp_path / "machine", spoil)
    planned = product(worthwhile(recorded), (NOTHING, NAMES_ALONE))
    told = find_faults(recorded, tmp_path / "left", planned, seed=1)
    assert any(said in one for one in told)


# The disk


def test_a_disk_keeps_what_was_synced_and_forgets_pieces_of_the_rest() -> None:
    """Of two writes that were not synced the later may be there alone; of one that spans sectors, one of them."""
    disk = Disk()
    operations: list[Operation] = [Enter(ROOT, "file", 1), Write(1, 0, b"a" * 1024), Sync(1)]
    for operation in [*operations, Write(1, 0, b"b" * 1024), Write(1, 1024, b"c" * 512)]:
        disk.do(operation)
    chance = random.Random(1)
    assert (disk.cut(NOTHING, chance), disk.cut(ALL, chance)) == ({}, {Path("file"): 1})
    assert disk.content(1, NOTHING, chance) == b"a" * 1024
    assert disk.content(1, ALL, chance) == b"b" * 1024 + b"c" * 512
    found = {disk.content(1, FATES[4], chance)[::512] for _ in range(200)}
    assert {b"aac", b"bac", b"ab", b"ba", b"bbc"} <= found

"""Real processes on one local database: no update is lost, none is doubled, and readers see whole versions only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import NAME, SOURCE, TABLE, Ledger, check_integrity
from virke.core.ids import Version
from virke.engine.database import Database
from virke.opening import connect
from virke.stores.local.store import local_store

WORKER: Final = str(Path(__file__).with_name("worker.py"))
ACCOUNTS: Final = 8
MONEY: Final = 100 * ACCOUNTS


def start(work: str, folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """A worker on the database of `folder`."""
    command = [sys.executable, WORKER, work, str(folder), *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": SOURCE}, stdout=subprocess.PIPE, text=True)


def said(workers: list[subprocess.Popen[str]]) -> list[list[str]]:
    """What each worker printed, when all are done and none failed."""
    spoken = [worker.communicate(timeout=600)[0].splitlines() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(workers)
    return spoken


def begun(folder: Path, *statements: str) -> Database:
    """A local database with some tables."""
    database = connect(NAME, local_store(folder), create=True, background=False)
    database.change_settings({"max_attempts": 3})
    database.batch([TABLE, *statements])
    return database


def check_rows(folder: Path, processes: int, times: int, threads: int = 1) -> None:
    """All rows are there once; commits of two processes never share a version."""
    began = begun(folder)
    first = began.version
    spoken = said([start("rows", folder, name, times, threads) for name in range(processes)])
    versions = defaultdict[int, set[int]](set)
    ledger = Ledger()
    for process, lines in enumerate(spoken):
        assert len(lines) == times * threads
        for token, version in map(str.split, lines):
            ledger.kept.add(token)
            versions[int(version)].add(process)
    assert len(ledger.kept) == processes * times * threads
    assert all(len(owners) == 1 for owners in versions.values()), "two processes were told the same version"
    if threads == 1:
        assert len(versions) == len(ledger.kept), "one process was told the same version twice"
    with connect(NAME, local_store(folder), background=False) as database:
        assert ledger.check(database) == ledger.kept
        assert first < min(versions) <= max(versions) <= database.version
        check_integrity(database)
        last = database.snapshot()
        assert last.volume.snapshot_at(Version(max(versions))).head.checksum == last.head.checksum
    began.close()


def test_p1_processes_lose_no_update(tmp_path: Path) -> None:
    check_rows(tmp_path, processes=4, times=50)


def test_p1_threads_of_processes_lose_no_update(tmp_path: Path) -> None:
    check_rows(tmp_path, processes=2, times=15, threads=4)


@pytest.mark.slow
def test_p1_many_processes_lose_no_update(tmp_path: Path) -> None:
    check_rows(tmp_path, processes=8, times=200)


@pytest.mark.slow
def test_p1_many_threads_of_processes_lose_no_update(tmp_path: Path) -> None:
    check_rows(tmp_path, processes=4, times=40, threads=8)


def check_bank(folder: Path, writers: int, times: int) -> None:
    """Readers in other processes see the same sum at every version, and time that never runs back."""
    tables = [
        "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER CHECK (balance >= -1000))",
        "CREATE TABLE log (source, target)",
        "CREATE TABLE done (writer)",
        *(f"INSERT INTO account VALUES ({number}, 100)" for number in range(ACCOUNTS)),
    ]
    with begun(folder, *tables) as database:
        database.change_settings({"max_staleness_ms": 5})
    readers = [start("reads", folder, level, writers) for level in ("strong", "session", "bounded")]
    said([start("transfers", folder, seed, times) for seed in range(writers)])
    counts = dict[int, int]()
    with connect(NAME, local_store(folder), background=False) as database:
        for lines in said(readers):
            seen = [(int(count), int(total), int(version)) for count, total, version, _ in map(str.split, lines)]
            bookmarks = [line.split()[3] for line in lines]
            assert {total for _, total, _ in seen} == {MONEY}
            assert [count for count, _, _ in seen] == sorted(count for count, _, _ in seen)
            assert [version for _, _, version in seen] == sorted(version for _, _, version in seen)
            assert bookmarks == sorted(bookmarks)
            for count, _, version in seen:
                assert counts.setdefault(version, count) == count, "two readers saw two states of one version"
            assert database.query("SELECT count(*) FROM log", bookmark=bookmarks[-1]).rows == [(writers * times,)]
            assert seen[-1][0] == writers * times
        check_integrity(database)


def test_p4_p5_readers_see_whole_versions_in_order(tmp_path: Path) -> None:
    check_bank(tmp_path, writers=2, times=30)


@pytest.mark.slow
def test_p4_p5_readers_see_whole_versions_in_order_for_long(tmp_path: Path) -> None:
    check_bank(tmp_path, writers=4, times=250)

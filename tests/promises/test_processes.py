"""Real processes on one store: no update is lost, none is doubled, and readers see whole versions only."""

from __future__ import annotations

import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from tests.promises.ledger import NAME, TABLE, Ledger, check_integrity, check_store
from tests.promises.places import FAR, PLACES, on
from tests.promises.processes import said, start
from virke.core.ids import Version
from virke.engine.database import Database
from virke.errors import Exists
from virke.opening import connect, create, delete, open_store

ACCOUNTS: Final = 8
CREATORS: Final = 6
MONEY: Final = 100 * ACCOUNTS
SIZES: Final = (0, 3000, 90_000)
"""Random bytes of rows in turn: inline, spilled, and a segment of their own."""


def begun(url: str, *statements: str, **settings: str | int) -> Database:
    """A database with some tables, the one of the rows among them."""
    database = connect(NAME, url, create=True, background=False)
    database.change_settings({"max_attempts": 3, **settings})
    database.batch([TABLE.replace("TABLE", "TABLE IF NOT EXISTS"), *statements])
    return database


def check_rows(url: str, processes: int, times: int, threads: int = 1, *, sizes: tuple[int, ...] = (0,)) -> None:
    """All rows are there once; commits of two processes never share a version."""
    began = begun(url)
    first = began.version
    spoken = said([start("rows", url, name, times, threads, *sizes) for name in range(processes)])
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
    with connect(NAME, url, background=False) as database:
        assert ledger.check(database) == ledger.kept
        assert first < min(versions) <= max(versions) <= database.version
        check_integrity(database)
        last = database.snapshot()
        assert last.volume.snapshot_at(Version(max(versions))).head.checksum == last.head.checksum
    began.close()
    check_store(open_store(url))


@on("local", "seaweedfs")
def test_p1_processes_lose_no_update(place: str) -> None:
    check_rows(place, processes=4, times=20)


@pytest.mark.slow
@on(*PLACES)
def test_p1_processes_lose_no_update_for_long(place: str) -> None:
    check_rows(place, processes=4, times=50)


@on("local", slow=FAR)
def test_p1_threads_of_processes_lose_no_update(place: str) -> None:
    check_rows(place, processes=2, times=15, threads=4)


@on("seaweedfs")
def test_p1_four_processes_of_four_threads_lose_no_update(place: str) -> None:
    check_rows(place, processes=4, times=10, threads=4)


@on("local+seaweedfs", slow=("local", "seaweedfs", "moto"))
def test_p1_no_update_is_lost_while_segments_are_merged_and_promoted(place: str) -> None:
    """Rows of all sizes, on which every process does the upkeep that falls due, with three others at the same."""
    before_and_after(place, processes=4, times=6, threads=4)


@pytest.mark.slow
@on("seaweedfs", "local+seaweedfs")
def test_p1_no_update_is_lost_while_segments_are_merged_and_promoted_for_long(place: str) -> None:
    before_and_after(place, processes=4, times=20, threads=4)


def before_and_after(url: str, processes: int, times: int, threads: int) -> None:
    """`check_rows` with large rows, and then: it was merged, and promoted where there are two tiers."""
    with begun(url, promote_at_mb=1) as database:
        tier = database.status().tier
    check_rows(url, processes, times, threads, sizes=SIZES)
    with connect(NAME, url, background=False) as database:
        status, snapshot = database.status(), database.snapshot()
        assert (status.tier, status.upkeep_error) == ("object", None)
        assert any(ref.has_inputs for ref in snapshot.root.segments), "nothing was merged"
        assert {ref.tier.value for ref in snapshot.root.segments} <= {tier, "object"}


@pytest.mark.prove
@on("local", "seaweedfs")
def test_p1_many_processes_lose_no_update(place: str) -> None:
    check_rows(place, processes=8, times=200)


@pytest.mark.slow
@on("local", "seaweedfs")
def test_p1_many_threads_of_processes_lose_no_update(place: str) -> None:
    check_rows(place, processes=4, times=40, threads=8)


def check_bank(url: str, writers: int, times: int) -> None:
    """Readers in other processes see the same sum at every version, and time that never runs back."""
    tables = [
        "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER CHECK (balance >= -1000))",
        "CREATE TABLE log (source, target)",
        "CREATE TABLE done (writer)",
        *(f"INSERT INTO account VALUES ({number}, 100)" for number in range(ACCOUNTS)),
    ]
    with begun(url, *tables) as database:
        database.change_settings({"max_staleness_ms": 5})
    readers = [start("reads", url, level, writers) for level in ("strong", "session", "bounded")]
    said([start("transfers", url, seed, times) for seed in range(writers)])
    counts = dict[int, int]()
    with connect(NAME, url, background=False) as database:
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


@on("local", "seaweedfs", slow=("moto", "local+seaweedfs"))
def test_p4_p5_readers_see_whole_versions_in_order(place: str) -> None:
    check_bank(place, writers=2, times=30)


@pytest.mark.slow
@on("local", "seaweedfs")
def test_p4_p5_readers_see_whole_versions_in_order_for_long(place: str) -> None:
    check_bank(place, writers=4, times=250)


@on(*PLACES)
def test_p2_of_many_who_create_a_database_at_once_one_does(place: str) -> None:
    """All others are told that it exists; and once more when it was deleted."""

    def attempt(gate: threading.Barrier) -> str:
        gate.wait(30)
        try:
            create(NAME, place).close()
        except Exists:
            return "exists"
        return "created"

    for _ in range(2):
        gate = threading.Barrier(CREATORS)
        with ThreadPoolExecutor(CREATORS) as pool:
            said = sorted(pool.map(attempt, [gate] * CREATORS))
        assert said == ["created", *["exists"] * (CREATORS - 1)]
        delete(NAME, place)

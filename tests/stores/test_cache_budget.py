"""The folder of a cache keeps its budget, whoever writes, for however short a time, and almost nobody looks through it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stores.cache_place import Place, bytes_of
from tests.stores.conformance import at_once
from tests.stores.local_worker import FILL_BYTES, value_of
from tests.stores.test_local import lines_of, worker
from virke.core.effects import Tier
from virke.stores.base import Range
from virke.stores.cached.blobs import CacheCounts
from virke.stores.cached.budget import BLOCK_BYTES, CacheBudget
from virke.stores.local.store import local_store

pytestmark = pytest.mark.once

BUDGET = 100 * BLOCK_BYTES


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Blobs with a hundred objects of one block each, when they are files."""
    place = Place(tmp_path)
    for n in range(100):
        place.blobs.put_new(f"o/{n:02}", bytes([n]) * 4000)
    return place


def read_each(place: Place, numbers: range, disk_bytes: int = BUDGET) -> None:
    """Read objects, each by a process that ends at once; the folder is within its budget after each of them."""
    for n in numbers:
        cache = place.cache(memory_bytes=0, disk_bytes=disk_bytes)
        assert cache.get([Range(f"o/{n % 100:02}")]) == [bytes([n % 100]) * 4000]
        assert place.bytes_on_disk() <= disk_bytes


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch, place: Place) -> Iterator[list[str]]:
    """Grows by one whenever somebody begins to look at all files."""
    begun: list[str] = []
    scandir = os.scandir

    def noted(path: str) -> object:
        if path == str(place.folder):
            begun.append(path)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", noted)
        yield begun


def test_the_disk_keeps_its_budget(place: Place) -> None:
    """After every reading of one process the files are within the budget, most of it is used, and the last is there."""
    cache = place.cache(memory_bytes=0, disk_bytes=BUDGET // 2)
    for n in range(100):
        cache.get([Range(f"o/{n:02}")])
        assert place.bytes_on_disk() <= BUDGET // 2
    assert place.bytes_on_disk() >= 0.8 * BUDGET // 2
    assert cache.get([Range("o/99")]) == [bytes([99]) * 4000]
    assert cache.counts == CacheCounts(misses=100, disk_hits=1)


def test_many_short_processes_keep_the_budget_together(place: Place, looks: list[str]) -> None:
    """Each writes one file and ends; one in five looks at all files, as a tenth of the budget is five of them."""
    for n in range(300):
        key = f"x/{n}"
        place.blobs.put_new(key, bytes(3000))
        place.cache(memory_bytes=0, disk_bytes=BUDGET // 2).get([Range(key)])
        assert place.bytes_on_disk() <= BUDGET // 2
    assert place.bytes_on_disk() >= 0.8 * BUDGET // 2
    assert len(looks) == 60


def test_a_full_cache_costs_a_short_process_nothing(place: Place, looks: list[str]) -> None:
    """One that reads what is there, or writes a little, looks at no other file."""
    read_each(place, range(95))
    used = len(looks)
    read_each(place, range(90, 95))
    place.blobs.put_new("small", b"1")
    place.cache(memory_bytes=0, disk_bytes=BUDGET).get([Range("small")])
    assert len(looks) == used


@pytest.mark.parametrize("disk_bytes", [BLOCK_BYTES * n for n in (1, 2, 3, 5, 9, 11, 30)])
def test_small_budgets_are_kept_too(place: Place, disk_bytes: int) -> None:
    """Also where a tenth is less than a file, and for files of many sizes; a budget below a block holds nothing."""
    for n in range(60):
        place.blobs.put_new(f"s/{n}", bytes(n * 977 % 30_000))
        cache = place.cache(memory_bytes=0, disk_bytes=disk_bytes)
        assert cache.get([Range(f"s/{n}")]) == [bytes(n * 977 % 30_000)]
        assert place.bytes_on_disk() <= disk_bytes
    assert place.bytes_on_disk() > 0
    shutil.rmtree(place.folder)
    place.cache(disk_bytes=BLOCK_BYTES - 1).get([Range("o/01")])
    assert not place.folder.exists()


def test_without_an_account_somebody_looks(place: Place, looks: list[str]) -> None:
    """The account may be deleted again and again: the budget is kept all the same."""
    for n in range(0, 200, 4):
        read_each(place, range(n, n + 4), disk_bytes=BUDGET // 2)
        for account in place.folder.glob("account-*"):
            account.unlink()
    assert len(looks) == 50


def test_the_disk_forgets_what_was_used_longest_ago(place: Place) -> None:
    """When room is made, an object read from disk since stays, and older ones go, with their folders."""
    read_each(place, range(50))
    for path in place.files():
        number = path.read_bytes()[-1]
        os.utime(path, (1000 + number, 1000 + number))
    read_each(place, range(5))  # hits
    read_each(place, range(50, 100))
    numbers = {path.read_bytes()[-1] for path in place.files()}
    assert {0, 1, 2, 3, 4} < numbers
    assert {*range(50, 100)} < numbers
    assert numbers.isdisjoint(range(5, 15))
    folders = [path for path in place.folder.rglob("*") if path.is_dir()]
    assert all(any(folder.iterdir()) for folder in folders)


def test_a_cache_counts_files_that_it_finds(place: Place) -> None:
    """A new process with a smaller budget brings a folder of earlier files within it at its first write."""
    read_each(place, range(90))
    place.cache(disk_bytes=10 * BLOCK_BYTES, memory_bytes=0).get([Range("o/99", 0, 100)])
    assert 0 < place.bytes_on_disk() <= 10 * BLOCK_BYTES


def test_while_somebody_looks_the_others_write_nothing_and_do_not_wait(place: Place) -> None:
    """Answers come from the store meanwhile; once the look is over, what is read is kept again."""
    read_each(place, range(10))
    for account in place.folder.glob("account-*"):
        account.unlink()
    before = place.files()
    looking = os.open(place.folder, os.O_RDONLY)
    try:
        fcntl.flock(looking, fcntl.LOCK_EX)
        read_each(place, range(20, 30))
        assert place.files() == before
    finally:
        os.close(looking)
    read_each(place, range(20, 30))
    assert len(place.files()) == 20


def test_writers_amid_a_look_exceed_the_budget_by_one_file_each(place: Place) -> None:
    """Two were let in before a look and put their files in place after it: that is all there is too much."""
    file_bytes = 3 * BLOCK_BYTES
    budget = CacheBudget(place.folder, BUDGET)
    place.folder.mkdir()

    def write(number: int) -> None:
        (place.folder / str(number)).write_bytes(bytes(file_bytes))

    assert budget.admit(file_bytes)  # the first look begins the account
    late = [number for number in range(2) if budget.admit(file_bytes)]
    for number in range(2, 200):
        assert budget.admit(file_bytes)
        write(number)
        assert bytes_of(place.folder) <= BUDGET
    for number in late:
        write(number)
    assert bytes_of(place.folder) <= BUDGET + len(late) * file_bytes
    assert budget.admit(BUDGET // 10)
    assert bytes_of(place.folder) <= 0.9 * BUDGET, "the next look sees them"


def test_threads_keep_the_budget_but_for_a_file_each(place: Place) -> None:
    """Sixteen caches over one folder, each in a thread: after all, at most one file for each other thread too much."""

    def work(number: int) -> list[bool]:
        cache = place.cache(memory_bytes=0, disk_bytes=BUDGET // 4)
        return [
            cache.get([Range(f"o/{n * 7 % 100:02}")]) == [bytes([n * 7 % 100]) * 4000]
            for n in range(number, number + 100)
        ]

    assert at_once(work) == [[True] * 100] * 16
    assert place.bytes_on_disk() <= BUDGET // 4 + 15 * BLOCK_BYTES


def test_processes_keep_the_budget_but_for_a_file_each(tmp_path: Path) -> None:
    """Four processes read the same objects in their own order: every answer is right, and the budget is kept."""
    blobs = local_store(tmp_path / "place").blobs[Tier.OBJECT]
    for n in range(60):
        blobs.put_new(f"o/{n}", value_of(n))
    largest = max(-(-(len(value_of(n)) + 28) // BLOCK_BYTES) * BLOCK_BYTES for n in range(60))
    workers = [worker("fill", tmp_path / "place", tmp_path / "cache") for _ in range(4)]
    assert [lines_of(one) for one in workers] == [[0]] * 4
    assert FILL_BYTES // 2 < bytes_of(tmp_path / "cache") <= FILL_BYTES + 3 * largest

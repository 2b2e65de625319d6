"""What lies in a cache's folder can neither block a read, nor take memory, nor be read by other users."""

from __future__ import annotations

import os
import stat
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stores.cache_place import Place
from tests.stores.local_worker import value_of
from virke.stores.base import Range
from virke.stores.cached.blobs import CacheCounts

WIDE = 0o755


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Blobs with one object `k`."""
    place = Place(tmp_path)
    place.blobs.put_new("k", value_of(1))
    return place


def _grown(path: Path) -> None:
    path.touch()
    os.truncate(path, 30 << 30)


INTRUDERS: dict[str, Callable[[Path], None]] = {
    "a FIFO": lambda path: os.mkfifo(path),
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a file that grew": _grown,
}


@pytest.mark.parametrize("intruder", INTRUDERS)
def test_p11_what_is_no_file_of_its_length_is_a_damaged_copy(place: Place, intruder: str) -> None:
    """It is neither waited for nor read into memory, and a good copy takes its place."""
    place.cache().get([Range("k", 0, 500)])
    [path] = place.files()
    path.unlink()
    INTRUDERS[intruder](path)
    cache = place.cache()
    tracemalloc.start()
    try:
        assert cache.get([Range("k", 0, 500)]) == [value_of(1)[:500]]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert cache.counts == CacheCounts(misses=1, damaged=1)
    assert stat.S_ISREG(path.lstat().st_mode)


def test_p11_a_name_that_claims_gigabytes_is_a_damaged_copy(place: Place) -> None:
    """Also when the file is as long as its name says: no cache writes such a file."""
    place.cache().get([Range("k", 0, 500)])
    [path] = place.files()
    path.rename(path.with_name("0-32212254720"))
    os.truncate(path.with_name("0-32212254720"), (30 << 30) + 28)
    cache = place.cache()
    assert cache.get([Range("k", 0, 500)]) == [value_of(1)[:500]]
    assert cache.counts == CacheCounts(misses=1, damaged=1)


@pytest.mark.parametrize("intruder", INTRUDERS)
def test_p11_what_stands_in_the_place_of_the_account_is_replaced(place: Place, intruder: str) -> None:
    place.cache().get([Range("k", 0, 500)])
    [account] = place.folder.glob("account-*")
    account.unlink()
    INTRUDERS[intruder](account)
    place.cache().get([Range("k", 500, 100)])
    assert stat.S_ISREG(account.lstat().st_mode)
    assert account.stat().st_size < 100
    assert len(place.files()) > 0


def modes(folder: Path) -> dict[str, set[int]]:
    """The modes of all folders and files of a cache."""
    found: dict[str, set[int]] = {"folders": set(), "files": set()}
    for path in (folder, *folder.rglob("*")):
        found["folders" if path.is_dir() else "files"].add(stat.S_IMODE(path.stat().st_mode))
    return found


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_p12_a_cache_is_its_owners_alone_whatever_the_umask_is(tmp_path: Path, umask: int) -> None:
    place = Place(tmp_path / "missing" / "too")
    place.blobs.put_new("k", value_of(1))
    before = os.umask(umask)
    try:
        place.cache().get([Range("k", 0, 500)])
    finally:
        os.umask(before)
    assert modes(place.folder) == {"folders": {0o700}, "files": {0o600}}
    assert stat.S_IMODE((tmp_path / "missing").stat().st_mode) == 0o700


def test_p12_a_cache_of_an_earlier_version_is_tightened_when_it_is_opened(place: Place) -> None:
    """Its folder before anything is read; each file when it is read."""
    place.cache().get([Range("k", 0, 500)])
    for path in (place.folder, *place.folder.rglob("*")):
        path.chmod(WIDE)
    cache = place.cache()
    assert cache.get([Range("k", 0, 500)]) == [value_of(1)[:500]]
    assert cache.counts == CacheCounts(disk_hits=1)
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.files()} == {0o600}
    cache.get([Range("k", 600, 10)])
    [account] = place.folder.glob("account-*")
    assert stat.S_IMODE(account.stat().st_mode) == 0o600

"""The cache answers what the store would, trusts no file unchecked, keeps its budgets and can be deleted at any time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.stores.conformance import BlobsConformance, RegisterConformance, at_once
from tests.stores.local_worker import value_of
from tests.stores.test_local import lines_of, worker
from virke.core.effects import Absent, Tier
from virke.errors import Corrupt, Unavailable
from virke.stores.base import Blobs, Call, Range, Store
from virke.stores.cached import CacheCounts, CachedBlobs, cached_store
from virke.stores.counted import CountingStore, Tally
from virke.stores.faulty import Chances, FaultyStore
from virke.stores.local import local_store
from virke.stores.memory import memory_store


class TestCachedRegister(RegisterConformance):
    @pytest.fixture
    def store(self) -> Store:
        return cached_store(memory_store())


class TestMemoryCachedBlobs(BlobsConformance):
    @pytest.fixture
    def store(self) -> Store:
        self.inner = memory_store(object_bytes_max=100_000)
        return cached_store(self.inner)

    def losing(self, store: Store) -> Store:
        return cached_store(FaultyStore(self.inner, chances=Chances(lose_answer=1.0)).store)


class TestDiskCachedBlobs(TestMemoryCachedBlobs):
    tier = Tier.KV

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        self.inner = memory_store(kv_bytes_max=100_000)
        return cached_store(self.inner, memory_bytes=0, folder=tmp_path / "cache")


class Place:
    """Blobs with one object `k`, requests counted, and caches over them."""

    def __init__(self, folder: Path) -> None:
        self.counting = CountingStore(memory_store())
        self.blobs = self.counting.store.blobs[Tier.OBJECT]
        self.blobs.put_new("k", value_of(1))
        self.folder = folder / "cache"

    def cache(self, *, memory_bytes: int = 1 << 20, disk_bytes: int = 1 << 20) -> CachedBlobs:
        return CachedBlobs(self.blobs, memory_bytes=memory_bytes, folder=self.folder, disk_bytes=disk_bytes)

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def asked(self) -> Tally:
        return self.counting.of(Call.GET)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_what_was_read_is_not_asked_again(place: Place) -> None:
    """The second reading of a range costs no request; in a new process it comes from the disk."""
    first = place.cache()
    asked = [Range("k", 3, 4), Range("k", 100)]
    answers = first.get(asked)
    assert answers == [value_of(1)[3:7], value_of(1)[100:]]
    assert first.get(asked) == answers
    second = place.cache()
    assert second.get(asked) == answers
    assert second.get(asked) == answers
    assert (place.asked().requests, place.asked().items) == (1, 2)
    assert first.counts == CacheCounts(memory_hits=2, misses=2)
    assert second.counts == CacheCounts(memory_hits=2, disk_hits=2)


def test_a_whole_object_serves_its_ranges(place: Place) -> None:
    """From memory and from disk; beyond its end it is `Corrupt` there too."""
    place.cache().get([Range("k")])
    cache = place.cache()
    assert cache.get([Range("k", 5, 6), Range("k", 8)]) == [value_of(1)[5:11], value_of(1)[8:]]
    assert cache.get([Range("k")]) == [value_of(1)]
    with pytest.raises(Corrupt):
        cache.get([Range("k", len(value_of(1)), 1)])
    assert place.asked().requests == 1


def test_what_was_put_is_not_asked_for(place: Place) -> None:
    """A stored object is kept; one that was refused is not."""
    cache = place.cache()
    cache.put_new("new", b"12345")
    assert cache.get([Range("new", 1, 2), Range("new")]) == [b"23", b"12345"]
    assert place.asked().requests == 0


def test_a_lost_put_is_not_kept() -> None:
    """What may never have arrived is asked of the store."""
    cache = CachedBlobs(FaultyStore(memory_store(), chances=Chances(lose_request=1.0)).store.blobs[Tier.OBJECT])
    cache.put_new("new", b"1")
    assert cache.counts == CacheCounts()
    with pytest.raises(Unavailable, match="request lost"):
        cache.get([Range("new")])


def test_absence_is_not_cached(place: Place) -> None:
    """An object that comes later is seen, and only it is asked for again."""
    cache = place.cache()
    assert cache.get([Range("later"), Range("k")]) == [Absent(), value_of(1)]
    place.blobs.put_new("later", b"now")
    assert cache.get([Range("later"), Range("k")]) == [b"now", value_of(1)]
    assert place.asked().items == 3


def test_what_was_deleted_is_forgotten(place: Place) -> None:
    """After a delete neither memory nor disk answers."""
    cache = place.cache()
    cache.get([Range("k"), Range("k", 1, 2)])
    cache.delete(["k"])
    assert cache.get([Range("k"), Range("k", 1, 2)]) == [Absent(), Absent()]
    assert place.files() == []


def _flipped(n: int, data: bytes) -> bytes:
    return data[:n] + bytes([data[n] ^ 1]) + data[n + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut in the header": lambda data: data[:9],
    "cut": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "zeros": lambda data: bytes(len(data)),
    **{f"byte {n} flipped": partial(_flipped, n) for n in (0, 4, 11, 12, 27, 28, 99)},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_p7_a_damaged_file_is_a_miss(place: Place, damage: str) -> None:
    """It is asked for again, answered rightly, counted and replaced by a good one."""
    place.cache().get([Range("k")])
    [path] = place.files()
    good = path.read_bytes()
    path.write_bytes(DAMAGES[damage](good))
    cache = place.cache()
    assert cache.get([Range("k")]) == [value_of(1)]
    assert cache.counts == CacheCounts(misses=1, damaged=1)
    assert [file.read_bytes() for file in place.files()] == [good]


def test_p7_another_questions_file_is_a_miss(place: Place) -> None:
    """Good bytes under a wrong name (other key, offset or length) are not trusted."""
    place.blobs.put_new("other", value_of(1)[::-1])
    for asked, other in [
        (Range("k", 0, 4), Range("other", 0, 4)),
        (Range("k", 0, 4), Range("k", 4, 4)),
        (Range("k", 9), Range("k")),
    ]:
        cache = place.cache()
        cache.get([asked])
        [wanted] = place.files()
        cache.get([other])
        [foreign] = [path for path in place.files() if path != wanted]
        foreign.replace(wanted)
        fresh = place.cache()
        assert fresh.get([asked]) == place.blobs.get([asked])
        assert (fresh.counts.damaged, fresh.counts.disk_hits) == (1, 0)
        shutil.rmtree(place.folder)


def test_a_bad_file_that_is_not_replaced_is_removed(place: Place) -> None:
    """If the store no longer has the object, the damaged file is gone all the same."""
    place.cache().get([Range("k")])
    [path] = place.files()
    path.write_bytes(b"bad")
    place.blobs.delete(["k"])
    assert place.cache().get([Range("k")]) == [Absent()]
    assert place.files() == []


def test_a_disk_that_does_not_work_is_a_miss(tmp_path: Path) -> None:
    """A cache folder that can't be made costs nothing but the hits, and is counted."""
    (tmp_path / "cache").write_bytes(b"a file")
    place = Place(tmp_path)
    cache = place.cache(memory_bytes=0)
    for _ in range(2):
        assert cache.get([Range("k")]) == [value_of(1)]
    cache.delete(["k"])
    assert (cache.counts.misses, cache.counts.disk_hits) == (2, 0)
    assert cache.counts.damaged >= 2


def test_two_processes_share_the_folder(tmp_path: Path) -> None:
    """What one process read the other finds on disk."""
    blobs = local_store(tmp_path / "place").blobs[Tier.OBJECT]
    blobs.put_new("k", value_of(1))
    assert lines_of(worker("cache", tmp_path / "place", tmp_path / "cache")) == [0, 1]
    assert lines_of(worker("cache", tmp_path / "place", tmp_path / "cache")) == [1, 0]
    mine = CachedBlobs(blobs, folder=tmp_path / "cache")
    assert mine.get([Range("k")]) == [value_of(1)]
    assert mine.counts == CacheCounts(disk_hits=1)


def test_the_folder_may_be_deleted_under_use(place: Place) -> None:
    """Four threads remove the folder again and again while twelve read through it: every answer is right."""
    keys = [f"o/{n}" for n in range(20)]
    for n, key in enumerate(keys):
        place.blobs.put_new(key, value_of(n))
    cache = place.cache(memory_bytes=0)

    def work(number: int) -> list[bytes | Absent]:
        for _ in range(20):
            if number < 4:
                shutil.rmtree(place.folder, ignore_errors=True)
            else:
                got = cache.get([Range(key) for key in keys])
                if got != [value_of(n) for n in range(20)]:
                    return got
        return []

    assert at_once(work) == [[]] * 16


def _read_objects(place: Place, blobs: Blobs, count: int, each_bytes: int) -> None:
    for n in range(count):
        place.blobs.put_new(f"o/{n:02}", bytes([n]) * each_bytes)
    for n in range(count):
        assert blobs.get([Range(f"o/{n:02}")]) == [bytes([n]) * each_bytes]
        assert sum(path.stat().st_size for path in place.files()) <= 50_000


def test_memory_keeps_its_budget(place: Place) -> None:
    """Of objects that don't all fit, the last used are in memory, the others are asked for again."""
    cache = CachedBlobs(place.blobs, memory_bytes=10 * (1000 + 256))
    _read_objects(place, cache, 20, 1000)
    place.counting.reset()
    cache.get([Range(f"o/{n:02}") for n in range(10, 20)])
    assert place.asked().requests == 0
    cache.get([Range("o/10"), Range("o/00"), Range("o/10")])  # 00 pushes out 11, for 10 was used last
    assert place.asked().items == 1
    cache.get([Range("o/11")])
    assert place.asked().items == 2


def test_what_is_larger_than_the_budget_is_not_kept(place: Place) -> None:
    """It pushes nothing out of memory or off the disk."""
    cache = place.cache(memory_bytes=2000, disk_bytes=2000)
    cache.put_new("big", bytes(3000))
    place.blobs.put_new("small", b"1")
    cache.get([Range("small")])
    for _ in range(2):
        cache.get([Range("big")])
        cache.get([Range("small")])
    assert (cache.counts.memory_hits, cache.counts.misses) == (2, 3)
    assert len(place.files()) == 1


def test_the_disk_keeps_its_budget(place: Place) -> None:
    """After every reading the files are within the budget, and the last one is among them."""
    cache = place.cache(memory_bytes=0, disk_bytes=50_000)
    _read_objects(place, cache, 40, 4000)
    assert len(place.files()) >= 5
    assert cache.get([Range("o/39")]) == [bytes([39]) * 4000]
    assert cache.counts == CacheCounts(misses=40, disk_hits=1)


def test_the_disk_forgets_what_was_used_longest_ago(place: Place) -> None:
    """When room is made, an object read from disk since stays, and older ones go."""
    cache = place.cache(memory_bytes=0, disk_bytes=50_000)
    _read_objects(place, cache, 11, 4000)
    for age_s, path in enumerate(place.files()):
        os.utime(path, (1000 + age_s, 1000 + age_s))
    oldest = min(place.files(), key=lambda path: path.stat().st_mtime_ns)
    [used] = [n for n in range(11) if bytes([n]) * 4000 in oldest.read_bytes()]
    cache.get([Range(f"o/{used:02}")])
    place.blobs.put_new("more", bytes(8000))
    cache.get([Range("more")])
    assert len(place.files()) < 11
    place.counting.reset()
    cache.get([Range(f"o/{used:02}"), Range("more")])
    assert place.asked().requests == 0


def test_a_cache_counts_files_that_it_finds(place: Place) -> None:
    """A new process with a smaller budget brings a folder of earlier files within it at its first write."""
    _read_objects(place, place.cache(disk_bytes=50_000), 10, 4000)
    place.cache(disk_bytes=10_000, memory_bytes=0).get([Range("k", 0, 100)])
    assert 0 < sum(path.stat().st_size for path in place.files()) <= 10_000


def test_tiers_do_not_mix(tmp_path: Path) -> None:
    """The same key in two tiers is two objects, in memory and on disk."""
    store = memory_store()
    for _ in range(2):
        cached = cached_store(store, folder=tmp_path)
        for tier, blobs in cached.blobs.items():
            store.blobs[tier].put_new("k", tier.value.encode())
            assert blobs.get([Range("k")]) == [tier.value.encode()]

"""The cache answers what the store would, asks it for little, keeps to its memory, and counts what it did."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.stores.cache_place import AskedBlobs, Place
from tests.stores.conformance import BlobsConformance, RegisterConformance
from tests.stores.local_worker import value_of
from virke.core.effects import Absent, Stored, Tier
from virke.errors import Corrupt, Invalid, Unavailable
from virke.stores.base import Range, Store
from virke.stores.cached.blobs import CacheCounts, CachedBlobs
from virke.stores.cached.extents import EXTENT_BYTES
from virke.stores.cached.on_disk import cached_blobs, cached_store
from virke.stores.faulty import Chances, FaultyStore
from virke.stores.local.store import local_store
from virke.stores.memory import memory_store


class TestCachedRegister(RegisterConformance):
    @pytest.fixture
    def store(self) -> Store:
        return cached_store(memory_store())


class TestMemoryCachedBlobs(BlobsConformance):
    """A memory store, cached in memory."""

    memory_bytes = 64 << 20
    has_ranges = True

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        self.inner = memory_store(object_bytes_max=100_000, kv_bytes_max=100_000)
        self.folder = self.folder_in(tmp_path)
        return self.reopened(self.inner)

    def folder_in(self, tmp_path: Path) -> Path | None:
        return None

    def reopened(self, store: Store) -> Store:
        return self.cached(self.inner)

    def losing(self, store: Store) -> Store:
        return self.cached(FaultyStore(self.inner, chances=Chances(lose_answer=1.0)).store)

    def cached(self, inner: Store) -> Store:
        ranged = {tier: AskedBlobs(blobs, has_ranges=self.has_ranges) for tier, blobs in inner.blobs.items()}
        asked = Store(inner.url, inner.register, {**ranged})
        return cached_store(asked, memory_bytes=self.memory_bytes, folder=self.folder, disk_bytes=64 << 20)


class TestDiskCachedBlobs(TestMemoryCachedBlobs):
    """A memory store, cached on disk only."""

    tier = Tier.KV
    memory_bytes = 0

    def folder_in(self, tmp_path: Path) -> Path | None:
        return tmp_path / "cache"


class TestTwiceCachedBlobs(TestDiskCachedBlobs):
    """A memory store, cached in memory and on disk."""

    memory_bytes = 1 << 20


class TestCachedBlobsWithoutRanges(TestMemoryCachedBlobs):
    """A store that moves whole objects only, cached in memory."""

    has_ranges = False


class TestDiskCachedBlobsWithoutRanges(TestDiskCachedBlobs):
    """A store that moves whole objects only, cached on disk."""

    has_ranges = False


class TestUncachedBlobs(TestMemoryCachedBlobs):
    """A cache that has no room for anything."""

    memory_bytes = 0


class TestCachedLocalBlobs(BlobsConformance):
    """A local store, cached in memory."""

    memory_bytes = 64 << 20

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        self.place = tmp_path / "place"
        self.folder = self.folder_in(tmp_path)
        return self.cached(local_store(self.place, kv_bytes_max=100_000, object_bytes_max=100_000))

    def folder_in(self, tmp_path: Path) -> Path | None:
        return None

    def reopened(self, store: Store) -> Store:
        return self.cached(local_store(self.place))

    def losing(self, store: Store) -> Store:
        return self.cached(FaultyStore(local_store(self.place), chances=Chances(lose_answer=1.0)).store)

    def cached(self, inner: Store) -> Store:
        return cached_store(inner, memory_bytes=self.memory_bytes, folder=self.folder)


class TestDiskCachedLocalBlobs(TestCachedLocalBlobs):
    """A local store, cached on disk only."""

    memory_bytes = 0

    def folder_in(self, tmp_path: Path) -> Path | None:
        return tmp_path / "cache"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Blobs with one object `k`."""
    place = Place(tmp_path)
    place.blobs.put_new("k", value_of(1))
    return place


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
    assert place.blobs.asked == [asked]
    assert first.counts == CacheCounts(memory_hits=2, misses=2)
    assert second.counts == CacheCounts(memory_hits=2, disk_hits=2)


def test_a_whole_object_serves_its_ranges(place: Place) -> None:
    """From memory and from disk; beyond its end it is `Corrupt` there too."""
    place.cache().get([Range("k")])
    cache = place.cache()
    assert cache.get([Range("k", 5, 6), Range("k", 8)]) == [value_of(1)[5:11], value_of(1)[8:]]
    assert cache.get([Range("k")]) == [value_of(1)]
    for fresh in (cache, place.cache()):
        with pytest.raises(Corrupt):
            fresh.get([Range("k", len(value_of(1)), 1)])
    assert place.requests == 1


@pytest.mark.parametrize("memory_bytes", [0, 1 << 20])
def test_what_came_serves_every_range_inside_it(place: Place, memory_bytes: int) -> None:
    """From memory and from disk, and so do two answers that lie side by side a range across both."""
    cache = place.cache(memory_bytes=memory_bytes)
    cache.get([Range("k", 100, 200)])
    cache.get([Range("k", 300, 200)])
    for asked in (
        Range("k", 100, 1),
        Range("k", 299, 1),
        Range("k", 150, 100),
        Range("k", 250, 100),
        Range("k", 100, 400),
    ):
        assert cache.get([asked]) == [value_of(1)[asked.offset : asked.offset + (asked.length or 0)]]
    assert place.requests == 2


def test_what_was_put_is_not_asked_for(place: Place) -> None:
    """A stored object is kept, of one call or of many; one that was refused is not."""
    cache = place.cache()
    cache.put_new("new", b"12345")
    cache.put_all([("a", b"1"), ("b", b"")])
    assert cache.get([Range("new", 1, 2), Range("new"), Range("a"), Range("b")]) == [b"23", b"12345", b"1", b""]
    assert place.requests == 0


def test_a_large_object_that_was_put_is_not_kept(place: Place) -> None:
    """One of more than a quarter of the memory would push out what is read; it is asked for when it is needed."""
    cache = place.cache(memory_bytes=4000)
    cache.put_new("quarter", bytes(1000))
    cache.put_all([("more", bytes(1001))])
    assert cache.get([Range("quarter"), Range("more")]) == [bytes(1000), bytes(1001)]
    assert place.blobs.asked == [[Range("more")]]


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
    assert place.items == 3


def test_what_was_deleted_is_forgotten(place: Place) -> None:
    """After a delete neither memory nor disk answers."""
    cache = place.cache()
    cache.get([Range("k"), Range("k", 1, 2)])
    cache.delete(["k"])
    assert cache.get([Range("k"), Range("k", 1, 2)]) == [Absent(), Absent()]
    assert place.files() == []


def test_an_object_is_never_half_absent(place: Place) -> None:
    """If the store says that it is gone, the call says so of what is cached of it too; the next one has it again."""
    cache = place.cache()
    cache.get([Range("k", 0, 10)])
    place.blobs.delete(["k"])
    assert cache.get([Range("k", 0, 10), Range("k", 20, 1)]) == [Absent(), Absent()]
    assert cache.get([Range("k", 0, 10)]) == [value_of(1)[:10]]


def test_missing_ranges_are_asked_for_at_once(place: Place) -> None:
    """One request of a call carries all that is missing: neighbours joined, large ranges cut, hits left out."""
    place.blobs.put_new("big", bytes(range(256)) * 40)
    cache = CachedBlobs(place.blobs, gap_bytes=10, piece_bytes=4000)
    cache.get([Range("k", 0, 10)])
    asked = [Range("k", 0, 5), Range("k", 130, 10), Range("big", 0, 10_000), Range("k", 100, 20), Range("k", 7000)]
    answers = cache.get(asked)
    assert answers == place.blobs.inner.get(asked)
    assert place.blobs.asked[1] == [
        Range("k", 100, 40),
        Range("k", 7000),
        Range("big", 0, 3334),
        Range("big", 3334, 3334),
        Range("big", 6668, 3332),
    ]
    assert cache.get([Range("big", 3000, 4000)]) == [(bytes(range(256)) * 40)[3000:7000]]
    assert place.requests == 2


def test_a_gap_that_was_fetched_along_is_a_hit(place: Place) -> None:
    """By default 8 KiB between two ranges are worth less than a request."""
    place.blobs.put_new("big", bytes(range(256)) * 100)
    cache = place.cache()
    cache.get([Range("big", 0, 1), Range("big", 8193, 1), Range("big", 16387, 1)])
    assert place.blobs.asked == [[Range("big", 0, 8194), Range("big", 16387, 1)]]
    assert cache.get([Range("big", 4000, 1000)]) == [(bytes(range(256)) * 100)[4000:5000]]
    assert place.requests == 1


def test_a_store_without_ranges_is_asked_for_whole_objects(tmp_path: Path) -> None:
    """Each of them once in a call, and never again, on disk neither."""
    place = Place(tmp_path, has_ranges=False)
    place.blobs.put_new("k", value_of(1))
    cache = place.cache()
    assert cache.get([Range("k", 9, 1), Range("none", 1, 1), Range("k", 3)]) == [b"\1", Absent(), value_of(1)[3:]]
    assert place.blobs.asked == [[Range("k"), Range("none")]]
    for again in (cache, place.cache(memory_bytes=0)):
        assert again.get([Range("k", 20, 30), Range("k")]) == [value_of(1)[20:50], value_of(1)]
    assert place.requests == 1
    assert not cache.has_ranges


def test_a_store_that_answers_short_is_corrupt(place: Place) -> None:
    """What is not as long as asked is neither answered nor kept."""

    class Short(AskedBlobs):
        def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
            return [answer[:-1] for answer in super().get(ranges) if isinstance(answer, bytes)]

    cache = cached_blobs(Short(place.blobs), folder=place.folder)
    for _ in range(2):
        with pytest.raises(Corrupt, match="answered 9 bytes"):
            cache.get([Range("k", 5, 10)])
    assert place.files() == []


def test_what_is_asked_for_fresh_replaces_what_was_cached(place: Place) -> None:
    """In memory and on disk: a copy that was damaged is not answered again."""
    place.blobs.put_new("copied", b"wrong" * 10)
    cache, asked = place.cache(), Range("copied", 0, 5)
    assert cache.get([asked]) == [b"wrong"]
    place.blobs.delete(["copied"])
    place.blobs.put_new("copied", b"right" * 10)
    assert cache.get([asked]) == [b"wrong"]
    assert cache.get([replace(asked, fresh=True), Range("none", 0, 1, fresh=True)]) == [b"right", Absent()]
    for again in (cache, place.cache()):
        assert again.get([asked]) == [b"right"]


def test_memory_keeps_its_budget(place: Place) -> None:
    """Of objects that don't all fit, the last used are in memory, the others are asked for again."""
    cache = CachedBlobs(place.blobs, memory_bytes=10 * (1000 + EXTENT_BYTES))
    for n in range(20):
        place.blobs.put_new(f"o/{n:02}", bytes([n]) * 1000)
        assert cache.get([Range(f"o/{n:02}")]) == [bytes([n]) * 1000]
    cache.get([Range(f"o/{n:02}") for n in range(10, 20)])
    assert place.requests == 20
    cache.get([Range("o/10"), Range("o/00"), Range("o/10")])  # 00 pushes out 11, for 10 was used last
    assert place.items == 21
    cache.get([Range("o/11")])
    assert place.items == 22


def test_what_is_larger_than_the_budget_is_not_kept(place: Place) -> None:
    """It pushes nothing out of memory or off the disk."""
    cache = place.cache(memory_bytes=8192, disk_bytes=8192)
    cache.put_new("big", bytes(9000))
    place.blobs.put_new("small", b"1")
    cache.get([Range("small")])
    for _ in range(2):
        cache.get([Range("big")])
        cache.get([Range("small")])
    assert (cache.counts.memory_hits, cache.counts.misses) == (2, 3)
    assert len(place.files()) == 1


def test_receipts_are_told_of_hits(place: Place) -> None:
    """After each call, how many of its ranges were not asked for, from memory or from disk; after an error nothing."""
    told: list[int] = []
    cache = cached_blobs(place.blobs, folder=place.folder, on_hits=told.append)
    cache.get([Range("k", 0, 10), Range("none")])
    cache.get([Range("k", 0, 5), Range("k", 5, 5), Range("k", 99, 1)])
    cache.get([])
    with pytest.raises(Corrupt):
        cache.get([Range("k", 0, 5), Range("k", 1 << 40, 1)])
    cached_blobs(place.blobs, folder=place.folder, on_hits=told.append).get([Range("k", 0, 5), Range("k", 7, 1)])
    assert told == [0, 2, 0, 2]


def test_tiers_do_not_mix(tmp_path: Path) -> None:
    """The same key in two tiers is two objects, in memory and on disk; both tell the same receipt."""
    store = memory_store()
    told: list[int] = []
    for _ in range(2):
        cached = cached_store(store, folder=tmp_path, on_hits=told.append)
        for tier, blobs in cached.blobs.items():
            assert store.blobs[tier].put_new("k", tier.value.encode()) == Stored()
            assert blobs.get([Range("k")]) == [tier.value.encode()]
    assert told == [0, 0, 1, 1]


def test_a_bad_key_reaches_neither_disk_nor_store(place: Place) -> None:
    """It is refused at once, also one that has no bytes to make a name of."""
    for key in ("../k", "", chr(0xD800)):
        with pytest.raises(Invalid):
            place.cache().get([Range("k", 0, 1), Range(key, 0, 1)])
    assert place.requests == 0


def test_pieces_without_a_size_are_refused(place: Place) -> None:
    """A cache that could ask for nothing is not made."""
    for piece_bytes, gap_bytes in [(0, 0), (-1, 0), (1, -1)]:
        with pytest.raises(Invalid):
            CachedBlobs(place.blobs, piece_bytes=piece_bytes, gap_bytes=gap_bytes)


def test_the_memory_half_imports_without_the_disk_half() -> None:
    """At the edge there is no disk, and nothing of what files need."""
    code = (
        "import sys; from virke.stores.cached import blobs; "
        "print([name for name in sys.modules if name in ('fcntl', 'virke.processes', 'virke.stores.cached.files')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

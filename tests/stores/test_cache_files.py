"""Files of the cache are trusted only when checked, hold nothing twice for long, and may go at any time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stores.cache_place import Place, files_of
from tests.stores.conformance import at_once
from tests.stores.local_worker import value_of
from tests.stores.test_local import lines_of, worker
from virke.core.effects import Absent, Tier
from virke.errors import Corrupt
from virke.stores.base import Range
from virke.stores.cached.blobs import CacheCounts
from virke.stores.cached.extents import Extent, Span
from virke.stores.cached.files import CacheFiles
from virke.stores.cached.on_disk import cached_blobs
from virke.stores.local.store import local_store

MIB = 1 << 20


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Blobs with one object `k`."""
    place = Place(tmp_path)
    place.blobs.put_new("k", value_of(1))
    return place


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


@pytest.mark.parametrize("asked", [Range("k"), Range("k", 0, 500)])
@pytest.mark.parametrize("damage", DAMAGES)
def test_p7_a_damaged_file_is_a_miss(place: Place, damage: str, asked: Range) -> None:
    """It is asked for again, answered rightly, counted and replaced by a good one."""
    place.cache().get([asked])
    [path] = place.files()
    good = path.read_bytes()
    path.write_bytes(DAMAGES[damage](good))
    cache = place.cache()
    assert cache.get([asked]) == place.blobs.inner.get([asked])
    assert cache.counts == CacheCounts(misses=1, damaged=1)
    assert [file.read_bytes() for file in place.files()] == [good]


def test_p7_a_damaged_file_is_a_miss_for_all_ranges_inside_it(place: Place) -> None:
    """Also for those of the same call, and it counts once."""
    place.cache().get([Range("k", 0, 500)])
    [path] = place.files()
    path.write_bytes(_flipped(400, path.read_bytes()))
    cache = place.cache()
    assert cache.get([Range("k", 0, 10), Range("k", 100, 10)]) == [value_of(1)[:10], value_of(1)[100:110]]
    assert cache.counts == CacheCounts(misses=2, damaged=1)


def test_p7_another_questions_file_is_a_miss(place: Place) -> None:
    """Good bytes under a wrong name (other key, offset, length, or end of the object) are not trusted."""
    place.blobs.put_new("other", value_of(1)[::-1])
    size = len(value_of(1))
    for asked, other in [
        (Range("k", 0, 4), Range("other", 0, 4)),
        (Range("k", 0, 4), Range("k", 8, 4)),
        (Range("k", 0, 4), Range("k", 10, 3)),
        (Range("k", 9), Range("k", 0, 3)),
        (Range("k", 9), Range("other", 9)),
    ]:
        cache = place.cache()
        cache.get([asked])
        [wanted] = place.files()
        cache.get([other])
        [foreign] = [path for path in place.files() if path != wanted]
        foreign.replace(wanted)
        fresh = place.cache()
        assert fresh.get([asked]) == place.blobs.inner.get([asked])
        assert (fresh.counts.damaged, fresh.counts.disk_hits) == (1, 0)
        shutil.rmtree(place.folder)
    cache = place.cache()
    cache.get([Range("k", 0, size - 9)])
    [path] = place.files()
    path.rename(f"{path}-last")
    fresh = place.cache()
    assert fresh.get([Range("k", 0, size)]) == [value_of(1)], "a name may not make a good range Corrupt"
    assert (fresh.counts.damaged, fresh.counts.disk_hits) == (1, 0)


def test_a_bad_file_that_is_not_replaced_is_removed(place: Place) -> None:
    """If the store no longer has the object, the damaged file is gone all the same."""
    place.cache().get([Range("k")])
    [path] = place.files()
    path.write_bytes(b"bad")
    place.blobs.delete(["k"])
    assert place.cache().get([Range("k")]) == [Absent()]
    assert place.files() == []


def test_files_with_other_names_are_left_alone(place: Place) -> None:
    """What is no extent's name is neither read nor believed, and nobody stumbles over it."""
    place.cache().get([Range("k", 0, 10)])
    [path] = place.files()
    for name in ("x", "1", "1-", "-1-2", "1-2-3", "٣-4", "0-5-", "0-9999999999999999999999"):
        (path.parent / name).write_bytes(b"?")
    (path.parent.parent / "x").mkdir()
    (path.parent.parent / "0-end").write_bytes(b"?")
    cache = place.cache()
    assert cache.get([Range("k", 2, 3), Range("k", 5, 20)]) == [value_of(1)[2:5], value_of(1)[5:25]]
    cache.delete(["k"])
    assert cache.get([Range("k", 2, 3)]) == [Absent()]


def test_a_disk_that_does_not_work_is_a_miss(tmp_path: Path) -> None:
    """A cache folder that can't be made costs nothing but the hits, and is counted."""
    (tmp_path / "cache").write_bytes(b"a file")
    place = Place(tmp_path)
    place.blobs.put_new("k", value_of(1))
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
    mine = cached_blobs(blobs, folder=tmp_path / "cache")
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


def test_a_large_answer_becomes_several_files(place: Place) -> None:
    """Each of at most one piece and a header; a small range reads only the one that it lies in."""
    data = os.urandom(300_000)
    place.blobs.put_new("big", data)
    place.cache(piece_bytes=100_000).get([Range("big")])
    assert [path.stat().st_size for path in place.files()] == [100_028] * 3
    cache = place.cache(memory_bytes=150_000, piece_bytes=100_000)
    assert cache.get([Range("big", 50_000, 10)]) == [data[50_000:50_010]]
    place.folder.rename(place.folder.with_name("away"))
    assert cache.get([Range("big", 99_990, 10)]) == [data[99_990:100_000]], "the whole file came into memory"
    assert place.requests == 1
    place.folder.with_name("away").rename(place.folder)
    assert place.cache(memory_bytes=0).get([Range("big"), Range("big", 99_999, 100_002)]) == [
        data,
        data[99_999:200_001],
    ]
    assert place.requests == 1


def test_a_range_is_found_wherever_its_file_begins(place: Place) -> None:
    """Files lie by the MiB that they begin in, and serve ranges of the next one too."""
    data = os.urandom(3 * MIB)
    place.blobs.put_new("big", data)
    cache = place.cache(memory_bytes=0, disk_bytes=64 * MIB)
    cache.get([Range("big", MIB - 100, 200)])
    cache.get([Range("big", MIB + 100, 2 * MIB - 100)])
    for start, end in [(MIB, MIB + 1), (MIB - 1, MIB + 1), (MIB - 50, 3 * MIB - 50), (2 * MIB + 99, 2 * MIB + 101)]:
        assert cache.get([Range("big", start, end - start)]) == [data[start:end]]
    assert cache.counts == CacheCounts(misses=2, disk_hits=4)


def test_overlapping_ranges_do_not_pile_up(place: Place) -> None:
    """A thousand ranges of one object that overlap, read by processes that end at once, take no more than the object."""
    for n in range(1000):
        asked = Range("k", n, 700 + n * 37 % 3000)
        assert place.cache(memory_bytes=0).get([asked]) == place.blobs.inner.get([asked])
    size = sum(path.stat().st_size - 28 for path in place.files())
    assert size <= len(value_of(1))
    place.cache(memory_bytes=0).get([Range("k")])
    assert len(place.files()) == 1


def test_what_processes_wrote_twice_at_once_is_thinned_out(place: Place, tmp_path: Path) -> None:
    """Files as two processes leave them that did not see each other serve their ranges, and go when one is written there."""
    for number, asked in enumerate([Range("k", 0, 100), Range("k", 20, 30), Range("k", 50, 100), Range("k", 50, 300)]):
        apart = cached_blobs(place.blobs, folder=tmp_path / str(number))
        apart.get([asked])
        shutil.copytree(tmp_path / str(number), place.folder, dirs_exist_ok=True)
    cache = place.cache(memory_bytes=0)
    assert cache.get([Range("k", 10, 300)]) == [value_of(1)[10:310]]
    assert cache.counts == CacheCounts(disk_hits=1)
    cache.get([Range("k", 340, 20)])
    assert sorted(path.name for path in place.files()) == ["0-100", "350-10", "50-300"]


steps = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.sampled_from(["get", "rest", "lose", "cut"])), max_size=12
)


@given(steps, st.integers(1, 50))
def test_whatever_happens_to_the_files_every_answer_is_right(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, str]], file_bytes: int
) -> None:
    """Extents are kept, lost and damaged in any order: what the files answer is what the object holds."""
    folder = tmp_path_factory.mktemp("files")
    data = bytes(range(100, 160))
    files = CacheFiles(folder, bytes_max=MIB, file_bytes=file_bytes)
    damaged = False
    for offset, length, step in steps:
        here = files_of(folder)
        if step == "lose" and here:
            here[offset % len(here)].unlink()
        elif step == "cut" and here:
            path = here[offset % len(here)]
            path.write_bytes(path.read_bytes()[:-1])
            damaged = True
        else:
            end = 60 if step == "rest" else min(60, offset + length)
            files.keep("k", [Extent("k", Span(offset, end, last=step == "rest"), data[offset:end])])
        cache = cached_blobs(Place(folder).blobs, memory_bytes=0, folder=folder, piece_bytes=file_bytes)
        asked = Range("k", offset, None if step == "rest" else length)
        stop = 60 if asked.length is None else offset + length
        try:
            [answer] = cache.get([asked])
        except Corrupt:
            assert stop > 60
        else:
            kept = step == "get" and length > 0 and stop <= 60 and not damaged
            assert answer == data[offset:stop] or (answer == Absent() and not kept)

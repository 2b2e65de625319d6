"""Whatever is read, put and deleted through a cache, and whatever befalls it: the answers are the plain store's."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.stores.cache_place import AskedBlobs, files_of
from virke.core.effects import Absent
from virke.errors import VirkeError
from virke.stores.base import Blobs, Range
from virke.stores.cached.blobs import CachedBlobs
from virke.stores.cached.extents import EXTENT_BYTES
from virke.stores.cached.on_disk import cached_blobs
from virke.stores.memory import MemoryBlobs

OBJECTS = {"a": b"", "b": bytes(range(30)), "c/d": bytes(range(200, 120, -1)), "e": bytes(100)}
OBJECT_BYTES_MAX = 100


@dataclass(frozen=True)
class Put:
    keys: list[str]


@dataclass(frozen=True)
class Delete:
    keys: list[str]


@dataclass(frozen=True)
class Get:
    ranges: list[Range]


@dataclass(frozen=True)
class Befall:
    """What happens to a cache: its process ends, its files go, or one of them is damaged."""

    what: str


keys = st.lists(st.sampled_from([*OBJECTS]), min_size=1, max_size=3)
ranges = st.builds(
    Range,
    st.sampled_from([*OBJECTS]),
    st.integers(0, 30) | st.integers(0, 110),
    st.none() | st.integers(0, 30) | st.integers(0, 110),
)
gets = st.builds(Get, st.lists(ranges, min_size=1, max_size=5))
steps = st.lists(
    gets
    | gets
    | gets
    | st.builds(Put, keys)
    | st.builds(Delete, keys)
    | st.builds(Befall, st.sampled_from(["end", "lose", "damage"])),
    max_size=20,
)


@dataclass(frozen=True)
class Settings:
    """How a cache is made."""

    has_ranges: bool
    on_disk: bool
    memory_bytes: int
    gap_bytes: int
    piece_bytes: int


settings = st.builds(
    Settings,
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, EXTENT_BYTES + 40, 4 * (EXTENT_BYTES + 40), 1 << 20]),
    st.integers(0, 20),
    st.integers(1, 120),
)


def answer_of(blobs: Blobs, asked: list[Range]) -> list[bytes | Absent] | type[VirkeError]:
    try:
        return blobs.get(asked)
    except VirkeError as error:
        return type(error)


class World:
    """A plain store, a cached one with the same objects, and what the cache asked for."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.plain = MemoryBlobs(OBJECT_BYTES_MAX)
        self.inner = AskedBlobs(MemoryBlobs(OBJECT_BYTES_MAX), has_ranges=settings.has_ranges)
        self.folder = folder / "cache"
        self.cache = self.opened()

    def opened(self) -> CachedBlobs:
        return cached_blobs(
            self.inner,
            memory_bytes=self.settings.memory_bytes,
            folder=self.folder if self.settings.on_disk else None,
            gap_bytes=self.settings.gap_bytes,
            piece_bytes=self.settings.piece_bytes,
        )

    def take(self, step: Put | Delete | Get | Befall) -> None:
        match step:
            case Put(keys):
                objects = [(key, OBJECTS[key]) for key in keys]
                assert self.cache.put_all(objects) == self.plain.put_all(objects)
            case Delete(keys):
                self.cache.delete(keys)
                self.plain.delete(keys)
            case Get(asked):
                self.get(asked)
            case Befall("end"):
                self.cache = self.opened()
            case Befall("lose"):
                shutil.rmtree(self.folder, ignore_errors=True)
            case Befall(_):
                for path in files_of(self.folder)[:1]:
                    path.write_bytes(path.read_bytes()[:-1] + b"?")

    def get(self, asked: list[Range]) -> None:
        self.inner.asked.clear()
        expected = answer_of(self.plain, asked)
        assert answer_of(self.cache, asked) == expected
        assert len(self.inner.asked) <= 1
        for requests in self.inner.asked:
            self.check(requests, asked)
        if isinstance(expected, type) or Absent() in expected or b"" in expected:
            return
        if self.settings.memory_bytes == (0 if self.settings.on_disk else 1 << 20):
            self.inner.asked.clear()
            assert self.cache.get(asked) == expected
            assert self.inner.asked == [], "what was just answered is not asked for again"

    def check(self, requests: list[Range], asked: list[Range]) -> None:
        """Only for keys that were asked for, nothing twice, and no more than that and the gaps."""
        assert {one.key for one in requests} <= {one.key for one in asked}
        if not self.settings.has_ranges:
            assert requests == [Range(key) for key in dict.fromkeys(one.key for one in requests)]
            return
        fixed = [one for one in requests if one.length is not None]
        if all((one.length or 0) <= OBJECT_BYTES_MAX for one in asked):
            assert all((one.length or 0) <= self.settings.piece_bytes for one in fixed)
        assert all(one in asked for one in requests if one.length is None)
        places = [(one.key, at) for one in fixed for at in range(one.offset, one.offset + (one.length or 0))]
        assert len({*places}) == len(places)
        wanted = sum(one.length or 0 for one in asked)
        assert len(places) <= wanted + self.settings.gap_bytes * (len(asked) - 1)


@given(settings, steps)
def test_a_cached_store_answers_as_the_plain_one(settings: Settings, steps: list[Put | Delete | Get | Befall]) -> None:
    """Any sequence of calls, with any sizes: equal answers and errors, at most one request each, none for a repeat."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(settings, Path(folder))
        for step in [Put([*OBJECTS]), *steps]:
            world.take(step)

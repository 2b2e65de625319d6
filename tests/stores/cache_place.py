"""Where caches are tried: blobs that remember what they were asked, and a folder whose files can be looked at."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from virke.core.effects import Absent, PutOutcome
from virke.stores.base import Blobs, Consistency, Listed, Range
from virke.stores.cached.blobs import CachedBlobs
from virke.stores.cached.budget import BLOCK_BYTES, blocks_of
from virke.stores.cached.on_disk import cached_blobs
from virke.stores.memory import MemoryBlobs

WAIT_S = 60
"""Longer than any test takes: whoever waits so long waits for ever."""


class AskedBlobs:
    """Blobs that note every `get`, wait where they are told to, and may have no ranges."""

    def __init__(self, inner: Blobs | None = None, *, has_ranges: bool = True) -> None:
        self.inner = MemoryBlobs() if inner is None else inner
        self.asked: list[list[Range]] = []
        self.failing: dict[str, BaseException] = {}
        """Errors that the next `get` of a key raises, once."""
        self._gates: dict[str, tuple[threading.Event, threading.Event]] = {}
        self._has_ranges = has_ranges

    @property
    def consistency(self) -> Consistency:
        return self.inner.consistency

    @property
    def has_ranges(self) -> bool:
        return self._has_ranges

    @property
    def part_bytes_max(self) -> int:
        return self.inner.part_bytes_max

    def hold(self, key: str) -> None:
        """Let the next `get` of `key` wait, once it has its answer."""
        self._gates[key] = threading.Event(), threading.Event()

    def until_asked(self, key: str) -> None:
        """Wait until a `get` of `key` waits."""
        assert self._gates[key][0].wait(WAIT_S)

    def let_go(self, key: str) -> None:
        """Let the `get` of `key` go on."""
        self._gates[key][1].set()

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        return self.inner.put_new(key, data)

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        return self.inner.put_all(objects)

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        self.asked.append(list(ranges))
        answers = self.inner.get(ranges)
        for key in dict.fromkeys(one.key for one in ranges):
            asked, let_go = self._gates.get(key, (threading.Event(), None))
            if let_go is not None and not asked.is_set():
                asked.set()
                assert let_go.wait(WAIT_S)
            if error := self.failing.pop(key, None):
                raise error
        return answers

    def delete(self, keys: Sequence[str]) -> None:
        self.inner.delete(keys)

    def list(self, prefix: str) -> Iterator[Listed]:
        return self.inner.list(prefix)


class Place:
    """Blobs that note what they were asked, and caches over them in one folder."""

    def __init__(self, folder: Path, *, has_ranges: bool = True) -> None:
        self.blobs = AskedBlobs(has_ranges=has_ranges)
        self.folder = folder / "cache"

    @property
    def requests(self) -> int:
        """Calls of `get` that reached the blobs."""
        return len(self.blobs.asked)

    @property
    def items(self) -> int:
        """Ranges that reached the blobs."""
        return sum(map(len, self.blobs.asked))

    def cache(
        self, *, memory_bytes: int = 1 << 20, disk_bytes: int = 1 << 20, piece_bytes: int = 1 << 20
    ) -> CachedBlobs:
        return cached_blobs(
            self.blobs,
            memory_bytes=memory_bytes,
            folder=self.folder,
            disk_bytes=disk_bytes,
            piece_bytes=piece_bytes,
        )

    def files(self) -> list[Path]:
        """What is cached on disk, the account left out."""
        return files_of(self.folder)

    def bytes_on_disk(self) -> int:
        return bytes_of(self.folder)


def files_of(folder: Path) -> list[Path]:
    """The files of a cache below `folder`, its account left out."""
    found = ((parent, name) for parent, _, names in os.walk(f"{folder}/") for name in names)
    return sorted(Path(parent, name) for parent, name in found if not name.startswith("account-"))


def bytes_of(folder: Path) -> int:
    """What the files of a cache take, in whole blocks."""
    return BLOCK_BYTES * sum(blocks_of(os.stat(path).st_size) for path in files_of(folder))

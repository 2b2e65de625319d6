"""A cache of immutable objects in front of any blobs: in memory, and on disk if a folder is given.

Knows that an object never changes under its key, and nothing of what it contains.

1. Only bytes that the inner store answered, or took, are cached. `Absent` never is: the object may come.
2. The whole object serves any range of it; other ranges serve only the same question again.
3. What comes from disk is checked before it is trusted: magic, the question it answers, length and digest.
   A file that fails is removed and counts as a miss; so does any error of the disk, which `damaged` counts.
4. Files appear whole, by rename. The folder belongs to nobody: processes may share it, and anybody may
   delete any of it at any time.
5. Memory stays within `memory_bytes` after every call (an entry counts its bytes and 256 more), and the files within `disk_bytes`, of which other
   processes may together be over by a tenth each. The least recently used go first; a file is used when
   memory had to be filled from it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from virke.core.effects import Absent, PutOutcome, Stored, Tier
from virke.stores.base import Blobs, Consistency, Listed, Range, Store, bounds

MEMORY_BYTES: Final = 64 << 20
DISK_BYTES: Final = 1 << 30

_HEADER: Final = struct.Struct(">4sQ16s")
assert struct.calcsize(">4sQ16s") == 28
"""magic `VKC1` | length of the data | blake2b-128 over the question and the data"""
_MAGIC: Final = b"VKC1"
_ENTRY_BYTES: Final = 256
_EVICT_TO: Final = 0.8
_SCAN_SHARE: Final = 10


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """What a cache has done so far, in answered ranges; `damaged` counts files and disk errors."""

    memory_hits: int = 0
    disk_hits: int = 0
    misses: int = 0
    damaged: int = 0


class _Memory:
    """Ranges by last use, within a budget of bytes."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._ranges: OrderedDict[Range, bytes] = OrderedDict()
        self._by_key: dict[str, set[Range]] = {}
        self._lock = threading.Lock()

    def find(self, asked: Range) -> bytes | None:
        with self._lock:
            data = self._ranges.get(asked)
            if data is not None:
                self._ranges.move_to_end(asked)
            return data

    def keep(self, asked: Range, data: bytes) -> None:
        with self._lock:
            if asked in self._ranges or len(data) + _ENTRY_BYTES > self._bytes_max:
                return
            self._ranges[asked] = data
            self._by_key.setdefault(asked.key, set()).add(asked)
            self._bytes += len(data) + _ENTRY_BYTES
            while self._bytes > self._bytes_max:
                self._drop(next(iter(self._ranges)))

    def forget(self, key: str) -> None:
        with self._lock:
            for asked in tuple(self._by_key.get(key, ())):
                self._drop(asked)

    def _drop(self, asked: Range) -> None:
        self._bytes -= len(self._ranges.pop(asked)) + _ENTRY_BYTES
        same_key = self._by_key[asked.key]
        same_key.remove(asked)
        if not same_key:
            del self._by_key[asked.key]


class _Disk:
    """Ranges as files, within a budget of bytes; every method may raise `OSError`."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._bytes: int | None = None  # None: not counted yet
        self._unscanned = 0
        self._lock = threading.Lock()

    def find(self, asked: Range) -> bytes | None:
        """The bytes of `asked`, None if they are not here. Raises `ValueError` for a file that it removed as bad."""
        path = self._path(asked)
        try:
            stored = path.read_bytes()
        except FileNotFoundError:
            return None
        data = stored[_HEADER.size :]
        if stored[: _HEADER.size] != _header(asked, data):
            path.unlink(missing_ok=True)
            raise ValueError(f"bad cache file {path}")
        with suppress(FileNotFoundError):
            os.utime(path)
        return data

    def keep(self, asked: Range, data: bytes) -> None:
        size_bytes = _HEADER.size + len(data)
        if size_bytes > self._bytes_max:
            return
        self._make_room(size_bytes)
        path = self._path(asked)
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = path.with_name(secrets.token_hex(16))
        try:
            temp.write_bytes(_header(asked, data) + data)
            os.replace(temp, path)
        except BaseException:
            with suppress(OSError):
                temp.unlink(missing_ok=True)
            raise

    def forget(self, key: str) -> None:
        with suppress(FileNotFoundError), os.scandir(self._of(key)) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    os.unlink(entry.path)

    def _of(self, key: str) -> Path:
        name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        return self._folder / name[:2] / name

    def _path(self, asked: Range) -> Path:
        return self._of(asked.key) / f"{asked.offset}-{'end' if asked.length is None else asked.length}"

    def _make_room(self, size_bytes: int) -> None:
        """Count what is about to be written; when the budget or a tenth of it is used up, look and remove."""
        with self._lock:
            self._unscanned += size_bytes
            if self._bytes is not None:
                self._bytes += size_bytes
                if self._bytes <= self._bytes_max and self._unscanned <= self._bytes_max // _SCAN_SHARE:
                    return
            files = sorted(_files(self._folder))
            total = sum(bytes_ for _, bytes_, _ in files) + size_bytes
            aim = total if total <= self._bytes_max else int(self._bytes_max * _EVICT_TO)
            for _, bytes_, path in files:
                if total <= max(aim, size_bytes):
                    break
                path.unlink(missing_ok=True)
                total -= bytes_
            self._bytes, self._unscanned = total, 0


def _header(asked: Range, data: bytes) -> bytes:
    digest = hashlib.blake2b(f"{asked.key}\n{asked.offset}\n{asked.length}\n".encode(), digest_size=16)
    digest.update(data)
    return _HEADER.pack(_MAGIC, len(data), digest.digest())


def _files(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """Time of last use, size and path of every file below `folder`."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with suppress(FileNotFoundError):
                info = path.stat()
                yield info.st_mtime_ns, info.st_size, path


class CachedBlobs:
    """Blobs that answer from the cache where they can (B1–B8 as the inner blobs keep them)."""

    def __init__(
        self,
        inner: Blobs,
        *,
        memory_bytes: int = MEMORY_BYTES,
        folder: Path | None = None,
        disk_bytes: int = DISK_BYTES,
    ) -> None:
        self._inner = inner
        self._memory = _Memory(memory_bytes)
        self._disk = None if folder is None else _Disk(Path(folder), disk_bytes)
        self._counts = CacheCounts()
        self._counting = threading.Lock()

    @property
    def counts(self) -> CacheCounts:
        """Hits and misses so far."""
        return self._counts

    @property
    def consistency(self) -> Consistency:
        """As the inner blobs."""
        return self._inner.consistency

    @property
    def has_ranges(self) -> bool:
        """As the inner blobs."""
        return self._inner.has_ranges

    @property
    def part_bytes_max(self) -> int:
        """What the inner blobs take."""
        return self._inner.part_bytes_max

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        """Write through, and keep the object in memory once it is stored. Raises what the inner blobs raise."""
        outcome = self._inner.put_new(key, data)
        if outcome == Stored():
            self._memory.keep(Range(key), bytes(data))
        return outcome

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        """Write through, and keep the objects in memory once they are stored. Raises what the inner blobs raise."""
        outcome = self._inner.put_all(objects)
        if outcome == Stored():
            for key, data in objects:
                self._memory.keep(Range(key), bytes(data))
        return outcome

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        """Every range in the order asked; what is not cached is asked of the inner blobs at once."""
        found = [self._find(asked) for asked in ranges]
        missing = [at for at, data in enumerate(found) if data is None]
        answers: dict[int, bytes | Absent] = {at: data for at, data in enumerate(found) if data is not None}
        if missing:
            self._count(misses=len(missing))
            fetched = self._inner.get([ranges[at] for at in missing])
            for at, answer in zip(missing, fetched, strict=True):
                answers[at] = answer
                if isinstance(answer, bytes):
                    self._keep(ranges[at], answer)
        return [answers[at] for at in range(len(ranges))]

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects from the inner blobs, then from this cache (other processes' caches drop them by age)."""
        self._inner.delete(keys)
        for key in keys:
            self._memory.forget(key)
            if self._disk is not None:
                try:
                    self._disk.forget(key)
                except OSError:
                    self._count(damaged=1)

    def list(self, prefix: str) -> Iterator[Listed]:
        """What the inner blobs list."""
        return self._inner.list(prefix)

    def _find(self, asked: Range) -> bytes | None:
        whole = Range(asked.key)
        data = self._memory.find(asked)
        if data is None and asked != whole:
            data = _part(asked, self._memory.find(whole))
        if data is not None:
            self._count(memory_hits=1)
            return data
        data = self._read_disk(asked)
        if data is None and asked != whole:
            data = _part(asked, self._read_disk(whole))
        if data is not None:
            self._count(disk_hits=1)
            self._memory.keep(asked, data)
        return data

    def _read_disk(self, asked: Range) -> bytes | None:
        if self._disk is None:
            return None
        try:
            return self._disk.find(asked)
        except (OSError, ValueError):
            self._count(damaged=1)
            return None

    def _keep(self, asked: Range, data: bytes) -> None:
        self._memory.keep(asked, data)
        if self._disk is None:
            return
        try:
            self._disk.keep(asked, data)
        except OSError:
            self._count(damaged=1)

    def _count(self, *, memory_hits: int = 0, disk_hits: int = 0, misses: int = 0, damaged: int = 0) -> None:
        with self._counting:
            now = self._counts
            self._counts = replace(
                now,
                memory_hits=now.memory_hits + memory_hits,
                disk_hits=now.disk_hits + disk_hits,
                misses=now.misses + misses,
                damaged=now.damaged + damaged,
            )


def _part(asked: Range, whole: bytes | None) -> bytes | None:
    """The bytes of `asked` in the whole object. Raises `Corrupt` beyond its end."""
    if whole is None:
        return None
    start, end = bounds(asked, len(whole))
    return whole[start:end]


def cached_store(
    store: Store,
    *,
    memory_bytes: int = MEMORY_BYTES,
    folder: Path | None = None,
    disk_bytes: int = DISK_BYTES,
) -> Store:
    """`store` with its blobs cached; each tier gets an equal share of the two budgets, and a subfolder."""
    shares = max(1, len(store.blobs))
    blobs: dict[Tier, Blobs] = {
        tier: CachedBlobs(
            inner,
            memory_bytes=memory_bytes // shares,
            folder=None if folder is None else Path(folder) / tier.value,
            disk_bytes=disk_bytes // shares,
        )
        for tier, inner in store.blobs.items()
    }
    return Store(store.url, store.register, blobs)

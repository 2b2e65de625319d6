"""The reference store: a register and blobs in this process's memory.

It is what the contract means in the fewest lines; every other store is measured against it.
Nothing survives the process, so R7 and B1 hold only for as long as the process lives.

1. All state of one register, and of one blob space, changes under its own lock.
2. A generation is drawn from one counter of the process, so no key ever has the same one twice,
   not even in two stores of the same name.
3. `memory://name` is the same store for the whole process; `memory://` is a new one each time.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from virke.core.effects import (
    Absent,
    Generation,
    Mismatch,
    PutOutcome,
    ReadOutcome,
    Record,
    Stored,
    SwapOutcome,
    Swapped,
    Tier,
    Unchanged,
)
from virke.core.ids import check_name
from virke.errors import Exists, Invalid
from virke.lazy_dataclasses import dataclass
from virke.stores.base import (
    Blobs,
    Consistency,
    Listed,
    Range,
    Store,
    Watch,
    byte_bounds,
    check_key,
    check_size,
    put_each,
)
from virke.stores.line import ThreadLine

MEMORY_SCHEME: Final = "memory://"
KV_BYTES_MAX: Final = 1 << 20
OBJECT_BYTES_MAX: Final = 16 << 20

_generations = itertools.count(1)
_named: Final[dict[str, Store]] = {}
_named_lock: Final = threading.Lock()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class MemoryRegister:
    """A register in a dict (R1–R11)."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._lock = threading.Lock()

    @property
    def consistency(self) -> Consistency:
        """Linearizable: one dict, one lock."""
        return Consistency.LINEARIZABLE

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        """The record of `key`, or `Unchanged` while its generation is `known`."""
        record = self._records.get(check_key(key))
        if record is None:
            return Absent()
        return Unchanged() if record.generation == known else record

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        """Replace `key` if its generation is `base` (None: create it)."""
        check_key(key)
        with self._lock:
            if self._generation_of(key) != base:
                return Mismatch()
            record = Record(bytes(data), Generation(f"m{next(_generations)}"))
            self._records[key] = record
        return Swapped(record.generation)

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        """Delete `key` if its generation is `base`."""
        check_key(key)
        with self._lock:
            if self._generation_of(key) != base:
                return Mismatch()
            del self._records[key]
        return Swapped(None)

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that start with `prefix`, sorted."""
        with self._lock:
            return iter(sorted(key for key in self._records if key.startswith(prefix)))

    def watch(self, key: str) -> Watch:
        """The generation of `key` at each call, None while it is absent (L2)."""

        def stamp() -> bytes | None:
            record = self._records.get(key)
            return None if record is None else record.generation.encode()

        check_key(key)
        return stamp

    def _generation_of(self, key: str) -> Generation | None:
        record = self._records.get(key)
        return None if record is None else record.generation

    def copy(self) -> MemoryRegister:
        """Another register that begins with what this one has, its generations too: they stand for the same bytes (2)."""
        made = MemoryRegister()
        with self._lock:
            made._records = dict(self._records)
        return made


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    modified_ms: int


class MemoryBlobs:
    """Immutable objects in a dict (B1–B8)."""

    def __init__(self, part_bytes_max: int = OBJECT_BYTES_MAX, clock_ms: Callable[[], int] = _now_ms) -> None:
        self._part_bytes_max = part_bytes_max
        self._clock_ms = clock_ms
        self._objects: dict[str, _Object] = {}
        self._lock = threading.Lock()

    @property
    def consistency(self) -> Consistency:
        """Linearizable: one dict, one lock."""
        return Consistency.LINEARIZABLE

    @property
    def has_ranges(self) -> bool:
        """Slices of bytes."""
        return True

    @property
    def part_bytes_max(self) -> int:
        """Largest object that `put_new` takes, in bytes."""
        return self._part_bytes_max

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        """Keep one object. Raises `Exists`, `TooLarge`, `Invalid`."""
        check_size(check_key(key), len(data), self._part_bytes_max)
        with self._lock:
            there = self._objects.setdefault(key, _Object(bytes(data), self._clock_ms()))
        if there.data != data:
            raise Exists(f"object {key!r} exists with other bytes", key=key)
        return Stored()

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        """Write many objects. Raises as `put_new`; then some may be there."""
        return put_each(self, objects)

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        """Every range in the order asked. Raises `Corrupt` beyond an object's end."""
        return [self._cut_range(asked) for asked in ranges]

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; missing ones are fine."""
        for key in map(check_key, keys):
            with self._lock:
                self._objects.pop(key, None)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object under `prefix`."""
        with self._lock:
            found = [(key, there) for key, there in self._objects.items() if key.startswith(prefix)]
        return (Listed(key, len(there.data), there.modified_ms) for key, there in found)

    def copy(self) -> MemoryBlobs:
        """Another space that begins with what this one has; objects are never changed, so both have the same ones."""
        made = MemoryBlobs(self._part_bytes_max, self._clock_ms)
        with self._lock:
            made._objects = dict(self._objects)
        return made

    def _cut_range(self, asked: Range) -> bytes | Absent:
        there = self._objects.get(check_key(asked.key))
        if there is None:
            return Absent()
        start, end = byte_bounds(asked, len(there.data))
        return there.data[start:end]


def memory_store(
    url: str = MEMORY_SCHEME,
    *,
    kv_bytes_max: int = KV_BYTES_MAX,
    object_bytes_max: int = OBJECT_BYTES_MAX,
) -> Store:
    """The store of `url`: shared in this process if it is named, else a new one.

    The limits count only when the store is made; a named store keeps those of its first call.

    Raises:
        Invalid: `url` does not start with `memory://` or its name is not a valid name.
    """
    name = url.removeprefix(MEMORY_SCHEME)
    if not url.startswith(MEMORY_SCHEME):
        raise Invalid(
            f"not a memory store: {url!r}; write memory://name, or memory:// for one that no other caller opens"
        )
    blobs = {Tier.KV: MemoryBlobs(kv_bytes_max), Tier.OBJECT: MemoryBlobs(object_bytes_max)}
    register = MemoryRegister()
    made = Store(url, register, {**blobs}, line=ThreadLine(), watch=register.watch, stamp_of=str.encode)
    if not name:
        return made
    check_name(name)
    with _named_lock:
        return _named.setdefault(name, made)


def copy_store(source: Store, url: str) -> Store:
    """A new store of `url` that begins with all that `source` holds now, and shares nothing with it afterwards.

    Raises:
        Invalid: `source` is not a store in memory, or `url` is not one's.
        Exists: `url` is in use.
    """
    blobs: dict[Tier, Blobs] = {}
    for tier, there in source.blobs.items():
        if not isinstance(there, MemoryBlobs):
            raise Invalid(f"not a memory store: {source.url!r}")
        blobs[tier] = there.copy()
    if not isinstance(source.register, MemoryRegister):
        raise Invalid(f"not a memory store: {source.url!r}")
    register = source.register.copy()
    made = replace(memory_store(), url=url, register=register, blobs=blobs, watch=register.watch)
    name = url.removeprefix(MEMORY_SCHEME)
    if name:
        check_name(name)
        with _named_lock:
            if _named.setdefault(name, made) is not made:
                raise Exists(f"{url!r} is in use")
    return made


def forget_store(url: str) -> None:
    """Let go of a named store: what has it open keeps it, and its name is free again. Harmless if there is none."""
    with _named_lock:
        _named.pop(url.removeprefix(MEMORY_SCHEME), None)

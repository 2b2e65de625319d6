"""The items of a KV store as the platform has them: a key, bytes, metadata, a generation that changes with every write.

`MemoryItems` is the rule in the fewest lines; `StoreItems` shows any of Virke's stores that way, so that the guest and
everything else that opens that store (the command line, a node) have the same databases.

1. A write with a condition is compare-and-swap: of any number with one generation, one is applied.
2. A read shows what the last write left; what is late or lost on purpose is `faults`' matter.
3. In `StoreItems` a key is one of stores/fastly_kv/layout: a register's, or an object's. The store's generation is a string, the
   platform's 64 bits: they are its hash, so equal ones stand for equal states, and the swap itself is the store's, on its own.
4. The vendor's limits hold: keys, 25 MB, 2,000 bytes of metadata.
"""

from __future__ import annotations

import hashlib
import re
import threading
import zlib
from collections.abc import Callable, Sequence
from enum import Enum
from itertools import islice
from typing import Final, Protocol

from virke.core.effects import Absent, Lost, Mismatch, Record, Tier
from virke.edge.host.values import Counter
from virke.errors import Exists, Invalid, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.stores.base import Blobs, Range, Store
from virke.stores.fastly_kv.layout import BLOBS, NAME_BYTES_MAX, REGISTER, VALUE_BYTES_MAX, modified_metadata

METADATA_BYTES_MAX: Final = 2000
_FORBIDDEN: Final = re.compile(r"[#;?^|\r\n]|(^|/)\.{1,2}/")


class Mode(Enum):
    """How a write meets what is there."""

    OVERWRITE = "overwrite"
    ADD = "add"
    APPEND = "append"
    PREPEND = "prepend"


class Refusal(Enum):
    """Why a write was not applied, or is not known to be; the platform's own words."""

    PRECONDITION = "precondition-failed"
    TOO_LARGE = "payload-too-large"
    BAD_REQUEST = "bad-request"
    TOO_MANY = "too-many-requests"
    INTERNAL = "internal-error"


@dataclass(frozen=True, slots=True)
class Item:
    """What a key holds. `metadata` is asked for when it is wanted: not every store keeps it with the bytes."""

    data: bytes
    generation: int
    metadata: Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Write:
    """One insert."""

    key: str
    data: bytes
    mode: Mode = Mode.OVERWRITE
    generation: int | None = None
    metadata: str | None = None


class Items(Protocol):
    """A KV store."""

    def lookup(self, key: str) -> Item | None:
        """The item at `key`."""

    def insert(self, write: Write) -> Refusal | None:
        """Apply one write; None if it was applied."""

    def delete(self, key: str) -> bool:
        """Remove an item; whether there was one."""

    def keys(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        """Up to `limit` keys that start with `prefix` and sort behind `after`."""


def refusal_of(write: Write) -> Refusal | None:
    """What the vendor refuses whatever is stored."""
    key = write.key.encode()
    if not 1 <= len(key) <= NAME_BYTES_MAX or _FORBIDDEN.search(write.key):
        return Refusal.BAD_REQUEST
    if write.metadata is not None and len(write.metadata.encode()) > METADATA_BYTES_MAX:
        return Refusal.BAD_REQUEST
    return Refusal.TOO_LARGE if len(write.data) > VALUE_BYTES_MAX else None


class MemoryItems:
    """Items in a dict."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._generations = Counter(1_700_000_000_000_000)  # as the vendor's look: Unix microseconds
        self._lock = threading.Lock()

    def lookup(self, key: str) -> Item | None:
        """The item at `key`."""
        return self._items.get(key)

    def insert(self, write: Write) -> Refusal | None:
        """Apply one write."""
        if refusal := refusal_of(write):
            return refusal
        with self._lock:
            there = self._items.get(write.key)
            if write.mode is Mode.ADD and there is not None:
                return Refusal.PRECONDITION
            if write.generation is not None and (there is None or there.generation != write.generation):
                return Refusal.PRECONDITION
            before = b"" if there is None else there.data
            match write.mode:
                case Mode.APPEND:
                    data = before + write.data
                case Mode.PREPEND:
                    data = write.data + before
                case _:
                    data = write.data
            metadata = write.metadata
            self._items[write.key] = Item(bytes(data), self._generations.take(), lambda: metadata)
        return None

    def delete(self, key: str) -> bool:
        """Remove an item; whether there was one."""
        with self._lock:
            return self._items.pop(key, None) is not None

    def keys(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        """Keys in order."""
        with self._lock:
            found = sorted(key for key in self._items if key.startswith(prefix) and key > after)
        return found[:limit]


class StoreItems:
    """The items of a store of Virke's: its register, and the objects of its kv tier."""

    def __init__(self, store: Store) -> None:
        self._register = store.register
        self._blobs = store.blobs[Tier.KV]

    def lookup(self, key: str) -> Item | None:
        """The item at `key`; a key that is neither a register's nor an object's has none."""
        try:
            if key.startswith(REGISTER):
                found = self._register.read(key.removeprefix(REGISTER))
                return Item(found.data, generation_of(found), lambda: None) if isinstance(found, Record) else None
            if key.startswith(BLOBS):
                name = key.removeprefix(BLOBS)
                [data] = self._blobs.get([Range(name)])
                if isinstance(data, Absent):
                    return None
                return Item(data, zlib.crc32(data) << 32 | zlib.crc32(key.encode()) | 1, self._modified_metadata(name))
        except Invalid:
            return None
        return None

    def insert(self, write: Write) -> Refusal | None:
        """Apply one write: `add` and conditions on the register, `add` for objects; nothing else is ever asked for."""
        if refusal := refusal_of(write):
            return refusal
        try:
            if write.key.startswith(REGISTER):
                return self._swap(write.key.removeprefix(REGISTER), write)
            if write.key.startswith(BLOBS) and write.mode is Mode.ADD and write.generation is None:
                return self._put_object(self._blobs, write.key.removeprefix(BLOBS), write.data)
        except VirkeError as error:
            return Refusal.INTERNAL if error.retryable else Refusal.BAD_REQUEST
        return Refusal.BAD_REQUEST

    def delete(self, key: str) -> bool:
        """Remove an item; whether there was one."""
        there = self.lookup(key)
        if there is None:
            return False
        if key.startswith(BLOBS):
            self._blobs.delete([key.removeprefix(BLOBS)])
            return True
        name = key.removeprefix(REGISTER)
        while isinstance(found := self._register.read(name), Record):
            if not isinstance(self._register.remove(name, found.generation), Mismatch):
                return True
        return False

    def keys(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        """Keys in order: objects', then registers'."""
        found: list[str] = []
        for space, listed in ((BLOBS, self._objects), (REGISTER, self._register_keys)):
            if space.startswith(prefix):
                found += [space + name for name in listed("")]
            elif prefix.startswith(space):
                found += [space + name for name in listed(prefix.removeprefix(space))]
        return list(islice((key for key in sorted(found) if key > after), limit))

    def _objects(self, prefix: str) -> list[str]:
        return [found.key for found in self._blobs.list(prefix)]

    def _register_keys(self, prefix: str) -> list[str]:
        return list(self._register.keys(prefix))

    def _swap(self, name: str, write: Write) -> Refusal | None:
        if write.mode is Mode.ADD:
            base = None
        elif write.mode is Mode.OVERWRITE and write.generation is not None:
            found = self._register.read(name)
            if not isinstance(found, Record) or generation_of(found) != write.generation:
                return Refusal.PRECONDITION
            base = found.generation
        else:
            return Refusal.BAD_REQUEST  # a root that is written without a condition is a lost commit
        match self._register.swap(name, write.data, base):
            case Mismatch():
                return Refusal.PRECONDITION
            case Lost():
                return Refusal.INTERNAL
        return None

    def _put_object(self, blobs: Blobs, name: str, data: bytes) -> Refusal | None:
        if not isinstance(blobs.get([Range(name, 0, 0)])[0], Absent):
            return Refusal.PRECONDITION  # `add`, equal bytes included
        try:
            return Refusal.INTERNAL if isinstance(blobs.put_new(name, data), Lost) else None
        except Exists:
            return Refusal.PRECONDITION

    def _modified_metadata(self, name: str) -> Callable[[], str | None]:
        def look() -> str | None:
            found = next((listed for listed in self._blobs.list(name) if listed.key == name), None)
            return None if found is None else modified_metadata(found.modified_ms)

        return look


def generation_of(record: Record) -> int:
    """A store's generation in the platform's 64 bits; never 0, which means "absent" there."""
    return int.from_bytes(hashlib.blake2b(record.generation.encode(), digest_size=8).digest(), "big") or 1

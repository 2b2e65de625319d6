"""Stores that break one sentence of the contract each: what `virke doctor` has to refuse.

Each is the store in memory with one method that is wrong. `WRONG` says which checks have to find it out.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from tests.engine.passing import PassingRegister
from virke.core.effects import (
    Absent,
    Generation,
    Lost,
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
from virke.errors import Corrupt, Exists, RateLimited, Unavailable
from virke.stores.base import Blobs, Consistency, Listed, Range, Register, Store
from virke.stores.memory import memory_store

GAP_S: Final = 0.001  # what a way to a store takes, in which something else may happen


class RightRegister(PassingRegister):
    """What is right: all of it, until a subclass says otherwise."""

    def __init__(self, inner: Register) -> None:
        super().__init__(inner)
        self.inner = inner

    def generation(self, key: str) -> Generation | None:
        """The generation that `key` has now."""
        record = self.inner.read(key)
        return record.generation if isinstance(record, Record) else None


class CreatesAgain(RightRegister):
    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        return self.inner.swap(key, data, self.generation(key) if base is None else base)


class IgnoresTheBase(RightRegister):
    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        return self.inner.swap(key, data, base and (self.generation(key) or base))


class SwapCreates(RightRegister):
    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        return self.inner.swap(key, data, base if self.generation(key) else None)


class ChangesWhatItRefuses(RightRegister):
    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        outcome = self.inner.swap(key, data, base)
        if base and outcome == Mismatch():
            self.inner.swap(key, data, self.generation(key))
        return outcome


class ChecksThenWrites(RightRegister):
    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        if self.generation(key) != base:
            return Mismatch()
        time.sleep(GAP_S)
        while not isinstance(outcome := self.inner.swap(key, data, self.generation(key)), Swapped):
            continue
        return outcome


class NothingIsApplied(RightRegister):
    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        return Mismatch() if base else self.inner.swap(key, data, base)


class RepeatsGenerations(RightRegister):
    """As an ETag that is a hash of the bytes."""

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        record = self.inner.read(key)
        if not isinstance(record, Record):
            return record
        etag = Generation(hashlib.md5(record.data).hexdigest())
        return Unchanged() if etag == known else Record(record.data, etag)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        now, etag = self.inner.read(key), self.read(key)
        if (base is None) is isinstance(now, Record) or (isinstance(etag, Record) and etag.generation != base):
            return Mismatch()
        outcome = self.inner.swap(key, data, now.generation if isinstance(now, Record) else base and Generation("-"))
        return Swapped(Generation(hashlib.md5(data).hexdigest())) if isinstance(outcome, Swapped) else outcome

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        now, etag = self.inner.read(key), self.read(key)
        if not isinstance(now, Record) or not isinstance(etag, Record) or etag.generation != base:
            return Mismatch()
        return self.inner.remove(key, now.generation)


class ReadsAreStale(RightRegister):
    """Whoever did not write it sees the old value once; says that it is linearizable."""

    def __init__(self, inner: Register) -> None:
        super().__init__(inner)
        self._old: dict[str, tuple[int, ReadOutcome]] = {}

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        before = self.inner.read(key)
        outcome = self.inner.swap(key, data, base)
        if isinstance(outcome, Swapped):
            self._old[key] = (threading.get_ident(), before)
        return outcome

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        writer, old = self._old.get(key, (threading.get_ident(), Absent()))
        if writer == threading.get_ident():
            return self.inner.read(key, known)
        del self._old[key]
        return old


class ReadsAreRarelyStale(RightRegister):
    """One read in a hundred answers the value before the last, whoever asks; says that it is linearizable."""

    def __init__(self, inner: Register) -> None:
        super().__init__(inner)
        self._before: dict[str, ReadOutcome] = {}
        self._reads = itertools.count(1)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        before = self.inner.read(key)
        outcome = self.inner.swap(key, data, base)
        if isinstance(outcome, Swapped):
            self._before[key] = before
        return outcome

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        if known is None and next(self._reads) % 100 == 0 and key in self._before:
            return self._before[key]
        return self.inner.read(key, known)


class OldIsUnchanged(RightRegister):
    """As a server that answers 304 to three in ten who know an older state."""

    def __init__(self, inner: Register) -> None:
        super().__init__(inner)
        self._reads = itertools.count(1)

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        answer = self.inner.read(key, known)
        return Unchanged() if known and isinstance(answer, Record) and next(self._reads) % 10 > 6 else answer


class NothingIsNew(RightRegister):
    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        return Unchanged() if known else self.inner.read(key)


class RemovesAnything(RightRegister):
    def remove(self, key: str, base: Generation) -> SwapOutcome:
        return self.inner.remove(key, self.generation(key) or base)


class KeepsWhatIsRemoved(RightRegister):
    def remove(self, key: str, base: Generation) -> SwapOutcome:
        return Swapped(None) if self.generation(key) == base else Mismatch()


class HidesKeys(RightRegister):
    def keys(self, prefix: str) -> Iterator[str]:
        return iter([*self.inner.keys(prefix)][:-1])


class RaisesItsOwnErrors(RightRegister):
    def keys(self, prefix: str) -> Iterator[str]:
        raise ConnectionResetError("by peer")


class RightBlobs:
    """What is right: all of it, until a subclass says otherwise."""

    def __init__(self, inner: Blobs) -> None:
        self.inner = inner

    @property
    def consistency(self) -> Consistency:
        return self.inner.consistency

    @property
    def has_ranges(self) -> bool:
        return self.inner.has_ranges

    @property
    def part_bytes_max(self) -> int:
        return self.inner.part_bytes_max

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        return self.inner.put_new(key, data)

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        for key, data in objects:
            self.put_new(key, data)
        return Stored()

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        return self.inner.get(ranges)

    def delete(self, keys: Sequence[str]) -> None:
        self.inner.delete(keys)

    def list(self, prefix: str) -> Iterator[Listed]:
        return self.inner.list(prefix)


class Overwrites(RightBlobs):
    def put_new(self, key: str, data: bytes) -> PutOutcome:
        while True:
            try:
                return self.inner.put_new(key, data)
            except Exists:
                self.inner.delete([key])


class KeepsTheFirstAndSaysNothing(RightBlobs):
    def put_new(self, key: str, data: bytes) -> PutOutcome:
        try:
            return self.inner.put_new(key, data)
        except Exists:
            return Stored()


class ForgetsEmptyObjects(RightBlobs):
    def put_new(self, key: str, data: bytes) -> PutOutcome:
        return self.inner.put_new(key, data) if data else Stored()


class CutsLargeObjects(RightBlobs):
    def put_new(self, key: str, data: bytes) -> PutOutcome:
        return self.inner.put_new(key, data[: 1 << 19])


class GivesShortRanges(RightBlobs):
    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        answers = self.inner.get(ranges)
        return [
            data[:-1] if asked.length and asked.offset and isinstance(data, bytes) else data
            for asked, data in zip(ranges, answers, strict=True)
        ]


class MixesRanges(RightBlobs):
    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        return [*self.inner.get(sorted(ranges, key=lambda asked: (asked.key, asked.offset)))]


class PadsRanges(RightBlobs):
    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        try:
            return self.inner.get(ranges)
        except Corrupt:
            return [bytes(asked.length or 0) for asked in ranges]


class LosesDeletes(RightBlobs):
    def delete(self, keys: Sequence[str]) -> None:
        """Forget them."""


class DeletesTheFolder(RightBlobs):
    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.inner.delete([item.key for item in self.inner.list(key.rpartition("/")[0])])


class ListsOnePage(RightBlobs):
    def list(self, prefix: str) -> Iterator[Listed]:
        return iter([*self.inner.list(prefix)][:1])


class SaysLittle(RightRegister):
    """Right, for an eventual store: swaps that do not name their generation."""

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        outcome = self.inner.swap(key, data, base)
        return Swapped(None) if isinstance(outcome, Swapped) else outcome


class SendsAgain(RightRegister):
    """Right but for R6: it has no conditional reads."""

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        return self.inner.read(key)


class CallsOff(RightRegister):
    """Right: of the swaps that come from other threads, as in races, nineteen in twenty are surely not applied."""

    def __init__(self, inner: Register) -> None:
        super().__init__(inner)
        self._number = itertools.count()

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        if threading.current_thread() is not threading.main_thread() and next(self._number) % 20:
            raise Unavailable("slow down")
        return self.inner.swap(key, data, base)


class OneSwapASecond(RightRegister):
    """Right: takes one change of a key a second by its clock, as R2 and Google Cloud Storage document it."""

    def __init__(self, inner: Register, clock: Callable[[], float]) -> None:
        super().__init__(inner)
        self._clock = clock
        self._free_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        self._take_turn(key)
        return self.inner.swap(key, data, base)

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        self._take_turn(key)
        return self.inner.remove(key, base)

    def _take_turn(self, key: str) -> None:
        with self._lock:
            if self._clock() < self._free_at.get(key, 0.0):
                raise RateLimited("slow down", retry_after_s=1.0)
            self._free_at[key] = self._clock() + 1.0


class LosesAnswers(RightRegister):
    """Right: every swap is carried out, no answer comes."""

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        self.inner.swap(key, data, base)
        return Lost("the connection ended")


def with_register(wrong: Callable[[Register], Register], store: Store | None = None) -> Store:
    """A store in memory, or `store`, with another register."""
    inner = store or memory_store()
    return replace(inner, register=wrong(inner.register))


def with_objects(wrong: Callable[[Blobs], Blobs], store: Store | None = None) -> Store:
    """A store in memory, or `store`, with other objects in the object tier."""
    inner = store or memory_store()
    return replace(inner, blobs={**inner.blobs, Tier.OBJECT: wrong(inner.blobs[Tier.OBJECT])})


WRONG_REGISTERS: Final[dict[Callable[[Register], Register], set[str]]] = {
    CreatesAgain: {"create only", "creation race"},
    IgnoresTheBase: {"stale swap", "generations", "lost updates"},
    SwapCreates: {"swap of a missing key", "remove"},
    ChangesWhatItRefuses: {"stale swap"},
    ChecksThenWrites: {"creation race", "lost updates"},
    NothingIsApplied: {"swap"},
    RepeatsGenerations: {"generations"},
    ReadsAreStale: {"stale reads"},
    ReadsAreRarelyStale: {"stale reads"},
    OldIsUnchanged: {"stale conditional reads"},
    NothingIsNew: {"conditional read", "stale conditional reads"},
    RemovesAnything: {"remove"},
    KeepsWhatIsRemoved: {"remove", "list of registers"},
    HidesKeys: {"list of registers"},
    RaisesItsOwnErrors: {"list of registers"},
}
WRONG_OBJECTS: Final[dict[Callable[[Blobs], Blobs], set[str]]] = {
    Overwrites: {"object: never changed", "object: put race"},
    KeepsTheFirstAndSaysNothing: {"object: never changed", "object: put race"},
    ForgetsEmptyObjects: {"object: put and get"},
    CutsLargeObjects: {"object: large object"},
    GivesShortRanges: {"object: ranges"},
    MixesRanges: {"object: ranges"},
    PadsRanges: {"object: range beyond the end"},
    LosesDeletes: {"object: delete", "object: list"},
    DeletesTheFolder: {"object: delete"},
    ListsOnePage: {"object: list"},
}
"""Which checks have to refuse a store; others may too."""

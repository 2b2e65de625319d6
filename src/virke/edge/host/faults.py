"""What goes wrong, on command: late reads, refusals, lost answers, slow stores, sandboxes that end.

1. What is not commanded does not happen: without faults a store is exact.
2. A read is late by at most `stale_s`, by the clock that was given, and shows what was once true: never a mix, never bytes that
   were not there. Only what was written through here is known to be new.
3. A fault is meant for calls of one kind whose key starts with something, some of them after others, and is used up.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import field
from enum import Enum
from typing import Final

from virke.edge.host.items import Item, Items, Refusal, Write
from virke.edge.host.values import Trap
from virke.lazy_dataclasses import dataclass


class Fault(Enum):
    """What happens to one call."""

    MISMATCH = "412: refused, not applied"
    RATE_LIMIT = "429: refused, not applied"
    DROP = "an error, not applied"
    LOSE = "applied, and answered by an error"
    HIDE = "a lookup finds nothing"
    TRAP = "the sandbox ends before the call"
    TRAP_AFTER = "the sandbox ends when the call was applied"


@dataclass
class Planned:
    """A fault for `times` calls of `call` ("lookup" or "insert") to keys that start with `key`, after `skip` of them."""

    fault: Fault
    call: str = "insert"
    key: str = ""
    times: int = 1
    skip: int = 0


@dataclass
class Faults:
    """The faults of one host, and how slow its store is. `late` chooses which of the versions that are allowed a read shows."""

    lookup_s: float = 0.0
    write_s: float = 0.0
    lookup_bytes_s: float = math.inf
    write_bytes_s: float = math.inf
    sleeps: bool = True
    """Whether a guest really waits for a slow store; else it is only counted (`Counts.waited_s`)."""
    stale_s: float = 0.0
    late: Callable[[int], int] = field(default_factory=lambda: random.Random(0).randrange)
    clock: Callable[[], float] = time.monotonic
    planned: list[Planned] = field(default_factory=list)
    happened: list[tuple[str, str, Fault]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def lookup_takes_s(self, size_bytes: int) -> float:
        """How long a lookup of so many bytes takes."""
        return self.lookup_s + size_bytes / self.lookup_bytes_s

    def write_takes_s(self, size_bytes: int) -> float:
        """How long a write of so many bytes takes."""
        return self.write_s + size_bytes / self.write_bytes_s

    def plan(self, fault: Fault, call: str = "insert", *, key: str = "", times: int = 1, skip: int = 0) -> None:
        """Command one."""
        with self._lock:
            self.planned.append(Planned(fault, call, key, times, skip))

    def next(self, call: str, key: str) -> Fault | None:
        """What happens to this call."""
        with self._lock:
            for plan in self.planned:
                if plan.call != call or not key.startswith(plan.key) or not plan.times:
                    continue
                if plan.skip:
                    plan.skip -= 1
                    continue
                plan.times -= 1
                self.happened.append((call, key, plan.fault))
                return plan.fault
        return None


@dataclass(frozen=True, slots=True)
class _Past:
    """What a key held until `until_s`; None if nothing."""

    item: Item | None
    until_s: float


_REFUSALS: Final = {
    Fault.MISMATCH: Refusal.PRECONDITION,
    Fault.RATE_LIMIT: Refusal.TOO_MANY,
    Fault.DROP: Refusal.INTERNAL,
}


class FaultyItems:
    """Items with faults."""

    def __init__(self, items: Items, faults: Faults) -> None:
        self._items = items
        self._faults = faults
        self._past: dict[str, list[_Past]] = {}
        self._lock = threading.Lock()

    def lookup(self, key: str) -> Item | Refusal | None:
        """The item at `key`, as late as is commanded. Raises `Trap`."""
        match self._faults.next("lookup", key):
            case Fault.TRAP | Fault.TRAP_AFTER:
                raise Trap("the sandbox ends, as was commanded")
            case Fault.HIDE:
                return None
            case Fault.RATE_LIMIT:
                return Refusal.TOO_MANY
            case None:
                pass
            case _:
                return Refusal.INTERNAL
        now = self._items.lookup(key)
        if not self._faults.stale_s:
            return now
        with self._lock:
            shown = [past.item for past in self._recent_past(key)]
        return [*shown, now][self._faults.late(len(shown) + 1)]

    def insert(self, write: Write) -> Refusal | None:
        """Apply one write, or do not. Raises `Trap`."""
        fault = self._faults.next("insert", write.key)
        if fault is Fault.TRAP:
            raise Trap("the sandbox ends before the write, as was commanded")
        if fault in _REFUSALS:
            return _REFUSALS[fault]
        before = self._items.lookup(write.key) if self._faults.stale_s else None
        refusal = self._items.insert(write)
        if refusal is None and self._faults.stale_s:
            with self._lock:
                kept = self._past.setdefault(write.key, [])
                kept[:] = [*self._recent_past(write.key), _Past(before, self._faults.clock())]
        if fault is Fault.TRAP_AFTER:
            raise Trap("the sandbox ends after the write, as was commanded")
        return Refusal.INTERNAL if fault is Fault.LOSE else refusal

    def delete(self, key: str) -> bool:
        """Remove an item."""
        return self._items.delete(key)

    def keys(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        """Keys in order; a listing is never late."""
        return self._items.keys(prefix, after, limit)

    def _recent_past(self, key: str) -> list[_Past]:
        since_s = self._faults.clock() - self._faults.stale_s
        return [past for past in self._past.get(key, []) if past.until_s >= since_s]

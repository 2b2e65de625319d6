"""A breaker: while a store is down, calls fail at once instead of each waiting for it; and how the last call ended.

Knows the calls of the contract and nothing of why they are made.

1. What fails at once (`StoreDown`) was definitely not done: nothing of it was sent.
2. One failure is no outage: the second in a row is. The caller of the first repeats it (decision 0052), and is the one that
   finds out; the others are not refused for it.
3. After `PAUSE_S` one call goes through to see; the others go on failing at once until it ends. If it fails too, that is
   `StoreDown` as well: no caller repeats it at once.
4. A swap goes through after a read of its key succeeded. So its own outcome is not lost in an outage that is known.
5. A store that asks for patience (`RateLimited`) is not down, and neither is one that says no.
6. Each register and each store of objects has its own: one may be down while the other answers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Final, TypeVar

from virke.core.effects import Absent, Generation, Lost, PutOutcome, ReadOutcome, SwapOutcome, Tier
from virke.errors import RateLimited, StoreDown, Unavailable, VirkeError
from virke.stores.base import Blobs, Consistency, Listed, Range, Register, Store

PAUSE_S: Final = 0.5
FAILURES: Final = 2
T = TypeVar("T")


class Breaker:
    """`inner` behind a breaker: pass `.store` on; `.failure` says how the last call ended."""

    def __init__(self, inner: Store, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._circuits: list[_Circuit] = [_Circuit(monotonic)]
        blobs: dict[Tier, Blobs] = {}
        for tier, one in inner.blobs.items():
            self._circuits.append(_Circuit(monotonic))
            blobs[tier] = _Blobs(one, self._circuits[-1])
        self.store = replace(inner, register=_Register(inner.register, self._circuits[0]), blobs=blobs)

    @property
    def failure(self) -> str | None:
        """Why the last call of a part of the store failed; None if each part's last call did not. Asks nothing."""
        return next((circuit.reason for circuit in self._circuits if circuit.reason), None)


class _Circuit:
    """Whether one part of a store answers."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._failed_at = 0.0
        self._failures = 0
        """How many calls in a row failed."""
        self._trying = threading.Lock()
        self.reason = ""

    def call(self, send: Callable[[], T], look: Callable[[], object] | None = None) -> T:
        """What `send` returns; `look` is called first where the store has to show that it is there again.

        Raises:
            StoreDown: at once, or because it still does not answer. Else what `send` raises.
        """
        if self._failures < FAILURES:
            return self._send_watched(send)
        if self._monotonic() < self._failed_at + PAUSE_S or not self._trying.acquire(blocking=False):
            raise StoreDown(f"the store did not answer a moment ago ({self.reason}); nothing was sent to it")
        try:
            if look is None:
                return self._try_sending(send)
            with suppress(RateLimited):
                self._try_sending(look)
            return self._send_watched(send)
        finally:
            self._trying.release()

    def listed(self, begin: Callable[[], Iterator[T]]) -> Iterator[T]:
        """What a listing lists; it is asked for with its first item. Raises as `call`."""

        def first() -> tuple[list[T], Iterator[T]]:
            items = begin()
            return list(islice(items, 1)), items

        for items in self.call(first):
            yield from items

    def _try_sending(self, send: Callable[[], T]) -> T:
        try:
            return self._send_watched(send)
        except RateLimited:
            raise
        except Unavailable as error:
            raise StoreDown(error.message) from error

    def _send_watched(self, send: Callable[[], T]) -> T:
        try:
            outcome = send()
        except RateLimited:
            self._answered()
            raise
        except Unavailable as error:
            self._note_failure(error.message)
            raise
        except VirkeError:
            self._answered()
            raise
        if isinstance(outcome, Lost):
            self._note_failure(outcome.reason or "its answer was lost")
        else:
            self._answered()
        return outcome

    def _answered(self) -> None:
        self._failures, self.reason = 0, ""

    def _note_failure(self, reason: str) -> None:
        self._failed_at, self.reason = self._monotonic(), reason
        self._failures += 1


class _Register:
    def __init__(self, inner: Register, circuit: _Circuit) -> None:
        self._inner = inner
        self._call, self._listed = circuit.call, circuit.listed

    @property
    def consistency(self) -> Consistency:
        return self._inner.consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        return self._call(lambda: self._inner.read(key, known))

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        return self._call(lambda: self._inner.swap(key, data, base), lambda: self._inner.read(key))

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        return self._call(lambda: self._inner.remove(key, base), lambda: self._inner.read(key))

    def keys(self, prefix: str) -> Iterator[str]:
        return self._listed(lambda: self._inner.keys(prefix))


class _Blobs:
    def __init__(self, inner: Blobs, circuit: _Circuit) -> None:
        self._inner = inner
        self._call, self._listed = circuit.call, circuit.listed

    @property
    def consistency(self) -> Consistency:
        return self._inner.consistency

    @property
    def has_ranges(self) -> bool:
        return self._inner.has_ranges

    @property
    def part_bytes_max(self) -> int:
        return self._inner.part_bytes_max

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        return self._call(lambda: self._inner.put_new(key, data))

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        return self._call(lambda: self._inner.put_all(objects))

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        return self._call(lambda: self._inner.get(ranges))

    def delete(self, keys: Sequence[str]) -> None:
        self._call(lambda: self._inner.delete(keys))

    def list(self, prefix: str) -> Iterator[Listed]:
        return self._listed(lambda: self._inner.list(prefix))

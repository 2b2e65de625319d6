"""B13: a store that takes one swap a second of one key: commits a second, refused swaps, waits; one process and four.

The store is in memory, and refuses what comes too soon; a process here is a database object with a tag of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Final

from bench.opening import NAME
from bench.report import Figure
from virke.core.effects import Generation, ReadOutcome, SwapOutcome, Swapped
from virke.engine.database import Database
from virke.errors import RateLimited
from virke.opening import create
from virke.stores.base import Consistency, Register, Store
from virke.stores.memory import memory_store

TRIP_S: Final = 0.05
THREADS: Final = 8
ROWS: Final = 10
PROCESSES: Final = 4
LASTS_S: Final = 60.0


class OneASecond:
    """A register, a round trip away, that refuses a swap less than a second after the last one that it took."""

    def __init__(self, inner: Register) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._accepted_s = float("-inf")
        self.accepted = self.refused = 0

    @property
    def consistency(self) -> Consistency:
        """As the inner one's."""
        return self._inner.consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        """A read, a round trip away."""
        time.sleep(TRIP_S / 2)
        outcome = self._inner.read(key, known)
        time.sleep(TRIP_S / 2)
        return outcome

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        """A swap. Raises `RateLimited`: it came too soon."""
        time.sleep(TRIP_S / 2)
        try:
            with self._lock:
                now_s = time.monotonic()
                if now_s - self._accepted_s < 1.0:
                    self.refused += 1
                    raise RateLimited("one write a second to one key")
                outcome = self._inner.swap(key, data, base)
                if isinstance(outcome, Swapped):
                    self._accepted_s = now_s
                    self.accepted += 1
                return outcome
        finally:
            time.sleep(TRIP_S / 2)

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        """As the inner one's."""
        return self._inner.remove(key, base)

    def keys(self, prefix: str) -> Iterator[str]:
        """As the inner one's."""
        return self._inner.keys(prefix)


def _far() -> tuple[Store, OneASecond]:
    inner = memory_store()
    with create(NAME, inner) as database:
        database.execute("CREATE TABLE t (n)")
    register = OneASecond(inner.register)
    return Store(inner.url, register, inner.blobs), register


def _threads(work: list[threading.Thread]) -> None:
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()


def _one() -> list[Figure]:
    """Ten rows a thread, then a minute of them."""
    store, register = _far()
    waits: list[float] = []
    with Database(store, NAME) as database:
        database.execute("INSERT INTO t VALUES (0)")

        def insert(rows: int | None) -> None:
            until_s, done = time.monotonic() + LASTS_S, 0
            while done < rows if rows is not None else time.monotonic() < until_s:
                began = time.monotonic()
                database.execute("INSERT INTO t VALUES (1)")
                waits.append(time.monotonic() - began)
                done += 1

        began = time.monotonic()
        _threads([threading.Thread(target=insert, args=(ROWS,)) for _ in range(THREADS)])
        ten_s = time.monotonic() - began
        before, began = register.accepted, time.monotonic()
        _threads([threading.Thread(target=insert, args=(None,)) for _ in range(THREADS)])
        rate = (register.accepted - before) / (time.monotonic() - began)
    what = f"one process, {THREADS} threads"
    return [
        Figure("B13", f"{what} × {ROWS} inserts", ten_s, "s", at_most=12),
        Figure("B13", f"{what}: commits", rate, "a second", at_least=0.9),
        Figure("B13", f"{what}: refused swaps of a commit", register.refused / register.accepted, "", at_most=0.1),
        Figure("B13", f"{what}: p99", sorted(waits)[int(len(waits) * 0.99)], "s", at_most=1.5),
    ]


def _several() -> list[Figure]:
    store, register = _far()
    commits = [0] * PROCESSES

    def process(number: int) -> None:
        with Database(store, NAME) as database:
            until_s = time.monotonic() + LASTS_S
            while time.monotonic() < until_s:
                database.execute("INSERT INTO t VALUES (?)", (number,))
                commits[number] += 1

    began = time.monotonic()
    _threads([threading.Thread(target=process, args=(number,)) for number in range(PROCESSES)])
    took_s = time.monotonic() - began
    what = f"{PROCESSES} processes"
    return [
        Figure("B13", f"{what}: commits", sum(commits) / took_s, "a second", at_least=0.85),
        Figure("B13", f"{what}: refused swaps of a commit", register.refused / sum(commits), "", at_most=0.2),
        Figure("B13", f"{what}: the least of the most", min(commits) / max(commits), "", at_least=0.5),
    ]


def run() -> list[Figure]:
    """One process with threads, and four processes."""
    return [*_one(), *_several()]

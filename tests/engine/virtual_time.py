"""Threads in virtual time: one runs at any moment, and time passes only while all sleep. Deterministic.

Each thread is a process of its own: they share a store, and no lock of the engine.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections.abc import Callable

from tests.engine.passing import PassingRegister
from virke.core.effects import Generation, ReadOutcome, SwapOutcome
from virke.engine.environment import Environment
from virke.stores.base import Register

CREATED_MS = 1_700_000_000_000
STUCK_S = 60


class VirtualTime:
    """The clock that actors share."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._sleeping: list[tuple[float, int, threading.Event]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._errors: list[BaseException] = []

    def environment(self) -> Environment:
        """The environment of one process."""
        return Environment(
            now_ms=lambda: CREATED_MS + int(self.now_s * 1000), monotonic=lambda: self.now_s, sleep=self.sleep
        )

    def sleep(self, seconds: float) -> None:
        """Let others run until so much time has passed."""
        awake = threading.Event()
        with self._lock:
            heapq.heappush(self._sleeping, (self.now_s + max(seconds, 0.0), next(self._order), awake))
        self._wake_next()
        assert awake.wait(STUCK_S), "an actor waits for another one that sleeps"

    def _wake_next(self) -> None:
        with self._lock:
            if self._sleeping:
                at_s, _, awake = heapq.heappop(self._sleeping)
                self.now_s = max(self.now_s, at_s)
                awake.set()

    def run(self, *actors: Callable[[], object]) -> None:
        """Run all actors to their end; the first error of any is raised."""

        def body(actor: Callable[[], object], awake: threading.Event) -> None:
            try:
                assert awake.wait(STUCK_S)
                actor()
            except BaseException as error:
                self._errors.append(error)
            finally:
                self._wake_next()

        threads = []
        for actor in actors:
            awake = threading.Event()
            heapq.heappush(self._sleeping, (self.now_s, next(self._order), awake))
            threads.append(threading.Thread(target=body, args=(actor, awake), daemon=True))
            threads[-1].start()
        self._wake_next()
        for thread in threads:
            thread.join(STUCK_S)
        if self._errors:
            raise self._errors[0]


class FarRegister(PassingRegister):
    """A register half a round trip away, on virtual time."""

    def __init__(self, inner: Register, time: VirtualTime, trip_s: float, seed: int | None = None) -> None:
        super().__init__(inner)
        self._time = time
        self._half_s = trip_s / 2
        self._random = None if seed is None else random.Random(seed)
        self.reads = self.swaps = 0

    def _travel(self) -> None:
        """Half a round trip: with a seed 0.8 to 1.4 times as long as usual."""
        self._time.sleep(self._half_s * (self._random.uniform(0.8, 1.4) if self._random else 1.0))

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        self.reads += 1
        self._travel()
        outcome = self._inner.read(key, known)
        self._travel()
        return outcome

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        self.swaps += 1
        self._travel()
        outcome = self._swap(key, data, base)
        self._travel()
        return outcome

    def _swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        return self._inner.swap(key, data, base)

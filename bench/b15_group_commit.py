"""B15: many threads that write to a store 25 ms away: how many ride in one commit, and how long each waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Final

from bench.report import Figure
from virke.core.effects import Generation, ReadOutcome, SwapOutcome
from virke.opening import connect
from virke.stores.base import Consistency, Register, Store
from virke.stores.memory import memory_store

ROUND_S: Final = 0.025
SECONDS: Final = 4.0


class FarRegister:
    """A register one round trip away: half of it before the call, the rest after it, so that what sleeping adds counts once."""

    def __init__(self, inner: Register) -> None:
        self._inner = inner

    @property
    def consistency(self) -> Consistency:
        """As promised by the one behind."""
        return self._inner.consistency

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        """See `Register`."""
        time.sleep(ROUND_S)
        return self._inner.read(key, known)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        """See `Register`."""
        until_s = time.monotonic() + ROUND_S
        time.sleep(ROUND_S / 2)
        outcome = self._inner.swap(key, data, base)
        time.sleep(max(0.0, until_s - time.monotonic()))
        return outcome

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        """See `Register`."""
        return self._inner.remove(key, base)

    def keys(self, prefix: str) -> Iterator[str]:
        """See `Register`."""
        return self._inner.keys(prefix)


def group_commits(threads: int, seconds: float = SECONDS) -> tuple[float, float, float]:
    """Rows a second, and the median and 99th percentile of a write in round trips."""
    inner = memory_store()
    store = Store(inner.url, FarRegister(inner.register), inner.blobs)
    took: list[float] = []
    with connect("bench", store, create=True) as database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, thread)")
        end = time.monotonic() + seconds

        def write(number: int) -> None:
            while (began := time.monotonic()) < end:
                database.execute("INSERT INTO t (thread) VALUES (?)", (number,))
                took.append(time.monotonic() - began)

        workers = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
        began_at = time.monotonic()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        elapsed = time.monotonic() - began_at
        assert database.query("SELECT count(*) FROM t").rows == [(len(took),)]
    took.sort()
    return len(took) / elapsed, took[len(took) // 2] / ROUND_S, took[int(len(took) * 0.99)] / ROUND_S


def run() -> list[Figure]:
    """One thread, 16 and 64."""
    _, median, tail = group_commits(1)
    figures = [
        Figure("B15", "1 thread: median of a write", median, "round trips"),
        Figure("B15", "1 thread: 99th percentile", tail, "round trips", at_most=2),
    ]
    for threads, least in ((16, 300), (64, 1200)):
        rows, median, _ = group_commits(threads)
        figures.append(Figure("B15", f"{threads} threads", rows, "rows/s", at_least=least))
        figures.append(Figure("B15", f"{threads} threads: median of a write", median, "round trips", at_most=1.2))
    return figures

"""What one request cost: store calls, requests, bytes, cache hits and pages, counted while it runs.

Knows calls and numbers; knows neither the request nor what becomes of the sums (`engine.results.Meta`).

1. Counting is for the request that asked for it: without a receipt being written, nothing is counted.
2. Work that is done for a request in another thread counts for it if it runs in a copy of its context.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from virke.stores.base import Call, Store
from virke.stores.counted import Tally, counting_store


class Receipt:
    """The sums of one request, from several threads."""

    def __init__(self) -> None:
        self.calls: dict[Call, Tally] = {}
        self.cache_hits = 0
        self.pages_read = 0
        self.shared_by = 1
        self._lock = threading.Lock()

    def add(self, call: Call, tally: Tally) -> None:
        """Count one call to the store."""
        with self._lock:
            self.calls[call] = self.calls.get(call, Tally()) + tally

    def add_hits(self, hits: int) -> None:
        """Count ranges that a cache answered."""
        with self._lock:
            self.cache_hits += hits

    def add_pages(self, pages: int) -> None:
        """Count pages that SQLite asked for."""
        with self._lock:
            self.pages_read += pages

    def take(self, other: Receipt, shared_by: int) -> None:
        """Add what was done for this request and others together, `shared_by` of them."""
        for call, tally in other.calls.items():
            self.add(call, tally)
        self.add_hits(other.cache_hits)
        self.add_pages(other.pages_read)
        self.shared_by = shared_by

    @property
    def total(self) -> Tally:
        """All calls together."""
        return sum(self.calls.values(), Tally())

    def of(self, *calls: Call) -> Tally:
        """The calls of these kinds together."""
        return sum((self.calls.get(call, Tally()) for call in calls), Tally())


_current: ContextVar[Receipt | None] = ContextVar("virke_receipt", default=None)


@contextmanager
def writing_receipt(receipt: Receipt | None) -> Iterator[None]:
    """Count on `receipt` what this thread does in the block (None: no caller wants to know), and on no other."""
    token = _current.set(receipt)
    try:
        yield
    finally:
        _current.reset(token)


def current_receipt() -> Receipt | None:
    """The receipt that is being written, if any."""
    return _current.get()


def add_cache_hits(count: int) -> None:
    """A cache answered `count` ranges."""
    receipt = _current.get()
    if receipt is not None:
        receipt.add_hits(count)


def _add_tally(call: Call, tally: Tally) -> None:
    receipt = _current.get()
    if receipt is not None:
        receipt.add(call, tally)


def _is_written() -> bool:
    return _current.get() is not None


def metered_store(store: Store) -> Store:
    """`store`, whose calls are counted on receipts; one that does so already is left as it is."""
    return store if store.is_metered else counting_store(store, _add_tally, _is_written, is_metered=True)

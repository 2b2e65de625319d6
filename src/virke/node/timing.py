"""What a request took here and in the store, as the header `Server-Timing` says it.

Knows a clock and receipts; knows no request.

1. `total` is from the request's head to its answer's; of rows that are streamed it is what came before the first one.
2. `store` are the calls to the store that were made for this request, and those of a commit that it shared with others. It
   is missing where that is not known (Hrana), and 0 where memory answered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from virke.stores.receipt import Receipt, writing_receipt

SERVER_TIMING: Final = "server-timing"


class Timing:
    """The time of one request, from now on."""

    def __init__(self) -> None:
        self._began_s = time.perf_counter()
        self._receipt: Receipt | None = None
        self.is_known = False
        """Whether what the request costs in the store is known."""

    @property
    def elapsed_s(self) -> float:
        """So long it has taken."""
        return time.perf_counter() - self._began_s

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what this task, and threads in its context, ask of the store."""
        self._receipt = self._receipt or Receipt()
        with writing_receipt(self._receipt):
            yield

    def header(self, elapsed_s: float | None = None) -> tuple[str, str]:
        """The header, of this moment, or of when it had taken so long."""
        total_ms = (self.elapsed_s if elapsed_s is None else elapsed_s) * 1000
        if not self.is_known:
            return SERVER_TIMING, f"total;dur={total_ms:.2f}"
        if self._receipt is None:
            return SERVER_TIMING, f'total;dur={total_ms:.2f}, store;dur=0;desc="0 requests"'
        total = self._receipt.total
        return (
            SERVER_TIMING,
            f'total;dur={total_ms:.2f}, store;dur={total.waited_ns / 1e6:.2f};desc="{total.requests} requests"',
        )

"""What is noted of each statement: how many there were, and which took long, with a receipt of what they cost.

Knows receipts and stdlib logging; knows no request.

1. A text is shown by its beginning, on one line; parameters are never shown.
2. Where slow ones are not asked for, no receipt is written and no time measured.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, TypeVar

from virke.errors import NotHere
from virke.stores.receipt import Receipt, current_receipt, writing_receipt

SQL_CHARS: Final = 200
log: Final = logging.getLogger("virke.slow")
T = TypeVar("T")


class Watch:
    """Counts statements, and logs those that took at least `slow_ms`; None: of none."""

    def __init__(self, slow_ms: int | None = None, now_s: Callable[[], float] = time.monotonic) -> None:
        self.statements: Counter[str] = Counter()
        """By where they ran: `read` on what is shown, `write` in line, `transaction` in one of a stream."""
        self.transactions = 0
        """Commits of interactive transactions."""
        self._slow_s = None if slow_ms is None else slow_ms / 1000
        self.sees_all = slow_ms == 0
        """Whether every statement is logged, those that memory answers at once as well."""
        self.now_s = now_s

    def receipt(self) -> Receipt | None:
        """The receipt of something that begins, that of its request if there is one; None: it is not asked for."""
        return current_receipt() or Receipt() if self._slow_s is not None else None

    def run(self, database: str, sql: str, call: Callable[..., T], *args: Any) -> T:
        """Call it, here in this thread, with a receipt; tell of it if it took long, failed or not.

        `NotHere` is not an end: what it was asked for is asked for elsewhere.
        """
        if self._slow_s is None:
            return call(*args)
        receipt = current_receipt() or Receipt()
        began_s = self.now_s()
        try:
            with writing_receipt(receipt):
                found = call(*args)
        except NotHere:
            raise
        except BaseException:
            self.ended(database, sql, began_s, receipt)
            raise
        self.ended(database, sql, began_s, receipt)
        return found

    def ended(self, database: str, sql: str, began_s: float, receipt: Receipt | None) -> None:
        """Something that began then has ended."""
        elapsed_s = self.now_s() - began_s
        if receipt is None or self._slow_s is None or elapsed_s < self._slow_s:
            return
        total = receipt.total
        fields = {
            "database": database,
            "sql": shortened_sql(sql),
            "ms": round(elapsed_s * 1000) if elapsed_s >= 0.01 else round(elapsed_s * 1000, 1),
            "round_trips": total.requests,
            "store_requests": total.items,
            "bytes_up": total.bytes_up,
            "bytes_down": total.bytes_down,
            "store_ms": round(total.waited_ns / 1e6),
            "cache_hits": receipt.cache_hits,
            "pages_read": receipt.pages_read,
            "shared_by": receipt.shared_by,
        }
        words = " ".join(f"{name}={value}" for name, value in fields.items() if name not in ("database", "sql", "ms"))
        log.warning("%s ms on %s: %s (%s)", fields["ms"], database, fields["sql"], words, extra={"fields": fields})


def shortened_sql(sql: str) -> str:
    """The beginning of a text, on one line."""
    text = " ".join(sql[: 4 * SQL_CHARS].split())
    return text if len(text) <= SQL_CHARS else text[: SQL_CHARS - 1] + "…"

"""Several statements on one earlier version: a batch that only reads.

Knows readers and their limits; knows no HTTP.

1. All see one version. They share the time limit of one request, and the size of its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from virke.engine.budget import cost_of
from virke.engine.freshness import Shown
from virke.engine.readers import Readers, WritesInstead
from virke.engine.results import QueryResult, Request, receipted_result
from virke.engine.snapshot import Snapshot
from virke.engine.terms import Cancel, Terms
from virke.errors import ReadOnly, TimedOut, TooLarge

WRITES: Final = "this statement writes, and only reads are allowed here; nothing was changed"


def batch_at(
    readers: Readers,
    snapshot: Snapshot,
    requests: Sequence[Request],
    limits: Shown,
    *,
    meta: bool,
    cancel: Cancel | None,
    monotonic: Callable[[], float],
) -> list[QueryResult]:
    """The results of statements that read, all of one version, within `limits`.

    Raises:
        ReadOnly: one writes. NotFound: the version was collected meanwhile. SqlError, Invalid, TimedOut, TooLarge.
    """
    until_s, left = monotonic() + limits.timeout_s, limits.result_bytes
    found: list[QueryResult] = []
    for sql, params in requests:
        left_ms = int((until_s - monotonic()) * 1000)
        if left_ms < 1:
            raise TimedOut(f"the batch took longer than {limits.timeout_s * 1000:.0f} ms")
        ask = partial(
            readers.query_at, snapshot, sql, params, Terms(timeout_ms=left_ms, cancel=cancel, result_bytes=left)
        )
        try:
            found.append(receipted_result(ask, monotonic) if meta else ask())
        except WritesInstead:
            raise ReadOnly(WRITES) from None
        except TooLarge as error:
            if not found:
                raise
            most = limits.result_bytes >> 20
            raise TooLarge(
                f"the results are larger than {most} MiB together; ask for less, or in several requests"
            ) from error
        left = max(left - sum(map(cost_of, found[-1].rows)), 0)
    return found

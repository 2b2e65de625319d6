"""Repeats calls to a store that fails: the one place that does, with the one back-off (decision 0052).

Knows calls and how they fail; knows no store and no pages. Stores ask once, and the protocols repeat what only they may: a
swap, after a look at the root.

1. Only a call that does the same when it is done twice comes here: reads, lists, and deletes of objects.
2. `StoreDown` as the first answer is not waited for: the store failed a moment ago. One that goes down in the middle is.
3. A request that may not wait any more (`allowance`) makes its next tries at once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from virke.core.backoff import BACKOFF
from virke.engine.environment import Environment
from virke.errors import StoreDown, Unavailable

T = TypeVar("T")


def repeated(environment: Environment, call: Callable[[], T]) -> T:
    """What `call` returns, which is made again while the store is unavailable. Raises what the last try raised."""
    failed, began_s = 0, environment.monotonic()
    while True:
        try:
            return call()
        except Unavailable as error:
            if not failed and isinstance(error, StoreDown):
                raise
            failed += 1
            if not back_off(environment, failed, began_s, error.retry_after_s):
                raise


def back_off(environment: Environment, failed: int, began_s: float, retry_after_s: float | None = None) -> bool:
    """Wait after the `failed`-th failure of what was begun at `began_s`; False: there is no time for another try."""
    wait_s = BACKOFF.wait_s(
        failed,
        chance=environment.jitter() - 0.5,
        spent_s=environment.monotonic() - began_s,
        retry_after_s=retry_after_s,
    )
    if wait_s is None:
        return False
    with suppress(Unavailable):  # rule 3
        environment.wait(wait_s)
    return True

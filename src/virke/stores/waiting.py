"""Where a store waits for its medium: what a thread said is to be done meanwhile begins there, and ends with it.

Knows no store. Only stores that say so (`Store.says_waits`) call `waiting`: of the others all of a call may be a wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Final

Meanwhile = Callable[[], AbstractContextManager[None]]
_said: Final[ContextVar[Meanwhile | None]] = ContextVar("virke_meanwhile", default=None)


@contextmanager
def waits_within(do: Meanwhile) -> Iterator[None]:
    """In the block, and in this thread, a store that waits does so within `do()`."""
    token = _said.set(do)
    try:
        yield
    finally:
        _said.reset(token)


@contextmanager
def waiting() -> Iterator[None]:
    """The block waits."""
    do = _said.get()
    if do is None:
        yield
        return
    with do():
        yield

"""Where a store waits for its medium: what a thread said is to be done meanwhile begins there, and ends with it.

Knows threads; knows no store. Only stores that say so (`Store.says_waits`) call `waiting`: of the others all of a call may be a wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Meanwhile = Callable[[], AbstractContextManager[None]]
_said = threading.local()


@contextmanager
def meanwhile(do: Meanwhile) -> Iterator[None]:
    """In the block, and in this thread, a store that waits does so within `do()`."""
    before: Meanwhile | None = getattr(_said, "do", None)
    _said.do = do
    try:
        yield
    finally:
        _said.do = before


@contextmanager
def waiting() -> Iterator[None]:
    """The block waits."""
    do: Meanwhile | None = getattr(_said, "do", None)
    if do is None:
        yield
        return
    with do():
        yield

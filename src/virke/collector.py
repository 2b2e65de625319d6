"""Where the work of a forgotten object is done: not in the middle of a line that the garbage collector interrupted.

Knows the collector and threads; knows nothing of what is forgotten.

1. The collector runs between any two lines of a thread, also while that thread has a lock. Whoever takes the same lock there
   waits for itself, for ever. So what takes a lock, or asks a store, and may be called by `__del__` or by the end of an
   abandoned generator, is called through `outside`.
2. Where the last reference was dropped by a line of the program, the work is done at that line: who writes `del` sees it done.
3. What is left by one run of the collector is done when that run is over: until then it ends other objects of the same cycle.
"""

from __future__ import annotations

import gc
import sys
from _thread import start_new_thread
from collections.abc import Callable, Mapping
from threading import get_ident
from typing import Any

Action = Callable[[], object]
_left: dict[int, list[Action]] = {}
"""What the collector has met so far, for each thread in which it runs."""
_under_way: set[int] = set()
"""Which actions threads of their own are doing, by their `id`."""


def outside(action: Action) -> None:
    """Call it now; or, if the collector runs in this thread, in a thread of its own, as soon as that is over.

    Where no thread can be had it is called then as well, and not at all once the process ends: what it would let go of goes with it.
    """
    left = _left.get(get_ident())
    if left is None:
        action()
    else:
        left.append(action)


def is_idle() -> bool:
    """Whether all that was left so far is done."""
    return not _under_way


def _do_apart(action: Action) -> None:
    try:
        action()
    finally:
        _under_way.discard(id(action))


def _note(phase: str, info: Mapping[str, Any]) -> None:
    if phase == "start":
        _left[get_ident()] = []
    elif left := _left.pop(get_ident(), None):
        for action in left:
            _under_way.add(id(action))
            try:
                start_new_thread(_do_apart, (action,))
            except RuntimeError:
                if not sys.is_finalizing():
                    _do_apart(action)


gc.callbacks.append(_note)

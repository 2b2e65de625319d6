"""An event loop without sockets, signals and threads, for async programs in a sandbox.

Knows asyncio; knows no protocol.

1. It waits for time alone: what a program awaits is made by other tasks, by a timer, or by a call that was carried out here.
   If nothing of that is to come, the program waits for what never comes, which is an error and not a hang.
2. What a program sends to a thread is done at once, in its place: there is one thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from typing import Self

P = ParamSpec("P")
T = TypeVar("T")


class Inline(Executor):
    """An executor that carries out at once what is submitted."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future that is done."""
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


class Clock:
    """What asyncio calls a selector: it selects nothing, and waits."""

    def select(self, timeout: float | None) -> list[Any]:
        """Wait that long. Raises `RuntimeError`: nothing is to come (rule 1)."""
        if timeout is None:
            raise RuntimeError("the program waits for something that never comes: a sandbox has no threads and sockets")
        if timeout > 0:
            time.sleep(timeout)
        return []


class Loop(asyncio.BaseEventLoop):
    """The event loop of a sandbox; it lives from request to request."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = Clock()
        self._inline = Inline()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        self.close()

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Do it at once (rule 2)."""
        del executor
        return asyncio.wrap_future(self._inline.submit(func, *args), loop=self)

    def _process_events(self, event_list: list[Any]) -> None:
        assert not event_list, "nothing is selected"

    def _write_to_self(self) -> None:
        """Wake the loop: there is no other thread that it could sleep beside."""

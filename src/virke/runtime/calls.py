"""How a request's calls are carried out: at once, or as coroutines that run them in a thread of the place.

Knows event loops; knows no SQL. What is done is a function of the database, so that both ways do the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from virke.errors import NotHere, VirkeError
from virke.runtime.place import current_place
from virke.runtime.session import Session

if TYPE_CHECKING:
    from virke.engine.database import Database

T = TypeVar("T")
Translate = Callable[[VirkeError], VirkeError]


def is_awaited_here() -> bool:
    """Whether an event loop runs in this thread, so that calls have to be awaited."""
    return asyncio._get_running_loop() is not None


async def in_thread(work: Callable[[], T]) -> T:
    """Do it in a thread of the place."""
    return await asyncio.get_running_loop().run_in_executor(current_place().threads(), work)


async def ensure_open(session: Session) -> None:
    """Have the session's database opened, in a thread, so that borrowing it does not block. Raises as `Session.open`."""
    if not session.is_open:
        await in_thread(session.open)


class Calls:
    """The calls of one request; `translate` makes of an error what the framework understands."""

    def __init__(self, session: Session, translate: Translate | None = None) -> None:
        self.session = session
        self._translate = translate

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Errors leave this block as the framework understands them."""
        try:
            yield
        except VirkeError as error:
            translated = error if self._translate is None else self._translate(error)
            if translated is error:
                raise
            raise translated from error

    def do(self, work: Callable[[Database], T], at_once: Callable[[Database], T] | None = None) -> object:
        """Do it, or return the coroutine that does; `at_once` does the same without waiting, or raises `NotHere`."""
        if is_awaited_here():
            return self._awaited(work, at_once)
        with self.translating(), self.session.borrowed() as twin:
            return work(twin.sync)

    async def _awaited(self, work: Callable[[Database], T], at_once: Callable[[Database], T] | None) -> T:
        with self.translating():
            await ensure_open(self.session)
            with self.session.borrowed() as twin:
                if at_once is not None:
                    try:
                        return at_once(twin.sync)
                    except NotHere as needs:
                        del needs  # a thread may wait for what is not here
                return await twin.call(partial(work, twin.sync))

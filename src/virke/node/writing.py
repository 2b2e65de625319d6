"""Writes of a node: put in line on the event loop, led by a thread, told in one call for each group.

Knows the loop and `Serving`; knows no HTTP.

1. The loop never waits: a program is put in line, and its future is resolved when its commit is done.
2. One thread leads for one database; it is taken from a pool when there is something to lead.
3. A write that was begun is finished, whether or not its client is still there.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from virke.engine.database import Database
from virke.engine.programs import Answer, Program
from virke.engine.queue import Pending
from virke.errors import OutcomeUnknown
from virke.node.workers.crew import ALONE, Crew

LEADERS_MAX: Final = 64


class Writing:
    """The writes of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, crew: Crew = ALONE) -> None:
        self._loop = loop
        self._crew = crew
        self._leaders = ThreadPoolExecutor(LEADERS_MAX, "virke-leader")
        self._done: list[tuple[Pending, asyncio.Future[list[Answer]]]] = []
        self._lock = threading.Lock()

    async def run(self, database: Database, program: Program) -> list[Answer]:
        """What each step answered, once it is in history. Raises what became of it, if it is not.

        Raises:
            Elsewhere: another worker writes this database; nothing was done.
        """
        self._crew.check_owns(database.name)
        future: asyncio.Future[list[Answer]] = self._loop.create_future()
        lead = database.serving.enqueue(program, lambda pending: self._tell(pending, future))
        if lead is not None:
            self._leaders.submit(lead)
        return await asyncio.shield(future)

    def _tell(self, pending: Pending, future: asyncio.Future[list[Answer]]) -> None:
        """From the thread that leads: many are done at once, the loop is called once."""
        with self._lock:
            self._done.append((pending, future))
            is_first = len(self._done) == 1
        if is_first:
            self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        with self._lock:
            done, self._done = self._done, []
        for pending, future in done:
            if future.done():
                continue
            if pending.error is not None:
                future.set_exception(pending.error)
            elif pending.answers is None:
                future.set_exception(OutcomeUnknown("the commit ended without an answer; ask the data"))
            else:
                future.set_result(pending.answers)

    def close(self) -> None:
        """Wait for those that lead."""
        self._leaders.shutdown(wait=True)

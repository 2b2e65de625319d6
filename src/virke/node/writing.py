"""Writes of a node: put in line on the event loop, led by a thread, told in one call for each group.

Knows the loop and `Serving`; knows no HTTP.

1. The loop never waits: a program is put in line, and its future is resolved when its commit is done.
2. One thread leads for one database; it is taken from a pool when there is something to lead.
3. A write that was begun is finished, whether or not its client is still there. One that was not is dropped with it.
4. At most `LINE_MAX` writes of a database are in line; the next one is `Busy`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from virke.engine.database import Database
from virke.engine.programs import Answer, Program
from virke.engine.queue import Pending
from virke.errors import Busy, OutcomeUnknown
from virke.node.leaving import ClientGone, Leaves
from virke.node.watching import Watch
from virke.node.workers.crew import ALONE, Crew

LEADERS_MAX: Final = 64
LINE_MAX: Final = 1024


class Writing:
    """The writes of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, watch: Watch, crew: Crew = ALONE) -> None:
        self._loop = loop
        self._crew = crew
        self._watch = watch
        self._leaders = ThreadPoolExecutor(LEADERS_MAX, "virke-leader")
        self._done: list[tuple[Pending, asyncio.Future[list[Answer]]]] = []
        self._lock = threading.Lock()
        self.in_line: Counter[str] = Counter()
        """How many writes of each database are in line, or being committed."""

    async def run(
        self,
        database: Database,
        program: Program,
        leaving: Leaves | None = None,
        grew: Callable[[int], None] | None = None,
    ) -> list[Answer]:
        """What each step answered, once it is in history.

        Raises:
            Busy: too many are in line. ClientGone: so it was not done. VirkeError: what became of it, if it is not in history.
            Elsewhere: another worker writes this database; nothing was done.
        """
        name = database.name
        self._crew.check_owns(name)
        if self.in_line[name] >= LINE_MAX:
            raise Busy(f"{LINE_MAX} writes of {name!r} are in line here already")
        began_s, receipt = self._watch.now_s(), self._watch.receipt()
        self._watch.statements["write"] += len(program.steps)
        future: asyncio.Future[list[Answer]] = self._loop.create_future()
        self.in_line[name] += 1
        future.add_done_callback(lambda done: self._leave_line(name))
        try:
            lead = database.serving.enqueue(
                program, lambda pending: self._tell(pending, future), grew=grew, receipt=receipt
            )
        except BaseException:
            future.cancel()
            raise
        if lead is not None:
            self._leaders.submit(lead)
        take_back = leaving.then(partial(self._withdraw, database, program, future)) if leaving else None
        try:
            return await asyncio.shield(future)
        finally:
            if take_back is not None:
                take_back()
            if receipt is not None:
                self._watch.ended(name, "; ".join(step.sql for step in program.steps), began_s, receipt)

    def _withdraw(self, database: Database, program: Program, future: asyncio.Future[list[Answer]]) -> None:
        """The client is gone: what nothing has begun is not begun."""
        if database.serving.withdraw(program) and not future.done():
            future.set_exception(ClientGone())

    def _leave_line(self, name: str) -> None:
        self.in_line[name] -= 1
        if not self.in_line[name]:
            del self.in_line[name]

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

"""Writes of a node: put in line on the event loop, led by a thread, reported in one call for each group.

Knows the loop and `Serving`; knows no HTTP.

1. The loop never waits: a program is put in line, and its caller is called on the loop when its commit is done.
2. One thread leads for one database; it is taken from a pool when there is something to lead.
3. A write that was begun is finished, whether or not its client is still there. One that was not is dropped with it.
4. At most `LINE_MAX` writes of a database are in line; the next one is `Busy`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from virke.engine.database import Database
from virke.engine.programs import Answer, Program
from virke.engine.queue import Pending
from virke.errors import Busy, OutcomeUnknown, VirkeError
from virke.node.leaving import ClientGone, Leaves
from virke.node.watching import Watch
from virke.node.workers.crew import ALONE, Crew

LEADERS_MAX: Final = 64
LINE_MAX: Final = 1024
log: Final = logging.getLogger("virke.node")


Outcome = list[Answer] | VirkeError | ClientGone
"""What each step answered, once it is in history; or what became of it instead."""


class _InLine:
    """A program in line, and who wants to know what became of it."""

    __slots__ = ("began_s", "database", "done", "program", "receipt")

    def __init__(self, database: Database, program: Program, done: Callable[[Outcome], None], watch: Watch) -> None:
        self.database = database
        self.program = program
        self.done = done
        self.began_s, self.receipt = watch.now_s(), watch.receipt()


def _settle_future(future: asyncio.Future[list[Answer]], outcome: Outcome) -> None:
    if future.done():
        return
    if isinstance(outcome, list):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)


class Writing:
    """The writes of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, watch: Watch, crew: Crew = ALONE) -> None:
        self._loop = loop
        self._crew = crew
        self._watch = watch
        self._leaders = ThreadPoolExecutor(LEADERS_MAX, "virke-leader")
        self._done: list[tuple[_InLine, Pending]] = []
        self._lock = threading.Lock()
        self.in_line: Counter[str] = Counter()
        """How many writes of each database are in line, or being committed."""

    def begin(
        self,
        database: Database,
        program: Program,
        done: Callable[[Outcome], None],
        grew: Callable[[int], None] | None = None,
    ) -> Callable[[], None]:
        """Put a program in line; `done` is called on the loop, later and once, with what became of it.

        What is returned says that its client is gone: what nothing has begun is not begun, and ends with `ClientGone`.

        Raises:
            Busy: too many are in line. VirkeError: it may not write here. Elsewhere: another worker writes this database.
        """
        name = database.name
        self._crew.check_owns(name)
        if self.in_line[name] >= LINE_MAX:
            raise Busy(f"{LINE_MAX} writes of {name!r} are in line here already")
        ours = _InLine(database, program, done, self._watch)
        lead = database.serving.enqueue(program, partial(self._tell_loop, ours), grew=grew, receipt=ours.receipt)
        self._watch.statements["write"] += len(program.steps)
        self.in_line[name] += 1
        if lead is not None:
            self._leaders.submit(lead)
        return partial(self._withdraw_program, ours)

    async def run(
        self,
        database: Database,
        program: Program,
        leaving: Leaves | None = None,
        grew: Callable[[int], None] | None = None,
    ) -> list[Answer]:
        """What each step answered, once it is in history. Raises as `begin`, and what became of it, if it is not there."""
        future: asyncio.Future[list[Answer]] = self._loop.create_future()
        withdraw = self.begin(database, program, partial(_settle_future, future), grew)
        take_back = leaving.then(withdraw) if leaving else None
        try:
            return await asyncio.shield(future)
        finally:
            if take_back is not None:
                take_back()

    def _withdraw_program(self, ours: _InLine) -> None:
        if ours.database.serving.withdraw(ours.program):
            self._end_write(ours, ClientGone())

    def _tell_loop(self, ours: _InLine, pending: Pending) -> None:
        """From the thread that leads: many are done at once, the loop is called once."""
        with self._lock:
            self._done.append((ours, pending))
            is_first = len(self._done) == 1
        if is_first:
            self._loop.call_soon_threadsafe(self._resolve_done)

    def _resolve_done(self) -> None:
        with self._lock:
            done, self._done = self._done, []
        for ours, pending in done:
            if pending.error is not None:
                self._end_write(ours, pending.error)
            elif pending.answers is None:
                self._end_write(ours, OutcomeUnknown("the commit ended without an answer; ask the data"))
            else:
                self._end_write(ours, pending.answers)

    def _end_write(self, ours: _InLine, outcome: Outcome) -> None:
        name = ours.database.name
        self.in_line[name] -= 1
        if not self.in_line[name]:
            del self.in_line[name]
        if ours.receipt is not None:
            sql = "; ".join(step.sql for step in ours.program.steps)
            self._watch.ended(name, sql, ours.began_s, ours.receipt)
        try:
            ours.done(outcome)
        except Exception:  # it concerns no other write
            log.exception("an answer could not be given")

    def close(self) -> None:
        """Wait for those that lead."""
        self._leaders.shutdown(wait=True)

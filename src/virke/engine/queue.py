"""The queue before the writer: programs in line, and which of the waiting callers leads.

Knows pending programs and locks; knows no SQL and no commit. It has no thread of its own: a caller that waits for its
program may be made to lead, which is to carry out what waits.

1. `enqueue` never blocks. It says whether a thread leads; if not, the caller has to see to it that `lead` is called.
2. A caller is woken as soon as its own program is done, even if another one leads by then.
3. Whoever stops leading, by an error too, hands the lead to a caller that waits; with none, the next program brings one.
4. A caller that goes away without its answer takes its program out of the line, if nothing has begun it. Whoever was to
   lead does so still, and may find nothing to do.
5. Callers that are done are woken `WOKEN_AT_ONCE` at a time, and each wakes the next before it goes on, or goes away: many that
   are woken together hold one another up at the interpreter's lock.
6. `on_done` is called once for each program, after it is done and outside of every lock. What it
   raises is dropped: it concerns no other caller, and must not stand in the place of the leader's own answer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from virke.core.root import JournalMark
from virke.engine.answers import FirstRun
from virke.engine.programs import Answer, Program
from virke.engine.results import QueryResult
from virke.engine.terms import Cancel
from virke.errors import VirkeError
from virke.stores.receipt import Receipt

WOKEN_AT_ONCE: Final = 8
"""How many callers are on their way at the same time: fewer leave the interpreter idle on a busy machine (`bench B15`)."""


class Woken:
    """Callers whose programs are done, in the order in which they are woken."""

    def __init__(self, callers: Iterable[Pending]) -> None:
        self._callers = deque(callers)

    def wake_next(self) -> None:
        """Wake the first that still waits; harmless when nobody does, and from several threads at once."""
        while True:
            try:
                first = self._callers[0]
            except IndexError:
                return
            was_woken = first.wake()
            with suppress(ValueError):  # another thread took it out
                self._callers.remove(first)  # only now: whoever is interrupted before that leaves it to the next
            if was_woken:
                return


class Pending:
    """A program in line, and what became of it: `answers` or `error`, once it is `done`.

    `mark` says which journal entry it is, `first_run` what came of it before it was journalled. `receipt` is written if
    the caller wants one; `cancel` ends it while its statements run. `grew` is called with what its rows take (`ResultBudget`). `foreign_keys` is the mode that the program left behind, for the caller's next one.
    """

    __slots__ = (
        "_wake",
        "_woken_with",
        "answers",
        "cancel",
        "done",
        "error",
        "first_run",
        "foreign_keys",
        "grew",
        "mark",
        "on_done",
        "program",
        "receipt",
    )

    def __init__(
        self,
        program: Program,
        *,
        mark: JournalMark | None = None,
        first_run: FirstRun | None = None,
        receipt: Receipt | None = None,
        on_done: Callable[[Pending], None] | None = None,
        grew: Callable[[int], None] | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self.program = program
        self.mark = mark
        self.first_run = first_run
        self.receipt = receipt
        self.on_done = on_done
        self.grew = grew
        self.cancel = cancel
        self.answers: list[Answer] | None = None
        self.error: VirkeError | None = None
        self.foreign_keys = program.foreign_keys
        self.done = False
        self._wake: threading.Lock | None = None
        self._woken_with: Woken | None = None

    def wait(self) -> None:
        """Until it is done, or has to lead. The caller called `expect` before."""
        assert self._wake is not None, "a caller that waits was expected"
        self._wake.acquire()
        self.wake_next()

    def expect(self) -> None:
        """A caller will wait for it."""
        self._wake = threading.Lock()
        self._wake.acquire()

    def forget_caller(self) -> None:
        """No caller waits any more."""
        self._wake = None

    @property
    def is_expected(self) -> bool:
        """Whether a caller waits for it, and can be made to lead."""
        return self._wake is not None

    def wake(self) -> bool:
        """Let the waiting caller go on; whether one waited until now."""
        if self._wake is None:
            return False
        try:
            self._wake.release()
        except RuntimeError:  # it was let go before
            return False
        return True

    def is_woken_with(self, others: Woken) -> None:
        """From now on its caller sees to it that the next of these is woken."""
        self._woken_with = others

    def wake_next(self) -> None:
        """Wake the next of those that its caller is woken with, if it is (rule 5)."""
        if self._woken_with is not None:
            self._woken_with.wake_next()

    def tell(self) -> None:
        """Call `on_done` (rule 4)."""
        if self.on_done is not None:
            with suppress(Exception):
                self.on_done(self)

    def results(self) -> list[QueryResult]:
        """The results of a program that ends at its first error. Raises its error."""
        if self.error is not None:
            raise self.error
        assert self.answers is not None, "a program without error has answers"
        return [answer for answer in self.answers if isinstance(answer, QueryResult)]


def tell_all(group: Sequence[Pending], before: Callable[[], None]) -> None:
    """Tell each, in order, whatever the others raise; `before` is called first, if any wants to be told."""
    told = [pending for pending in group if pending.on_done is not None]
    try:
        if told:
            before()
    finally:
        _tell_callers(iter(told))


def _tell_callers(told: Iterator[Pending]) -> None:
    try:
        for pending in told:
            pending.tell()
    except BaseException:
        _tell_callers(told)
        raise


class Queue:
    """Programs in line. `carry_out` is called by the leader, again and again, to take some of them and see to them."""

    def __init__(self, carry_out: Callable[[], None]) -> None:
        self._carry_out = carry_out
        self.waiting: list[Pending] = []
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._awaited = 0
        """How many programs in line the leader waits for."""
        self._leader: Pending | None = None
        """The program whose caller leads; one that came by `enqueue` stands for the caller of `lead`."""

    @property
    def is_busy(self) -> bool:
        """Whether a thread leads, or has the lock at this moment."""
        return self._leader is not None or self._lock.locked()

    def enqueue(self, pending: Pending) -> bool:
        """Put a program in line without blocking; True if no thread leads, so that `lead` has to be called."""
        with self._lock:
            self.waiting.append(pending)
            if len(self.waiting) == self._awaited:  # not at each: a thread that wakes to wait on costs as much as a row
                self._arrived.notify()
            self._leader = self._leader or pending
            return self._leader is pending

    def finish(self, pending: Pending) -> None:
        """Put a program in line and return when it is done; the calling thread may have to lead.

        If that is interrupted, or leading fails, a program that still waits is taken out of the line and never run.
        """
        pending.expect()
        try:
            if not self.enqueue(pending):
                pending.wait()
            if not pending.done:
                self._lead_until(pending)
        except BaseException:
            self._abandon_program(pending)
            raise

    def lead(self) -> None:
        """Carry out what waits until nothing does; to be called after `enqueue` said so."""
        try:
            self._lead_until(None)
        except BaseException:
            self._resign_lead()
            raise

    def withdraw(self, program: Program) -> bool:
        """Take a program out of the line that came by `enqueue`, if nothing has begun it: it is never run, nor reported."""
        with self._lock:
            found = next((one for one in self.waiting if one.program is program and not one.is_expected), None)
            if found is not None:
                self.waiting.remove(found)
            return found is not None

    def refuse(self, error: VirkeError) -> None:
        """End every program that waits with this error; to be called instead of `lead`."""
        with self._lock:
            refused, self.waiting, self._leader = self.waiting, [], None
        for pending in refused:
            pending.error, pending.done = error, True
            pending.wake()
        tell_all(refused, lambda: None)

    def take(
        self, count_max: int, fit: Callable[[Program, Program], bool], first: Program | None = None
    ) -> list[Pending]:
        """The programs at the head of the line that fit the first (or `first`), at most `count_max`."""
        with self._lock:
            count = 0
            for pending in self.waiting[:count_max]:
                first = first or pending.program
                if pending.program is not first and not fit(first, pending.program):
                    break
                count += 1
            taken, self.waiting = self.waiting[:count], self.waiting[count:]
            return taken

    def end(self, group: Sequence[Pending]) -> None:
        """These are done: let their callers go on, a few at a time (rule 5). The leader calls this."""
        with self._lock:
            woken = Woken(pending for pending in group if pending.is_expected and pending is not self._leader)
            for pending in group:
                pending.is_woken_with(woken)
                pending.done = True
        for _ in range(WOKEN_AT_ONCE):
            woken.wake_next()

    def wait_for(self, count: int, wait_s: float) -> None:
        """Until `count` programs are in line, or `wait_s` seconds are over."""
        with self._arrived:
            self._awaited = count
            self._arrived.wait_for(lambda: len(self.waiting) >= count, wait_s)
            self._awaited = 0

    def _lead_until(self, own: Pending | None) -> None:
        """Carry out what waits until `own` is done (None: until nothing waits), then hand the lead over."""
        while self._leads_on(own):
            self._carry_out()

    def _leads_on(self, own: Pending | None) -> bool:
        """Whether the leader has more to do; if not, the lead is handed over or ends at this moment."""
        with self._lock:
            if self.waiting and (own is None or not own.done):
                return True
        return self._hand_over(goes_on=True)

    def _hand_over(self, *, goes_on: bool) -> bool:
        """Make a caller that waits the leader; True if only programs without one are left, and this leader goes on."""
        with self._lock:
            heir = next((pending for pending in self.waiting if pending.is_expected), None)
            if heir is None and self.waiting and goes_on:
                return True
            self._leader = heir
            if heir:
                heir.wake()
            return False

    def _resign_lead(self) -> None:
        """Stop leading, whatever still waits: the next program that comes finds no leader, and brings one."""
        self._hand_over(goes_on=False)

    def _abandon_program(self, pending: Pending) -> None:
        """The caller goes away without its answer: nothing may wait for it to lead, and nothing runs behind its back."""
        with self._lock:
            pending.forget_caller()
            if pending in self.waiting:
                self.waiting.remove(pending)
            was_leading = self._leader is pending
        pending.wake_next()
        if was_leading:
            self._resign_lead()

"""What a server asks of a database besides what callers ask: writes that no thread waits for.

Knows the parts of a database; knows no loop and no thread.

1. `enqueue` never waits. What it returns is to be called in a thread; it leads until nothing waits.
2. A caller that learns that a write is done sees it in the next read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from virke.engine.programs import Answer, Program, Step, hash_key
from virke.engine.queue import Pending
from virke.engine.readers import WritesInstead
from virke.engine.results import Diff, QueryResult, Request, bookmark_of
from virke.engine.rows import Rows
from virke.engine.terms import Cancel, Terms
from virke.errors import Busy, NotHere
from virke.scopes import Scope
from virke.stores.receipt import Receipt, current_receipt, writing_receipt

if TYPE_CHECKING:
    from virke.core.moments import At
    from virke.engine.assembly import Parts
    from virke.engine.sqlite import OnConnect, Parameters
    from virke.engine.transaction import Transaction

YIELD_S: Final = 0.002
"""How long an event loop lets a commit compute undisturbed."""
COMPANY_SHARE: Final = 0.5
"""The part of the last commit that a server's leader waits for company (`commit_window_ms=auto`)."""


class Serving:
    """A database as a server has it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.let_compute = partial(parts.volume.driver.undisturbed.wait, YIELD_S)
        """Let a commit of this process that computes at this moment have the interpreter, for 2 ms at most."""

    def take_over(self, longest_ms: int | None = None) -> None:
        """From now on a server writes here: the leader waits longer for company, and no request takes longer than that."""
        self._parts.writer.company.share = COMPANY_SHARE
        self._parts.volume.longest_ms = longest_ms
        self._parts.freshness.show_if_possible()

    def batch_at(
        self,
        requests: Sequence[Request],
        at: int | str,
        *,
        timeout_ms: int | None,
        meta: bool,
        cancel: Cancel | None,
    ) -> list[QueryResult]:
        """Statements that read one earlier state. Raises as `Database.query`."""
        return self._parts.batch_at(requests, at, timeout_ms=timeout_ms, meta=meta, cancel=cancel)

    def diff(self, a: At, b: At | None) -> Diff:
        """As `Database.diff`, within the time of one request. Raises `TimedOut`, too."""
        return self._parts.diff(a, b, timeout_s=self._parts.freshness.shown.timeout_s)

    @property
    def foreign_keys(self) -> bool:
        """Whether foreign keys are checked where a client does not say: the database's setting."""
        return self._parts.branch.latest().root.settings.foreign_keys == "on"

    @property
    def is_gone(self) -> bool:
        """Whether the store showed that the database was deleted, and perhaps created again: it has to be opened again."""
        return self._parts.branch.is_gone

    @property
    def is_deferred(self) -> bool:
        """Whether the database's setting is that writes are answered before the store has them."""
        return self._parts.branch.latest().root.settings.durability == "deferred"

    def program(
        self,
        steps: tuple[Step, ...],
        *,
        key: str | None = None,
        foreign_keys: bool | None = None,
        keeps_going: bool = False,
        has_transactions: bool = False,
        timeout_ms: int | None = None,
        scope: Scope = Scope.ADMIN,
    ) -> Program:
        """A program of this moment. Raises `Invalid`: the key is not text, or the time is longer than it may take."""
        if timeout_ms is not None:
            longest_ms = self._parts.volume.time_limit_ms(self._parts.branch.latest().root)
            Terms(timeout_ms=timeout_ms).timeout_s(longest_ms / 1000)
        return Program(
            steps,
            self._parts.volume.environment.now_ms(),
            self.foreign_keys if foreign_keys is None else foreign_keys,
            hash_key(key) if key else None,
            keeps_going=keeps_going,
            timeout_ms=timeout_ms,
            scope=scope,
            has_transactions=has_transactions,
        )

    def run(
        self,
        steps: tuple[Step, ...],
        *,
        scope: Scope,
        key: str | None = None,
        meta: bool = False,
        foreign_keys: bool | None = None,
        timeout_ms: int | None = None,
    ) -> list[QueryResult]:
        """As `Database.batch`, with what `scope` allows; one that only reads sees what reads see, and has no key.

        `foreign_keys` None is the database's setting: what one client says of them holds for no other.
        """
        if not steps:
            return []
        if scope >= Scope.WRITE:
            mode = self.foreign_keys if foreign_keys is None else foreign_keys
            return self._parts.writes.run(steps, key, meta=meta, scope=scope, foreign_keys=mode, timeout_ms=timeout_ms)
        receipt, began_s = Receipt() if meta else current_receipt(), self._parts.volume.environment.monotonic()
        begin = partial(self._parts.writes.transaction, key=None, read_only=True, immediate=False, foreign_keys=None)
        with writing_receipt(receipt), begin(scope=scope) as transaction:
            results = transaction.run_steps(steps)
        elapsed_s = self._parts.volume.environment.monotonic() - began_s
        return [one.with_receipt(receipt, elapsed_s) for one in results] if meta and receipt else results

    def read(self, sql: str, params: Parameters, terms: Terms) -> QueryResult:
        """Run one reading statement. Raises `NotHere`: it writes, and nothing ran; else as `Database.query`."""
        try:
            return self._parts.readers.query(sql, params, terms)
        except WritesInstead:
            raise NotHere("the statement writes", writes=True) from None

    def rows(self, sql: str, params: Parameters, terms: Terms) -> Rows:
        """The rows of one reading statement, one at a time. Raises as `read`."""
        try:
            return self._parts.readers.rows(sql, params, terms)
        except WritesInstead:
            raise NotHere("the statement writes", writes=True) from None

    def begin_reading(self, *, foreign_keys: bool | None, scope: Scope, bookmark: str | None = None) -> Transaction:
        """A transaction that only reads, on a state that is not older than `bookmark`. Raises as `Database.query`."""
        return self._parts.writes.transaction(
            key=None, read_only=True, immediate=False, foreign_keys=foreign_keys, scope=scope, bookmark=bookmark
        )

    @property
    def history(self) -> str:
        """Names the history of this database: the same for all objects of it in this process, and for no other database."""
        branch = self._parts.branch
        return f"{branch.store.url} {branch.key} {branch.latest().root.database_id.hex()}"

    def begin_writing(self, *, wait_s: float) -> Transaction:
        """A transaction that writes, first in line from its beginning. Raises `Busy`: it was not within `wait_s`."""
        return self._parts.writes.transaction(
            key=None, read_only=False, immediate=True, foreign_keys=None, wait_s=wait_s
        )

    def check_free(self) -> None:
        """Raise `Busy` if a transaction of this thread is writing: a write past it would make it lose, and can't wait for it."""
        if self._parts.writer.line.is_held_here:
            raise Busy("a transaction of this thread is writing through another connection; nothing was changed")

    def extend(self, hook: OnConnect) -> None:
        """Call `hook` with every connection that is open now; those to come are given to `on_connect` alone."""
        for connection in list(self._parts.connections):
            connection.extend(hook)

    def enqueue(
        self,
        program: Program,
        on_done: Callable[[Pending], None],
        *,
        grew: Callable[[int], None] | None = None,
        receipt: Receipt | None = None,
    ) -> Callable[[], None] | None:
        """Put a program in line; see `Writes.enqueue`. Raises `Denied`, `Invalid`: it may not write, or is closed."""
        return self._parts.writes.enqueue(program, on_done, grew=grew, receipt=receipt)

    def withdraw(self, program: Program) -> bool:
        """No client wants this program any more: whether it was taken out of the line, and will never be run."""
        return self._parts.writer.queue.withdraw(program)

    @property
    def groups(self) -> Counter[int]:
        """How many commits there were, by how many programs each had; they go up only."""
        return self._parts.writer.groups

    @property
    def conflicts(self) -> int:
        """How often a commit lost a race and was tried again, or given up."""
        return self._parts.writer.conflicts

    @property
    def stale_ms(self) -> int | None:
        """How old the state is that reads see, if it is older than allowed (`stale_if_down_ms`)."""
        return self._parts.freshness.stale_ms

    def upkeep_step(self) -> bool:
        """After an answer was sent: take one step of what is due, as far as is known here; whether one was taken.

        Where a request may cost only so much, a step that there is no time left for is not begun. Raises as `Database.upkeep`.
        """
        return self._parts.tend_known()

    def carry_out(self, program: Program) -> list[Answer]:
        """Run a program and wait for it: what each step answered. Raises what became of it, if it is not in history."""
        told: SimpleQueue[Pending] = SimpleQueue()
        lead = self.enqueue(program, told.put)
        if lead is not None:
            lead()
        pending = told.get()
        if pending.error is not None:
            raise pending.error
        return pending.answers or []

    def empty(self) -> QueryResult:
        """A result without columns and rows, as of the newest state that this process knows."""
        return QueryResult([], [], self._parts.branch.latest().root)

    def bookmark(self) -> str:
        """The bookmark of the newest state that this process knows."""
        return bookmark_of(self._parts.branch.latest().root)

"""Taking turns: how one write of this process waits for others' turns, and takes one when it keeps losing (P15).

Knows the newest root of the branch and how to swap; the rules are in core/turntaking. Knows no SQL.

1. Nothing is committed over a foreign turn that is still in the way, except a fence, which leaves it where it is.
2. A turn is taken before the SQL is run again, and renewed while it runs. Neither is a try of the write.
3. A turn that is not used (an error, a rollback) is given back, so that the others need not wait for its end.
4. Turns are for liveness: whatever goes wrong with one is not the write's fault.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Final

from virke.core.change import change_without_pages, next_root
from virke.core.commit import Committed, Plan, Verdict
from virke.core.root import RootAt
from virke.core.turn import Turn
from virke.core.turntaking import (
    LENGTH_MOST_MS,
    Claim,
    Go,
    Move,
    Take,
    Wait,
    Watch,
    is_clear,
    length_ms,
    next_move,
    plan_turn,
    renewal_at_s,
    rest_after_ms,
)
from virke.engine.branch import Branch
from virke.errors import Unavailable, VirkeError

TOKEN_BYTES: Final = 16
Swap = Callable[[RootAt, Plan], Verdict]


class Turns:
    """What this process has seen of turns on one branch, and how long its swaps take."""

    def __init__(self, branch: Branch, swap: Swap, lead: threading.Lock) -> None:
        self.branch = branch
        self.environment = branch.environment
        self.swap = swap
        self.lead = lead
        self.swap_s = 0.0
        self.pace_s: Callable[[], float] = lambda: 0.0
        self.lost_s: float | None = None
        """How long the interactive transaction took that lost last; None since one was committed."""
        self._watch = Watch()
        self._lock = threading.Lock()

    def took(self, swap_s: float) -> None:
        """A swap took so long; one that was repeated is not a measure."""
        self.swap_s = min(swap_s, 2 * self.swap_s) if self.swap_s else swap_s

    def move(self, claim: Claim) -> tuple[RootAt, Move]:
        """The newest root known, and what to do on it."""
        at = self.branch.latest()
        if is_clear(at.root, claim):  # nearly always
            return at, Go()
        with self._lock:  # the watch never lags behind the root that is judged by it
            at, now_s = self.branch.latest(), self.environment.monotonic()
            self._watch = self._watch.saw(at.root, now_s)
            claim = replace(claim, swap_s=self.swap_s)
            return at, next_move(at.root, self._watch, claim, now_s=now_s, now_ms=self.environment.now_ms())


class Claimant:
    """One write, from its first try to its last. `leads`: the caller holds the lead of this process's commits."""

    def __init__(
        self, turns: Turns, *, wait_s: float, leads: bool, may_take: bool = True, losses: int = 0, work_s: float = 0.0
    ) -> None:
        self._turns = turns
        self._wait_s = wait_s
        self._leads = leads
        self._claim = Claim(turns.environment.random_bytes(TOKEN_BYTES), losses, may_take=may_take)
        self.work_s = work_s
        """How long the SQL of the last try took, or whatever has to be done again after a lost race."""
        self._turn: Turn | None = None
        self._taken_s = 0.0

    @property
    def has_turn(self) -> bool:
        """Whether a turn was taken and not used yet, as far as is known."""
        return self._turn is not None

    @property
    def rest_ms(self) -> int:
        """What the commit that ends the turn leaves behind it."""
        return rest_after_ms(self._turns.swap_s) if self._turn else 0

    def lost(self) -> None:
        """Another commit came first."""
        self._claim = replace(self._claim, losses=self._claim.losses + 1)

    def ready(self) -> RootAt:
        """The newest root, once no foreign turn is in the way and, if it is time for that, the own one is taken.

        Raises:
            Unavailable: others' turns took too long; nothing was changed.
        """
        environment, until_s = self._turns.environment, float("inf")
        while True:
            at, move = self._turns.move(self._claim)
            if isinstance(move, Go):
                return at
            now_s = environment.monotonic()
            until_s = min(until_s, now_s + self._wait_s)
            if now_s >= until_s:
                raise Unavailable("other writers have their turn, nothing was changed; try again", reason="turn")
            if isinstance(move, Wait):
                environment.wait(min(move.seconds, until_s - now_s))
                with suppress(Unavailable):  # the wait is bounded all the same
                    self._turns.branch.refresh()
            else:
                assert isinstance(move, Take)
                self._take_turn(at, self._length_ms())

    def is_free(self) -> bool:
        """Whether no foreign turn is in the way at this moment."""
        return not isinstance(self._turns.move(self._claim)[1], Wait)

    def renew_if_due(self, share: float = 0.5) -> None:
        """Such a share of the turn is over, and the write is not done: renew it. Called often."""
        turn = self._turn
        if turn is not None and self._turns.environment.monotonic() >= renewal_at_s(turn, self._taken_s, share):
            self.renew(self._length_ms())

    def renew(self, milliseconds: int = LENGTH_MOST_MS) -> None:
        """Let the turn, if there is one, begin again, with this length."""
        if self._turn is not None:
            with suppress(VirkeError):
                at = self._turns.branch.latest()
                if at.root.turn is None or at.root.turn.token != self._claim.token:
                    self._turn = None  # it expired, and another one came
                else:
                    self._take_turn(at, milliseconds)

    @contextmanager
    def leading(self) -> Iterator[None]:
        """While it is entered, the caller holds the lead."""
        before, self._leads = self._leads, True
        try:
            yield
        finally:
            self._leads = before

    def release(self) -> None:
        """Give back a turn that was not used, best effort."""
        turn, self._turn = self._turn, None
        if turn is None:
            return
        environment = self._turns.environment
        with suppress(VirkeError), self._lead_if_needed():
            at = self._turns.branch.latest()
            if at.root.turn is not None and at.root.turn.token == turn.token:
                rest = replace(
                    change_without_pages(at.root, environment.now_ms()), rest_ms=rest_after_ms(self._turns.swap_s)
                )
                self._turns.swap(at, Plan(next_root(at.root, environment.commit_id(), rest)))

    def _take_turn(self, at: RootAt, milliseconds: int) -> None:
        environment = self._turns.environment
        with self._lead_if_needed():
            began_s = environment.monotonic()
            plan = plan_turn(
                at.root, self._claim, environment.commit_id(), length_ms=milliseconds, now_ms=environment.now_ms()
            )
            if plan is not None and isinstance(self._turns.swap(at, plan), Committed):
                self._turn, self._taken_s = plan.root.turn, began_s

    def _length_ms(self) -> int:
        return length_ms(work_s=self.work_s, pace_s=self._turns.pace_s(), swap_s=self._turns.swap_s)

    def _lead_if_needed(self) -> AbstractContextManager[object]:
        return nullcontext() if self._leads else self._turns.lead

"""The one way to commit on a branch in this process: runs the protocol, keeps what it learns, and says what became of it.

Knows the commit protocol, the branch and the volume; knows no SQL and no connection. Writer, transaction, import,
upkeep and deferred writes all come here, and a verdict stays a value until it reaches the caller that answers for it.

1. `lead` is held by the thread that commits: swaps of one process never race each other.
2. A commit whose base is known to have moved is not sent at all: it is a lost race.
3. The ring in the root remembers few commits. When more than those passed, history may still show whose commit the
   version in question is: every commit that changed pages is a group in a segment, under its commit id, for as long
   as history is kept. The root has moved past it then, so the swap can't be applied any more.
4. What is learned of the root counts as of the moment before the swap was sent: the bound of staleness holds for
   slow stores too.
5. That a root is the newest is proved by one conditional read where reads are linearizable. On an eventual store only
   a swap proves it: the root is replaced by itself, with the next version (decision 0011). A caller that waits while
   another's swap, begun after it asked, succeeds needs none of its own. What is proved is which pages are the newest: a
   turn, another fence or a change of settings in between makes no difference.
6. A caller that commits waits for others' turns (`taking_turns`) and for the store's pace (`pacing`) without the lead where it can.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from virke.core.change import change_without_pages, next_root
from virke.core.commit import Committed, Conflicted, Failed, Gone, Plan, TooSoon, Unknown, Verdict, commit_plan
from virke.core.effects import Delete, Tier
from virke.core.ids import PageNo
from virke.core.lineage import Forgot
from virke.core.root import NOT_TOLD, Root, RootAt, has_same_pages
from virke.engine.fairness import Fairness
from virke.engine.taking_turns import Claimant, Turns
from virke.engine.volume import Volume
from virke.errors import Conflict, Corrupt, Deleted, OutcomeUnknown, Unavailable, VirkeError
from virke.lazy_dataclasses import dataclass

ATTEMPTS: Final = 16


@dataclass(frozen=True, slots=True)
class Dropped:
    """The plan no longer fits the newest root; nothing was sent."""


class Committing:
    """What commits on one branch in this process go through."""

    def __init__(self, volume: Volume) -> None:
        self.lead = threading.Lock()
        self.fairness = Fairness()
        self._volume = volume
        self._branch = volume.branch
        self._environment = volume.environment
        self.pacing = self._branch.pacing
        self.turns = Turns(self._branch, self.commit, self.lead)
        self.turns.pace_s = self.pacing.gap_s
        self._proved_from = float("-inf")
        """When the newest swap of ours that succeeded was begun: the root was the newest after that."""

    def claim(self, *, leads: bool = False, may_take: bool = True, losses: int = 0, work_s: float = 0.0) -> Claimant:
        """The claim of one write to its turn; `leads`: the caller holds the lead."""
        wait_s = self._environment.wait_s(self._branch.latest().root.settings.query_timeout_ms / 1000)
        return Claimant(self.turns, wait_s=wait_s, leads=leads, may_take=may_take, losses=losses, work_s=work_s)

    def gives_up_at(self) -> float:
        """When (monotonic seconds) a write that begins now has waited long enough for the store's pace."""
        most_s = self._branch.latest().root.settings.query_timeout_ms / 1000
        return self._environment.monotonic() + self._environment.wait_s(most_s)

    def commit(
        self,
        base: RootAt,
        plan: Plan,
        *,
        pages: Mapping[PageNo, bytes] | None = None,
        in_row: bool = False,
        may_be_too_soon: bool = False,
    ) -> Verdict:
        """Commit `plan` on `base`; the caller leads. What a lost race had uploaded is deleted.

        `pages` are those that the plan changes: they are kept in memory once they are history. `in_row`: the caller
        commits again and again, so it has to leave gaps for others (`engine/fairness`). `may_be_too_soon`: it plans
        again after `TooSoon`, with what waits by then; for others that ends only their time.

        Raises:
            TooLarge, TimedOut: the request can't afford it (`allowance`); nothing was sent.
        """
        if (allowance := self._environment.allowance) is None:
            return self._commit(base, plan, pages, in_row=in_row, may_be_too_soon=may_be_too_soon)
        try:
            segments, puts = len(plan.root.segments), sum(put.tier is Tier.OBJECT for put in plan.puts)
            allowance.check_commit(puts, segments=segments, adds=segments > len(base.root.segments))
        except VirkeError:
            self._volume.driver.remove(plan.uploaded)
            raise
        with allowance.committing():
            return self._commit(base, plan, pages, in_row=in_row, may_be_too_soon=may_be_too_soon)

    def _commit(
        self, base: RootAt, plan: Plan, pages: Mapping[PageNo, bytes] | None, *, in_row: bool, may_be_too_soon: bool
    ) -> Verdict:
        self.pacing.until_s = self.gives_up_at()
        while True:
            if not self.pacing.await_slot(self.pacing.until_s):
                self._volume.driver.remove(plan.uploaded)
                return TooSoon(None, None)
            began_at = self._environment.monotonic()
            self.pacing.begins(base.root)
            verdict = self._send_plan(base, plan)
            if isinstance(verdict, TooSoon):
                driver = self._volume.driver
                self.pacing.seen(verdict.at.root if verdict.at else None, driver.read_s)
                self.pacing.refused(driver.sent_s, verdict.retry_after_s)
                if self.pacing.is_silent:
                    return Failed("it takes no commits at this moment, and does not show its root")
                if not may_be_too_soon:
                    continue
            self._note_verdict(verdict, plan, began_at, pages=pages, in_row=in_row)
            return verdict

    def _note_verdict(
        self, verdict: Verdict, plan: Plan, began_at: float, *, pages: Mapping[PageNo, bytes] | None, in_row: bool
    ) -> None:
        """What a verdict says of the store and of others."""
        match verdict:
            case Committed(root):
                now_s, sent_s = self._environment.monotonic(), self._volume.driver.sent_s
                self.pacing.accepted(root, sent_s)
                self.turns.took(now_s - sent_s)
                if in_row:
                    self.fairness.won(root.head.commit_id, began_at, now_s)
                else:
                    self.fairness.took(root.head.commit_id)
                self._proved_from = max(self._proved_from, began_at)
                if pages is not None:
                    self._volume.cache_committed(plan, pages)
            case Conflicted(at):
                if self.pacing.is_paced and self._volume.driver.sent_s >= began_at:  # else nothing was sent or read
                    self.pacing.seen(at.root, self._volume.driver.read_s)
                if in_row:
                    self.fairness.lost()

    def commit_newest(self, make: Callable[[Root], Plan | None]) -> Committed | Conflicted | Dropped:
        """Commit what `make` plans on the newest root, again after each lost race, at most `ATTEMPTS` times.

        Raises:
            OutcomeUnknown, Unavailable, NotFound: as `error_of` has it.
        """
        claimant, attempt = self.claim(may_take=False), 0
        while True:
            claimant.ready()
            self.pacing.await_slot(self.gives_up_at())
            with self.lead:
                base = self._branch.latest()
                if not claimant.is_free():
                    continue
                plan = make(base.root)
                if plan is None:
                    return Dropped()
                verdict = won_or_lost(self.commit(base, plan))
            attempt += 1
            if isinstance(verdict, Committed) or attempt == ATTEMPTS:
                return verdict

    def prove_newest(self, base: RootAt) -> Committed | Conflicted:
        """Whether the pages of `base` were the newest at some moment during the call (`Committed`); the caller leads.

        Raises:
            Unavailable: that can't be known now.
        """
        if self._branch.is_linearizable:
            now = self._branch.refresh()
            return Committed(base.root, now) if has_same_pages(now.root, base.root) else Conflicted(now)
        for _ in range(ATTEMPTS):
            now = self._branch.latest()
            if not has_same_pages(now.root, base.root):
                return Conflicted(now)
            fence = replace(change_without_pages(now.root, self._environment.now_ms()), keeps_turn=True)
            plan = Plan(next_root(now.root, self._environment.commit_id(), fence))
            try:
                if isinstance(verdict := won_or_lost(self.commit(now, plan)), Committed):
                    return verdict
            except OutcomeUnknown as error:  # whether it happened does not matter: it changes nothing
                raise Unavailable(f"the store does not show its newest state: {error.message}") from error
        return verdict

    def confirm(self) -> None:
        """Make the newest root known, as of some moment during the call.

        Raises:
            Unavailable: the store does not answer, or other commits won every race.
        """
        if self._branch.is_linearizable:
            self._branch.refresh()
            return
        asked_at = self._environment.monotonic()
        for _ in range(ATTEMPTS):
            with self.lead:
                if self._proved_from > asked_at:
                    return
                if isinstance(self.prove_newest(self._branch.latest()), Committed):
                    return
        raise Unavailable(f"gave up after {ATTEMPTS} attempts because other writers kept committing first; try again")

    def _send_plan(self, base: RootAt, plan: Plan) -> Verdict:
        driver, branch = self._volume.driver, self._branch
        if base.generation == NOT_TOLD or branch.latest().root.head.version > base.root.head.version:
            try:
                now = branch.base()
            except VirkeError:
                driver.remove(plan.uploaded)
                raise
            if now.root.head.version > base.root.head.version:
                driver.remove(plan.uploaded)
                return Conflicted(now)
            base = now
        asked_at = self._environment.monotonic()
        branch.replacing = base.root
        try:
            verdict: Verdict = driver.run(commit_plan(base, plan, branch.name, linearizable=branch.is_linearizable))
        finally:
            branch.replacing = None
        if isinstance(verdict, Unknown) and verdict.passed:
            verdict = self._look_into_history(plan, verdict)
        match verdict:
            case Committed(root, at):
                branch.offer_root(at or RootAt(root, NOT_TOLD), asked_at)
            case Conflicted(at):
                branch.offer_root(at, asked_at)
            case Forgot(reason):
                branch.forgot(reason)
        return verdict

    def _look_into_history(self, plan: Plan, verdict: Unknown) -> Verdict:
        """What history proves of a plan that changed pages, once the root has moved past it (rule 3)."""
        mine = plan.root.head
        brought = [commit.version for commit in plan.root.inline] + [ref.hi for ref in plan.root.segments]
        if mine.version not in brought:
            return verdict  # references or settings only: nothing in history shows whose they are
        try:
            now = self._branch.refresh()
            if now.root.database_id != plan.root.database_id or now.root.epoch != plan.root.epoch:
                return verdict
            there = self._volume.snapshot_at(mine.version).head
        except VirkeError:  # what can't be read proves nothing
            return verdict
        if (there.version, there.commit_id) == (mine.version, mine.commit_id):
            return Committed(plan.root, now)
        self._volume.driver.remove((*(Delete(put.tier, (put.key,)) for put in plan.puts), *plan.uploaded))
        return Conflicted(now)


def error_of(verdict: Conflicted | Unknown | Failed | Gone | Forgot | TooSoon) -> VirkeError:
    """What a verdict that is not `Committed` means to the caller of the database."""
    match verdict:
        case Conflicted():
            return Conflict("another commit came first; run the transaction again (run_transaction does that)")
        case Unknown(reason):
            return OutcomeUnknown(
                f"it is not known whether the commit happened ({reason}); ask the data, do not repeat"
            )
        case Failed(reason):
            return Unavailable(f"the store did not take the commit, nothing was changed: {reason}")
        case Gone():
            return Deleted("the database was deleted")
        case TooSoon():
            return Unavailable("the store takes no more commits at this moment, nothing was changed; try again")
        case Forgot(reason):
            return Corrupt(f"the store lost commits: {reason}; bring back its newest copy")


def won_or_lost(verdict: Verdict) -> Committed | Conflicted:
    """`verdict`, if it is won or lost.

    Raises:
        OutcomeUnknown, Unavailable, NotFound, Corrupt: it is neither (`error_of`).
    """
    if isinstance(verdict, Committed | Conflicted):
        return verdict
    raise error_of(verdict)

"""What became of a commit: runs the protocol, takes over what it teaches, and looks further where it proves nothing.

Knows the commit protocol and the volume; knows no SQL and no connection.

1. A commit whose base is known to have moved is not sent at all: a lost race, surely.
2. The ring in the root remembers few commits. When more than those passed, history may still tell whose commit the
   version in question is: every commit that changed pages is a group in a segment, under its commit id, for as long
   as history is kept. The root has moved past it then, so the swap can't be applied any more.
3. What is learned of the root counts as of the moment before the swap was sent: the bound of staleness holds for
   slow stores too.
"""

from __future__ import annotations

from virke.core.commit import Committed, Conflicted, Failed, Gone, Plan, Unknown, Verdict, commit
from virke.core.effects import Delete
from virke.core.root import NOT_TOLD, RootAt
from virke.engine.volume import Volume
from virke.errors import NotFound, OutcomeUnknown, Unavailable, VirkeError


def commit_plan(volume: Volume, base: RootAt, plan: Plan) -> Committed | None:
    """Commit `plan` on `base`; None if the race was lost, and what was uploaded for it is gone.

    Raises:
        OutcomeUnknown: nobody can prove whether it is in history. Unavailable: it surely is not.
        NotFound: the database was deleted.
    """
    if base.generation == NOT_TOLD or volume.branch.latest().root.head.version > base.root.head.version:
        try:
            now = volume.branch.base()
        except VirkeError:
            volume.driver.remove(plan.uploaded)
            raise
        if now.root.head.version > base.root.head.version:
            volume.driver.remove(plan.uploaded)
            return None
        base = now
    asked_at = volume.environment.monotonic()
    linearizable = volume.branch.is_linearizable
    verdict: Verdict = volume.driver.run(commit(base, plan, volume.name, linearizable=linearizable))
    if isinstance(verdict, Unknown) and verdict.passed:
        verdict = _look_into_history(volume, plan, verdict)
    match verdict:
        case Committed(root, at):
            volume.branch.offer_root(at or RootAt(root, NOT_TOLD), asked_at)
            return verdict
        case Conflicted(at):
            volume.branch.offer_root(at, asked_at)
            return None
        case Unknown(reason):
            raise OutcomeUnknown(f"it is not known whether the commit happened ({reason}); ask the data, do not repeat")
        case Failed(reason):
            raise Unavailable(f"the store did not take the commit, nothing was changed: {reason}")
        case Gone():
            raise NotFound(f"database {volume.name!r} was deleted")


def _look_into_history(volume: Volume, plan: Plan, verdict: Unknown) -> Verdict:
    """What history proves of a plan that changed pages, once the root has moved past it (rule 2)."""
    mine = plan.root.head
    brought = [commit.head.version for commit in plan.root.inline] + [ref.hi for ref in plan.root.segments]
    if mine.version not in brought:
        return verdict  # references or settings only: nothing in history tells them apart
    try:
        now = volume.branch.refresh()
        if now.root.database_id != plan.root.database_id or now.root.epoch != plan.root.epoch:
            return verdict
        there = volume.snapshot_at(mine.version).head
    except VirkeError:  # what can't be read proves nothing
        return verdict
    if (there.version, there.commit_id) == (mine.version, mine.commit_id):
        return Committed(plan.root, now)
    volume.driver.remove((*(Delete(put.tier, (put.key,)) for put in plan.puts), *plan.uploaded))
    return Conflicted(now)

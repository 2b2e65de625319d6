"""The commit protocol: put what must be there first, swap the root, and find out honestly what happened.

Pure: a generator of effects, driven by the engine, by the edge guest and by the explorer alike (decision 0005).

State: puts → swap → (done | look) ; look → (done | conflict | swap again | unknown | forgot). Its rules:

1. The swap of the root is the only commit point. Nothing that the new root names is missing when it is swapped in.
2. After any answer to the swap but `Swapped`, the root is read. Own commit id at the version it would have →
   committed (P2). A `Mismatch` alone proves nothing: it may answer a repeat of our own success.
3. Another commit at that version → conflict (P3): the base generation is gone for good, our swap can't apply any more.
   The version must be *greater* than the base's: an eventual store may show an older root than the base.
4. The ring does not reach back to that version → `Unknown`, unless no request can have been applied. Never guess.
5. The root has not moved → send the same bytes again; the same commit id makes the repeat harmless.
6. Every loop is bounded: by `SENDS`, and by the tries of the back-off where the store fails (decision 0052). A store that
   does not answer is asked for its root and not sent the swap again: only the root says what became of the first. What is
   unproved in the end is `Unknown`, or `Failed` if no request can have been applied.
7. A loser deletes what it uploaded, after the conflict is proved, best effort.
8. An absent root, or another database's, proves a deletion only where reads are linearizable: elsewhere it may be
   what the register held before this database was created, while our swap was applied. Nothing is deleted then.
9. An error that the world raises at an effect (no right, a damaged root) says nothing of the requests before it:
   `Unknown`, unless none of them can have been applied; then it is raised on, and the uploads are deleted.
10. A root that can't be of one history with the base (core/lineage) is neither a lost race nor a success: the store
   forgot commits. On a linearizable register that includes any version below the base. Nothing is deleted then: what was
   forgotten may be brought back, and objects may be needed by it.
11. A swap that came too soon for the store's rate (`Paced`) is not a send, and losing the race meanwhile is not a try: the
   caller gets `TooSoon`, and plans again with all that waits by then. What can't be planned again, because it was
   uploaded or because an earlier request may have been applied, waits here for its slot and is sent again.
12. A tombstone of the base's epoch, or of a later one, ends this life of the branch: gone. An older one is a stale read.
13. A store that is known to be down (`Refused.is_down`) when a commit begins is not waited for. One that goes down in the
   middle is: what was sent has to be found out.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from itertools import count
from typing import Final

from virke.core.backoff import read_root, tries_again
from virke.core.effects import (
    Absent,
    AwaitSlot,
    Delete,
    Effect,
    Generation,
    Lost,
    Mismatch,
    Outcome,
    Paced,
    Pause,
    PutAll,
    PutNew,
    Record,
    Refused,
    Stored,
    Swapped,
    SwapRoot,
)
from virke.core.lineage import AskAgain, Forgot, Keep, Replaced, Same, judge_root
from virke.core.pins import Tombstone
from virke.core.root import Root, RootAt, decode_record, decode_root, encode_root
from virke.errors import VirkeError
from virke.lazy_dataclasses import dataclass

SENDS: Final = 8
SLOTS: Final = 256
"""How often a commit waits for its slot; the caller's deadline is nearer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A commit that is ready to go: objects to put first, then the root to swap in.

    `uploaded` are objects that are in the store already and that only this commit would name.
    """

    root: Root
    puts: tuple[PutNew, ...] = ()
    uploaded: tuple[Delete, ...] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """In history for good. `at` is the newest root known, ours or a later one; None if its generation is not known."""

    root: Root
    at: RootAt | None


@dataclass(frozen=True, slots=True)
class Conflicted:
    """Lost the race to another commit; `at` is the root that won or a later one."""

    at: RootAt


@dataclass(frozen=True, slots=True)
class Unknown:
    """Can't be proved either way. `passed`: not by the root, which has moved on; the swap can't be applied any more."""

    reason: str
    passed: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The store did not take it; definitely not applied."""

    reason: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The database was deleted (and perhaps created again) since the base was read."""


@dataclass(frozen=True, slots=True)
class TooSoon:
    """The store took no swap at this moment, for its rate; definitely not applied.

    `at` is the root as read since then, the base or a later one; None if the store did not show it.
    """

    at: RootAt | None
    retry_after_s: float | None


Verdict = Committed | Conflicted | Unknown | Failed | Gone | Forgot | TooSoon
Protocol = Generator[Effect, Outcome, Verdict]


def commit_plan(base: RootAt, plan: Plan, name: str, *, linearizable: bool = False, key: str | None = None) -> Protocol:
    """Commit `plan` on `base`; `name` is for error messages. `linearizable`: reads of the register are never stale.

    `key`: of the register, where it is not the one that the driver works on.
    """
    try:
        failed = (yield from store_objects(plan.puts)) if plan.puts else ""
        verdict = Failed(failed) if failed else (yield from _swap_root(base, plan, name, linearizable, key=key))
    except VirkeError:  # rule 9
        yield from _remove_uploads(plan)
        raise
    if isinstance(verdict, Conflicted | Failed | TooSoon):
        yield from _remove_uploads(plan)
    return verdict


def store_objects(puts: tuple[PutNew, ...]) -> Generator[Effect, Outcome, str]:
    """Store the objects, of one tier, in one round; "" when all are there, else why not.

    Repeating is harmless: the keys are ours alone.
    """
    put: Effect = puts[0]
    if len(puts) > 1:
        put = PutAll(puts[0].tier, tuple((each.key, each.data) for each in puts))
    reason = ""
    for failed in count(1):  # as long as `tries_again`
        retry_after_s: float | None = None
        match (yield put):
            case Stored():
                return ""
            case Refused(why, is_down=True) if failed == 1:
                return why
            case Lost() | Refused() as failure:
                reason, retry_after_s = failure.reason, failure.retry_after_s
        if not (yield from tries_again(failed, retry_after_s)):
            break
    return reason or "the store did not take the object"


def _remove_uploads(plan: Plan) -> Generator[Effect, Outcome, None]:
    for delete in (*(Delete(put.tier, (put.key,)) for put in plan.puts), *plan.uploaded):
        with suppress(VirkeError):
            yield delete


def _swap_root(base: RootAt, plan: Plan, name: str, linearizable: bool, *, key: str | None) -> Protocol:
    root, has_uploads = plan.root, bool(plan.puts or plan.uploaded)
    swap = SwapRoot(encode_root(root), base.generation, key)
    surely_not_applied, reason = True, ""
    sends = slots = failed = 0
    while sends < SENDS and slots < SLOTS:
        try:
            answer = yield swap
            match answer:
                case Swapped(generation):
                    return Committed(root, _root_at(root, generation))
                case Paced():
                    reason = "it takes no more swaps at this moment"
                case Refused(why, is_down=True) if not sends:  # rule 13
                    return Failed(why)
                case Refused(why):
                    reason = why
                case Lost(why):
                    surely_not_applied, reason = False, why
                case Mismatch():
                    surely_not_applied, reason = False, "the store says that the root moved, but does not show how"
            seen, failed = yield from read_root(key, failed + isinstance(answer, Lost | Refused))
            found = judge_swap(base, root, seen, name, linearizable=linearizable)
            if surely_not_applied:
                found = _planned_anew(base, answer, seen, found, keeps=has_uploads, name=name)
            if found is None and isinstance(seen, Lost):
                break  # rule 6
            if found is None and isinstance(answer, Paced):
                yield AwaitSlot(answer)
        except VirkeError as error:
            if surely_not_applied:
                raise
            return Unknown(error.message)  # rule 9
        match found:
            case Gone() if not linearizable:  # rule 8
                reason = "the store does not show this database any more, or not yet"
            case None if isinstance(answer, Paced):  # rule 11
                slots += 1
                continue
            case None:
                pass
            case verdict:
                return verdict
        sends += 1
        if isinstance(answer, Lost | Refused):
            if not (yield from tries_again(failed, answer.retry_after_s)):
                break
        elif sends < SENDS:
            yield Pause(sends - 1)
    return Failed(reason) if surely_not_applied else Unknown(reason)


def _planned_anew(
    base: RootAt, answer: Outcome, seen: Outcome, found: Verdict | None, *, keeps: bool, name: str
) -> Verdict | None:
    """What `found` means while no request can have been applied; `keeps`: an unmoved root is worth waiting for."""
    if isinstance(found, Unknown) and isinstance(seen, Record):  # rule 4
        found = Conflicted(RootAt(decode_root(seen.data, name), seen.generation))
    match answer, found:
        case Paced(retry_after_s), Conflicted(at):  # rule 11
            return TooSoon(at, retry_after_s)
        case Paced(retry_after_s), None if not keeps:
            return TooSoon(base if isinstance(seen, Record) else None, retry_after_s)
    return found


def judge_swap(base: RootAt, root: Root, seen: Outcome, name: str, *, linearizable: bool) -> Verdict | None:
    """What the root as `seen` proves about the swap of `root` on `base`; None if nothing yet. `Gone` needs rule 8."""
    match seen:
        case Record(data, generation):
            now = decode_record(data, name)
        case Absent():
            return Gone()
        case _:
            return None
    if isinstance(now, Tombstone):  # rule 12
        is_other = now.database_id != root.database_id
        return Gone() if is_other or now.epoch >= base.root.epoch else None
    match judge_root(base.root, now, began_after=True, linearizable=linearizable):
        case Replaced() | AskAgain():
            return Gone()
        case Same() | Keep():  # unmoved, or a stale read (rule 5)
            return None
        case Forgot() as forgot:  # rule 10
            return forgot
    at_ours = now.commit_at(root.head.version)
    if at_ours is None:
        passed = now.head.version - base.root.head.version
        return Unknown(f"{passed} commits passed, more than the ring remembers", passed=True)
    if at_ours.commit_id == root.head.commit_id:
        return Committed(root, RootAt(now, generation))
    return Conflicted(RootAt(now, generation))


def _root_at(root: Root, generation: Generation | None) -> RootAt | None:
    return None if generation is None else RootAt(root, generation)

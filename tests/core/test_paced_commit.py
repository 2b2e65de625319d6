"""The commit protocol on a store that takes only so many swaps a second: a refusal for that is neither send nor try."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from tests.core.actors import Commit, MakePlan, history, id_of, in_root, registers, with_segment, writer
from tests.core.explorer import Explorer, Scenario, Violation
from virke.core.commit import SENDS, SLOTS, Committed, Failed, Plan, Protocol, TooSoon, Unknown, Verdict, commit_plan
from virke.core.effects import (
    AwaitSlot,
    BackOff,
    Delete,
    Effect,
    Generation,
    Lost,
    Outcome,
    Paced,
    Pause,
    ReadRoot,
    Record,
    Stored,
    Swapped,
    SwapRoot,
)
from virke.core.root import RootAt, encode_root

ROOTS, _ = history(in_root)
BASE: Final = RootAt(ROOTS[-1], Generation("base"))


def paced(
    *makes: MakePlan, faults: int, stale: bool = False, kill: bool = False, how: Commit = commit_plan
) -> Scenario:
    """Writers on a store that may say to each swap that it came too soon."""
    programs = tuple(writer(name, make, protocol=how) for name, make in zip("ab", makes, strict=False))
    return Scenario(registers(ROOTS), programs, faults=faults, stale=stale, kill=kill, paced=True)


WORLDS = {
    "two writers": paced(in_root, in_root, faults=2),
    "stale reads": paced(in_root, in_root, faults=2, stale=True),
    "killed writers": paced(in_root, in_root, faults=1, kill=True),
    "a segment": paced(with_segment, in_root, faults=2),
}


@pytest.mark.parametrize("name", WORLDS)
def test_too_soon_is_never_told_of_a_commit_that_is_or_may_get_into_history(name: str) -> None:
    """P3 with refusals for the rate at any moment, lost answers and late arrivals beside them."""
    found = Explorer(WORLDS[name]).run()
    assert found.verdicts.keys() == {"Committed", "Conflicted", "TooSoon"}


def too_soon_whatever_was_sent(base: RootAt, plan: Plan, name: str) -> Protocol:
    """A refusal ends the commit, also after a request that may still arrive."""
    inner = commit_plan(base, plan, name)
    outcome: Outcome = None
    while True:
        try:
            outcome = yield inner.send(outcome)
        except StopIteration as end:
            verdict: Verdict = end.value
            return verdict
        if isinstance(outcome, Paced):
            return TooSoon(base, None)


def test_too_soon_told_after_a_request_that_may_arrive_is_rejected() -> None:
    with pytest.raises(Violation, match="P3"):
        Explorer(paced(in_root, faults=2, how=too_soon_whatever_was_sent)).run()


def driven(plan: Plan, answers: Callable[[int], Outcome]) -> tuple[Verdict, list[Effect]]:
    """The verdict on a commit whose n-th swap is answered so, while the root does not move; and its effects."""
    protocol, effects, sent = commit_plan(BASE, plan, "world"), list[Effect](), 0
    outcome: Outcome = None
    while True:
        try:
            effect = protocol.send(outcome)
        except StopIteration as end:
            return end.value, effects
        effects.append(effect)
        match effect:
            case SwapRoot():
                outcome, sent = answers(sent), sent + 1
            case ReadRoot():
                outcome = Record(encode_root(BASE.root), BASE.generation)
            case AwaitSlot() | Pause() | BackOff() | Delete():
                outcome = None
            case _:
                outcome = Stored()


def count(effects: list[Effect], kind: type[Effect]) -> int:
    """How many of one kind."""
    return sum(isinstance(effect, kind) for effect in effects)


def test_what_was_not_uploaded_is_planned_anew_after_one_refusal() -> None:
    """So that all that waits by then is in the next commit."""
    verdict, effects = driven(in_root(BASE.root, id_of("one")), lambda _: Paced(3.0))
    assert verdict == TooSoon(BASE, 3.0)
    assert (count(effects, SwapRoot), count(effects, Pause)) == (1, 0)


def test_what_was_uploaded_waits_for_its_slot_and_refusals_are_not_sends() -> None:
    plan = with_segment(BASE.root, id_of("one"))
    verdict, effects = driven(plan, lambda sent: Paced() if sent < 3 * SENDS else Swapped(Generation("next")))
    assert isinstance(verdict, Committed)
    assert (count(effects, AwaitSlot), count(effects, Pause), count(effects, Delete)) == (3 * SENDS, 0, 0)


def test_a_store_that_refuses_for_ever_is_given_up_honestly() -> None:
    """No request can have been applied: `Failed`, and the upload is deleted. One may have been: `Unknown`."""
    plan = with_segment(BASE.root, id_of("one"))
    verdict, effects = driven(plan, lambda _: Paced())
    assert isinstance(verdict, Failed)
    assert (count(effects, AwaitSlot), count(effects, Delete)) == (SLOTS, 1)
    verdict, effects = driven(in_root(BASE.root, id_of("one")), lambda sent: Paced() if sent else Lost("no answer"))
    assert isinstance(verdict, Unknown)

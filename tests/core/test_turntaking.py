"""Turns on real roots: what a commit does to them, what a waiter may conclude, and that they are commits like others."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Final

import pytest

from tests.core.actors import PAGE, empty, history, id_of, in_root, read_root, registers, with_segment, writer
from tests.core.explorer import Actor, Explorer, Program, Scenario, State, Step, Told, Violation
from virke.core.change import Change, change_without_pages, may_go_on, next_root, plan_change
from virke.core.commit import Plan, Verdict, commit_plan
from virke.core.effects import Outcome
from virke.core.ids import ID_BYTES, Epoch, PageCount, PageNo, Version
from virke.core.merge import Merge, Run, plan_merge
from virke.core.ring import Answer
from virke.core.root import JournalMark, Root, RootAt
from virke.core.settings import Settings
from virke.core.turn import Turn
from virke.core.turntaking import (
    CLOCKS_MS,
    LENGTH_LEAST_MS,
    LENGTH_MOST_MS,
    LOSSES,
    POLL_LEAST_S,
    REST_LEAST_MS,
    Claim,
    Go,
    Move,
    Take,
    Wait,
    Watch,
    is_clear,
    length_ms,
    moved_turn_only,
    next_move,
    plan_turn,
    renewal_at_s,
    rest_after_ms,
)

MINE, OTHER = b"m" * ID_BYTES, b"o" * ID_BYTES
NOW_MS: Final = 1_000_000_000
LOST: Final = Claim(MINE, losses=LOSSES)


def with_turn(token: bytes = OTHER, *, serial: int = 1, length: int = 4000, written_ms: int = NOW_MS) -> Root:
    """A root that holds a turn."""
    return replace(empty(), turn=Turn(token, serial, length, written_ms))


def later(root: Root, **changes: object) -> Root:
    """`root` one version on."""
    return replace(root, head=replace(root.head, version=Version(root.head.version + 1)), **changes)  # type: ignore[arg-type]


def move(root: Root, watch: Watch, now_s: float, claim: Claim = LOST, *, now_ms: int = NOW_MS) -> Move:
    """What a writer does that sees `root` now."""
    return next_move(root, watch.saw(root, now_s), claim, now_s=now_s, now_ms=now_ms)


# What a commit does to a turn


def changed(root: Root, **changes: object) -> Root:
    """`root` after a commit without pages."""
    return next_root(root, id_of("next", root), replace(change_without_pages(root, 0), **changes))  # type: ignore[arg-type]


def test_every_commit_removes_the_turn_that_it_sees() -> None:
    """Also plans of upkeep, which know nothing of turns."""
    root = with_turn(length=4000)
    for new in (changed(root), changed(root, settings=Settings(max_attempts=3)), in_root(root, id_of("x")).root):
        assert new.turn is None
        assert new.rest_ms == 4000
    job = Merge(root, Run(0, 0), (), id_of("merge"), root.tier)
    ref = with_segment(root, id_of("merge")).root.segments[-1]
    plan = plan_merge(root, job, ref, commit_id=id_of("swap"), time_ms=0)
    assert plan is not None
    assert plan.root.turn is None


def test_the_holder_leaves_a_rest_by_its_own_measure_and_it_stays_until_the_next_turn() -> None:
    ended = changed(with_turn(MINE), rest_ms=300)
    assert (ended.turn, ended.rest_ms) == (None, 300)
    assert changed(ended).rest_ms == 300
    taken = plan_turn(changed(ended), LOST, id_of("turn"), length_ms=2000, now_ms=NOW_MS)
    assert taken is not None
    assert (taken.root.turn, taken.root.rest_ms) == (Turn(MINE, 1, 2000, NOW_MS), 0)


def test_a_fence_lets_a_turn_and_a_rest_be() -> None:
    """It proves that a root is the newest and changes no page, so the holder loses nothing."""
    root = with_turn()
    assert changed(root, keeps_turn=True).turn == root.turn
    assert changed(replace(empty(), rest_ms=300), keeps_turn=True).rest_ms == 300


def test_a_turn_is_a_version_of_its_own_and_a_renewal_too() -> None:
    root = empty()
    taken = plan_turn(root, LOST, id_of("turn"), length_ms=2000, now_ms=NOW_MS)
    assert taken is not None
    assert (taken.root.head.version, taken.root.head.commit_id, taken.puts) == (2, id_of("turn"), ())
    renewed = plan_turn(taken.root, LOST, id_of("again"), length_ms=2000, now_ms=NOW_MS + 1000)
    assert renewed is not None
    assert (renewed.root.head.version, renewed.root.turn) == (3, Turn(MINE, 2, 2000, NOW_MS + 1000))
    assert plan_turn(with_turn(OTHER), LOST, id_of("turn"), length_ms=2000, now_ms=NOW_MS) is None


# What a writer does


def test_a_turn_is_taken_after_two_lost_races_only() -> None:
    assert move(empty(), Watch(), 0.0, Claim(MINE, losses=LOSSES - 1)) == Go()
    assert move(empty(), Watch(), 0.0) == Take()
    assert move(empty(), Watch(), 0.0, replace(LOST, may_take=False)) == Go()
    assert move(with_turn(MINE), Watch(), 0.0) == Go()


def test_a_foreign_turn_is_waited_for_until_it_is_gone_or_was_seen_for_its_length() -> None:
    root = with_turn(length=4000)
    watch = Watch().saw(root, 10.0)
    assert move(root, watch, 10.0) == Wait(POLL_LEAST_S)
    near = move(root, watch, 13.95)
    assert isinstance(near, Wait)
    assert near.seconds == pytest.approx(0.05)
    assert move(root, watch, 14.0) == Go()
    assert move(later(root, turn=None), watch, 10.1) == Take()


def test_a_renewed_turn_is_waited_for_again() -> None:
    root = with_turn(length=4000)
    watch = Watch().saw(root, 10.0)
    assert isinstance(move(later(root, turn=replace(root.turn, serial=2)), watch, 13.0), Wait)  # type: ignore[type-var]
    renewed = later(root, turn=Turn(OTHER, 2, 4000, NOW_MS))
    watch = watch.saw(renewed, 13.0)
    assert isinstance(move(renewed, watch, 16.9), Wait)
    assert move(renewed, watch, 17.0) == Go()


def test_an_older_root_does_not_set_the_wait_back() -> None:
    """A stale read shows one without the turn, or with the one before it."""
    root = later(with_turn(length=4000))
    watch = Watch().saw(root, 10.0).saw(with_turn(MINE), 12.0).saw(empty(), 13.0)
    assert move(root, watch, 14.0) == Go()


def test_the_wall_clock_shortens_a_wait_and_never_makes_one_longer() -> None:
    """A caller that is new each time sees that the turn was written long ago; a clock that is behind changes nothing."""
    root = with_turn(length=4000, written_ms=NOW_MS - 2 * 4000 - CLOCKS_MS)
    assert move(root, Watch(), 0.0) == Go()
    assert isinstance(move(with_turn(written_ms=NOW_MS - 4000), Watch(), 0.0), Wait)
    ahead = with_turn(written_ms=NOW_MS + 10**9)
    assert move(ahead, Watch().saw(ahead, 0.0), 4.0) == Go()


def test_no_turn_is_taken_before_the_rest_was_watched_for_its_time() -> None:
    root = replace(empty(), rest_ms=300)
    watch = Watch().saw(root, 10.0)
    assert move(root, watch, 10.0) == Wait(0.15)
    watch = watch.saw(later(root), 10.15)
    assert move(later(root), watch, 10.3) == Take()
    assert move(root, Watch(), 99.0, Claim(MINE)) == Go()


def test_a_rest_that_was_not_watched_begins_again() -> None:
    """A writer that was busy meanwhile can't know whose rest it sees: another turn may have come and gone."""
    root = replace(empty(), rest_ms=300)
    assert isinstance(move(later(root), Watch().saw(root, 10.0), 15.0), Wait)
    seen = Watch().saw(root, 10.0).saw(later(root, turn=Turn(OTHER, 1, 4000, NOW_MS), rest_ms=0), 10.1)
    again = later(later(root))
    assert isinstance(move(again, seen.saw(again, 10.2), 10.32), Wait)


def test_lengths_and_rests_are_bounded() -> None:
    assert length_ms(work_s=0.001, pace_s=0.0, swap_s=0.02) == LENGTH_LEAST_MS
    assert length_ms(work_s=2.0, pace_s=0.0, swap_s=0.05) == 4200
    assert length_ms(work_s=60.0, pace_s=1.0, swap_s=0.05) == LENGTH_MOST_MS
    assert rest_after_ms(0.001) == REST_LEAST_MS
    assert rest_after_ms(0.4) == 1600
    assert renewal_at_s(Turn(MINE, 1, 4000, 0), 10.0) == 12.0


# Planning again on the same pages


def writing(root: Root) -> Change:
    """A change of one page."""
    return replace(change_without_pages(root, 0), pages={PageNo(1): PAGE}, page_count=PageCount(1), checksum=7)


def test_a_race_lost_to_the_same_pages_is_cured_without_running_again() -> None:
    """A turn, a fence and a change of settings move the root, and nothing that SQL has read."""
    base = empty()
    taken = plan_turn(base, Claim(OTHER), id_of("turn"), length_ms=2000, now_ms=NOW_MS)
    assert taken is not None
    for now in (taken.root, changed(base, keeps_turn=True), changed(base, settings=Settings(max_attempts=3))):
        assert may_go_on(base, now)
        assert moved_turn_only(base, now) == (now.settings == base.settings)


def test_what_may_have_been_written_by_another_is_run_again() -> None:
    base = empty()
    pages = plan_change(base, id_of("page"), writing(base)).root
    mark = changed(base, marks=(JournalMark(MINE, 1, 0),))
    answered = changed(base, answers=(Answer(MINE, 0),))
    far = base
    for _ in range(80):
        far = changed(far)
    for now in (pages, mark, answered, far, base, replace(changed(base), epoch=Epoch(base.epoch + 1))):
        assert not may_go_on(base, now)
        assert not moved_turn_only(base, now) or now is base


# Turns through the commit protocol, in every small world


def taker(name: str, *, same_version: bool = False) -> Program:
    """Takes a turn, then commits under it on the root that it swapped in."""

    def program(life: int) -> Actor:
        at = yield from read_root()
        turn_id = id_of(f"turn {name}.{life}", at.root)
        claim = Claim(turn_id, losses=LOSSES)
        plan = plan_turn(at.root, claim, turn_id, length_ms=2000, now_ms=NOW_MS)
        if plan is None:
            return
        if same_version:
            plan = Plan(replace(at.root, turn=plan.root.turn))
        verdict = yield from _told(f"turn {name}.{life}", at, plan, not same_version)
        at = getattr(verdict, "at", None) or (yield from read_root())
        commit_id = id_of(f"{name}.{life}", at.root)
        yield from _told(f"{name}.{life}", at, with_segment(at.root, commit_id), True)

    return program


def _told(write: str, at: RootAt, plan: Plan, tells: bool) -> Generator[Step, Outcome, Verdict]:
    verdict = yield from commit_plan(at, plan, "world")
    if tells:
        yield Told(write, plan.root.head.commit_id, verdict, at)
    return verdict


ROOTS, _ = history(in_root)
WORLDS = {
    "a turn and a writer": Scenario(registers(ROOTS), (taker("slow"), writer("fast")), faults=2),
    "stale reads": Scenario(registers(ROOTS), (taker("slow"), writer("fast")), faults=1, stale=True),
    "killed holders": Scenario(registers(ROOTS), (taker("slow"), writer("fast")), faults=1, kill=True),
    "two turns and a writer": Scenario(registers(ROOTS), (taker("slow"), taker("other"), writer("fast")), faults=0),
}


@pytest.mark.parametrize("name", WORLDS)
def test_turns_are_commits_like_others(name: str) -> None:
    """P1, P2, P3 hold for turns and for what is committed under them."""
    assert Explorer(WORLDS[name]).run().verdicts.keys() <= {"Committed", "Conflicted"}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_turns_are_commits_like_others_with_one_more_fault(name: str) -> None:
    scenario = WORLDS[name]
    assert Explorer(replace(scenario, faults=scenario.faults + 1)).run().verdicts.keys() <= {"Committed", "Conflicted"}


class Unjudged(Explorer):
    """Counts verdicts, and calls none of them wrong."""

    def _wrong(self, state: State) -> str:
        return ""


def test_a_turn_without_a_version_of_its_own_is_rejected() -> None:
    """A writer whose base it replaced sees its version unmoved, and can't prove what became of its swap."""
    honest = replace(WORLDS["a turn and a writer"], faults=0)
    assert "Unknown" not in Unjudged(honest).run().verdicts
    planted = replace(honest, programs=(taker("slow", same_version=True), writer("fast")))
    assert "Unknown" in Unjudged(planted).run().verdicts
    with pytest.raises(Violation):
        Explorer(planted).run()


@pytest.mark.parametrize(
    "before",
    [empty(), with_turn(), with_turn(MINE), later(empty(), rest_ms=300)],
    ids=["nothing", "another's", "its own", "a rest"],
)
def test_a_root_without_turn_and_rest_stops_no_writer_that_lost_nothing(before: Root) -> None:
    """Whatever was seen before it: so it need not be watched. With a turn, a rest or a lost race it is."""
    claim = Claim(MINE)
    clear = later(before, turn=None, rest_ms=0)
    assert is_clear(clear, claim)
    assert move(clear, Watch().saw(before, 1.0), 1.0, claim) == Go()
    for root, other in ((with_turn(), claim), (later(empty(), rest_ms=300), claim), (clear, replace(claim, losses=1))):
        assert not is_clear(root, other)

"""What a commit does step by step, whatever verdict it gets: what is sent, removed, waited for and learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.engine.world import Clock, make
from virke.core.change import change_without_pages, next_root
from virke.core.commit import Committed, Conflicted, Failed, Gone, Plan, TooSoon, Unknown, Verdict
from virke.core.effects import Delete, PutNew, Tier
from virke.core.ids import Epoch
from virke.core.lineage import Forgot
from virke.core.root import NOT_TOLD, Root, RootAt
from virke.engine.committing import ATTEMPTS, Committing, Dropped, error_of, won_or_lost
from virke.errors import Conflict, Corrupt, Deleted, OutcomeUnknown, TooLarge, Unavailable, VirkeError
from virke.stores.faulty import FaultyStore
from virke.stores.memory import memory_store

UPLOADED = (Delete(Tier.KV, ("uploaded",)),)
WAIT_S = 30.0
"""The setting `query_timeout_ms` of a new database."""


class World:
    """A database whose commits get the verdicts that are in line; what was called meanwhile."""

    def __init__(self, *, eventual: bool = False) -> None:
        inner = memory_store()
        self.clock = Clock()
        self.db = make(FaultyStore(inner, eventual=True).store if eventual else inner, clock=self.clock)
        self.committing: Committing = self.db._committing
        self.branch = self.db._branch
        self.driver = self.db._volume.driver
        self.base = self.branch.latest()
        self.said: list[tuple[Any, ...]] = []
        self.verdicts: list[Verdict] = []
        self.driver.remove = lambda deletes: self.said.append(("remove", tuple(deletes)))  # type: ignore[method-assign]

    def plan(self, base: Root | None = None) -> Plan:
        base = base or self.base.root
        new = next_root(base, self.committing._environment.commit_id(), change_without_pages(base, 0))
        return Plan(new, uploaded=UPLOADED)

    def later(self, versions: int = 1) -> RootAt:
        """What another process made of the root."""
        root = self.base.root
        for _ in range(versions):
            root = self.plan(root).root
        return RootAt(root, self.base.generation)

    def listen(self, thing: object, name: str, answer: object = None) -> None:
        """Note each call of a method, in its place."""

        def call(*how: object, **options: object) -> object:
            self.said.append((name, *how, *options.values()))
            return answer

        object.__setattr__(thing, name, call)

    def answers(self, *verdicts: Verdict) -> None:
        """Of the next commits; each is sent now."""
        self.verdicts += verdicts

        def send(base: RootAt, plan: Plan) -> Verdict:
            self.said.append(("send",))
            self.driver.sent_s = self.clock.monotonic_s
            self.clock.pass_s(0.1)
            return self.verdicts.pop(0)

        self.committing._send_plan = send  # type: ignore[method-assign]

    def names(self) -> list[str]:
        return [name for name, *_ in self.said]


@pytest.fixture
def world() -> World:
    return World()


# Who commits, and for how long


def test_a_claim_that_says_nothing_else_is_a_write_that_lost_nothing_and_does_not_lead(world: World) -> None:
    claimant = world.committing.claim()
    assert (claimant._leads, claimant._claim.may_take, claimant._claim.losses) == (False, True, 0)
    assert (claimant._wait_s, claimant.work_s) == (WAIT_S, 0.0)
    assert world.committing.gives_up_at() == world.clock.monotonic_s + WAIT_S


def test_a_commit_stands_in_no_row_and_is_not_planned_again_unless_that_is_said(world: World) -> None:
    world.listen(world.committing, "_commit")
    plan = world.plan()
    world.committing.commit(world.base, plan)
    world.committing.commit(world.base, plan, in_row=True, may_be_too_soon=True)
    assert world.said == [
        ("_commit", world.base, plan, None, False, False),
        ("_commit", world.base, plan, None, True, True),
    ]


@pytest.mark.parametrize("refuses", [False, True])
def test_what_a_request_can_not_afford_is_not_sent_and_its_uploads_are_removed(world: World, refuses: bool) -> None:
    """The objects of the dear tier are counted, and whether there is a segment more."""

    class Allowance:
        def check_commit(self, puts: int, *, segments: int, adds: bool) -> None:
            world.said.append(("check", puts, segments, adds))
            if refuses:
                raise TooLarge("too much for one request")

        @contextmanager
        def committing(self) -> Iterator[None]:
            world.said.append(("begin",))
            yield
            world.said.append(("end",))

    world.listen(world.committing, "_commit")
    world.committing._environment = replace(world.committing._environment, allowance=Allowance())  # type: ignore[arg-type]
    puts = (PutNew(Tier.KV, "a", b""), PutNew(Tier.OBJECT, "b", b""), PutNew(Tier.OBJECT, "c", b""))
    plan = replace(world.plan(), puts=puts)
    if refuses:
        with pytest.raises(TooLarge):
            world.committing.commit(world.base, plan)
        assert world.said == [("check", 2, 0, False), ("remove", UPLOADED)]
    else:
        world.committing.commit(world.base, plan)
        assert world.names() == ["check", "begin", "_commit", "end"]


# The store's pace


def test_a_commit_that_came_too_soon_waits_and_is_sent_again(world: World) -> None:
    plan = world.plan()
    won = Committed(plan.root, None)
    world.answers(TooSoon(world.base, None), won)
    assert world.committing.commit(world.base, plan) == won
    assert world.names() == ["send", "send"]
    assert world.committing.pacing.is_paced
    assert sum(world.clock.slept) > 0


def test_a_commit_that_is_planned_again_is_told_that_it_came_too_soon(world: World) -> None:
    too_soon = TooSoon(world.base, None)
    world.answers(too_soon)
    assert world.committing.commit(world.base, world.plan(), may_be_too_soon=True) == too_soon
    assert world.committing.pacing.is_paced
    assert world.clock.slept == []


def test_a_store_that_refuses_and_shows_nothing_took_nothing(world: World) -> None:
    world.answers(TooSoon(None, None))
    assert isinstance(world.committing.commit(world.base, world.plan(), may_be_too_soon=True), Failed)
    assert world.names() == ["send"]


def test_whose_time_is_over_before_its_slot_sends_nothing_and_removes_its_uploads(world: World) -> None:
    world.answers(TooSoon(world.base, None))
    world.committing.commit(world.base, world.plan(), may_be_too_soon=True)
    world.said.clear()
    world.committing.gives_up_at = lambda: world.clock.monotonic_s + 0.01  # type: ignore[method-assign]
    assert world.committing.commit(world.base, world.plan()) == TooSoon(None, None)
    assert world.said == [("remove", UPLOADED)]


# What is learned of a verdict


@pytest.mark.parametrize("in_row", [False, True])
def test_a_commit_that_was_won_tells_pace_turns_and_fairness(world: World, in_row: bool) -> None:
    plan, began_s = world.plan(), world.clock.monotonic_s
    world.answers(Committed(plan.root, None))
    committing = world.committing
    for thing, name in ((committing.turns, "took"), (committing.fairness, "won"), (committing.fairness, "took")):
        world.listen(thing, name)
    world.listen(world.db._volume, "cache_committed")
    world.listen(committing.pacing, "begins")
    world.listen(committing.pacing, "accepted")
    committing.commit(world.base, plan, in_row=in_row)
    commit_id, ended_s = plan.root.head.commit_id, world.clock.monotonic_s
    row = ("won", commit_id, began_s, ended_s) if in_row else ("took", commit_id)
    assert world.said == [
        ("begins", world.base.root),
        ("send",),
        ("accepted", plan.root, began_s),
        ("took", pytest.approx(0.1)),
        row,
    ]


@pytest.mark.parametrize("pages", [None, {}])
def test_pages_are_kept_once_they_are_history(world: World, pages: dict[Any, bytes] | None) -> None:
    plan = world.plan()
    world.answers(Conflicted(world.later()), Committed(plan.root, None))
    world.listen(world.db._volume, "cache_committed")
    world.committing.commit(world.base, plan, pages=pages)
    assert world.names() == ["send"]
    world.committing.commit(world.base, plan, pages=pages)
    assert world.names()[2:] == ([] if pages is None else ["cache_committed"])


@pytest.mark.parametrize("in_row", [False, True])
@pytest.mark.parametrize("paced", [False, True])
@pytest.mark.parametrize("ago_s", [0.0, 1.0])
def test_a_lost_race_tells_the_pace_if_something_was_sent_and_fairness_if_it_stands_in_a_row(
    world: World, ago_s: float, paced: bool, in_row: bool
) -> None:
    world.answers(TooSoon(world.base, None))
    if paced:
        world.committing.commit(world.base, world.plan(), may_be_too_soon=True)
    world.said.clear()
    world.listen(world.committing.pacing, "seen")
    world.listen(world.committing.fairness, "lost")
    later, began_s = world.later(), world.clock.monotonic_s
    world.driver.sent_s = began_s - ago_s
    world.committing._note_verdict(Conflicted(later), world.plan(), began_s, pages=None, in_row=in_row)
    seen = [("seen", later.root, world.driver.read_s)] if paced and not ago_s else []
    assert world.said == [*seen, *([("lost",)] if in_row else [])]


# Commits that plan on the newest root


class Claimant:
    """Waits for turns as it is told."""

    def __init__(self, world: World, *free: bool) -> None:
        self._world = world
        self._free = list(free)

    def ready(self) -> None:
        self._world.said.append(("ready", self._world.committing.lead.locked()))

    def is_free(self) -> bool:
        return self._free.pop(0) if self._free else True


def plans_newest(world: World, *verdicts: Verdict, free: Sequence[bool] = ()) -> tuple[object, list[Root]]:
    """What became of it, and on which roots it planned."""
    claimant, made = Claimant(world, *free), []
    world.listen(world.committing, "claim", claimant)
    world.listen(world.committing.pacing, "await_slot", True)
    left = list(verdicts)

    def commit(base: RootAt, plan: Plan) -> Verdict:
        world.said.append(("commit", world.committing.lead.locked()))
        verdict = left.pop(0)
        if isinstance(verdict, Conflicted):
            world.branch._latest = verdict.at
        return verdict

    def plan(root: Root) -> Plan:
        made.append(root)
        return world.plan(root)

    world.committing.commit = commit  # type: ignore[method-assign, assignment]
    return world.committing.commit_newest(plan), made


def test_upkeep_waits_without_the_lead_and_takes_no_turn(world: World) -> None:
    won = Committed(world.base.root, None)
    assert plans_newest(world, won) == (won, [world.base.root])
    assert [said if said[0] != "await_slot" else said[:1] for said in world.said] == [
        ("claim", False),
        ("ready", False),
        ("await_slot",),
        ("commit", True),
    ]


def test_upkeep_that_lost_a_race_is_planned_anew_on_the_root_that_won(world: World) -> None:
    first, second = world.later(1), world.later(2)
    won = Committed(second.root, None)
    found, made = plans_newest(world, Conflicted(first), Conflicted(second), won)
    assert (found, made) == (won, [world.base.root, first.root, second.root])


def test_upkeep_gives_up_after_its_attempts(world: World) -> None:
    lost = Conflicted(world.later())
    found, made = plans_newest(world, *[lost] * (ATTEMPTS + 1))
    assert (found, len(made)) == (lost, ATTEMPTS)


def test_a_turn_that_came_while_the_lead_was_waited_for_is_waited_for_too(world: World) -> None:
    won = Committed(world.base.root, None)
    assert plans_newest(world, won, free=[False, True])[0] == won
    assert world.names() == ["claim", "ready", "await_slot", "ready", "await_slot", "commit"]


def test_what_needs_no_commit_any_more_is_dropped(world: World) -> None:
    assert world.committing.commit_newest(lambda root: None) == Dropped()


# Fences


def test_a_state_that_is_not_the_newest_is_proved_to_be_none_without_a_swap() -> None:
    world = World(eventual=True)
    before = world.base
    world.db.execute("CREATE TABLE t (n)")
    world.listen(world.committing, "commit")
    found = world.committing.prove_newest(before)
    assert isinstance(found, Conflicted)
    assert found.at.root.head.version == before.root.head.version + 1
    assert world.said == []


@pytest.mark.parametrize("verdict", [Unknown("no answer"), Conflicted])
def test_a_fence_that_proves_nothing_is_told_so(verdict: Any) -> None:
    """Whether it happened does not matter: it changes nothing. One that loses every race gives up."""
    world = World(eventual=True)
    lost = Conflicted(world.base)
    world.listen(world.committing, "commit", lost if verdict is Conflicted else verdict)
    if verdict is Conflicted:
        assert world.committing.prove_newest(world.base) == lost
        assert len(world.said) == ATTEMPTS
        with pytest.raises(Unavailable, match="gave up"):
            world.committing.confirm()
    else:
        with pytest.raises(Unavailable):
            world.committing.prove_newest(world.base)


# One swap


def runs(world: World, verdict: Verdict | Exception) -> None:
    """What the protocol ends with."""

    def run(protocol: object) -> Verdict:
        assert world.branch.replacing is not None
        world.said.append(("run",))
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    world.driver.run = run  # type: ignore[method-assign, assignment]


def test_a_base_that_is_the_newest_known_is_swapped_without_a_question(world: World) -> None:
    runs(world, Failed("refused"))
    world.listen(world.branch, "base")
    assert world.committing._send_plan(world.base, world.plan()) == Failed("refused")
    assert world.said == [("run",)]
    assert world.branch.replacing is None
    runs(world, Unavailable("away"))
    with pytest.raises(Unavailable):
        world.committing._send_plan(world.base, world.plan())
    assert world.branch.replacing is None


def test_a_base_that_moved_is_a_lost_race_and_nothing_is_sent(world: World) -> None:
    later = world.later()
    world.branch._latest = later
    runs(world, Failed("refused"))
    assert world.committing._send_plan(world.base, world.plan()) == Conflicted(later)
    assert world.said == [("remove", UPLOADED)]


@pytest.mark.parametrize("shown", [False, True])
def test_a_base_whose_generation_is_not_known_is_asked_for(world: World, shown: bool) -> None:
    runs(world, Failed("refused"))
    base = RootAt(world.base.root, NOT_TOLD)
    if shown:
        world.listen(world.branch, "base", world.base)
        assert world.committing._send_plan(base, world.plan()) == Failed("refused")
        assert world.names() == ["base", "run"]
    else:

        def refuse() -> RootAt:
            raise Unavailable("not shown yet")

        world.branch.base = refuse  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            world.committing._send_plan(base, world.plan())
        assert world.said == [("remove", UPLOADED)]


def test_a_store_that_forgot_commits_is_believed_no_more(world: World) -> None:
    runs(world, Forgot("version 7 is gone"))
    world.committing._send_plan(world.base, world.plan())
    with pytest.raises(Corrupt, match="version 7 is gone"):
        world.branch.latest()


@pytest.mark.parametrize("other", [{"epoch": Epoch(9)}, {"database_id": b"o" * 16}], ids=["epoch", "database"])
def test_p2_the_history_of_another_life_proves_nothing(world: World, other: dict[str, Any]) -> None:
    """Whatever it has at that version, by that id: the commit may be in the history that it replaced."""
    world.db.execute("CREATE TABLE t (n)")
    world.base = world.branch.latest()
    head = world.base.root.head
    plan = Plan(world.base.root)
    assert any(commit.version == head.version for commit in plan.root.inline)
    unknown = Unknown("passed", passed=True)
    assert isinstance(world.committing._look_into_history(plan, unknown), Committed)
    world.listen(world.branch, "refresh", RootAt(replace(world.base.root, **other), world.base.generation))
    assert world.committing._look_into_history(plan, unknown) == unknown


# What a verdict means


@pytest.mark.parametrize(
    ("make_verdict", "error"),
    [
        (lambda world: Conflicted(world.base), Conflict),
        (lambda world: Unknown("no answer"), OutcomeUnknown),
        (lambda world: Failed("refused"), Unavailable),
        (lambda world: Gone(), Deleted),
        (lambda world: TooSoon(None, None), Unavailable),
        (lambda world: Forgot("gone"), Corrupt),
    ],
    ids=["conflicted", "unknown", "failed", "gone", "too soon", "forgot"],
)
def test_p3_each_verdict_has_its_error(
    world: World, make_verdict: Callable[[World], Any], error: type[VirkeError]
) -> None:
    verdict = make_verdict(world)
    assert type(error_of(verdict)) is error
    if isinstance(verdict, Conflicted):
        assert won_or_lost(verdict) is verdict
    else:
        with pytest.raises(error):
            won_or_lost(verdict)

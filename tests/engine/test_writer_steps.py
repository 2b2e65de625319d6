"""What the writer does with each end of an attempt, and with each verdict on what was run: step by step."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.test_committing_steps import WAIT_S
from tests.engine.test_committing_steps import World as Committing
from virke.core.commit import Committed, Conflicted, TooSoon
from virke.engine import writer as module
from virke.engine.committing import ATTEMPTS as SWAPS
from virke.engine.groups import GroupFailed
from virke.engine.programs import Program, Step
from virke.engine.queue import Pending
from virke.engine.room import NeedsRoom
from virke.engine.snapshot import SnapshotGone
from virke.engine.vfs import Dirty
from virke.errors import Conflict, OutcomeUnknown, SqlError, TimedOut, Unavailable
from virke.stores.receipt import Receipt

ATTEMPTS = 3


def pending(sql: str = "SELECT 1", *, foreign_keys: bool = False, receipt: Receipt | None = None) -> Pending:
    return Pending(Program((Step(sql),), 0, foreign_keys), receipt=receipt)


class World(Committing):
    """A writer whose attempts end as they are told."""

    def __init__(self) -> None:
        super().__init__()
        self.db.change_settings({"max_attempts": ATTEMPTS})
        self.base = self.branch.latest()
        self.writer = self.db._writer
        self.won = Committed(self.base.root, self.base)
        self.lost = Conflicted(self.base)
        self.too_soon = TooSoon(self.base, None)
        self.tried: list[int] = []
        self.said.clear()

    def tries(self, *ends: object) -> None:
        """How the attempts end; how many programs each had is noted."""
        left = list(ends)

        def attempt(claimant: object, group: list[Pending], *_: object, **__: object) -> object:
            self.tried.append(len(group))
            end = left.pop(0)
            if isinstance(end, BaseException):
                raise end
            return end

        self.writer._try_group = attempt  # type: ignore[method-assign, assignment]


@pytest.fixture
def world() -> World:
    return World()


# Attempts


def test_a_group_that_loses_every_race_is_a_conflict_after_its_attempts(world: World) -> None:
    world.tries(*[world.lost] * (ATTEMPTS + 1))
    with pytest.raises(Conflict, match=f"gave up after {ATTEMPTS} attempts"):
        world.writer.commit([pending()])
    assert len(world.tried) == world.writer.conflicts == ATTEMPTS
    assert not world.writer.groups


@pytest.mark.parametrize("gone", [False, True])
def test_the_last_attempt_counts(world: World, gone: bool) -> None:
    """One whose snapshot was collected is one, and begins on the newest root."""
    end = SnapshotGone("collected") if gone else world.lost
    world.tries(*[end] * (ATTEMPTS - 1), world.won)
    world.listen(world.branch, "refresh")
    world.writer.commit([pending(), pending()])
    assert len(world.tried) == ATTEMPTS
    assert world.writer.groups == {2: 1}
    assert world.names() == ["refresh"] * (ATTEMPTS - 1 if gone else 0)
    assert world.writer.conflicts == (0 if gone else ATTEMPTS - 1)


@pytest.mark.parametrize("what", ["too soon", "needs room"])
def test_what_is_no_lost_race_is_no_attempt(world: World, what: str) -> None:
    world.tries(*[world.too_soon if what == "too soon" else NeedsRoom("more")] * (ATTEMPTS + 2), world.won)
    world.listen(world.committing.pacing, "await_slot", True)
    world.listen(world.writer.connections, "enter_room")
    world.listen(world.writer.connections, "leave_room")
    world.writer.commit([pending()])
    assert len(world.tried) == ATTEMPTS + 3
    name = "await_slot" if what == "too soon" else "enter_room"
    assert world.names() == [name] * (ATTEMPTS + 2) + ["leave_room"]


def test_who_has_no_slot_in_time_is_told_that_nothing_was_changed(world: World) -> None:
    world.tries(world.too_soon)
    world.listen(world.committing.pacing, "await_slot", False)
    until_s = world.committing.gives_up_at()
    with pytest.raises(Unavailable, match="takes no more commits"):
        world.writer.commit([pending()])
    assert world.said == [("await_slot", until_s)]


@pytest.mark.parametrize("takes_along", [False, True])
def test_who_waits_for_a_slot_takes_along_what_fits(
    world: World, takes_along: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the mode of the first, and no more than a commit may have."""
    monkeypatch.setattr(module, "GROUP_MAX", 3)
    world.tries(world.too_soon, world.won)
    world.listen(world.committing.pacing, "await_slot", True)
    waiting = [pending(), pending(), pending(foreign_keys=True)]
    for one in waiting:
        world.writer.queue.enqueue(one)
    group = [pending()]
    world.writer.commit(group, takes_along=takes_along)
    assert group[1:] == (waiting[:2] if takes_along else [])
    other = [pending()]
    world.tries(world.too_soon, world.won)
    world.writer.commit(other, takes_along=True)
    assert waiting[2] not in other


@pytest.mark.parametrize("refused", [False, True])
def test_time_that_the_store_took_is_not_the_statements(world: World, refused: bool) -> None:
    """A statement that ran out of time after refusals may be sent again; one that did so by itself may not."""
    world.tries(*([world.too_soon] if refused else []), TimedOut("over"))
    world.listen(world.committing.pacing, "await_slot", True)
    with pytest.raises(Unavailable if refused else TimedOut):
        world.writer.commit([pending()])


@pytest.mark.parametrize("fails", [False, True])
def test_a_turn_and_room_are_given_back_however_it_ends(
    world: World, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Claimant:
        def release(self) -> None:
            world.said.append(("release",))

    world.listen(world.committing, "claim", Claimant())
    world.listen(world.writer.connections, "leave_room")
    world.tries(ZeroDivisionError() if fails else world.won)
    if fails:
        with pytest.raises(ZeroDivisionError):
            world.writer.commit([pending()])
    else:
        world.writer.commit([pending()])
    assert world.said == [("claim", True), ("leave_room",), ("release",)]


def test_those_that_can_not_be_together_are_each_a_commit(world: World) -> None:
    group = [pending(), pending(), pending()]
    world.tries(GroupFailed(), world.won, SqlError("no"), world.won)
    world.writer.commit(group)
    assert world.tried == [3, 1, 1]
    assert [(one.done, type(one.error)) for one in group] == [
        (True, type(None)),
        (False, SqlError),
        (False, Unavailable),
    ]


# Before it begins


@pytest.mark.parametrize("alone", [False, True])
def test_company_is_waited_for_where_it_may_come(world: World, alone: bool) -> None:
    """A request with an allowance is the only one; and its time ends with the setting."""
    if alone:
        object.__setattr__(world.db._volume.environment, "allowance", _Allowance())
    world.listen(world.writer.company, "wait")
    world.listen(world.writer, "_commit_in_slot")
    world.writer._commit_waiting()
    names = world.names()
    assert names == (["_commit_in_slot"] if alone else ["wait", "_commit_in_slot"])
    assert world.said[-1][1] == world.clock.monotonic_s + WAIT_S


class _Allowance:
    def wait_s(self, most_s: float) -> float:
        return most_s


def test_programs_are_taken_once_there_is_a_slot_and_what_that_took_is_learned(world: World) -> None:
    """Upkeep may have taken it while the lead was waited for: then the next is waited for."""
    slots = [False, True]
    world.listen(world.committing.pacing, "await_slot", True)
    world.committing.pacing.has_slot = lambda: slots.pop(0)  # type: ignore[method-assign]
    world.listen(world.writer.company, "wait")
    world.listen(world.writer.company, "committed")
    own = pending()
    own.on_done = lambda one: world.said.append(("told", one.done))
    world.writer.before_telling = lambda: world.said.append(("before", world.committing.lead.locked()))

    def commit_group(group: list[Pending]) -> None:
        world.said.append(("group", group == [own], world.driver.undisturbed._computes is not None))
        world.clock.pass_s(0.5)

    world.writer._commit_group = commit_group  # type: ignore[method-assign]
    world.writer.queue.enqueue(own)
    world.writer.queue.lead()
    assert [said[:3] for said in world.said if said[0] != "wait"] == [
        ("await_slot", world.clock.monotonic_s - 0.5 + WAIT_S),
        ("await_slot", world.clock.monotonic_s - 0.5 + WAIT_S),
        ("group", True, True),
        ("committed", 1, 0.5),
        ("before", False),
        ("told", True),
    ]


# What becomes of a group


@pytest.mark.parametrize("interrupted", [False, True])
def test_an_error_of_the_commit_is_each_ones_but_of_those_that_are_done(world: World, interrupted: bool) -> None:
    """What was answered stays answered; one that was interrupted may have been committed."""
    receipts = [Receipt() for _ in range(3)]
    done, failed, other = (pending(receipt=receipt) for receipt in receipts)
    own = SqlError("its own")

    def commit(group: list[Pending], *, takes_along: bool) -> None:
        assert takes_along
        done.done, failed.error = True, own
        for one in group:
            one.answers = []
        raise KeyboardInterrupt if interrupted else Unavailable("away")

    world.writer.commit = commit  # type: ignore[method-assign, assignment]
    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            world.writer._commit_group([done, failed, other])
    else:
        world.writer._commit_group([done, failed, other])
    assert (done.error, done.answers) == (None, [])
    assert type(other.error) is (OutcomeUnknown if interrupted else Unavailable)
    if interrupted:
        assert failed.error is own
    else:
        assert other.answers is None
    assert [receipt.shared_by for receipt in receipts] == [3, 3, 3]


class Claimant:
    """Says that it lost, and where to go on."""

    has_turn = False
    rest_ms = 0
    work_s = 0.0

    def __init__(self, world: World, *ready: Any) -> None:
        self._world = world
        self._ready = list(ready)

    def lost(self) -> None:
        self._world.said.append(("lost",))

    def ready(self) -> Any:
        return self._ready.pop(0)


UNAVAILABLE, WRONG = Unavailable("away"), SqlError("wrong")


@pytest.mark.parametrize(
    ("errors", "is_asked"),
    [([UNAVAILABLE, UNAVAILABLE], False), ([UNAVAILABLE, WRONG], True), ([WRONG], True), ([None], True)],
)
@pytest.mark.parametrize("wins", [False, True])
def test_p3_an_error_or_an_empty_answer_is_told_of_a_state_that_was_proved_to_be_the_newest(
    world: World, errors: list[Any], is_asked: bool, wins: bool
) -> None:
    """Unless all of them say that the store fails, which is true of every state."""
    group = [pending() for _ in errors]
    for one, error in zip(group, errors, strict=True):
        one.error = error
    proved = world.won if wins else world.lost
    world.listen(world.committing, "prove_newest", proved)
    connection: Any = object()
    found = world.writer._settle(connection, world.base, None, group, claimant=Claimant(world))  # type: ignore[arg-type]
    assert found == (proved if is_asked else Committed(world.base.root, world.base))
    assert world.names() == (["prove_newest"] + ([] if wins else ["lost"]) if is_asked else [])


@pytest.mark.parametrize("wins", [False, True])
def test_what_was_committed_is_what_the_connection_and_the_answers_show(world: World, wins: bool) -> None:
    later = world.later()
    verdict = Committed(later.root, later) if wins else world.lost
    world.listen(world.writer, "_swap", verdict)
    world.listen(world.db._volume, "snapshot_of", "its snapshot")

    class File:
        def accept(self, snapshot: object) -> None:
            world.said.append(("accept", snapshot))

    class Connection:
        file = File()

    dirty = Dirty({}, 4096, 1, 0)
    connection: Any = Connection()
    found = world.writer._settle(connection, world.base, dirty, [pending()], claimant=Claimant(world))  # type: ignore[arg-type]
    assert found == verdict
    assert world.said[1:] == ([("snapshot_of", later.root), ("accept", "its snapshot")] if wins else [])


# One swap, again while no page was changed since


@pytest.fixture
def swapping(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Commits get the verdicts in line; whether pages may go on on another root is as `moves` says."""
    monkeypatch.setattr(module, "change_of", lambda *_, **__: "the change")

    def commit_change(*_: object, base: Any, change: object, in_row: bool, may_be_too_soon: bool, **__: object) -> Any:
        world.said.append(("commit", base, in_row, may_be_too_soon))
        return world.verdicts.pop(0)

    monkeypatch.setattr(module, "commit_change", commit_change)
    return world


def swap(world: World, *ready: Any) -> object:
    claimant: Any = Claimant(world, *ready)
    return world.writer._swap(world.base, Dirty({}, 4096, 1, 0), claimant, ())


def test_a_swap_that_lost_to_the_same_pages_goes_on_on_the_root_that_won(swapping: World) -> None:
    later = swapping.later()
    swapping.verdicts = [Conflicted(later), Committed(later.root, later)]
    assert swap(swapping, swapping.base, later) == Committed(later.root, later)
    assert swapping.said == [("commit", swapping.base, True, True), ("lost",), ("commit", later, True, True)]


def test_a_swap_that_came_too_soon_is_not_a_lost_race(swapping: World) -> None:
    swapping.verdicts = [swapping.too_soon]
    assert swap(swapping, swapping.base) == swapping.too_soon
    assert ("lost",) not in swapping.said


@pytest.mark.parametrize("has_tried", [False, True])
def test_p5_pages_are_never_committed_over_others(
    swapping: World, has_tried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their race is counted as lost once, whether or not the swap was sent."""
    monkeypatch.setattr(module, "may_go_on", lambda base, now: False)
    later = swapping.later()
    swapping.verdicts = [Conflicted(later)]
    assert swap(swapping, *([swapping.base] if has_tried else []), later) == Conflicted(later)
    assert swapping.names().count("lost") == 1
    assert swapping.names().count("commit") == has_tried


def test_a_swap_that_loses_every_race_to_the_same_pages_gives_up(swapping: World) -> None:
    swapping.verdicts = [Conflicted(swapping.base)] * (SWAPS + 1)
    found = swap(swapping, *[swapping.base] * (SWAPS + 1))
    assert found == Conflicted(swapping.base)
    assert swapping.names().count("commit") == SWAPS

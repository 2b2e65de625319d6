"""What a process knows of a register's pace, step by step and without a database."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core.actors import empty, id_of
from tests.engine.world import Clock
from virke.core.change import change_without_pages, next_root
from virke.core.root import NOT_TOLD, Root, RootAt
from virke.engine.pacing import Pacing
from virke.errors import Unavailable


def after(root: Root) -> Root:
    """The next version, of another process."""
    return next_root(root, id_of("other", root), change_without_pages(root, 0))


FIRST = empty()
SECOND = after(FIRST)
THIRD = after(SECOND)


class Turning(Clock):
    """A clock that nobody sleeps by for no time: that would be for ever."""

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        super().sleep(seconds)


class World:
    """A register's pace, and how the root is shown that is asked for."""

    def __init__(self, look: Callable[[], Root] = lambda: FIRST) -> None:
        self.clock = Turning()
        self.looks = 0
        self.pacing = Pacing(self.clock.environment, self.shown)
        self.look = look

    def shown(self) -> RootAt:
        self.looks += 1
        return RootAt(self.look(), NOT_TOLD)

    def refuse(self, root: Root | None = FIRST) -> None:
        """A swap that was sent now came too soon, and this was read after it."""
        now_s = self.clock.monotonic_s
        self.pacing.seen(root, (now_s, now_s))
        self.pacing.refused(now_s, None)


def away() -> Root:
    raise Unavailable("the store is away")


def test_until_a_swap_is_refused_nothing_is_asked_and_nothing_waits() -> None:
    world = World()
    assert world.pacing.await_slot(0.0)
    assert world.pacing.has_slot()
    assert (world.looks, world.clock.slept, world.pacing.gap_s()) == (0, [], 0.0)


def test_a_slot_is_waited_for_as_long_as_the_caller_may_and_no_longer() -> None:
    """At its end there is no slot, and nothing more to wait for."""
    world = World()
    world.refuse()
    assert not world.pacing.has_slot()
    until_s = world.clock.monotonic_s + 0.01
    assert not world.pacing.await_slot(until_s)
    assert world.clock.monotonic_s == pytest.approx(until_s)
    assert world.pacing.await_slot(until_s + 60)
    assert world.pacing.has_slot()


def test_a_store_that_shows_its_root_again_is_not_silent_any_more() -> None:
    world = World()
    world.refuse(None)
    assert world.pacing.is_silent
    world.refuse(FIRST)
    assert not world.pacing.is_silent


def test_what_was_accepted_before_the_first_refusal_counts() -> None:
    """The next slot is a gap after that swap, not after the refusal."""
    world = World()
    sent_s = world.clock.monotonic_s
    world.pacing.begins(FIRST)
    world.pacing.accepted(SECOND, sent_s)
    world.clock.pass_s(0.5)
    world.refuse(SECOND)
    assert world.pacing._pace is not None
    assert world.pacing._pace.last_s == sent_s


def test_what_came_after_the_first_commit_of_this_process_is_known_to_be_new() -> None:
    """Also if it began several before one was refused: the first root counts."""
    world = World()
    world.pacing.begins(FIRST)
    world.pacing.begins(SECOND)
    world.clock.pass_s(1.0)
    now_s = world.clock.monotonic_s
    world.pacing.seen(SECOND, (now_s, now_s))
    assert world.pacing._pace is not None
    assert world.pacing._pace.last_s == pytest.approx(now_s, abs=0.1)


def test_what_can_not_be_planned_again_waits_for_its_slot_after_a_look() -> None:
    world = World(lambda: SECOND)
    world.pacing.begins(FIRST)
    world.pacing.await_refused(world.clock.monotonic_s, None)
    assert world.looks >= 1
    assert world.pacing._pace is not None
    assert world.pacing._pace.version == SECOND.head.version
    assert sum(world.clock.slept) > 0


def test_it_does_not_wait_for_a_store_that_shows_nothing() -> None:
    world = World(away)
    with pytest.raises(Unavailable):
        world.pacing.await_refused(world.clock.monotonic_s, None)
    assert (world.looks, world.clock.slept) == (1, [])


def test_it_gives_up_at_the_end_of_its_callers_time() -> None:
    world = World()
    world.pacing.until_s = world.clock.monotonic_s + 0.01
    with pytest.raises(Unavailable):
        world.pacing.await_refused(world.clock.monotonic_s, None)
    assert world.clock.monotonic_s == pytest.approx(world.pacing.until_s)

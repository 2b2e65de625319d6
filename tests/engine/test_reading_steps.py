"""What a read does step by step: nothing of the last request reaches the next, and what is shown is as new as it says (P4, P5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.engine.world import Clock, make
from virke.core.change import change_without_pages, next_root
from virke.core.ids import CommitId
from virke.core.root import RootAt
from virke.engine.terms import Cancel, Terms
from virke.errors import Unavailable

SQL = "SELECT v FROM t"
NEVER = float("-inf")


class World:
    """A database with a reader that knows a statement; something may happen while it is run."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.db = make(clock=self.clock)
        self.db.run_script("CREATE TABLE t (v); INSERT INTO t VALUES (1)")
        self.readers, self.freshness, self.branch = self.db._readers, self.db._freshness, self.db._branch
        for _ in range(3):
            self.db.query(SQL)
        [self.reader] = self.readers.idle
        assert SQL in self.reader.known

    def while_it_runs(self, meanwhile: Callable[[], object]) -> None:
        execute = self.reader.execute

        def run(*how: Any) -> Any:
            self.reader.execute = execute
            meanwhile()
            return execute(*how)

        self.reader.execute = run  # type: ignore[assignment]

    def later(self) -> RootAt:
        """What another process made of the root."""
        at = self.branch.latest()
        new = next_root(at.root, CommitId(b"other" + bytes(11)), change_without_pages(at.root, 0))
        return RootAt(new, at.generation)


@pytest.fixture
def world() -> World:
    return World()


# Readers


def test_nothing_of_the_last_request_reaches_a_statement_that_is_known(world: World) -> None:
    """Its time begins anew, and so does its clock."""
    world.clock.pass_s(0.001)
    world.reader.vfs.now_ms, world.reader.guard.deadline = 5, NEVER
    seen: list[tuple[int | None, float]] = []
    world.while_it_runs(lambda: seen.append((world.reader.vfs.now_ms, world.reader.guard.deadline)))
    world.db.query(SQL)
    assert seen == [(None, world.clock.monotonic_s + world.freshness.shown.timeout_s)]


def test_a_connection_that_was_lent_while_a_mode_changed_is_pinned_again(world: World) -> None:
    mode = not world.readers.foreign_keys
    world.while_it_runs(lambda: world.readers.use_foreign_keys(mode))
    assert world.db.query(SQL).rows == [(1,)]
    assert world.readers.idle == [world.reader]
    assert world.reader.connection.pinned is None
    assert world.db.query("PRAGMA foreign_keys").rows == [(int(mode),)]


def test_a_connection_that_comes_back_after_the_end_is_closed(world: World) -> None:
    world.while_it_runs(world.readers.close)
    assert world.db.query(SQL).rows == [(1,)]
    assert world.readers.idle == []
    world.readers.give_back(world.reader)
    assert world.readers.idle == []


def test_what_can_end_a_call_ends_no_later_one(world: World) -> None:
    """Its handle lets go of the connection, which may run another's statement by then."""
    cancel = Cancel()
    world.readers.query(SQL, (), Terms(cancel=cancel))
    assert cancel._running is None


@pytest.mark.parametrize(("look", "fresh", "shows"), [(b"a", True, True), (b"b", True, False), (b"a", False, False)])
def test_what_is_shown_without_a_question_is_confirmed_and_not_over(
    world: World, look: bytes, fresh: bool, shows: bool
) -> None:
    until_s = world.clock.monotonic_s + 1 if fresh else world.clock.monotonic_s
    world.freshness.shown = shown = replace(world.freshness.shown, is_watched=True, stamp=b"a", fresh_until=until_s)
    world.readers._look = lambda: look
    assert world.readers.shown_now() is (shown if shows else None)
    world.readers.is_closed = True
    assert world.readers.shown_now() is None


# What is shown


def test_p5_what_is_learned_while_a_state_is_taken_does_not_make_it_newer(world: World) -> None:
    """It confirms a newer one: this one is as old as what was known before."""
    newest = world.freshness._newest
    checked_at, stamp = world.branch.checked_at, world.branch.stamp

    def learn() -> Any:
        world.branch.checked_at, world.branch.stamp = checked_at + 100, b"newer"
        return newest()

    world.freshness._newest = learn  # type: ignore[method-assign]
    shown = world.freshness.show()
    assert shown.stamp == stamp
    assert shown.fresh_until == checked_at + shown.root.settings.max_staleness_ms / 1000


def test_p5_a_state_that_was_passed_while_it_was_taken_is_looked_at_again(world: World) -> None:
    newest = world.freshness._newest

    def pass_by() -> Any:
        found = newest()
        world.branch._latest = world.later()
        return found

    world.freshness._newest = pass_by  # type: ignore[method-assign]
    world.freshness.show()
    assert world.freshness.shown.fresh_until == NEVER


def test_p5_a_state_is_not_shown_again_only_if_it_would_be_the_same_for_as_long(world: World) -> None:
    world.freshness.show()
    assert world.freshness._shows_newest()
    checked_at, stamp = world.branch.checked_at, world.branch.stamp
    world.branch.stamp = b"newer"
    assert not world.freshness._shows_newest()
    world.branch.stamp, world.branch.checked_at = stamp, checked_at + 1
    assert not world.freshness._shows_newest()
    world.branch.checked_at = checked_at
    assert world.freshness._shows_newest()
    world.branch._latest = world.later()
    assert not world.freshness._shows_newest()


def test_a_store_that_answers_again_is_not_down_any_more(world: World) -> None:
    """While it is, what is held is new enough for so long and no longer."""
    refresh = world.branch.refresh

    def refuse() -> RootAt:
        raise Unavailable("away")

    world.clock.pass_s(60)
    age_s = world.clock.monotonic_s - world.branch.checked_at
    world.branch.refresh = refuse  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        world.freshness._refresh_root(age_s)
    world.freshness._refresh_root(age_s + 0.001)
    assert world.freshness.stale_ms == round(age_s * 1000)
    world.branch.refresh = refresh  # type: ignore[method-assign]
    world.freshness._refresh_root(0.0)
    world.clock.pass_s(60)
    assert world.freshness.stale_ms is None

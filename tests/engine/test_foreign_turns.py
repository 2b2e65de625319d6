"""A turn that expired and was followed by another's: its former holder leaves that one alone (P15)."""

from __future__ import annotations

import pytest

from tests.engine.test_taking_turns import now_of, with_turn
from tests.engine.world import Clock, make
from virke.core.turntaking import LOSSES, rest_after_ms
from virke.engine.database import Database
from virke.engine.taking_turns import Claimant
from virke.stores.base import Store
from virke.stores.memory import memory_store

FOREIGN = b"f" * 16


class World:
    """A write that lost its races and has a turn, and a store where another process may take the next."""

    def __init__(self) -> None:
        self.clock, self.store = Clock(), memory_store()
        store = Store(self.store.url, self.store.register, self.store.blobs)
        self.db: Database = make(store, clock=self.clock)
        self.db.execute("CREATE TABLE t (n)")
        self.claimant: Claimant = self.db._committing.claim(losses=LOSSES)
        self.claimant.ready()
        assert self.claimant.has_turn

    def another_takes_its_turn(self) -> None:
        with_turn(self.store, token=FOREIGN, written_ms=self.clock.now_ms)
        self.db._branch.refresh()

    def token(self) -> bytes | None:
        """Of the turn that the store has."""
        turn = now_of(self.store).turn
        return turn.token if turn else None


@pytest.fixture
def world() -> World:
    return World()


def test_a_foreign_turn_is_not_given_back(world: World) -> None:
    world.another_takes_its_turn()
    world.claimant.release()
    assert world.token() == FOREIGN
    assert not world.claimant.has_turn


def test_a_foreign_turn_is_not_renewed_and_not_taken_away(world: World) -> None:
    world.another_takes_its_turn()
    version = now_of(world.store).head.version
    world.claimant.renew()
    assert (world.token(), now_of(world.store).head.version) == (FOREIGN, version)
    assert not world.claimant.has_turn


def test_the_own_turn_is_renewed_and_given_back_with_a_rest(world: World) -> None:
    before = now_of(world.store)
    world.claimant.renew()
    after = now_of(world.store)
    assert before.turn is not None
    assert after.turn is not None
    assert (after.turn.token, after.turn.serial) == (before.turn.token, before.turn.serial + 1)
    world.claimant.release()
    rest_ms = rest_after_ms(world.db._committing.turns.swap_s)
    assert (world.token(), now_of(world.store).rest_ms, world.claimant.has_turn) == (None, rest_ms, False)
    version = now_of(world.store).head.version
    world.claimant.release()
    assert now_of(world.store).head.version == version


def test_a_turn_lasts_from_before_its_swap_was_sent(world: World) -> None:
    """Others count from when they saw it, which may be before its holder was answered."""
    swap = world.db._committing.turns.swap

    def slow(*how: object) -> object:
        try:
            return swap(*how)  # type: ignore[arg-type]
        finally:
            world.clock.pass_s(0.4)

    world.db._committing.turns.swap = slow  # type: ignore[assignment]
    began_s = world.clock.monotonic_s
    world.claimant.renew()
    assert world.claimant._taken_s == began_s


def test_the_lead_is_held_only_while_it_is_said_to_be(world: World) -> None:
    """A claimant that believed it still led would swap beside another thread of its process."""
    with world.db._committing.lead, world.claimant.leading():
        world.claimant.renew()
    locked: list[bool] = []
    swap = world.db._committing.turns.swap

    def watched(*how: object) -> object:
        locked.append(world.db._committing.lead.locked())
        return swap(*how)  # type: ignore[arg-type]

    world.db._committing.turns.swap = watched  # type: ignore[assignment]
    world.claimant.renew()
    world.claimant.release()
    assert locked == [True, True]

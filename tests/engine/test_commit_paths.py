"""Commits that are no program's (settings, imports) on a store that asks for patience: sent again or refused, never both, nothing left behind."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.engine.passing import PassingRegister
from tests.engine.world import Clock, make
from virke.core.effects import Generation, SwapOutcome, Tier
from virke.core.ids import PageNo
from virke.engine.database import Database
from virke.errors import RateLimited, Unavailable, VirkeError
from virke.stores.base import Register, Store
from virke.stores.memory import memory_store

pytestmark = pytest.mark.edge

SWAPS_MAX = 500
"""A loop that does not end is an error here."""


class Patient(PassingRegister):
    """A register that asks for patience, so many times."""

    def __init__(self, inner: Register) -> None:
        super().__init__(inner)
        self.refusals = 0
        self.swaps = 0

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        self.swaps += 1
        assert self.swaps < SWAPS_MAX
        if self.refusals:
            self.refusals -= 1
            raise RateLimited("one write a second, please", retry_after_s=1.0)
        return self._inner.swap(key, data, base)


class World:
    """A database with a table, in a store that can ask for patience, in virtual time."""

    def __init__(self) -> None:
        self.inner, self.clock = memory_store(), Clock()
        self.register = Patient(self.inner.register)
        store = Store(self.inner.url, self.register, self.inner.blobs)
        self.db: Database = make(store, clock=self.clock)
        self.db.execute("CREATE TABLE t (v)")

    def objects(self) -> set[str]:
        """The keys of all objects that are stored."""
        return {item.key for item in self.inner.blobs[Tier.KV].list("")}


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("refusals", [1, 3])
def test_settings_that_come_too_soon_wait_and_are_changed_once(world: World, refusals: int) -> None:
    before, world.register.swaps = world.db.version, 0
    world.register.refusals = refusals
    world.db.change_settings({"max_result_mb": 5})
    assert world.db.settings().max_result_mb == 5
    assert world.db.version == before + 1
    assert world.register.swaps == refusals + 1
    assert world.clock.slept, "it waited for its slot"


def test_settings_that_never_find_a_slot_are_refused_in_time(world: World) -> None:
    """As a write is: the store does not take it, so nothing was changed and the call may be repeated."""
    before, began_s = world.db.version, world.clock.monotonic_s
    limit_s = world.db.settings().query_timeout_ms / 1000
    world.register.refusals = SWAPS_MAX
    with pytest.raises(VirkeError) as caught:
        world.db.change_settings({"max_result_mb": 5})
    assert isinstance(caught.value, Unavailable)
    assert limit_s / 2 <= world.clock.monotonic_s - began_s <= 2 * limit_s
    assert (world.db.version, world.db.settings().max_result_mb) == (before, 64)
    world.register.refusals = world.register.swaps = 0
    world.clock.pass_s(5)
    world.db.change_settings({"max_result_mb": 5})
    assert world.db.version == before + 1


def many_pages(database: Database) -> None:
    """An import: its pages are uploaded before there is a slot for them."""
    base = database.snapshot()
    kept = [(number, base.page(PageNo(number))) for number in range(1, base.page_count + 1)]
    added = [(number, os.urandom(base.page_size)) for number in range(base.page_count + 1, 2500)]
    database.long_write().commit_pages(base, page_size=base.page_size, page_count=2499, pages=kept + added)


def large_row(database: Database) -> None:
    database.execute("INSERT INTO t VALUES (randomblob(3000000))")


@pytest.mark.parametrize("write", [large_row, many_pages])
def test_what_was_uploaded_for_a_slot_that_never_came_is_deleted(
    world: World, write: Callable[[Database], object]
) -> None:
    before, there = world.db.version, world.objects()
    world.register.refusals = SWAPS_MAX
    with pytest.raises(Unavailable):
        write(world.db)
    assert world.db.version == before
    assert world.objects() == there
    world.register.refusals = world.register.swaps = 0
    world.clock.pass_s(5)
    assert world.db.execute("INSERT INTO t VALUES (1)") == 1
    assert world.db.query("SELECT count(*) FROM t").rows == [(1,)]

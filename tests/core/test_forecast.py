"""What history costs and when it ends is what collection then does, to the byte (core/forecast)."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.model import small_limits
from tests.core.test_collect import HOUR_MS, Event, World, events, filled, happen, new_world
from virke.core.collect import DAY_MS
from virke.core.forecast import Amount, Forecast, forecast_history
from virke.core.ids import Epoch, Version
from virke.core.pins import Pin, PinKind


def foreseen(world: World) -> Forecast:
    """The forecast at this moment."""
    return forecast_history(world.model.root, world.marked(), world.model.now_ms)


def freed(world: World) -> Amount:
    """What collection deletes at this moment if nobody is in flight."""
    objects = dict(world.model.objects)
    while world.advance() | world.sweep():
        pass
    gone = objects.keys() - world.model.objects.keys()
    return Amount(len(gone), sum(len(objects[key]) for key in gone))


@settings(max_examples=60)
@given(events, st.sampled_from([0, 1, 2]))
@small_limits()
def test_what_is_foreseen_is_freed_and_not_before(history: list[Event], history_days: int) -> None:
    """Now; nothing more until the first moment; something at it; and all of it at the last one."""
    world = new_world(history_days)
    for event in history:
        happen(world, event)
    world.grace_ms, world.readers, world.seen = 0, [], None
    world.model.now_ms = max(world.model.now_ms, world.model.root.horizon.since_ms)  # a grace period begins when it did
    told = foreseen(world)
    assert freed(world) == told.now
    if not told.later.objects:
        assert (told.first_ms, told.last_ms) == (0, 0)
        return
    assert world.model.now_ms < told.first_ms <= told.last_ms
    world.model.now_ms = told.first_ms - 1
    assert freed(world) == Amount(0, 0)
    world.model.now_ms += 1
    first = freed(world)
    assert first.objects > 0
    world.model.now_ms = told.last_ms
    rest = freed(world)
    assert Amount(first.objects + rest.objects, first.stored_bytes + rest.stored_bytes) == told.later
    after = foreseen(world)
    assert (after.now, after.later) == (Amount(0, 0), Amount(0, 0))


@small_limits()
def test_what_a_pin_holds_is_not_foreseen_to_go() -> None:
    """A branch that reads an early version keeps it for as long as it lives."""
    world = filled(history_days=1)
    free = foreseen(world)
    root = world.model.root
    pin = Pin(PinKind.TAG, "then", Epoch(0), Version(root.head.version // 2), root.head.version)
    world.model.root = replace(root, pins=(pin,))
    held = foreseen(world)
    pinned = world.marked().pinned
    assert pinned
    assert held.now.objects + held.later.objects < free.now.objects + free.later.objects
    world.grace_ms, world.model.now_ms = 0, held.last_ms
    assert freed(world) == Amount(
        held.now.objects + held.later.objects, held.now.stored_bytes + held.later.stored_bytes
    )
    assert all(key in world.model.objects for ref in pinned for key in ref.keys)


@small_limits()
def test_growth_is_what_was_stored_divided_by_the_days_of_history() -> None:
    """Of a database that is younger than a day it is all that it stored; later on, what the days of history brought."""
    world = filled(history_days=2, commits=20)
    stored = sum(map(len, world.model.objects.values()))
    assert foreseen(world).bytes_per_day == stored
    world = filled(history_days=2, commits=36)
    stored, age_ms = sum(map(len, world.model.objects.values())), 36 * HOUR_MS
    assert foreseen(world).bytes_per_day == stored * DAY_MS // age_ms
    world.model.now_ms += 2 * DAY_MS + 1
    assert foreseen(world).bytes_per_day == 0, "nothing was written for as long as history goes back"

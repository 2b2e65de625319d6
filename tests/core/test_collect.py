"""Collection (P8): nothing that is needed goes, everything else does in the end, and a kill at any delete is harmless."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.model import Expected, Model, Pages, new_model, noise, page_bytes, small_limits
from virke.core.change import Change, change_without_pages, plan_change
from virke.core.collect import (
    DAY_MS,
    GRACE_MS,
    Marked,
    advanced_horizon,
    leftover_keys,
    mark_needed,
    may_sweep,
    plan_horizon,
    swept_horizon,
)
from virke.core.effects import Delete, Tier
from virke.core.ids import DatabaseId, PageNo, Version
from virke.core.merge import Merge, Run, merge_segments, plan_merge
from virke.core.root import Root
from virke.core.settings import Settings
from virke.errors import Corrupt

HOUR_MS = 3_600_000
KEPT_MAX = 6


@dataclass(slots=True)
class Reader:
    """Somebody who read the root at `since_ms` and reads on from it."""

    since_ms: int
    root: Root
    versions: dict[Version, Expected]


@dataclass(slots=True)
class World:
    """A model, its collection, and readers in flight."""

    model: Model
    grace_ms: int = GRACE_MS
    readers: list[Reader] = field(default_factory=list)
    seen: Marked | None = None
    """What an earlier walk found, whose swap has not been tried yet."""

    # What happens

    def write(self, changed: frozenset[int], page_count: int) -> None:
        """A commit."""
        model = self.model
        version, before = model.root.head.version, model.root.head.page_count
        numbers = {n for n in changed if n <= page_count} | set(range(before + 1, page_count + 1))
        pages: Pages = {PageNo(n): page_bytes(f"{n} of {version}", 512, n % 3 == 0) for n in numbers}
        model.write(pages, page_count=page_count)

    def read_root(self) -> None:
        """A reader starts."""
        self.readers.append(Reader(self.model.now_ms, self.model.root, dict(self.model.versions)))

    def marked(self) -> Marked:
        """The walk."""
        return self.model.drive(mark_needed(self.model.root))

    def look(self) -> None:
        """The walk of an advance that will have to be rebased."""
        self.seen = self.marked()

    def advance(self) -> bool:
        """The first observation, if it is due: from what was seen when somebody last looked, or from what is there now."""
        model, seen = self.model, self.seen
        self.seen = None
        horizon = advanced_horizon(model.root, seen or self.marked(), model.now_ms)
        if horizon is None:
            return False
        self.must_stay_readable(horizon.version)
        assert horizon.version >= model.root.horizon.version, "what was let go of does not come back"
        model.apply(plan_horizon(model.root, horizon, commit_id=model.commit_id(), time_ms=model.now_ms))
        model.moved()
        return True

    def sweep(self, *, deletes: int | None = None, backwards: bool = False) -> bool:
        """The second observation; killed after `deletes` keys if given."""
        model = self.model
        if not may_sweep(model.root, model.now_ms, self.grace_ms):
            return False
        for ref in self.marked().garbage:
            for key in reversed(ref.keys) if backwards else ref.keys:
                if deletes == 0:
                    return False
                model.perform(Delete(ref.tier, (key,)))
                deletes = deletes and deletes - 1
        horizon = swept_horizon(model.root.horizon)
        model.apply(plan_horizon(model.root, horizon, commit_id=model.commit_id(), time_ms=model.now_ms))
        model.moved()
        return True

    # What must be true

    def must_stay_readable(self, horizon: int) -> None:
        """A horizon never passes a version that was the newest one at some time within the window."""
        model, versions = self.model, sorted(self.model.versions)
        cutoff_ms = model.now_ms - model.root.settings.history_days * DAY_MS
        for version, later in pairwise(versions):
            if model.versions[later].head.time_ms > cutoff_ms:
                assert horizon <= version

    def check(self) -> None:
        """Every version of the history that is kept reads as it was written; readers in flight find all they need."""
        model = self.model
        kept = [version for version in model.versions if version >= model.root.horizon.version]
        for version in kept[:KEPT_MAX] + kept[-KEPT_MAX:]:
            assert model.read(version) == model.versions[version].pages, f"version {version}"
        self.readers = [reader for reader in self.readers if model.now_ms - reader.since_ms < self.grace_ms]
        for reader in self.readers[-KEPT_MAX:]:
            then = replace_root(model, reader.root, reader.versions)
            for version in (reader.root.horizon.version, reader.root.head.version):
                if version in reader.versions:
                    assert then.read(version) == reader.versions[version].pages, f"a reader of version {version}"

    def settle(self) -> None:
        """Let history end and collection come to its end."""
        model = self.model
        model.now_ms = max(model.now_ms, model.root.head.time_ms, model.root.horizon.since_ms) + DAY_MS
        model.touch(Settings().changed({"history_days": 0}))
        for _ in range(12):
            model.upkeep()
            self.advance()
            model.now_ms += self.grace_ms
            self.sweep()
        assert not self.marked().garbage


def replace_root(model: Model, root: Root, versions: dict[Version, Expected]) -> Model:
    """The same store, seen from an older root."""
    return Model(root, model.objects, versions)


def new_world(history_days: int) -> World:
    """A database that keeps so many days."""
    model = new_model()
    model.part_bytes = {Tier.KV: 3000, Tier.OBJECT: 9000}
    model.touch(Settings().changed({"history_days": history_days}))
    return World(model)


def named(world: World) -> set[str]:
    """The keys that the root names."""
    return {key for ref in world.model.root.segments for key in ref.keys}


def filled(history_days: int = 0, commits: int = 60) -> World:
    """A world with merged segments, and merges of merges."""
    world = new_world(history_days)
    for number in range(commits):
        world.model.now_ms += HOUR_MS
        world.write(frozenset({1, 2 + number % 7, 3 + number % 20}), 20 + number % 5)
        world.model.upkeep()
    assert any(ref.has_inputs for ref in world.model.root.segments)
    return world


# Random histories


@dataclass(frozen=True, slots=True)
class Write:
    """A commit."""

    changed: frozenset[int]
    page_count: int


@dataclass(frozen=True, slots=True)
class Pass:
    """Time passes; backwards too, as clocks do."""

    ms: int


@dataclass(frozen=True, slots=True)
class MergeRun:
    """A merge of any run, of one segment too: promotion does that."""

    start: int
    length: int


Event = Write | Pass | MergeRun | str
writes = st.builds(Write, st.frozensets(st.integers(1, 30), max_size=8), st.integers(1, 30))
passes = st.builds(Pass, st.sampled_from([1, 60_000, GRACE_MS, HOUR_MS, 9 * HOUR_MS, DAY_MS, -HOUR_MS]))
rest = st.sampled_from(["upkeep", "look", "advance", "sweep", "read"])
runs = st.builds(MergeRun, st.integers(0, 4), st.integers(1, 4))
events = st.lists(st.one_of(writes, writes, writes, passes, rest, rest, runs), min_size=20, max_size=80)


def happen(world: World, event: Event) -> None:
    """Let one event happen."""
    match event:
        case Write(changed, page_count):
            world.write(changed, page_count)
        case Pass(ms):
            world.model.now_ms += ms
            if ms < 0:
                world.readers.clear()  # nobody knows how long they have been reading
        case MergeRun(start, length) if start < len(world.model.root.segments):
            world.model.merge(Run(start, min(start + length, len(world.model.root.segments))))
        case "upkeep":
            world.model.upkeep()
        case "look":
            world.look()
        case "advance":
            world.advance()
        case "sweep" if world.sweep():
            world.check()
        case "read":
            world.read_root()


@settings(max_examples=150)
@given(events, st.sampled_from([0, 1, 2]))
@small_limits()
def test_nothing_needed_is_deleted_and_everything_else_is(history: list[Event], history_days: int) -> None:
    """P8, and no leak: in the end only what the root names is left."""
    world = new_world(history_days)
    for event in history:
        happen(world, event)
    world.model.upkeep()
    world.check()
    world.settle()
    world.check()
    assert set(world.model.objects) == named(world)


@small_limits()
def test_live_bytes_stay_within_twice_the_database() -> None:
    """Beyond the history window, merged segments hold little that is not the newest."""
    world = filled(commits=400)
    world.settle()
    model = world.model
    newest = sum(len(data) for data in model.versions[model.root.head.version].pages.values())
    assert sum(map(len, model.objects.values())) <= 2 * newest


# Kills


@small_limits()
@pytest.mark.parametrize("backwards", [False, True])
def test_a_sweep_killed_at_any_delete_is_repeated_safely(backwards: bool) -> None:
    """Garbage goes from the innermost outwards, so what a killed sweep left is found again; parts in any order."""
    world = filled()
    assert world.advance()
    world.model.now_ms += GRACE_MS
    keys = [key for ref in world.marked().garbage for key in ref.keys]
    print(f"{len(keys)} keys to delete")
    assert len(keys) > 20
    done = copy.deepcopy(world)
    assert done.sweep()
    for killed_after in range(len(keys)):
        killed = copy.deepcopy(world)
        assert not killed.sweep(deletes=killed_after, backwards=backwards)
        assert killed.sweep(backwards=not backwards)
        killed.check()
        assert killed.model.objects == done.model.objects, f"killed after {killed_after} deletes"


@small_limits()
def test_a_sweep_waits_for_the_grace_period() -> None:
    """Rule 2: not a millisecond less after the first observation, and not without one."""
    world = filled()
    assert not world.sweep()
    assert world.advance()
    world.model.now_ms += GRACE_MS - 1
    assert not world.sweep()
    assert not world.advance(), "one observation at a time"
    world.model.now_ms += 1
    assert world.sweep()


@small_limits()
def test_history_is_kept_for_as_long_as_it_should_be() -> None:
    """Within the window not a single object goes; one millisecond after it, something does."""
    world = filled(history_days=30)
    before = set(world.model.objects)
    assert not world.advance()
    oldest = min(ref.hi_time_ms for ref in world.marked().needed if ref.has_inputs)
    world.model.now_ms = oldest + 30 * DAY_MS - 1
    assert not world.advance()
    world.model.now_ms += 1
    assert world.advance()
    world.model.now_ms += GRACE_MS
    assert world.sweep()
    assert set(world.model.objects) < before
    world.check()


# Uploads that nobody names


@small_limits()
def test_a_killed_upload_is_collected_once_its_writer_can_not_come_back() -> None:
    """Rule 3: above the watermark it may be in flight; at or below it nobody can name it any more."""
    world = filled()
    model = world.model
    plan = plan_change(model.root, model.commit_id(), large_change(model))
    for put in plan.puts:
        model.perform(put)
    orphans = {put.key for put in plan.puts}
    assert orphans
    assert not orphans & set(found(world)), "in flight"
    assert world.advance()
    assert orphans <= set(found(world))
    assert plan.root.head.version <= model.root.head.version, "its swap can't apply any more"
    model.now_ms += GRACE_MS
    assert world.sweep()
    for key in found(world):
        model.perform(Delete(Tier.KV, (key,)))
    world.check()
    assert not orphans & set(model.objects)


@small_limits()
def test_a_merge_that_stalled_over_a_collection_is_given_up() -> None:
    """Rule 3 for upkeep: its upload may be garbage already, so it is not rebased over a watermark."""
    world = filled()
    model = world.model
    spill(world)
    run = Run(0, len(model.root.segments))
    job = Merge(model.root, run, tuple(map(model.index, model.root.segments)), model.commit_id(), Tier.KV)
    ref = model.drive(merge_segments(job, model.part_bytes, whole=model.whole))
    world.write(frozenset({1}), 20)
    assert plan_merge(model.root, job, ref, commit_id=model.commit_id(), time_ms=model.now_ms)
    assert not set(ref.keys) & set(found(world))
    assert world.advance()
    assert set(ref.keys) <= set(found(world))
    assert plan_merge(model.root, job, ref, commit_id=model.commit_id(), time_ms=model.now_ms) is None


@small_limits()
def test_leftovers_are_only_looked_for_in_the_roots_own_branch() -> None:
    """What lies under another branch or database is somebody else's to judge, whatever a listing shows."""
    world = filled()
    assert world.advance()
    mine = world.model.root
    another = DatabaseId(noise("another", 16))
    for other in (replace(mine, branch="dev"), replace(mine, branch="main/x"), replace(mine, database_id=another)):
        keys = {key.replace(prefix(mine), prefix(other)) for key in world.model.objects}
        assert leftover_keys(mine, world.marked(), keys) == []


def prefix(root: Root) -> str:
    """Where a branch's segments lie."""
    return f"seg/{root.database_id.hex()}/{root.branch}/"


@small_limits()
def test_a_needed_segment_that_is_missing_is_corrupt() -> None:
    """P7: the walk does not take a hole for garbage."""
    world = filled(history_days=30)
    merged = next(ref for ref in world.model.root.segments if ref.has_inputs)
    del world.model.objects[merged.index_key]
    with pytest.raises(Corrupt, match="is missing"):
        world.marked()


def found(world: World) -> list[str]:
    """The leftovers that a listing of everything shows."""
    return leftover_keys(world.model.root, world.marked(), list(world.model.objects))


def large_change(model: Model) -> Change:
    """A change that needs a segment of its own."""
    change = change_without_pages(model.root, model.now_ms)
    pages = {PageNo(n): noise(f"large {n}", 512) for n in range(1, 12)}
    return replace(change, pages=pages, part_bytes=model.part_bytes, whole=model.whole)


def spill(world: World) -> None:
    """Commit something large, so that there is a run to merge."""
    for number in (1, 2):
        world.write(frozenset(range(1, 20)), 24 + number)


@small_limits()
def test_a_merge_after_the_first_observation_starts_a_grace_period_of_its_own() -> None:
    """Rule 1: its inputs are held until a later watermark, though the horizon has passed them; readers are on them."""
    world = filled()
    assert world.advance()
    world.model.now_ms += GRACE_MS - 1
    world.read_root()
    world.model.merge(Run(0, 1), Tier.OBJECT)
    world.model.now_ms += 1
    assert world.sweep()
    world.check()
    assert len(world.readers) == 1


@small_limits()
def test_the_horizon_never_goes_back() -> None:
    """Versions below it were deleted: a later merge of old segments, which have their own inputs, does not bring them back."""
    world = filled()
    spill(world)
    world.model.merge(Run(1, len(world.model.root.segments)))
    world.model.now_ms += 30 * DAY_MS
    assert world.advance()
    world.model.now_ms += GRACE_MS
    assert world.sweep()
    before = world.model.root.horizon.version
    world.model.merge(Run(0, 1), Tier.OBJECT)
    assert world.model.root.segments[0].hi < before
    world.model.now_ms += 30 * DAY_MS
    assert world.advance()
    assert world.model.root.horizon.version == before
    world.check()

"""Branches in every small world: P8 and no leak, whatever is created, deleted, merged and collected at once.

And the wrong variants of decision 0013 that the explorer must reject.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from functools import partial
from typing import Final

import pytest

from tests.core.actors import TIME_MS, real_plan_merge
from tests.core.branch_actors import NAME, Actor, beginning, collector, creator, deleter, janitor, merger, writer
from tests.core.branch_explorer import Explorer, Found, Scenario, Violation, decoded
from virke.core import branching, collect, commit
from virke.core.branching import Hold, World, read_root
from virke.core.collect import are_inputs_swept, pins_through
from virke.core.commit import Plan
from virke.core.effects import Absent, Effect, Outcome, Record, RemoveRoot, Swapped, SwapRoot
from virke.core.ids import CommitId, Epoch, Version
from virke.core.inherit import inherited_root
from virke.core.merge import Merge
from virke.core.pins import Pin, PinKind, root_key
from virke.core.placing import read_record
from virke.core.root import Root, encode_root
from virke.core.segment import Ref

pytestmark = pytest.mark.once


def explored(scenario: Scenario) -> Found:
    """Search it from `main` with two segments."""
    registers, contents = beginning()
    return Explorer(scenario, registers, contents, partial(janitor, lists=scenario.lists)).run()


BORN = (creator("main", "dev"), writer("dev", "w0"))
COMPACTED = (merger("main", "m0"), collector("main", "gc0"))
FAST = {
    "merge and collect": Scenario((), (creator("main", "dev"), merger("main"), collector("main"))),
    "as of, write and merge": Scenario(
        (writer("main", "w0"),), (creator("main", "dev", version=3), merger("main"), collector("main"))
    ),
    "old branch, merge, collect twice": Scenario(
        (creator("main", "dev"),), (merger("main"), collector("main"), collector("main", "gc2"))
    ),
    "branch works": Scenario(BORN, (merger("dev"), collector("dev"), collector("main"))),
    "creation killed or late": Scenario((), (creator("main", "dev"), collector("main")), kills=1, late=True),
    "delete": Scenario((*BORN, *COMPACTED), (deleter("dev"), collector("main"), writer("dev")), kills=1),
    "delete against child": Scenario(BORN, (deleter("dev"), creator("dev", "kid"), collector("main")), kills=1),
    "child of branch": Scenario(
        (*BORN, creator("dev", "kid"), writer("kid")), (merger("dev"), collector("dev"), collector("main"))
    ),
    "child lives, branch deleted": Scenario(
        (*BORN, creator("dev", "kid")), (deleter("dev"), merger("main"), collector("main")), kills=1
    ),
    "delete and create again": Scenario(BORN, (deleter("dev"), creator("main", "dev", "c2")), kills=1),
    "a late writer of a dead branch": Scenario(BORN, (deleter("dev"), creator("main", "dev", "c2"), writer("dev"))),
    "delete, walk alone": Scenario((*BORN, *COMPACTED), (deleter("dev"), collector("main", lists=False)), lists=False),
    "two creators": Scenario((), (creator("main", "dev"), creator("main", "dev", "c2"))),
    "answers are lost": Scenario((), (creator("main", "dev"), collector("main")), lost=1, kills=1, late=True),
    "answers of a deletion are lost": Scenario(BORN, (deleter("dev"), collector("main")), lost=1, kills=1),
    "restored and deleted": Scenario(
        (creator("main", "dev"), writer("dev", "w0", epochs=1)), (deleter("dev"), creator("main", "dev", "c2")), kills=1
    ),
    "stale reads of a creation": Scenario(
        BORN[:1], (creator("main", "kid", eventual=True), collector("main", eventual=True)), stale=1
    ),
    "stale reads of a deletion": Scenario(
        BORN, (deleter("dev", eventual=True), collector("main", eventual=True)), stale=1, kills=1
    ),
}
SLOW = {
    "creation killed or late, and a merge": Scenario(
        (), (creator("main", "dev"), collector("main"), merger("main")), kills=1, late=True
    ),
    "two creators and a collector": Scenario(
        (), (creator("main", "dev"), creator("main", "dev", "c2"), collector("main"))
    ),
    "delete and create again, collected": Scenario(
        BORN, (deleter("dev"), creator("main", "dev", "c2"), collector("main"))
    ),
    "branch works": Scenario(BORN, (merger("dev"), collector("dev"), merger("main"), collector("main")), kills=1),
    "creation killed twice or late, answers lost": Scenario(
        (), (creator("main", "dev"), collector("main"), merger("main")), kills=2, late=True, lost=1
    ),
    "child of branch": Scenario(
        (*BORN, creator("dev", "kid"), writer("kid")),
        (merger("main"), collector("main"), merger("dev"), collector("dev")),
        kills=1,
    ),
    "delete and create again": Scenario(
        BORN, (deleter("dev"), creator("main", "dev", "c2"), writer("dev"), collector("main")), kills=1
    ),
    "delete and create again, stale reads": Scenario(
        BORN, (deleter("dev", eventual=True), creator("main", "dev", "c2", eventual=True)), stale=1
    ),
    "create and collect, stale reads": Scenario(
        (merger("main", "m0"),),
        (creator("main", "dev", eventual=True), collector("main", eventual=True)),
        stale=1,
        kills=1,
    ),
}
KILLED_AGAIN = Scenario(
    (*BORN, deleter("dev"), collector("main", "gc0")), (creator("main", "dev", "c2"), collector("main")), kills=1
)
OLD = (merger("main", "m0"), collector("main", "gc0"), writer("main", "w1"))
BELOW = Scenario(
    (*OLD, merger("main", "m1"), collector("main", "gc1")), (creator("main", "dev", version=3), writer("dev"))
)


@pytest.fixture(autouse=True)
def _decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (branching, commit):
        monkeypatch.setattr(module, "decode_record", decoded)


@pytest.mark.parametrize("name", FAST)
def test_branches_keep_what_they_need_and_leave_nothing_in_every_small_world(name: str) -> None:
    """P8: nothing that a living branch needs goes; what nothing needs goes in the end, and so do pins."""
    found = explored(FAST[name])
    print(f"{name}: {found.states:,} states, {found.ends:,} ends")
    assert found.ends > 1


LARGEST: Final = "delete and create again"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.prove if name == LARGEST else pytest.mark.slow) for name in SLOW]
)
def test_branches_keep_what_they_need_and_leave_nothing_in_every_larger_world(name: str) -> None:
    """The same with more actors, kills, lost answers and stale reads."""
    found = explored(SLOW[name])
    print(f"{name}: {found.states:,} states, {found.ends:,} ends")
    assert found.ends > 1


# Wrong variants: the explorer must reject each one


def pin_of_a_version_only(pin: Pin, ref: Ref) -> bool:
    """A merge that came after the pin passes for what the pin holds."""
    return ref.has_inputs and ref.hi > pin.version


def merge_over_a_pin(root: Root, job: Merge, ref: Ref, commit_id: CommitId) -> Plan | None:
    """A merge that is older than a pin is rebased over it."""
    made = real_plan_merge(replace(root, pins=()), job, ref, commit_id)
    return made and replace(made, root=replace(made.root, pins=root.pins))


def dropped_after_the_grace(world: World, source: Root, pin: Pin, *, may_fence: bool = True) -> Settling:
    """A pin whose branch did not come is dropped, and nothing keeps the branch from coming later."""
    seen = yield from read_record(root_key(world.name, pin.name))
    return Hold.DEAD if isinstance(seen, Absent) else branching._hold_of_pin(source, pin, seen, world.name)


def root_first(world: World, source: str, branch: str, version: int | None) -> Actor:
    """The branch's root is there before anything holds what it reads."""
    base = yield from read_root(world, source)
    pin = branching._new_pin(base.root, branch, Epoch(1), version)
    root, _ = yield from inherited_root(base.root, pin, world.new_id(), TIME_MS)
    if isinstance((yield SwapRoot(encode_root(root), None, root_key(NAME, branch))), Swapped):
        yield from branching._commit_pins(world, base, branching.plan_pin(base.root, pin, world.new_id(), TIME_MS))


def pin_first(world: World, branch: str) -> Actor:
    """What holds the branch's segments goes while it lives."""
    root = (yield from read_root(world, branch)).root
    yield from branching._unpin_child(world, root)
    yield from branching.delete_branch(world, branch)


def register_removed(world: World, branch: str) -> Actor:
    """The register is absent afterwards, as if there never had been a branch."""
    base = yield from read_root(world, branch)
    if base.root.pins:
        return
    yield RemoveRoot(root_key(NAME, branch), base.generation)
    yield from branching.delete_dead_objects(world, base.root.database_id, branch, base.root.epoch)
    yield from branching._unpin_child(world, base.root)


def children_are_ignored(world: World, root: Root, what: str, kinds: Iterable[PinKind]) -> Settling:
    """A branch with children is deleted."""
    yield from ()
    return Hold.DEAD


def not_below_swept(root: Root) -> Generator[Effect, Outcome, tuple[Ref, ...]]:
    """What was swept is not looked below, not even for pins."""
    live = tuple(ref for ref in root.segments if not are_inputs_swept(ref, root.horizon))
    yield from ()
    return tuple((yield from real_mark_pinned(replace(root, segments=live))))


def without_the_way(root: Root) -> Generator[Effect, Outcome, tuple[Ref, ...]]:
    """The merges whose indexes name what a pin holds are let go themselves."""
    found = yield from real_mark_pinned(root)
    return tuple(ref for ref in found if not any(pins_through(pin, ref) for pin in root.pins))


def swept_as_before(root: Root, pin: Pin, commit_id: CommitId, time_ms: int) -> Plan | None:
    """What the pin held is not looked for once it is dropped."""
    made = real_plan_unpin(root, pin, commit_id, time_ms)
    return made and replace(made, root=replace(made.root, horizon=root.horizon))


def old_tombstones_keep(source: Root, pin: Pin, seen: Record | Absent, name: str) -> Hold:
    """An older life's tombstone is left as it is, and the pin with it."""
    hold = real_hold(source, pin, seen, name)
    return Hold.LIVES if hold is Hold.OPEN and isinstance(seen, Record) else hold


def below_the_horizon(source: Root, branch: str, birth_epoch: Epoch, version: int | None) -> Pin:
    """A version that history does not reach any more is pinned."""
    return Pin(PinKind.BRANCH, branch, birth_epoch, Version(version or 1), Version(source.head.version + 1))


def any_epoch(rest: str) -> int:
    """Keys of a branch are told by its name alone."""
    return 0


def everything_is_own(root: Root, ref: Ref) -> bool:
    """A branch deletes what it took over as well."""
    return True


Settling = Generator[Effect, Outcome, Hold]
real_mark_pinned, real_plan_unpin, real_hold = collect.mark_pinned, branching.plan_unpin, branching._hold_of_pin
TWICE = Scenario((creator("main", "dev"),), (merger("main"), collector("main"), collector("main", "gc2")))
AGAIN = (writer("main", "w1"), merger("main", "m1"), collector("main", "gc1"))
PATCHED = {
    "a pin of a version only": (collect, "pins_through", pin_of_a_version_only, TWICE),
    "a pin dropped after the grace": (
        branching,
        "settle_pin",
        dropped_after_the_grace,
        SLOW["creation killed or late, and a merge"],
    ),
    "children are ignored": (branching, "refuse_if_pinned", children_are_ignored, FAST["child lives, branch deleted"]),
    "not below swept merges": (collect, "mark_pinned", not_below_swept, TWICE),
    "without the merges on the way": (
        collect,
        "mark_pinned",
        without_the_way,
        Scenario((creator("main", "dev"), *COMPACTED), (*AGAIN, collector("main"))),
    ),
    "swept as before": (branching, "plan_unpin", swept_as_before, FAST["delete, walk alone"]),
    "old tombstones are no fence": (branching, "_hold_of_pin", old_tombstones_keep, KILLED_AGAIN),
    "a pin below the horizon": (branching, "_new_pin", below_the_horizon, BELOW),
    "keys by name only": (branching, "epoch_of", any_epoch, FAST["a late writer of a dead branch"]),
    "others' segments are deleted": (collect, "is_own", everything_is_own, FAST["branch works"]),
}
ACTORS = {
    "a merge rebased over a pin": Scenario(
        (), (creator("main", "dev"), merger("main", plan=merge_over_a_pin), collector("main"))
    ),
    "the branch's root first": Scenario(
        (), (creator("main", "dev", create=root_first), merger("main"), collector("main"))
    ),
    "the pin first": Scenario((*BORN, *COMPACTED), (deleter("dev", pin_first), collector("main"))),
    "the register removed": Scenario(BORN, (deleter("dev", register_removed), creator("dev", "kid"))),
}


@pytest.mark.parametrize("name", PATCHED)
def test_a_wrong_rule_of_branches_is_rejected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each plausible shortcut loses what a branch needs, or leaves something for ever."""
    module, function, wrong, scenario = PATCHED[name]
    monkeypatch.setattr(module, function, wrong)
    with pytest.raises(Violation, match=r"P8|P7|leak"):
        explored(scenario)


@pytest.mark.parametrize("name", ACTORS)
def test_a_wrong_order_of_steps_is_rejected(name: str) -> None:
    """The same for wrong actors."""
    with pytest.raises(Violation, match=r"P8|P7|leak"):
        explored(ACTORS[name])

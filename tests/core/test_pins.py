"""What a pin holds (P8): a tagged version stays readable, page by page, whatever is merged and collected after it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.actors import id_of
from tests.core.model import Expected, Model, small_limits
from tests.core.test_collect import World, new_world
from virke.core.branching import plan_pin, plan_unpin
from virke.core.collect import pins_through
from virke.core.ids import Epoch, Version
from virke.core.merge import Merge, Run, choose, choose_in, plan_merge
from virke.core.pins import Pin, PinKind
from virke.core.segment import Index, Ref


def filled(commits: int) -> World:
    """A world with so many commits, not merged."""
    world = new_world(0)
    for number in range(commits):
        world.write(frozenset({1, 2 + number % 7, 3 + number % 20}), 20 + number % 5)
    return world


class Tagged(Model):
    """A model that is read through a pin."""

    pin: Pin

    def segments_at(self, version: Version) -> tuple[tuple[Ref, Index], ...]:
        """As docs/format.md has it for tags."""
        found: list[tuple[Ref, Index]] = []
        waiting = list(reversed(self.root.segments))
        while waiting:
            ref = waiting.pop()
            if ref.lo > version:
                continue
            index = self.index(ref)
            if pins_through(self.pin, ref):
                waiting.extend(reversed(index.inputs))
            else:
                found.append((ref, index))
        return tuple(found)


def tagged(world: World, name: str) -> tuple[Pin, Expected]:
    """Tag the newest version."""
    model = world.model
    head = model.root.head
    pin = Pin(PinKind.TAG, name, Epoch(0), head.version, Version(head.version + 1))
    expected = model.versions[head.version]
    model.apply(plan_pin(model.root, pin, model.commit_id(), model.now_ms))
    model.moved()
    return pin, expected


def check(world: World, pin: Pin, expected: Expected) -> None:
    """The tagged version reads as it was."""
    model = world.model
    reader = Tagged(model.root, model.objects, {pin.version: expected})
    reader.pin = pin
    assert reader.read(pin.version) == expected.pages


@given(st.integers(1, 30), st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_a_tagged_version_stays_readable_whatever_is_merged_and_collected(first: int, later: list[int]) -> None:
    """Tags one upon the other, merges across all of them, and history that ends after each; then they are dropped."""
    with small_limits():
        world = filled(first)
        tags = []
        for number, commits in enumerate(later):
            tags.append(tagged(world, f"t{number}"))
            for at in range(commits):
                world.write(frozenset({at + 1, at + 3, 2}), 12 + at)
            world.settle()
            for pin, expected in tags:
                check(world, pin, expected)
        model = world.model
        for pin, _ in tags:
            plan = plan_unpin(model.root, pin, model.commit_id(), model.now_ms)
            assert plan is not None
            model.apply(plan)
            model.moved()
        world.settle()
        needed = {key for ref in model.root.segments for key in ref.keys}
        assert set(model.objects) == needed


def test_a_merge_that_was_begun_before_a_pin_is_given_up() -> None:
    """It would pass for what the pin holds, and its inputs would go."""
    with small_limits():
        world = filled(8)
        model = world.model
        root = model.root
        run = Run(0, len(root.segments))
        job = Merge(root, run, tuple(model.index(ref) for ref in root.segments), id_of("merge"), root.tier)
        ref = root.segments[0]
        assert plan_merge(root, job, ref, commit_id=id_of("plan"), time_ms=0) is not None
        tagged(world, "t")
        assert plan_merge(model.root, job, ref, commit_id=id_of("plan"), time_ms=0) is None


def test_pinned_segments_are_merged_only_where_too_many_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge of them would be kept beside them; without end, reads would suffer."""
    with small_limits():
        world = filled(30)
        tagged(world, "t")
        root = world.model.root
        assert choose(root.segments) is not None
        assert choose_in(root) is None
        assert choose_in(replace(root, pins=())) == choose(root.segments)
        monkeypatch.setattr("virke.core.merge.PINNED_MAX", len(root.segments) - 1)
        assert choose_in(root) == choose(root.segments)

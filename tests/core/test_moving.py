"""A segment moved to another tier has the same pages in fewer parts, whoever moves it; what can't be moved is not named."""

from __future__ import annotations

from collections.abc import Generator
from itertools import pairwise
from unittest import mock

import pytest

from tests.core.model import Model, small_limits
from tests.core.test_chain import SMALL, Counted, check, drive, filled, merge_all, name
from virke.core import chain as chains
from virke.core import chain_step, moving
from virke.core.blocks import Place
from virke.core.chain import Chain
from virke.core.effects import BackOff, Effect, Outcome, OutOfTime, PutAll, PutNew, Refused, Tier
from virke.core.merge import Run
from virke.core.moving import copy_parts
from virke.core.segment import Ref
from virke.errors import Corrupt, Unavailable


def moved_segment(model: Model, chain: Chain, most: int = 2) -> tuple[Ref, list[Counted]]:
    """The copy, and what each step asked for."""
    [source] = chain.inputs
    steps: list[Counted] = []
    done, ref = 0, None
    while ref is None:
        steps.append(Counted())
        moved = drive(model, copy_parts(chain, model.index(source), done, most), steps[-1])
        done, ref = moved.parts, moved.ref
    return ref, steps


@pytest.mark.parametrize("joined", [1, 3, 100])
def test_a_segment_is_moved_as_it_is(joined: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes whoever does it, part by part; what it replaces is an input, so that collection knows it."""
    monkeypatch.setattr(moving, "JOINED_MAX", joined)
    with small_limits():
        model = filled(3, 9, page_count=60)
        model.part_bytes = {Tier.KV: 4000, Tier.OBJECT: 4000}
        model.merge(Run(0, len(model.root.segments)))
        [source] = model.root.segments[:1]
        assert source.parts > 3
        chain = Chain(model.root, Run(0, 1), Tier.OBJECT, copies=True)
        ref, steps = moved_segment(model, chain)
        assert ref.parts == -(-source.parts // joined)
        assert all(step.parts <= max(2, joined) for step in steps)
        assert len(steps) == (ref.parts if joined > 1 else (source.parts + 1) // 2)
        before = dict(model.objects)
        for first in range(ref.parts):
            drive(model, copy_parts(chain, model.index(source), first, 2))
        assert model.objects == before
        assert sum(len(model.objects[key]) for key in ref.keys) == ref.stored_bytes
        assert name(model, chain, ref)
        assert model.root.segments[0].tier is Tier.OBJECT
        assert model.index(ref).inputs == (source,)
        check(model)


@pytest.mark.parametrize("apart", [False, True])
def test_of_a_merge_in_steps_frames_and_their_entries_are_moved(apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the indexes and places of its links; entries behind the frames of a part stay behind them."""
    if apart:
        monkeypatch.setattr(chain_step, "_INSIDE_BYTES", 0)
    with small_limits():
        model = filled(3, 9, page_count=60)
        chain = Chain(model.root, Run(0, len(model.root.segments)), Tier.KV)
        source, _ = merge_all(model, chain, SMALL)
        assert source.parts > moving.JOINED_MAX
        assert name(model, chain, source)
        frames = sum(frame.length for group in range(3) for frame in model.index(source).frames(group))
        ref, _ = moved_segment(model, Chain(model.root, Run(0, 1), Tier.OBJECT, copies=True))
        assert ref.parts == -(-(source.parts - 1) // moving.JOINED_MAX)  # the last link has no frames
        listed = [one.entries for _, blocks in model.index(ref).listing() for one in blocks]
        behind = sum(entries.length for entries in listed if isinstance(entries, Place))
        assert (behind > 0) == apart
        assert ref.stored_bytes == frames + behind + ref.index_length
        assert name(model, Chain(model.root, Run(0, 1), Tier.OBJECT, copies=True), ref)
        check(model)


def test_parts_are_joined_up_to_a_number_and_to_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no two neighbours are apart that might be one; a part that is longer by itself stays alone."""
    monkeypatch.setattr(moving, "JOINED_BYTES", 1600)
    with small_limits():
        model = filled(3, 9, page_count=60)
        source, _ = merge_all(model, Chain(model.root, Run(0, len(model.root.segments)), Tier.KV), SMALL)
        layout = moving.layout_of(model.index(source))
        assert [part for parts in layout.joined for part in parts] == list(range(source.parts - 1))
        sizes = [[layout.used[part] for part in parts] for parts in layout.joined]
        assert {2, moving.JOINED_MAX} <= set(map(len, sizes))
        for parts, behind in pairwise(sizes):
            assert len(parts) == 1 or sum(parts) <= moving.JOINED_BYTES
            assert len(parts) == moving.JOINED_MAX or sum(parts) + behind[0] > moving.JOINED_BYTES


def test_a_segment_with_a_group_for_each_commit_is_moved() -> None:
    """Its blocks begin all over the part, and the same page is in several."""
    with small_limits():
        model = filled(3, 9, page_count=60)
        source = model.root.segments[0]
        listing = model.index(source).listing()
        assert any(one.block.start > 0 for _, blocks in listing for one in blocks)
        chain = Chain(model.root, Run(0, 1), Tier.OBJECT, copies=True)
        ref, _ = moved_segment(model, chain)
        assert name(model, chain, ref)
        check(model)


def test_a_copy_whose_hint_says_too_much_is_ended_all_the_same() -> None:
    with small_limits():
        model = filled(3, 9, page_count=60)
        chain = Chain(model.root, Run(0, 1), Tier.OBJECT, copies=True)
        ref, _ = moved_segment(model, chain)
        assert drive(model, copy_parts(chain, model.index(chain.inputs[0]), 100, 2)).ref == ref


def test_a_part_that_the_store_does_not_take_ends_the_step() -> None:
    """P6: else a segment would be named of which a part is not there."""
    with small_limits():
        model = filled(3, 9, page_count=60)
        chain = Chain(model.root, Run(0, 1), Tier.OBJECT, copies=True)
        with pytest.raises(Unavailable, match="did not take"):
            drive_full(model, copy_parts(chain, model.index(chain.inputs[0]), 0, 2))


def drive_full(model: Model, protocol: Generator[Effect, Outcome, object]) -> None:
    """Run a protocol on a store that takes nothing more."""
    outcome: Outcome = None
    while True:
        effect = protocol.send(outcome)
        if isinstance(effect, (PutNew, PutAll)):
            outcome = Refused("it is full")
        else:
            outcome = OutOfTime() if isinstance(effect, BackOff) else model.perform(effect)


def test_a_part_that_is_shorter_than_its_index_says_is_not_moved() -> None:
    """P7: nor one that is missing; nothing of the copy is named then."""
    with small_limits():
        model = filled(3, 9, page_count=60)
        model.merge(Run(0, len(model.root.segments)))
        [source] = model.root.segments[:1]
        key = source.identity.part_key(0)
        chain = Chain(model.root, Run(0, 1), Tier.OBJECT, copies=True)
        index, whole = model.index(source), model.objects[key]
        model.objects[key] = whole[: moving.layout_of(index).used[0] - 1]
        with pytest.raises(Corrupt, match="cut short"):
            drive(model, copy_parts(chain, index, 0, 2))
        del model.objects[key]
        with pytest.raises(Corrupt, match="missing"):
            drive(model, copy_parts(chain, index, 0, 2))
        assert not any(key.startswith(chain.identity.part_key(0)[:-4]) for key in model.objects)


def test_a_copy_part_by_part_has_another_name() -> None:
    """As earlier versions made it: who goes on with one never writes over parts of the other."""
    with small_limits():
        model = filled(3, 9, page_count=60)
        chain = Chain(model.root, Run(0, 1), Tier.OBJECT, copies=True)
        names = {chain.identity}
        for joins in (1, 0):
            with mock.patch.object(chains, "_JOINS", joins):
                names.add(Chain(model.root, Run(0, 1), Tier.OBJECT, copies=True).identity)
        assert len(names) == 3

"""Merges in steps: every version stays what it was, whoever takes which step, and however often one is cut short."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.model import Model, Pages, new_model, noise, page_bytes, small_limits
from virke.core import chain as chains
from virke.core import chain_step
from virke.core.chain import BEGIN, Chain, Link, decode_link, find_chain, read_link, run_for
from virke.core.chain_step import Bounds, take_step
from virke.core.effects import Absent, Delete, Effect, Get, Outcome, PutNew, Tier
from virke.core.ids import PageNo, Version
from virke.core.index import Index
from virke.core.merge import Run, choose_run
from virke.core.root import Horizon, Root
from virke.core.segment import Frame, Ref, encode_frame
from virke.errors import Corrupt, Exists

T = TypeVar("T")
SMALL = Bounds(parts=3, decoded_bytes=6 * 512, encoded_bytes=4 * 512, part_bytes=64 << 10)
LARGE = Bounds(parts=1000, decoded_bytes=1 << 30, encoded_bytes=1 << 30, part_bytes=1 << 30)


@dataclass(slots=True)
class Counted:
    """What one step asked for."""

    parts: int = 0
    bytes_put: int = 0
    puts: list[str] = field(default_factory=list)


class Killed(Exception):
    """The one who took the step is gone."""


def drive(
    model: Model,
    protocol: Generator[Effect, Outcome, T],
    counted: Counted | None = None,
    *,
    killed_at: int | None = None,
    applied: bool = False,
) -> T:
    """Run a protocol on a store that refuses to overwrite; killed at its effect of that number, applied or not."""
    outcome: Outcome = None
    error: Exception | None = None
    number = 0
    while True:
        try:
            effect = protocol.throw(error) if error else protocol.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result
        if number == killed_at and not applied:
            raise Killed
        error = None
        if counted:
            match effect:
                case Get(_, ranges):
                    counted.parts += len(ranges)
                case PutNew(_, key, data):
                    counted.puts.append(key)
                    counted.bytes_put += len(data)
        if isinstance(effect, PutNew) and model.objects.get(effect.key, effect.data) != effect.data:
            error = Exists(f"{effect.key} exists with other bytes")
        else:
            outcome = model.perform(effect)
        if number == killed_at:
            raise Killed
        number += 1


def indexes_of(model: Model, chain: Chain) -> tuple[Index, ...]:
    return tuple(model.index(ref) for ref in chain.inputs)


def name(model: Model, chain: Chain, ref: Ref) -> bool:
    """Let the root name a segment; whether it may."""
    plan = chains.plan_replacement(model.root, chain, ref, commit_id=model.commit_id(), time_ms=model.now_ms)
    if plan is None:
        return False
    model.apply(plan)
    model.moved()
    return True


def merge_all(model: Model, chain: Chain, bounds: Bounds) -> tuple[Ref, list[Counted]]:
    """All steps of a chain, each by somebody who knows nothing but the store."""
    links, costs = 0, []
    while True:
        before = drive(model, read_link(chain, links - 1)) if links else BEGIN
        assert before is not None
        counted = Counted()
        link = drive(model, take_step(chain, indexes_of(model, chain), before, bounds), counted)
        costs.append(counted)
        links += 1
        assert link.links == links
        if link.ref:
            return link.ref, costs


def filled(commits: int, pages: int, *, page_count: int) -> Model:
    """A database of that many pages after some commits, each with a segment of its own."""
    model = new_model()
    first: Pages = {PageNo(n): page_bytes(f"{n} of 0", 512, n % 3 == 0) for n in range(1, page_count + 1)}
    model.write(first, page_count=page_count)
    for commit in range(commits):
        changed = {PageNo((commit * 7 + n * 5) % page_count + 1) for n in range(pages)}
        model.write({n: page_bytes(f"{n} of {commit + 1}", 512, n % 3 == 0) for n in changed}, page_count=page_count)
    return model


def check(model: Model) -> None:
    """Every version reads as it was written."""
    for version in model.versions:
        assert model.read(version) == model.versions[version].pages, f"version {version}"


def test_a_merge_in_steps_is_the_merge() -> None:
    """The same pages of every version, in a segment that names what it replaced."""
    with small_limits():
        model = filled(12, 9, page_count=40)
        run = Run(0, min(5, len(model.root.segments)))
        chain = Chain(model.root, run, Tier.KV)
        inputs = chain.inputs
        assert len(inputs) >= 3
        ref, costs = merge_all(model, chain, SMALL)
        assert len(costs) > 3
        assert name(model, chain, ref)
        assert model.index(ref).inputs == inputs
        check(model)


def test_each_step_is_bounded_and_does_something() -> None:
    """Whatever the merge's size: parts read, and bytes put."""
    with small_limits():
        model = filled(12, 9, page_count=200)
        chain = Chain(model.root, Run(0, min(5, len(model.root.segments))), Tier.KV)
        _, costs = merge_all(model, chain, SMALL)
        assert len(costs) > 10
        assert max(cost.parts for cost in costs) <= SMALL.parts
        assert all(len(cost.puts) == 1 for cost in costs)
        own = [cost.bytes_put for cost in costs]
        assert max(own) <= SMALL.decoded_bytes + 4096 + 40 * len(costs)


def test_one_step_is_enough_where_the_bounds_allow_it() -> None:
    with small_limits():
        model = filled(6, 5, page_count=20)
        chain = Chain(model.root, Run(0, len(model.root.segments)), Tier.KV)
        ref, costs = merge_all(model, chain, LARGE)
        assert len(costs) == 1
        assert name(model, chain, ref)
        check(model)


def test_frames_that_are_still_whole_are_copied_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is whole is not compressed again, which is what costs the most; what is not is."""
    encoded: list[int] = []

    def counted(
        pages: tuple[PageNo, ...], raw: bytes, *, part: int, offset: int, is_plain: bool
    ) -> tuple[Frame, bytes]:
        encoded.extend(pages)
        return encode_frame(pages, raw, part=part, offset=offset, is_plain=is_plain)

    def leaf(n: int, commit: int) -> bytes:
        return b"\x0d" + noise(f"{n} of {commit}", 511)

    model = new_model()
    for commit, count in enumerate((600, 200, 200)):
        model.write({PageNo(n): leaf(n, commit) for n in range(1, count + 1)}, page_count=600)
        model.write({PageNo(700 // (commit + 2)): leaf(0, commit)}, page_count=600)
    model.write({PageNo(n): leaf(n, 9) for n in range(1, 120)}, page_count=600)
    chain = Chain(model.root, Run(0, len(model.root.segments)), Tier.KV)
    monkeypatch.setattr(chain_step, "encode_frame", counted)
    ref, _ = merge_all(model, chain, LARGE)
    assert 0 < len(encoded) <= 300
    assert len(model.index(ref).pages(Version(ref.hi))) == 600
    assert name(model, chain, ref)
    check(model)


def test_what_would_not_shrink_is_not_compressed_and_what_would_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page by what it holds, side by side."""
    plain: dict[PageNo, bool] = {}

    def noted(pages: tuple[PageNo, ...], raw: bytes, *, part: int, offset: int, is_plain: bool) -> tuple[Frame, bytes]:
        plain.update(dict.fromkeys(pages, is_plain))
        return encode_frame(pages, raw, part=part, offset=offset, is_plain=is_plain)

    def content(n: int, commit: int) -> bytes:
        return b"\x0d" + (noise(f"{n} of {commit}", 511) if n % 5 else (b"%d of %d " % (n, commit) * 99)[:511])

    with small_limits():
        model = new_model()
        for commit, apart in enumerate((1, 2, 3)):
            model.write({PageNo(n): content(n, commit) for n in range(1, 61, apart)}, page_count=60)
        chain = Chain(model.root, Run(0, len(model.root.segments)), Tier.KV)
        monkeypatch.setattr(chain_step, "encode_frame", noted)
        ref, _ = merge_all(model, chain, LARGE)
        assert len(plain) > 40
        assert all(is_plain == bool(page % 5) for page, is_plain in plain.items())
        assert name(model, chain, ref)
        check(model)


def test_fewer_of_large_segments_are_merged_at_a_time() -> None:
    """A step may have to read the index of each, and another part."""
    with small_limits():
        model = filled(8, 9, page_count=40)
        small = tuple(replace(ref, parts=1) for ref in model.root.segments[:4])
        large = tuple(replace(ref, parts=9) for ref in small)
        assert run_for(small, Run(0, 4)) == Run(0, 4)
        assert run_for((large[0], *small[1:]), Run(0, 4)) == Run(0, 4), "the others come with their index"
        assert run_for(large, Run(0, 4)) == Run(1, 4)


def test_a_damaged_part_is_not_copied() -> None:
    """P7: what would only be copied is proved to be what was written."""
    with small_limits():
        model = filled(8, 9, page_count=40)
        chain = Chain(model.root, Run(0, min(5, len(model.root.segments))), Tier.KV)
        indexes_of(model, chain)
        for key in (key for ref in chain.inputs for key in ref.keys):
            data = model.objects[key]
            model.objects[key] = bytes([data[0] ^ 1]) + data[1:]
        with pytest.raises(Corrupt):
            merge_all(model, chain, LARGE)


def test_a_link_of_another_merge_is_refused() -> None:
    with small_limits():
        model = filled(8, 9, page_count=40)
        one, other = Chain(model.root, Run(0, 2), Tier.KV), Chain(model.root, Run(0, 3), Tier.KV)
        link = drive(model, take_step(one, indexes_of(model, one), BEGIN, SMALL))
        data = model.objects[one.identity.part_key(0)]
        assert decode_link(one, 0, data) == link
        for wrong in (data[:-1], data[:-5] + b"\0\0\0\0\1", b"", data[:-4]):
            with pytest.raises(Corrupt):
                decode_link(one, 0, wrong)
        with pytest.raises(Corrupt):
            decode_link(other, 0, data)


def test_the_identity_follows_from_the_root_alone() -> None:
    """Commits on top change nothing of it; a watermark, or another run, begins another chain."""
    with small_limits():
        model = filled(8, 9, page_count=40)
        chain = Chain(model.root, Run(1, 4), Tier.KV)
        for _ in range(6):
            model.write({PageNo(3): page_bytes("more", 512, False)}, page_count=40)
        assert find_chain(model.root, chain.identity.commit_id, 3, Tier.KV, copies=False) == Chain(
            model.root, Run(1, 4), Tier.KV
        )
        version = Version(model.root.head.version)
        moved = replace(model.root, horizon=Horizon(Version(0), version, 1, Version(0), Version(0)))
        assert find_chain(moved, chain.identity.commit_id, 3, Tier.KV, copies=False) is None
        assert Chain(model.root, Run(1, 3), Tier.KV).identity != chain.identity


def test_a_chain_that_a_watermark_has_doomed_is_never_named() -> None:
    """Its links may be garbage already (core/collect, rule 3)."""
    with small_limits():
        model = filled(8, 9, page_count=40)
        chain = Chain(model.root, Run(0, 3), Tier.KV)
        ref, _ = merge_all(model, chain, LARGE)
        version = Version(model.root.head.version)
        model.root = replace(model.root, horizon=Horizon(Version(0), version, 1, Version(0), Version(0)))
        assert not name(model, chain, ref)


# Several who take steps, and are cut short


def other_bytes(model: Model, chain: Chain, before: Link, bounds: Bounds) -> Generator[Effect, Outcome, Link]:
    """A step by somebody whose bounds, and so whose bytes, are others."""
    return take_step(chain, indexes_of(model, chain), before, bounds)


def keys_of(root: Root) -> set[str]:
    return {key for ref in root.segments for key in ref.keys}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whoever_takes_which_step_every_version_stays_what_it_was(data: st.DataObject) -> None:
    """Workers with other bounds go on from what they know or from the store, are killed at any effect, and race commits."""
    with small_limits():
        model = filled(
            data.draw(st.integers(4, 9)), data.draw(st.integers(1, 9)), page_count=data.draw(st.sampled_from([5, 30]))
        )
        workers: dict[int, tuple[Chain, Link]] = {}
        finished = 0
        for turn in range(40):
            who = data.draw(st.integers(0, 2))
            action = data.draw(st.sampled_from(["step", "step", "step", "killed", "write", "forget"]))
            if action == "write":
                number = PageNo(data.draw(st.integers(1, 5)))
                count = model.root.head.page_count
                model.write({number: page_bytes(f"{number} at {turn}", 512, turn % 2 == 0)}, page_count=count)
                continue
            if action == "forget":
                workers.pop(who, None)
                continue
            run = choose_run(model.root.segments)
            known = workers.get(who)
            if known and known[0].inputs[0] not in model.root.segments:
                workers.pop(who)
                known = None
            if known is None:
                if run is None:
                    continue
                known = Chain(model.root, run_for(model.root.segments, run), Tier.KV), BEGIN
            chain, link = known
            bounds = SMALL if who else replace(SMALL, decoded_bytes=3 * 512, encoded_bytes=3 * 512)
            killed_at = data.draw(st.integers(0, 2)) if action == "killed" else None
            try:
                if link.ref is None:
                    taking = other_bytes(model, chain, link, bounds)
                    link = drive(model, taking, killed_at=killed_at, applied=data.draw(st.booleans()))
            except Killed:
                workers.pop(who, None)
                continue
            except Exists:
                found = drive(model, read_link(chain, link.links))
                assert found is not None
                workers[who] = chain, found
                continue
            workers[who] = chain, link
            if link.ref and name(model, chain, link.ref):
                finished += 1
                workers.pop(who)
        check(model)
        assert keys_of(model.root) <= model.objects.keys()


def test_deleting_a_link_that_a_root_names_would_be_found() -> None:
    """The check of the test above is not empty."""
    with small_limits():
        model = filled(8, 9, page_count=40)
        chain = Chain(model.root, Run(0, 3), Tier.KV)
        ref, _ = merge_all(model, chain, SMALL)
        assert name(model, chain, ref)
        model.perform(Delete(Tier.KV, (chain.identity.part_key(1),)))
        assert not keys_of(model.root) <= model.objects.keys()
        assert isinstance(model.perform(Get(Tier.KV, ((chain.identity.part_key(1), 0, None),))), list)
        assert model.perform(Get(Tier.KV, ((chain.identity.part_key(1), 0, None),))) == [Absent()]

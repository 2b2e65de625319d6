"""Frames with interior pages in the root: they are what their segments hold, the newest ones of a spill, and bounded."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import pytest

from tests.core.model import Model, new_model, small_limits
from tests.core.test_recent import ROOM, spilled, write
from virke.core import carried
from virke.core.carried import BYTES_MAX, NOTED_MAX, Carried, carried_in, frames_in, with_carried, with_noted
from virke.core.extensions import CARRIED, Extension
from virke.core.hot import INTERIOR
from virke.core.ids import PageNo
from virke.core.inline import Inline
from virke.core.merge import Run
from virke.core.pagemap import InSegment, PageMap
from virke.core.recent import key_of
from virke.core.segment import Frame, Ref

Extensions = tuple[Extension, ...]


def check(model: Model) -> int:
    """What is carried of a segment is what it holds (rule 1); how much that is."""
    held, refs = carried_in(model.root.extensions), {key_of(ref): ref for ref in model.root.segments}
    for key, frames in held.items():
        ref = refs[key]
        index = model.index(ref)
        there = {(one.part, one.offset): one for group in range(len(index.groups)) for one in index.frames(group)}
        for one in frames:
            frame = there[one.place]
            data = model.objects[ref.identity.part_key(frame.part)]
            assert one.data == data[frame.offset : frame.offset + frame.length]
            assert set(one.pages) <= set(frame.pages)
    return sum(map(len, held.values()))


def interior_in_the_last_spill(model: Model) -> set[PageNo]:
    """The interior pages whose newest bytes are in the newest segment."""
    root = model.root
    pages = model.versions[root.head.version].pages
    places = PageMap(root.head, tuple((ref, model.index(ref)) for ref in root.segments), root.inline)
    found = set[PageNo]()
    for number, data in pages.items():
        place = places.locate(number)
        if number > 1 and data[0] in INTERIOR and isinstance(place, InSegment) and place.ref is root.segments[-1]:
            found.add(number)
    return found


def lived(seed: int, commits: int) -> int:
    """A database after so many commits and some merges, looked at after each; how many frames its roots carried."""
    chance, model, seen = random.Random(seed), new_model(), 0
    model.recent_bytes = ROOM
    for _ in range(commits):
        before = model.root.segments
        write(model, chance)
        if len(model.root.segments) > len(before) > 2 and len(model.root.inline) == 1:
            last = carried_in(model.root.extensions).get(key_of(model.root.segments[-1]), [])
            assert {page for one in last for page in one.pages} >= interior_in_the_last_spill(model)
        if len(model.root.segments) > 4 and chance.random() < 0.3:
            model.merge(Run(0, 2))
        seen += check(model)
    return seen


@small_limits()
@pytest.mark.parametrize("seed", range(8))
def test_a_spill_carries_the_newest_frames_of_its_interior_pages(seed: int) -> None:
    assert lived(seed, 40) > 40


@small_limits()
def test_bytes_of_another_frame_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of the test above is not empty."""
    made = carried.with_spilled

    def wrong(
        extensions: Extensions,
        segments: Sequence[Ref],
        commits: Iterable[Inline],
        frames: Sequence[Frame],
        *,
        left: Iterable[PageNo],
    ) -> Extensions:
        return made(extensions, segments, commits, frames[::-1], left=left)

    monkeypatch.setattr(carried, "with_spilled", wrong)
    with pytest.raises(AssertionError):
        lived(1, 40)


@small_limits()
def test_a_spill_that_forgets_what_was_noted_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 3: the commits before the one that spills have noted their pages."""

    def forgetful(extensions: Extensions, _pages: Iterable[PageNo]) -> Extensions:
        return extensions

    monkeypatch.setattr(carried, "with_noted", forgetful)
    with pytest.raises(AssertionError):
        lived(1, 40)


@small_limits()
def test_a_merge_drops_what_was_carried_of_its_inputs_and_takes_what_it_is_given() -> None:
    model = spilled(3, 6)
    root = model.root
    named = {key_of(ref) for ref in root.segments}
    assert carried_in(root.extensions).keys() <= named
    gone = {key_of(ref) for ref in root.segments[1:3]}
    model.merge(Run(1, 3))
    assert not carried_in(model.root.extensions).keys() & gone
    ref, one = model.root.segments[1], Carried((0, 7), (PageNo(900),), b"bytes")
    found = carried_in(with_carried(model.root.extensions, model.root.segments, {key_of(ref): [one]}))
    assert found[key_of(ref)] == [one]


@small_limits()
def test_what_is_carried_is_bounded_and_of_the_newest_segments() -> None:
    """Rule 4: a page that a newer segment has is not carried twice."""
    refs = spilled(5, 5).root.segments
    frames = {
        key_of(ref): [Carried((0, 0), (PageNo(5 + at // 2),), bytes([at]) * (BYTES_MAX // 3))]
        for at, ref in enumerate(refs)
    }
    found = carried_in(with_carried((), refs, frames))
    assert list(found) == [key_of(refs[4]), key_of(refs[3])]
    [extension] = with_noted(with_carried((), refs, frames), map(PageNo, range(1, 1000)))
    assert len(extension.data) <= BYTES_MAX + 3 * NOTED_MAX


@small_limits()
def test_what_is_carried_can_be_damaged_in_any_way() -> None:
    """P11: cut short or flipped, it is bytes that no checksum fits, or nothing; a later commit goes on from it."""
    model = spilled(7, 5)
    root = model.root
    [data] = [each.data for each in root.extensions if each.type_number == CARRIED]
    assert frames_in(root.extensions)
    wrongs = [data[:at] for at in range(0, len(data), 5)]
    wrongs += [data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :] for at in range(len(data))]
    for wrong in random.Random(1).sample(wrongs, min(len(wrongs), 600)):
        extensions = (Extension(CARRIED, wrong),)
        assert all(isinstance(one, bytes) for held in frames_in(extensions).values() for one in held.values())
        with_carried(with_noted(extensions, [PageNo(3)]), root.segments, {})

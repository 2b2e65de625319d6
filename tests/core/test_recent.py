"""Copies of recent segments' indexes in the root: they say what the indexes say, are of one segment for ever, and are bounded."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.model import Model, Pages, new_model, page_bytes, small_limits
from tests.core.test_formats import vector
from virke.core import recent
from virke.core.extensions import RECENT, Extension
from virke.core.ids import PageNo
from virke.core.merge import Run
from virke.core.recent import NEWEST, WHOLE, Copy, copies_in, indexes_in, key_of, with_copies
from virke.core.root import Root, decode_root
from virke.core.segment import Frame
from virke.errors import Corrupt

ROOM = 1 << 20


GOLDEN: Final = {
    1: (2, 0, 47616, 1536, 0),
    2: (2, 0, 46080, 1536, 1),
    3: (2, 0, 47616, 1536, 1),
    4: (2, 0, 41472, 1536, 1),
    5: (2, 0, 43008, 1536, 1),
    6: (2, 0, 44544, 1536, 1),
    100: (2, 0, 47616, 1536, 2),
}
"""By page: the number of its segment, part, offset and length of its frame, and its place in that."""


def read_by_copies(model: Model) -> tuple[Pages, set[int]]:
    """Every page of the newest version by copies where there are any; and which kinds those were."""
    root = model.root
    copied = indexes_in(root.extensions, root.segments, root.head)
    kinds = {copy.kind for key, copy in copies_in(root.extensions).items() if key in set(map(key_of, copied))}
    segments = tuple((ref, copied[ref] if ref in copied else model.index(ref)) for ref in root.segments)
    return model.read_by(root.head, segments), kinds


def check(model: Model) -> set[int]:
    """Whoever reads by copies sees the newest version."""
    pages, kinds = read_by_copies(model)
    assert pages == model.versions[model.root.head.version].pages
    return kinds


def write(model: Model, chance: random.Random, count: int = 40) -> None:
    """A small commit, most often of the pages that others changed too."""
    number = model.root.head.version
    changed = {PageNo(n) for n in (1, chance.randint(1, 6), chance.randint(1, count))}
    if number == 1:
        changed = {PageNo(n) for n in range(1, count + 1)}
    model.write({n: page_bytes(f"{n} of {number}", 512, n % 3 == 0) for n in changed}, page_count=count)


def lived(seed: int, commits: int, room: int = ROOM) -> tuple[Model, set[int]]:
    """A database after so many commits and some merges; which kinds of copies a reader used on the way."""
    chance, model, used = random.Random(seed), new_model(), set[int]()
    model.recent_bytes = room
    for _ in range(commits):
        write(model, chance)
        if len(model.root.segments) > 4 and chance.random() < 0.3:
            start = chance.randint(0, 2)
            model.merge(Run(start, start + 2))
        used |= check(model)
    return model, used


def spilled(seed: int, segments: int) -> Model:
    """A database of so many segments, none of which was merged."""
    chance, model = random.Random(seed), new_model()
    model.recent_bytes = ROOM
    while len(model.root.segments) < segments:
        write(model, chance)
    return model


@settings(max_examples=40)
@given(st.integers(0, 1 << 30))
@small_limits()
def test_copies_say_what_the_indexes_say(seed: int) -> None:
    """P4, P7: at each version that was the newest, whatever was spilled and merged before."""
    lived(seed, 25)


@small_limits()
def test_the_histories_above_have_copies_of_both_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of merges that have many frames it is the index as it is."""
    monkeypatch.setattr(recent, "FRAMES_MAX", 4)
    model, used = lived(1, 60)
    assert used == {WHOLE, NEWEST}
    for version in model.versions:
        assert model.read(version) == model.versions[version].pages


@small_limits()
def test_a_copy_whose_oldest_frames_win_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of the tests above is not empty."""
    made = recent.newest_of

    def wrong(frames: Sequence[Frame]) -> Copy:
        return made(frames[::-1])

    monkeypatch.setattr(recent, "newest_of", wrong)
    with pytest.raises(AssertionError):
        lived(1, 60)


@small_limits()
def test_a_copy_for_whatever_segment_is_in_its_place_would_be_found() -> None:
    """Rule 2: found by the versions that a segment has, and not by its identity, it shows pages of another, or none."""
    model = spilled(3, 5)
    before, held = model.root.segments, copies_in(model.root.extensions)
    model.merge(Run(1, 3))
    wrong = {key_of(ref): held[key_of(old)] for ref in model.root.segments for old in before if old.lo == ref.lo > 2}
    model.root = replace(model.root, extensions=with_copies((), model.root.segments, wrong))
    with pytest.raises((AssertionError, Corrupt)):
        check(model)


@small_limits()
def test_a_writer_that_does_not_know_copies_leaves_ones_that_mean_nothing() -> None:
    """It keeps the bytes, and names other segments; a later writer drops them."""
    model, _ = lived(2, 30)
    while len(model.root.segments) < 5:
        write(model, random.Random(5))
    before = model.root.extensions
    model.merge(Run(1, 3))
    model.root = replace(model.root, extensions=before)
    named = set(map(key_of, model.root.segments))
    assert copies_in(before).keys() - named
    check(model)
    while copies_in(model.root.extensions).keys() - named:
        write(model, random.Random(6))
        named = set(map(key_of, model.root.segments))
        check(model)


@small_limits()
@pytest.mark.parametrize("room", [0, 300, 900])
def test_copies_take_as_much_as_they_may_and_the_newest_come_first(room: int) -> None:
    chance, model = random.Random(4), new_model()
    model.recent_bytes = room
    for _ in range(60):
        write(model, chance)
        held = copies_in(model.root.extensions)
        size = sum(len(each.data) for each in model.root.extensions if each.type_number == RECENT)
        assert size <= room + 40  # the last one's key
        order = [key_of(ref) in held for ref in model.root.segments]
        assert room != 900 or not any(order) or order[-1]
        check(model)
    assert bool(copies_in(model.root.extensions)) == bool(room)


@small_limits()
def test_a_merge_without_room_keeps_the_copies_of_what_stays() -> None:
    """As a node merges: it makes none, and drops those of what is gone."""
    model = spilled(8, 6)
    stays = {key_of(ref) for ref in model.root.segments[4:]}
    root = model.root
    assert stays <= copies_in(root.extensions).keys()
    kept = with_copies(root.extensions, root.segments[4:], {})
    assert copies_in(kept).keys() == stays
    assert copies_in(with_copies(root.extensions, (), {})) == {}


@small_limits()
def test_what_can_t_be_read_is_read_by_the_index() -> None:
    """Rule 1, P11: cut short, flipped, of a later kind: never an error, and never another page."""
    model, _ = lived(9, 40)
    root = model.root
    [data] = [each.data for each in root.extensions if each.type_number == RECENT]
    expected = model.versions[root.head.version].pages
    wrongs = [data[:at] for at in range(0, len(data), 37)]
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        wrongs.append(bytes(flipped))
    chance = random.Random(1)
    for wrong in chance.sample(wrongs, min(len(wrongs), 400)):
        model.root = replace(root, extensions=(Extension(RECENT, wrong),))
        assert read_by_copies(model)[0] == expected
    later = {key_of(ref): Copy(7, b"of a later Virke") for ref in root.segments}
    assert indexes_in(with_copies((), root.segments, later), root.segments, root.head) == {}


def test_the_golden_copies_mean_the_same() -> None:
    """P10: which frames of which parts have the newest bytes of which pages."""
    root: Root = decode_root(vector("format-2/root-recent"), "x")
    copied = indexes_in(root.extensions, root.segments, root.head)
    assert [ref in copied for ref in root.segments] == [True, True, True]
    found = {
        page: (number, frame.part, frame.offset, frame.length, slot)
        for number, ref in enumerate(root.segments)
        if number  # the first commit has each page once
        for page, (frame, slot) in copied[ref].pages(root.head.version).items()
    }
    assert found == GOLDEN

"""Extents answer what lies inside them, hold nothing twice, and stay within the budget."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virke.errors import Corrupt
from virke.stores.base import Range
from virke.stores.cached.extents import (
    EXTENT_BYTES,
    Extent,
    Extents,
    Memory,
    Span,
    fit_span,
    pruned_spans,
    read_extents,
    spans_holding,
)

SIZE = 24
OBJECT = bytes(range(SIZE))


def extent_of(span: Span, key: str = "k") -> Extent:
    return Extent(key, span, OBJECT[span.start : span.end])


spans = (
    st.tuples(st.integers(0, SIZE), st.integers(0, SIZE))
    .map(sorted)
    .flatmap(
        lambda ends: st.builds(
            Span, st.just(ends[0]), st.just(ends[1]), st.booleans() if ends[1] == SIZE else st.just(False)
        )
    )
)
ranges = st.builds(Range, st.just("k"), st.integers(0, SIZE), st.none() | st.integers(0, SIZE))


def known_of(held: Sequence[Span]) -> tuple[set[int], bool]:
    """The bytes that spans hold, and whether they know the end."""
    return {at for span in held for at in range(span.start, span.end)}, any(span.last for span in held)


def is_known(asked: Range, held: Sequence[Span]) -> bool:
    """Whether `asked` (inside the object, and not empty) can be answered from what is held."""
    known, ends = known_of(held)
    stop = SIZE if asked.length is None else asked.offset + asked.length
    return known.issuperset(range(asked.offset, stop)) and (asked.length is not None or ends)


def check_answer(asked: Range, answer: bytes | None, held: Sequence[Span]) -> None:
    stop = SIZE if asked.length is None else asked.offset + asked.length
    if answer is not None:
        assert answer == OBJECT[asked.offset : stop]
        assert len(answer) == stop - asked.offset
    if is_known(asked, held) and asked.offset < stop:
        assert answer is not None


@given(st.lists(spans, max_size=8), ranges)
def test_extents_answer_all_that_they_hold_and_nothing_else(added: list[Span], asked: Range) -> None:
    """Whatever came in whatever order: a range inside what came is answered rightly, beyond the end it is `Corrupt`."""
    extents = Extents()
    for span in added:
        extents.add(extent_of(span))
    try:
        answer = extents.find(asked)
    except Corrupt:
        assert asked.length is not None
        assert asked.offset + asked.length > SIZE
        assert known_of(added)[1]
        return
    if asked.offset + (asked.length or 0) > SIZE:
        assert answer is None
    else:
        check_answer(asked, answer, added)


@given(st.lists(spans, max_size=8))
def test_no_byte_is_held_twice(added: list[Span]) -> None:
    """Extents are sorted and apart, they hold what came and know what it knew; what was dropped is named."""
    extents = Extents()
    here: set[Extent] = set()
    for span in added:
        kept, dropped = extents.add(extent_of(span))
        here = here.difference(dropped) | ({kept} if kept else set())
    held = [extent.span for extent in extents]
    assert here == set(extents)
    assert all(extent.data == OBJECT[extent.span.start : extent.span.end] for extent in extents)
    assert all(before.end <= after.start for before, after in pairwise(held))
    assert known_of(held) == known_of(added)


@given(st.lists(spans, max_size=8), spans, ranges)
def test_spans_that_overlap_are_used_and_thinned_out(found: list[Span], new: Span, asked: Range) -> None:
    """Of spans as several processes leave them all that they hold is found, and nothing is lost when one is added."""
    held = pruned_spans(found)
    assert known_of(held) == known_of(found)
    if asked.offset + (asked.length or 0) <= SIZE:
        at = spans_holding(held, asked)
        check_answer(
            asked, None if at is None else read_extents(asked, [extent_of(span) for span in held[slice(*at)]]), found
        )
    kept, superfluous = fit_span(held, new)
    after = [*held[: superfluous.start], *([kept] if kept else []), *held[superfluous.stop :]]
    assert known_of(after) == known_of([*found, new])
    assert len(pruned_spans(after)) == len(after)
    assert kept not in held


def test_a_whole_object_serves_every_range_and_knows_its_end() -> None:
    """Ranges without a length too, an empty object included; beyond the end they are `Corrupt`."""
    extents = Extents()
    extents.add(extent_of(Span(0, SIZE, last=True)))
    assert extents.find(Range("k", 5)) == OBJECT[5:]
    assert extents.find(Range("k", SIZE)) == b""
    for beyond in (Range("k", SIZE + 1), Range("k", SIZE, 1), Range("k", SIZE + 1, 0), Range("k", 0, 1 << 70)):
        with pytest.raises(Corrupt):
            extents.find(beyond)
    empty = Extents()
    empty.add(Extent("k", Span(0, 0, last=True), b""))
    assert empty.find(Range("k")) == b""


def test_a_range_is_answered_from_one_extent_without_copying_the_rest() -> None:
    """An extent that is asked for as it is comes back as the very same bytes."""
    extents, whole = Extents(), extent_of(Span(0, SIZE))
    extents.add(whole)
    assert extents.find(Range("k", 0, SIZE)) is whole.data


def test_negative_ranges_are_never_answered() -> None:
    """Neither a negative offset nor a negative length counts from the end of an extent."""
    extents = Extents()
    extents.add(extent_of(Span(0, SIZE, last=True)))
    assert [extents.find(asked) for asked in (Range("k", -1, 1), Range("k", 3, -1), Range("k", -1))] == [None] * 3


@given(
    st.integers(0, 3 * (EXTENT_BYTES + SIZE)),
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), spans, st.booleans()), max_size=12),
)
def test_memory_keeps_its_budget_and_answers_rightly(bytes_max: int, steps: list[tuple[str, Span, bool]]) -> None:
    """After every call what is held fits into the budget, and what is forgotten is gone."""
    memory = Memory(bytes_max)
    for key, span, forget in steps:
        memory.keep(extent_of(span, key))
        assert 0 <= memory.size_bytes <= bytes_max
        asked = Range(key, span.start, span.end - span.start)
        assert memory.find(asked) in (None, OBJECT[span.start : span.end])
        if forget:
            memory.forget(key)
            assert memory.find(asked) is None
    for key in ("a", "b", "c"):
        memory.forget(key)
    assert memory.size_bytes == 0


def test_what_was_used_longest_ago_goes_first() -> None:
    """Of four extents in room for three the one goes that was asked for longest ago, also if it came later."""
    memory = Memory(3 * (EXTENT_BYTES + 1))
    for at in (0, 2, 4):
        memory.keep(extent_of(Span(at, at + 1)))
    memory.find(Range("k", 0, 1))
    memory.keep(extent_of(Span(6, 7)))
    found = [at for at in (0, 2, 4, 6) if memory.find(Range("k", at, 1)) is not None]
    assert found == [0, 4, 6]


def test_an_extent_that_does_not_fit_alone_pushes_nothing_out() -> None:
    """It is not kept, and what was there stays."""
    memory = Memory(EXTENT_BYTES + 4)
    memory.keep(extent_of(Span(0, 4)))
    memory.keep(extent_of(Span(8, 20)))
    assert memory.find(Range("k", 0, 4)) == OBJECT[:4]
    assert memory.find(Range("k", 8, 1)) is None


def test_cutting_an_extent_loses_nothing() -> None:
    """The parts follow each other, are at most as long as asked, and only the last one knows the end."""
    parts = extent_of(Span(3, 24, last=True)).cut(10)
    assert [part.span for part in parts] == [Span(3, 13), Span(13, 23), Span(23, 24, last=True)]
    assert b"".join(part.data for part in parts) == OBJECT[3:]

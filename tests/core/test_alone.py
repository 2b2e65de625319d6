"""Hot pages are alone in their frames, so that a lookup inflates no neighbour; many that are differences are not (decision 0038)."""

from __future__ import annotations

from array import array

import pytest

from virke.core import wire
from virke.core.effects import Tier
from virke.core.ids import CommitId, DatabaseId, Epoch, PageCount, PageNo, Version
from virke.core.index import Index, whole_index
from virke.core.packing import SegmentWriter
from virke.core.segment import RANGED_ALONE_MAX, STRIDED_ALONE_MAX, Head, Identity

SIZE = 512


def written(cold: int, alike: int, *, is_whole: bool) -> Index:
    """The index of a segment with so many pages of each kind."""
    identity = Identity(DatabaseId(bytes(16)), "main", Epoch(1), Version(1), CommitId(bytes(16)))
    head = Head(Version(1), CommitId(bytes(16)), 0, SIZE, PageCount(cold + alike), 0)
    writer = SegmentWriter(identity, Tier.OBJECT, 1 << 20, is_whole=is_whole)
    parts = list(writer.pages(SIZE, [(PageNo(number), bytes([number % 251]) * SIZE) for number in range(1, cold + 1)]))
    writer.end_group(head)
    parts += writer.begin_hot()
    parts += writer.alike([(PageNo(cold + n), n.to_bytes(8, "big") * (SIZE // 8)) for n in range(1, alike + 1)])
    writer.end_group(head)
    last, ref = writer.finish(())
    data = dict([*parts, *last])[ref.index_key]
    return whole_index(data[ref.index_offset : ref.index_offset + ref.index_length], ref)


@pytest.mark.parametrize(("is_whole", "most"), [(True, STRIDED_ALONE_MAX), (False, RANGED_ALONE_MAX)])
def test_hot_pages_are_alone_in_their_frames_unless_they_are_many(most: int, *, is_whole: bool) -> None:
    """They may be more where an index is read by a range, with as much before it as is wanted."""
    assert in_a_frame(written(40, 30, is_whole=is_whole)) == 1
    assert in_a_frame(written(40, most, is_whole=is_whole)) == 1
    assert in_a_frame(written(40, most + 4, is_whole=is_whole)) == 4


def in_a_frame(index: Index) -> int:
    """How many hot pages each frame has; others are up to 16 in one."""
    [found] = {len(frame.pages) for frame in index.frames(1)}
    if index.missing():
        return found
    assert max(len(frame.pages) for frame in index.frames(0)) == 16
    return found


@pytest.mark.parametrize(
    ("column", "least", "sums"),
    [
        ([], 1, []),
        ([1, 2, 3], 1, [1, 3, 6]),
        ([1, 0, 3], 0, [1, 1, 4]),
        ([1, 0, 3], 1, None),
        ([0xFFFFFFFF], 1, [0xFFFFFFFF]),
        ([0xFFFFFFFF, 1], 1, None),
    ],
)
def test_sums_of_a_column_are_refused_where_a_page_would_not_ascend(
    column: list[int], least: int, sums: list[int] | None
) -> None:
    found = wire.running_sums(array("I", column), least)
    assert (None if found is None else list(found)) == sums

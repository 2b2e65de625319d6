"""Large indexes whose entries are summed up block by block, when they are decoded: no damage is believed (core/index, rule 5)."""

from __future__ import annotations

import pytest

from virke.core import index as indexes
from virke.core.effects import Tier
from virke.core.ids import CommitId, DatabaseId, Epoch, PageCount, PageNo, Version
from virke.core.index import Away, Index, decode_index
from virke.core.packing import SegmentWriter
from virke.core.segment import Head, Identity, Ref
from virke.errors import Corrupt

pytestmark = pytest.mark.once

SIZE = 512
PAGES = 300
"""A frame each, so three blocks."""


@pytest.fixture(autouse=True)
def _every_index_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "LATE_BYTES", 0)


def written(inputs: tuple[Ref, ...] = ()) -> tuple[Ref, bytes]:
    """The reference to a segment, and the bytes of its index."""
    identity = Identity(DatabaseId(bytes(16)), "main", Epoch(1), Version(1), CommitId(bytes(16)))
    writer = SegmentWriter(identity, Tier.OBJECT, 1 << 20, is_plain=True)
    parts = list[tuple[str, bytes]]()
    for number in range(1, PAGES + 1):
        parts += writer.frame((PageNo(number),), number.to_bytes(2, "big") * (SIZE // 2))
    writer.end_group(Head(Version(1), CommitId(bytes(16)), 0, SIZE, PageCount(PAGES), 0))
    last, ref = writer.finish(inputs)
    return ref, dict([*parts, *last])[ref.index_key][ref.index_offset :]


def flipped(data: bytes, at: int) -> bytes:
    """`data` with a bit of one byte flipped."""
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def late(data: bytes, ref: Ref) -> Index:
    """The index, its entries not summed up."""
    found = decode_index(data, ref, may_be_late=True)
    assert isinstance(found, Index)
    return found


def offsets(index: Index) -> list[int | None]:
    """Where each page's frame is; None: its entries have to be read."""
    found = list[int | None]()
    for page in range(1, PAGES + 1):
        try:
            place = index.find(PageNo(page), Version(1))
            found.append(place[0].offset if place else -1)
        except Away:
            found.append(None)
    return found


def test_every_damaged_byte_is_refused_or_read_again() -> None:
    """P7: of the tables and what is before them at once, of a block's entries when one of its pages is asked for."""
    ref, data = written()
    right = [SIZE * number for number in range(PAGES)]
    assert offsets(late(data, ref)) == right
    blocks = set[tuple[int, int]]()
    for at in range(len(data) - 4):
        try:
            index = late(flipped(data, at), ref)
        except Corrupt:
            assert not blocks, "what is refused at once is before the entries"
            continue
        found = offsets(index)
        assert {one for one, other in zip(found, right, strict=True) if one != other} == {None}
        [(block, place)] = index.missing()
        assert index.is_away(block)
        start = place.offset - ref.index_offset
        assert start <= at < start + place.length
        with pytest.raises(Corrupt):
            index.take(block, flipped(data, at)[start : start + place.length])
        index.take(block, data[start : start + place.length])
        assert offsets(index) == right
        assert index.missing() == []
        blocks.add(block)
    assert blocks == {(0, 0), (0, 1), (0, 2)}


def test_an_index_with_inputs_is_summed_up_as_a_whole() -> None:
    """No other checksum is over them, and they decide what history reads."""
    first, _ = written()
    ref, data = written((first,))
    assert late(data, ref).inputs == (first,)
    for at in range(len(data)):
        with pytest.raises(Corrupt):
            decode_index(flipped(data, at), ref, may_be_late=True)


def test_an_index_that_was_not_summed_up_is_not_copied() -> None:
    """A copy has a new sum, under which damage would be believed."""
    ref, data = written()
    with pytest.raises(AssertionError, match="not copied"):
        late(data, ref).listing()

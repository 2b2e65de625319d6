"""Inline commits: read in one go, and refused for all that is wrong with them when they are read (core/inline)."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from virke.core import codec
from virke.core.ids import CommitId, PageCount, PageNo, Version
from virke.core.inline import Inline, encode_inline, read_inline
from virke.core.segment import FRAME_PAGES_MAX, FRAME_RAW_MAX, PARTS_MAX, Frame, Head, encode_frame, read_head
from virke.core.wire import Reader
from virke.errors import Corrupt

HEAD = Head(Version(70_000), CommitId(bytes(range(16))), 1_790_000_000_000, 512, PageCount(900), (1 << 64) - 2)


def commit() -> Inline:
    """Three frames: pages in a row, pages with gaps of one and of two bytes, and bytes that do not shrink."""
    frames: list[Frame] = []
    datas: list[bytes] = []
    for pages, raw in (
        ((1, 2, 3), bytes(3 * 512)),
        ((5, 7, 300, 20_000), bytes(range(256)) * 8),
        ((70_000,), bytes(n * n * 31 % 251 for n in range(512))),
    ):
        frame, data = encode_frame(tuple(map(PageNo, pages)), raw, part=0, offset=sum(map(len, datas)))
        frames.append(frame)
        datas.append(data)
    return encode_inline(HEAD, frames, b"".join(datas))


def read_one_by_one(source: Reader) -> tuple[Head, list[Frame], bytes]:
    """What docs/format.md says of an inline commit, a field at a time: the reference."""
    head = read_head(source)
    frames: list[Frame] = []
    at = before = 0
    for _ in range(source.count(8)):
        gap, coded = source.varint(), source.varint()
        count = coded >> 1
        if not 0 < gap <= 0xFFFFFFFF or not 0 < count <= FRAME_PAGES_MAX:
            raise source.fail("pages")
        gaps = [source.varint() for _ in range(count - 1)] if coded & 1 else [1] * (count - 1)
        if any(gap > 0xFFFFFFFF for gap in gaps):
            raise source.fail("gaps")
        pages = tuple(map(PageNo, accumulate([before + gap, *(gap or 1 for gap in gaps)])))
        part, offset, length, crc, kind = source.varint(), source.varint(), source.varint(), source.u32(), source.u8()
        raw_bytes = count * head.page_size
        if part >= PARTS_MAX or raw_bytes > max(FRAME_RAW_MAX, head.page_size) or length > raw_bytes:
            raise source.fail("sizes")
        if raw_bytes > length * (codec.DEFLATE_RATIO_MAX if kind == codec.DEFLATE else 1):
            raise source.fail("a bomb")
        if part or offset != at:
            raise source.fail("places")
        frames.append(Frame(pages, part, offset, length, crc, kind))
        before, at = pages[-1], at + length
    data = source.raw(source.varint())
    if at != len(data):
        raise source.fail("length")
    return head, frames, data


def facts(found: Inline) -> tuple[Head, list[Frame], bytes]:
    """All that it is made of."""
    return found.head, list(found.frames), found.data


def test_a_commit_is_read_as_it_was_written() -> None:
    """Its objects, its pages and its bytes; what follows it is still to be read."""
    made = commit()
    source = Reader(made.encoded + b"rest", "x")
    found = read_inline(source)
    assert source.left == 4
    assert facts(found) == facts(made)
    assert found == made
    assert list(found.pages) == [1, 2, 3, 5, 7, 300, 20_000, 70_000] == list(found.places)
    assert (found.version, found.data_bytes) == (HEAD.version, len(made.data))


def test_a_forged_commit_is_refused_when_it_is_read_or_means_what_it_says() -> None:
    """Invariant 1, P7: each byte set to each value, and it cut short anywhere: as a reader of single fields finds it."""
    data, refused = commit().encoded, 0
    meta = len(data) - commit().data_bytes
    forged = [data[:at] + bytes([value]) + data[at + 1 :] for at in range(meta) for value in range(256)]
    forged += [data[:length] for length in range(len(data))]
    gap = b"\xf4\x99\x01"  # from page 300 to 20,000
    forged += [data.replace(gap, longer) for longer in (b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\x7f")]
    assert data.count(gap) == 1
    for one in forged:
        try:
            expected = read_one_by_one(Reader(one, "x"))
        except Corrupt:
            refused += 1
            with pytest.raises(Corrupt):
                read_inline(Reader(one, "x"))
        else:
            assert facts(read_inline(Reader(one, "x"))) == expected
    assert refused > len(forged) // 3


@given(st.binary(max_size=60), st.integers(min_value=0, max_value=12))
@example(b"\xff" * 8 + b"\x7f", 1)
@example(b"\xff" * 9 + b"\x01", 1)
@example(b"\x80\x80\x00" + b"\xff\x7f" + b"\xff\xff\x03", 3)
@example(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 1)
def test_varints_in_a_row_are_read_as_one_by_one(data: bytes, count: int) -> None:
    """All lengths, those that are too long, and the end of the bytes."""
    alone, together = Reader(data, "x"), Reader(data, "x")
    try:
        expected = [alone.varint() for _ in range(count)]
    except Corrupt:
        with pytest.raises(Corrupt):
            together.varints(count)
    else:
        assert together.varints(count) == expected
        assert together.left == alone.left

"""Segments of both formats side by side: old ones are written again as new ones, parts end in entries, pages as differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.first_format import encode_block, encode_index
from tests.core.test_formats import STORED_SEGMENT, frames_of, read_all, segment
from virke.core.codec import DEFLATE, STRIDED, crc32
from virke.core.entries import FRAMES_MAX
from virke.core.ids import CommitId, PageCount, PageNo, Version
from virke.core.index import Away, Stub, decode_index, whole_index
from virke.core.segment import Frame, Head
from virke.core.strides import decode_strided, encode_strided
from virke.errors import Corrupt


def test_an_old_segment_is_written_again_in_the_new_format_with_the_same_pages() -> None:
    """What merges do with what an earlier Virke wrote."""
    (first, firsts), (second, seconds) = segment("format-1/segment-stored"), segment(STORED_SEGMENT)
    assert read_all(first, firsts) == read_all(second, seconds)
    assert firsts[first.index_key][first.index_offset :][8:10] == b"\0\1"
    assert seconds[second.index_key][second.index_offset :][8:10] == b"\0\2"


def test_a_segment_for_stores_without_ranges_keeps_entries_in_its_parts() -> None:
    """And an index that is larger than a part has its tables in parts of their own."""
    ref, parts = segment("format-2/segment-whole")
    index = whole_index(parts[ref.index_key][ref.index_offset :], ref)
    with pytest.raises(Away) as away:
        index.find(PageNo(1), ref.hi)
    assert away.value.place.part == 0
    ref, parts = segment("format-2/segment-apart")
    stub = decode_index(parts[ref.index_key][ref.index_offset :], ref)
    assert isinstance(stub, Stub)
    assert len(stub.places) > 1
    with pytest.raises(Corrupt, match="not with it"):
        whole_index(parts[ref.index_key][ref.index_offset :], ref)


def test_frames_of_differences_are_read_again() -> None:
    """The golden one has two of them, of four pages and of two."""
    ref, parts = segment("format-2/segment-alike")
    [frames] = frames_of(ref, parts)
    assert [(frame.codec, len(frame.pages)) for frame in frames] == [(STRIDED, 4), (STRIDED, 2)]


@given(st.lists(st.binary(min_size=512, max_size=512), min_size=1, max_size=4))
def test_any_page_comes_back_from_its_differences(pages: list[bytes]) -> None:
    data = encode_strided(pages)
    assert decode_strided(data, len(pages), 512, "x") == pages
    with pytest.raises(Corrupt):
        decode_strided(bytes(len(pages)) + data[len(pages) :], len(pages), 512, "x")
    with pytest.raises(Corrupt):
        decode_strided(data, len(pages) + 1, 512, "x")


def test_the_largest_pages_come_back_from_their_differences() -> None:
    """All bytes at their most, the sums too."""
    pages = [b"\xff" * 65536, bytes(range(256)) * 256]
    assert decode_strided(encode_strided(pages), 2, 65536, "x") == pages


def test_a_few_pages_of_a_small_index_decode_their_blocks_alone() -> None:
    """One request asks for a few pages; one that asks for many has all of it decoded once, and is answered the same."""
    frames = [Frame((PageNo(2 * n + 1), PageNo(2 * n + 2)), 0, 100 * n, 100, 7, DEFLATE) for n in range(6 * FRAMES_MAX)]
    blocks = tuple(encode_block(frames[at : at + FRAMES_MAX]) for at in range(0, len(frames), FRAMES_MAX))
    ref, _ = segment(STORED_SEGMENT)
    head = Head(Version(1), CommitId(bytes(16)), 0, 4096, PageCount(len(frames) * 2), 0)
    body = encode_index(ref.identity, (), [(head, blocks)])
    index = whole_index(body, replace(ref, hi=head.version, index_length=len(body), index_crc=crc32(body)))
    assert index.find(PageNo(301), Version(1)) == (frames[150], 0)
    assert len(index._entries) == 1
    pages = [*range(1, len(frames) * 2 + 1), len(frames) * 2 + 1]
    expected = [(frames[(page - 1) // 2], (page - 1) % 2) for page in pages[:-1]]
    assert [index.find(PageNo(page), Version(1)) for page in pages] == [*expected, None]
    assert index._newest is not None

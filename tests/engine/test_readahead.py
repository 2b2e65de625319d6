"""Reading ahead: few rounds for a query that wants much, few bytes for one that wants little."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from virke.core.effects import Tier
from virke.core.ids import CommitId, DatabaseId, Epoch, PageCount, PageNo, Version
from virke.core.index import Index, whole_index
from virke.core.packing import SegmentWriter
from virke.core.segment import Frame, Head, Identity, Ref
from virke.engine import readahead
from virke.engine.readahead import AHEAD_MOST_BYTES, FIRST_BYTES, GROWTH, ReadAhead, runs_of_frames

PAGE_BYTES = 4096


def segment(pages: int) -> tuple[Ref, Index, list[Frame]]:
    """A segment of pages 1 … `pages` that do not compress, in parts of 64 KiB."""
    identity = Identity(DatabaseId(bytes(16)), "main", Epoch(1), Version(2), CommitId(b"c" * 16))
    writer = SegmentWriter(identity, Tier.KV, 64 << 10)
    data = [
        (PageNo(number), bytes((number * step) % 251 for step in range(PAGE_BYTES))) for number in range(1, pages + 1)
    ]
    for _ in writer.pages(PAGE_BYTES, data):
        pass
    writer.end_group(Head(Version(2), identity.commit_id, 0, PAGE_BYTES, PageCount(pages), 0))
    parts, ref = writer.finish(())
    index = whole_index(parts[-1][1][ref.index_offset :], ref)
    return ref, index, list(index.frames(0))


def rounds(ahead: ReadAhead, ref: Ref, index: Index, order: list[Frame]) -> tuple[list[int], set[Frame]]:
    """Bytes of each round that touching frames in `order` takes, and all frames that came."""
    cached: set[Frame] = set()
    is_cached: Callable[[Frame], bool] = cached.__contains__
    sizes = []
    for frame in order:
        if frame not in cached:
            came = ahead.missed(ref, index, frame, is_cached)
            assert came[0] == frame
            assert not cached & set(came), "nothing is fetched twice"
            found = runs_of_frames(came)
            assert sorted(id(one) for run in found for one in run) == sorted(map(id, came))
            for run in found:
                assert len({one.part for one in run}) == 1
                assert all(a.offset + a.length == b.offset for a, b in pairwise(run))
            sizes.append(sum(one.length for one in came))
            cached |= set(came)
    return sizes, cached


def test_a_lookup_fetches_one_frame() -> None:
    ref, index, frames = segment(400)
    assert rounds(ReadAhead(1 << 30), ref, index, frames[5:6]) == ([frames[5].length], {frames[5]})


def test_misses_all_over_a_small_segment_bring_it_in_a_few_rounds() -> None:
    ref, index, frames = segment(2000)
    scattered = sorted(frames, key=lambda frame: frame.pages[0] * 7919 % 1009)
    sizes, came = rounds(ReadAhead(1 << 30), ref, index, scattered)
    assert came == set(frames)
    assert len(sizes) <= 6
    assert all(later <= max(earlier * GROWTH, FIRST_BYTES) * 2 for earlier, later in pairwise(sizes))


def test_scattered_misses_in_a_large_segment_fetch_one_frame_each() -> None:
    ref, index, frames = segment(2000)
    far = frames[::20][::-1]
    sizes, came = rounds(ReadAhead(0), ref, index, far)
    assert came == set(far)
    assert sizes == [frame.length for frame in far]


def test_a_scan_of_a_large_segment_speeds_up() -> None:
    ref, index, frames = segment(2000)
    sizes, came = rounds(ReadAhead(0), ref, index, frames)
    assert came == set(frames)
    assert len(sizes) <= 6


@pytest.mark.parametrize("runs_max", [0, 1, 5])
def test_where_requests_are_few_a_miss_reads_no_more_runs_ahead(runs_max: int) -> None:
    """Every second frame is here already: without a limit each other one would be a request."""
    ref, index, frames = segment(400)
    here = set(frames[1::2])
    unlimited = ReadAhead(1 << 30)
    for frame in frames[:3:2]:
        here |= set(chosen := unlimited.missed(ref, index, frame, here.__contains__))
    assert len(runs_of_frames(chosen)) > 6, "else this test shows nothing"

    ahead, here = ReadAhead(1 << 30, lambda tier: runs_max), set(frames[1::2])
    here |= set(ahead.missed(ref, index, frames[0], here.__contains__))
    chosen = ahead.missed(ref, index, frames[2], here.__contains__)
    assert chosen[0] == frames[2]
    assert len(runs_of_frames(chosen)) == 1 + runs_max


def test_the_run_of_the_missing_frame_needs_no_request_of_its_own() -> None:
    ref, index, frames = segment(400)
    ahead = ReadAhead(1 << 30, lambda tier: 0)
    for frame in frames[:2]:
        chosen = ahead.missed(ref, index, frame, lambda one: False)
    assert len(runs_of_frames(chosen)) == 1
    assert len(chosen) > 1


@pytest.mark.native  # its numbers are of isal's deflate
def test_a_scan_is_kept_windows_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is under way no frame is missed any more: each was wanted before the scan came to it, and none twice."""
    monkeypatch.setattr(readahead, "AHEAD_MOST_BYTES", 1 << 20)
    ref, index, frames = segment(4000)
    ahead, here = ReadAhead(0), set[Frame]()
    missed, wanted = list[Frame](), list[list[Frame]]()
    for frame in frames:
        if frame not in here:
            missed.append(frame)
            here |= set(ahead.missed(ref, index, frame, here.__contains__))
        if coming := ahead.next(index, frame, here.__contains__):
            assert not here & set(coming), "nothing is fetched twice"
            wanted.append(coming)
            here |= set(coming)
    assert here == set(frames)
    assert missed[-1].pages[0] < 200
    sizes = [sum(frame.length for frame in coming) for coming in wanted]
    assert len(sizes) >= 2
    assert all(later <= earlier * GROWTH * 2 for earlier, later in pairwise(sizes))


@pytest.mark.native  # its numbers are of isal's deflate
def test_lookups_on_the_way_do_not_stop_a_scan() -> None:
    """A query that scans a table and passes interior pages elsewhere in the segment is still one window ahead."""
    ref, index, frames = segment(4000)
    ahead, here, missed = ReadAhead(0), set[Frame](), list[Frame]()
    elsewhere = iter(frames[:-100:-7])
    for number, frame in enumerate(frames[:300]):
        for one in (frame, next(elsewhere)) if number % 25 == 24 else (frame,):
            if one not in here:
                missed.append(one)
                here |= set(ahead.missed(ref, index, one, here.__contains__))
            here |= set(ahead.next(index, one, here.__contains__))
    assert [frame for frame in missed if frames[20].pages[0] < frame.pages[0] < frames[300].pages[0]] == []


def test_nothing_is_wanted_ahead_of_lookups() -> None:
    """Misses far from each other are no scan."""
    ref, index, frames = segment(2000)
    ahead, here = ReadAhead(0), set[Frame]()
    for frame in frames[::20][::-1]:
        here |= set(ahead.missed(ref, index, frame, here.__contains__))
        assert ahead.next(index, frame, here.__contains__) == []


def test_what_lies_behind_a_table_is_not_read_ahead_with_its_last_leaf() -> None:
    """Hot pages begin where the last cold page ends: a write that needs that leaf and one of them is not a scan."""
    writer = SegmentWriter(
        Identity(DatabaseId(bytes(16)), "main", Epoch(1), Version(2), CommitId(b"c" * 16)), Tier.KV, 1 << 20
    )
    head = Head(Version(2), CommitId(b"c" * 16), 0, PAGE_BYTES, PageCount(40), 0)
    data = [(PageNo(number), bytes((number * step) % 251 for step in range(PAGE_BYTES))) for number in range(1, 41)]
    for group in (data[1:31:3] + data[31:], data[2:31:3]):
        assert list(writer.pages(PAGE_BYTES, group)) == []
        writer.end_group(head)
    [(_, part)], ref = writer.finish(())
    index = whole_index(part[ref.index_offset :], ref)
    leaf, hot = list(index.frames(0))[-1], next(iter(index.frames(1)))
    ahead = ReadAhead(0)
    assert ahead.missed(ref, index, leaf, lambda frame: False) == [leaf]
    assert ahead.missed(ref, index, hot, lambda frame: False) == [hot]


@pytest.mark.native  # its numbers are of isal's deflate
def test_the_third_miss_in_a_row_begins_a_scan_with_a_window_in_the_background() -> None:
    """It comes with the frames of the miss, and is none of them; two misses are those of a query for the first rows."""
    ref, index, frames = segment(4000)
    ahead, here = ReadAhead(0), set[Frame]()
    for at in range(3):
        missing = next(frame for frame in frames if frame not in here)
        here |= set(ahead.missed(ref, index, missing, here.__contains__))
        window = ahead.begin(index, missing, here.__contains__)
        assert bool(window) == (at == 2)
    assert not here & set(window)
    assert sum(frame.length for frame in window) <= AHEAD_MOST_BYTES
    here |= set(window)
    assert ahead.begin(index, missing, here.__contains__) == []


def test_one_miss_a_little_further_on_is_no_scan_yet() -> None:
    ref, index, frames = segment(4000)
    ahead, here = ReadAhead(0), set[Frame]()
    for frame in (frames[3], frames[5]):
        here |= set(ahead.missed(ref, index, frame, here.__contains__))
        assert ahead.begin(index, frame, here.__contains__) == []

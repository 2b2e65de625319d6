"""What memory holds of large reads and writes, counted: it does not grow with the database (P11)."""

from __future__ import annotations

import gc
import tracemalloc
from itertools import chain, repeat
from pathlib import Path
from random import Random
from typing import Final

import pytest

from virke.core.effects import Tier
from virke.core.entries import BLOCKS_WITH_FRAMES
from virke.core.ids import CommitId, DatabaseId, Epoch, PageCount, PageNo, Version
from virke.core.index import whole_index
from virke.core.packing import SegmentWriter
from virke.core.page import HEADER_MAGIC
from virke.core.segment import Frame, Head, Identity
from virke.core.upload import AT_ONCE
from virke.opening import connect
from virke.stores.local.store import local_store

PAGE_BYTES: Final = 4096
PART_BYTES: Final = 256 << 10
PARTS: Final = 40


@pytest.mark.native
def test_a_stream_holds_one_round_of_parts(tmp_path: Path) -> None:
    """Those that are stored at this moment, the one in progress and its copy; not those that were stored before."""
    count = PARTS * PART_BYTES // PAGE_BYTES
    random, header = Random(7), HEADER_MAGIC + PAGE_BYTES.to_bytes(2, "big")  # at random, or they shrink
    starts = chain([header], repeat(b"\r", count - 1))
    pages = ((number, start + random.randbytes(PAGE_BYTES - len(start))) for number, start in enumerate(starts, 1))
    with connect("x", local_store(tmp_path), create=True, background=False) as database:
        for tier in database._volume.part_bytes:
            database._volume.part_bytes[tier] = PART_BYTES
        base = database.snapshot()
        tracemalloc.start()
        try:
            database.long_write().commit_pages(base, page_size=PAGE_BYTES, page_count=count, pages=pages)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert AT_ONCE * PART_BYTES < peak < (AT_ONCE + 3) * PART_BYTES


def test_an_index_keeps_the_frames_of_the_blocks_that_were_asked_for_last() -> None:
    """Of a database that is read once from end to end; those that it let go are made again."""
    per_block, blocks = 128, 2 * BLOCKS_WITH_FRAMES
    pages, page = per_block * blocks, b"\r" * 512
    identity = Identity(DatabaseId(bytes(16)), "main", Epoch(1), Version(1), CommitId(bytes(16)))
    writer = SegmentWriter(identity, Tier.OBJECT, 1 << 30, is_plain=True)
    for number in range(1, pages + 1):
        list(writer.frame((PageNo(number),), page))
    writer.end_group(Head(Version(1), CommitId(bytes(16)), 0, len(page), PageCount(pages), 0))
    parts, ref = writer.finish(())
    index = whole_index(parts[-1][1][ref.index_offset :], ref)
    del writer
    before = _frame_count()
    assert sum(frame.length for frame in index.frames(0)) == pages * len(page)
    assert _frame_count() - before <= per_block * BLOCKS_WITH_FRAMES
    for _ in range(2):
        for number in range(1, pages + 1):
            assert (found := index.find(PageNo(number), Version(1)))
            assert found[0].offset == (number - 1) * len(page)
    assert _frame_count() - before <= per_block * BLOCKS_WITH_FRAMES + 1


def _frame_count() -> int:
    gc.collect()
    return sum(type(one) is Frame for one in gc.get_objects())

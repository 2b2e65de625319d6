"""What memory holds of large reads and writes, counted: it does not grow with the database (P11)."""

from __future__ import annotations

import tracemalloc
from itertools import chain, repeat
from pathlib import Path
from random import Random
from typing import Final

from virke.core.page import HEADER_MAGIC
from virke.core.upload import AT_ONCE
from virke.opening import connect
from virke.stores.local.store import local_store

PAGE_BYTES: Final = 4096
PART_BYTES: Final = 256 << 10
PARTS: Final = 40


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

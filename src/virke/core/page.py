"""Facts about SQLite's pages: sizes, the lock page, page 1's header and the page hash.

Pure. Knows SQLite's file format (sqlite.org/fileformat2.html, section 1.3); knows no segment.

1. The lock page (the one that holds byte 2^30) is never stored and never read.
2. A stored page 1 says rollback journal (bytes 18 and 19 are 1), whatever the image said.
3. Page 1's change counter (bytes 24–27 and 92–95) is the version that wrote it, modulo 2^32, so that no two
   versions of a database look the same to SQLite.
4. The database checksum is the xor of `page_hash` over all pages but the lock page: it can be kept in
   O(changed pages) and recomputed from a raw file.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final

from virke.core.ids import PageCount, PageNo, Version
from virke.errors import Corrupt

PAGE_SIZES: Final = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
PAGE_SIZE_DEFAULT: Final = 4096
LOCK_BYTE: Final = 1 << 30
PAGE_COUNT_MAX: Final = 0xFFFFFFFE
HEADER_MAGIC: Final = b"SQLite format 3\0"
_U32 = struct.Struct(">I")


def lock_page(page_size: int) -> PageNo:
    """The page that holds byte 2^30."""
    return PageNo(LOCK_BYTE // page_size + 1)


def stored_pages(page_count: int, page_size: int) -> int:
    """How many pages of a database are stored: all but the lock page."""
    return page_count - (1 if page_count >= lock_page(page_size) else 0)


def page_hash(number: int, data: bytes | memoryview) -> int:
    """64 bits that depend on the page's number and bytes."""
    return int.from_bytes(blake2b(data, digest_size=8, salt=number.to_bytes(8, "big")).digest(), "big")


def stamped_page(page: bytes, version: Version) -> bytes:
    """Page 1 as it is stored by the commit of `version` (invariants 2 and 3)."""
    counter = _U32.pack(version & 0xFFFFFFFF)
    return b"".join((page[:18], b"\x01\x01", page[20:24], counter, page[28:92], counter, page[96:]))


def with_later_schema(page: bytes, before: bytes) -> bytes:
    """Page 1 `page` with a schema cookie (bytes 40–43) above the one of `before`: SQLite keeps a schema while it is equal."""
    cookie = max(_U32.unpack_from(page, 40)[0], (_U32.unpack_from(before, 40)[0] + 1) & 0xFFFFFFFF)
    return b"".join((page[:40], _U32.pack(cookie), page[44:]))


def header_page_size(page: bytes) -> int:
    """The page size that page 1 declares.

    Raises:
        Corrupt: it is not the first page of an SQLite database.
    """
    if len(page) < 100 or page[:16] != HEADER_MAGIC:
        raise Corrupt("not an SQLite database: the header is missing")
    size = int.from_bytes(page[16:18], "big")
    size = 65536 if size == 1 else size
    if size not in PAGE_SIZES:
        raise Corrupt(f"not an SQLite database: page size {size}")
    return size


def header_page_count(page: bytes) -> PageCount:
    """The number of pages that page 1 declares."""
    return PageCount(_U32.unpack_from(page, 28)[0])

"""The pages that lookups pass on their way to a leaf, kept together at the end of a segment (decision 0009).

Pure. Knows where SQLite's B-tree pages keep their children (sqlite.org/fileformat2.html, section 1.6); the bytes of
a page may be anything, a wrong guess costs a request and never a wrong answer.

1. Hot are page 1, the pages of the schema's B-tree and all interior pages of B-trees, as long as they fit `BYTES_MAX`.
2. Upper are page 1, the schema's pages and the interior pages whose children are interior: few even in a huge
   database. They are written last, right before the index, so that the range that fetches the index brings them along.
3. The others are lower. Those of tables are next to the upper ones, and shrink to a tenth (`strides`): of 300 MB, and
   where keys rise evenly of 1 GB, they come along too, and a lookup by primary key knows its leaf (decision 0034).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from virke.core.ids import PageNo
from virke.core.packing import SegmentWriter
from virke.core.segment import Head

BYTES_MAX: Final = 64 << 20
FROM_PAGES: Final = 256
"""Smaller segments are not sorted: they are fetched in one or two ranges anyhow."""
ALIKE_FROM_PAGES: Final = 24
"""Of fewer pages (some 40 MB) it is not worth adding up differences."""
INTERIOR: Final = (2, 5)
_TABLE: Final = 5
_OF_TABLES: Final = 1
"""Which of the groups are the lower interior pages of tables."""
_CELLS: Final = struct.Struct(">3xH3xI")
_POINTERS_AT: Final = 12
_FIRST_HEADER_AT: Final = 100
Page = tuple[PageNo, bytes]


class HotPages:
    """Sorts a stream of pages: takes the hot ones out, and hands them over in two groups at the end.

    Where fewer than `FROM_PAGES` are to come, none is hot and there are no groups.
    """

    def __init__(self, page_count: int) -> None:
        self._pages: dict[PageNo, bytes] = {}
        self._bytes = 0
        self._schema = {1}
        self._sorts = page_count >= FROM_PAGES

    def cold(self, pages: Iterable[Page]) -> Iterator[Page]:
        """The pages that are not hot, in the order in which they came."""
        if not self._sorts:
            yield from pages
            return
        for number, data in pages:
            if number in self._schema or (data[0] in INTERIOR and self._bytes < BYTES_MAX):
                self._take_page(number, data)
            else:
                yield number, data

    def groups(self) -> list[list[Page]]:
        """The hot pages, ascending within each group: the lower ones of indexes, those of tables, then the upper ones."""
        if not self._sorts:
            return []
        of_indexes: list[Page] = []
        of_tables: list[Page] = []
        upper: list[Page] = []
        for number, data in sorted(self._pages.items()):
            if number in self._schema or last_child(number, data) in self._pages:
                upper.append((number, data))
            else:
                (of_tables if data[0] == _TABLE else of_indexes).append((number, data))
        return [of_indexes, of_tables, upper]

    def finish(self, writer: SegmentWriter, head: Head) -> Iterator[tuple[str, bytes]]:
        """Add the hot pages behind the others, and close the state `head`; yields finished parts."""
        for number, group in enumerate(self.groups()):
            writer.end_group(head)
            if number <= _OF_TABLES:
                yield from writer.begin_hot()  # from here on a frame has one page: a lookup needs one of each
            if number == _OF_TABLES and len(group) >= ALIKE_FROM_PAGES and not writer.is_plain:
                yield from writer.alike(group)
            else:
                yield from writer.pages(head.page_size, group)
        writer.end_group(head)

    def _take_page(self, number: PageNo, data: bytes) -> None:
        self._pages[number] = data
        self._bytes += len(data)
        if number in self._schema:
            self._schema.update(child_pages(number, data))


def _header_at(number: int) -> int:
    return _FIRST_HEADER_AT if number == 1 else 0


def last_child(number: int, page: bytes) -> int:
    """The rightmost child of an interior page; 0 if the page is none."""
    at = _header_at(number)
    if len(page) < at + _POINTERS_AT or page[at] not in INTERIOR:
        return 0
    child: int = _CELLS.unpack_from(page, at)[1]
    return child


def child_pages(number: int, page: bytes) -> list[int]:
    """All children of an interior page; none if the page is none."""
    if not (last := last_child(number, page)):
        return []
    at = _header_at(number)
    count = _CELLS.unpack_from(page, at)[0]
    found = [last]
    for place in range(at + _POINTERS_AT, min(at + _POINTERS_AT + 2 * count, len(page) - 1), 2):
        cell = int.from_bytes(page[place : place + 2], "big")
        if cell + 4 <= len(page):
            found.append(int.from_bytes(page[cell : cell + 4], "big"))
    return found

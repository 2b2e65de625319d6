"""Writing a segment: frames go in, parts come out, a reference at the end.

Pure. Knows the segment format; knows no store. Memory is bounded by one part, one block of frame entries and
the blocks already encoded (about 5 bytes a frame).

1. A part holds whole frames, and perhaps their entries, and is at most `part_bytes` long, unless a single frame is longer.
2. The index is at the end of the last part; alone there if it would not fit behind the frames. The tables of one that is
   longer than a part are in parts of their own before it.
3. Pages reach `pages()` in ascending order within a group; frames never overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from virke.core.blocks import Listed, Place
from virke.core.codec import crc32
from virke.core.effects import Tier
from virke.core.entries import FRAME_BYTES, FRAMES_MAX, PAGE_BYTES, encode_entries
from virke.core.ids import PageNo, Version
from virke.core.index import encode_index, encode_tables
from virke.core.segment import (
    RANGED_ALONE_MAX,
    STRIDED_ALONE_MAX,
    STRIDED_PAGES,
    Frame,
    Head,
    Identity,
    Ref,
    encode_alike,
    encode_frame,
    frame_pages,
)

LAST_SHARE: Final = 0.75
"""How much of a part's size the last one may have where parts move whole: with a root and a leaf, less than 500 KB move."""
HOT_ROOM_SHARE: Final = 0.25
"""Hot pages begin a part of their own, next to the index, unless less than so much of it is taken."""


class SegmentWriter:
    """Builds one segment; the caller stores each part that a method yields, in order.

    `is_plain`: frames are not compressed, for a store on a disk of this machine (`Store.plain`). `is_whole`: for a store
    without ranges (`Blobs.has_ranges`); then a part ends in the entries of its frames, so that the index stays small.
    """

    def __init__(
        self, identity: Identity, tier: Tier, part_bytes: int, *, is_plain: bool = False, is_whole: bool = False
    ) -> None:
        self.is_plain = is_plain
        self._is_whole = is_whole
        self._identity = identity
        self._tier = tier
        self._part_bytes = part_bytes
        self._buffer = bytearray()
        self._part = 0
        self._stored = 0
        self._groups: list[tuple[Head, list[Listed]]] = []
        self._blocks: list[Listed] = []
        self._of_part: list[tuple[list[Listed], int]] = []
        """Where the blocks are listed whose frames are in the part in progress."""
        self._frames: list[Frame] = []
        self.last: Frame | None = None
        """The frame that was added last, where it is."""
        self._is_hot = False
        self._room = 0
        """What the entries of the part in progress take at most."""

    def frame(self, pages: tuple[PageNo, ...], raw: bytes) -> Iterator[tuple[str, bytes]]:
        """Add one frame of the group in progress; yields a finished part, if any."""
        frame, data = encode_frame(pages, raw, part=self._part, offset=len(self._buffer), is_plain=self.is_plain)
        yield from self._append_frame(frame, data)

    def copy(self, frame: Frame, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Add a frame that is encoded already; yields a finished part, if any."""
        moved = Frame(frame.pages, self._part, len(self._buffer), frame.length, frame.crc, frame.codec)
        yield from self._append_frame(moved, data)

    def pages(self, page_size: int, pages: Iterable[tuple[PageNo, bytes]]) -> Iterator[tuple[str, bytes]]:
        """Add pages, ascending, framed as usual, or each by itself if they are hot; yields finished parts."""
        most = 1 if self._is_hot and not self.is_plain else frame_pages(page_size)
        numbers: list[PageNo] = []
        raw: list[bytes] = []
        for number, data in pages:
            numbers.append(number)
            raw.append(data)
            if len(numbers) == most:
                yield from self.frame(tuple(numbers), b"".join(raw))
                numbers, raw = [], []
        if numbers:
            yield from self.frame(tuple(numbers), b"".join(raw))

    def alike(self, pages: Sequence[tuple[PageNo, bytes]]) -> Iterator[tuple[str, bytes]]:
        """Add pages, ascending, whose cells are alike; yields finished parts."""
        alone = STRIDED_ALONE_MAX if self._is_whole else RANGED_ALONE_MAX
        most = 1 if self._is_hot and len(pages) <= alone else STRIDED_PAGES
        for at in range(0, len(pages), most):
            numbers, datas = zip(*pages[at : at + most], strict=True)
            frame, data = encode_alike(numbers, datas, part=self._part, offset=len(self._buffer))
            yield from self._append_frame(frame, data)

    def end_group(self, head: Head) -> None:
        """Close the group in progress as the state `head`."""
        self._end_block()
        self._groups.append((head, self._blocks))
        self._blocks = []

    def begin_hot(self) -> Iterator[tuple[str, bytes]]:
        """What comes now is best next to the index, and its entries in it; yields a finished part, if any.

        Hot pages are among all others, so every lookup of a page that is not hot has to see that it is not among them.
        """
        self._is_hot = True
        if self._is_whole and len(self._buffer) > self._part_bytes * HOT_ROOM_SHARE:
            yield self._end_part()

    def finish(self, inputs: tuple[Ref, ...], lo: Version | None = None) -> tuple[list[tuple[str, bytes]], Ref]:
        """The last parts, and the reference to the whole segment; `lo` defaults to the first group's version."""
        parts = []
        limit = int(self._part_bytes * LAST_SHARE) if self._is_whole else self._part_bytes
        index = self._encoded_index(inputs)
        if self._buffer and len(self._buffer) + len(index) > limit:
            parts.append(self._end_part())
            index = self._encoded_index(inputs)
        if len(index) > self._part_bytes:
            tables, index = self._index_apart(inputs)
            parts += tables
        offset = len(self._buffer)
        self._buffer += index
        parts.append((self._identity.part_key(self._part), bytes(self._buffer)))
        newest = self._groups[-1][0]
        ref = Ref(
            identity=self._identity,
            lo=self._groups[0][0].version if lo is None else lo,
            hi=newest.version,
            hi_time_ms=newest.time_ms,
            tier=self._tier,
            parts=self._part + 1,
            stored_bytes=self._stored + len(self._buffer),
            index_offset=offset,
            index_length=len(index),
            index_crc=crc32(index),
            has_inputs=bool(inputs),
        )
        return parts, ref

    def _encoded_index(self, inputs: tuple[Ref, ...]) -> bytes:
        return encode_index(self._identity, inputs, encode_tables(self._groups))

    def _index_apart(self, inputs: tuple[Ref, ...]) -> tuple[list[tuple[str, bytes]], bytes]:
        """Parts with the tables of an index that is larger than a part, and what is left of it."""
        parts = [self._end_part()] if self._buffer else []
        encoded = encode_tables(self._groups)
        places: list[Place] = []
        for at in range(0, len(encoded[1]), self._part_bytes):
            self._buffer += encoded[1][at : at + self._part_bytes]
            places.append(Place(self._part, 0, len(self._buffer)))
            parts.append(self._end_part())
        return parts, encode_index(self._identity, inputs, encoded, places)

    def _append_frame(self, frame: Frame, data: bytes) -> Iterator[tuple[str, bytes]]:
        room = FRAME_BYTES + PAGE_BYTES * len(frame.pages) if self._is_whole else 0
        if self._buffer and len(self._buffer) + len(data) + self._room + room > self._part_bytes:
            yield self._end_part()
            frame = Frame(frame.pages, self._part, 0, frame.length, frame.crc, frame.codec)
        self._buffer += data
        self._room += room
        self._frames.append(frame)
        self.last = frame
        if len(self._frames) == FRAMES_MAX:
            self._end_block()

    def _end_block(self) -> None:
        if self._frames:
            block, entries = encode_entries(self._frames)
            if not self._is_hot:
                self._of_part.append((self._blocks, len(self._blocks)))
            self._blocks.append(Listed(block, entries))
            self._frames = []

    def _end_part(self) -> tuple[str, bytes]:
        self._end_block()
        if self._is_whole:
            for blocks, at in self._of_part:
                block, entries, _ = blocks[at]
                assert isinstance(entries, bytes), "entries are moved once"
                blocks[at] = Listed(block, Place(self._part, len(self._buffer), len(entries)))
                self._buffer += entries
        self._of_part, self._room = [], 0
        part = (self._identity.part_key(self._part), bytes(self._buffer))
        self._stored += len(self._buffer)
        self._buffer = bytearray()
        self._part += 1
        return part

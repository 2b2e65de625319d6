"""Writing a segment: frames go in, parts come out, a reference at the end.

Pure. Knows the segment format; knows no store. Memory is bounded by one part, one block of frame entries and
the blocks already encoded (about 5 bytes a frame).

1. A part holds whole frames only and is at most `part_bytes` long, unless a single frame is longer.
2. The index lies at the end of the last part; alone there if it would not fit behind the frames.
3. Pages reach `pages()` in ascending order within a group; frames never overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virke.core.codec import crc32
from virke.core.effects import Tier
from virke.core.ids import PageNo, Version
from virke.core.segment import (
    BLOCK_FRAMES,
    Block,
    Frame,
    Group,
    Head,
    Identity,
    Ref,
    encode_block,
    encode_frame,
    encode_index,
    frame_pages,
)


class SegmentWriter:
    """Builds one segment; the caller stores each part that a method yields, in order.

    `is_plain`: frames are not compressed, for a store on a disk of this machine (`Store.plain`).
    """

    def __init__(self, identity: Identity, tier: Tier, part_bytes: int, *, is_plain: bool = False) -> None:
        self._is_plain = is_plain
        self._identity = identity
        self._tier = tier
        self._part_bytes = part_bytes
        self._buffer = bytearray()
        self._part = 0
        self._stored = 0
        self._groups: list[Group] = []
        self._blocks: list[Block] = []
        self._frames: list[Frame] = []

    def frame(self, pages: tuple[PageNo, ...], raw: bytes) -> Iterator[tuple[str, bytes]]:
        """Add one frame of the group in progress; yields a finished part, if any."""
        frame, data = encode_frame(pages, raw, part=self._part, offset=len(self._buffer), is_plain=self._is_plain)
        yield from self._append(frame, data)

    def copy(self, frame: Frame, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Add a frame that is encoded already; yields a finished part, if any."""
        moved = Frame(frame.pages, self._part, len(self._buffer), frame.length, frame.crc, frame.codec)
        yield from self._append(moved, data)

    def pages(self, page_size: int, pages: Iterable[tuple[PageNo, bytes]]) -> Iterator[tuple[str, bytes]]:
        """Add pages, ascending, framed as usual; yields finished parts."""
        most = frame_pages(page_size)
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

    def end_group(self, head: Head) -> None:
        """Close the group in progress as the state `head`."""
        self._end_block()
        self._groups.append(Group(head, tuple(self._blocks)))
        self._blocks = []

    def finish(self, inputs: tuple[Ref, ...], lo: Version | None = None) -> tuple[list[tuple[str, bytes]], Ref]:
        """The last parts, and the reference to the whole segment; `lo` defaults to the first group's version."""
        index = encode_index(self._identity, inputs, tuple(self._groups))
        parts = []
        if self._buffer and len(self._buffer) + len(index) > self._part_bytes:
            parts.append(self._end_part())
        offset = len(self._buffer)
        self._buffer += index
        parts.append((self._identity.part_key(self._part), bytes(self._buffer)))
        newest = self._groups[-1].head
        ref = Ref(
            identity=self._identity,
            lo=self._groups[0].head.version if lo is None else lo,
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

    def _append(self, frame: Frame, data: bytes) -> Iterator[tuple[str, bytes]]:
        if self._buffer and len(self._buffer) + len(data) > self._part_bytes:
            yield self._end_part()
            frame = Frame(frame.pages, self._part, 0, frame.length, frame.crc, frame.codec)
        self._buffer += data
        self._frames.append(frame)
        if len(self._frames) == BLOCK_FRAMES:
            self._end_block()

    def _end_block(self) -> None:
        if self._frames:
            self._blocks.append(encode_block(self._frames))
            self._frames = []

    def _end_part(self) -> tuple[str, bytes]:
        part = (self._identity.part_key(self._part), bytes(self._buffer))
        self._stored += len(self._buffer)
        self._buffer = bytearray()
        self._part += 1
        return part

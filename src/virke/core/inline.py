"""Inline commits: small recent ones that a root carries itself, frames and all.

Pure. Byte layout: docs/format.md. Knows heads and frames; knows no root.

1. One that contradicts itself is `Corrupt` when its root is read, whoever will use it: nothing is found out later.
2. Its head and its frames are made when they are first asked for: a request uses one or two of up to twenty, and of the
   others it needs which pages they have.
3. It keeps the bytes that it came with; the next root, and equality, go by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final, cast

from virke.core.ids import ID_BYTES, CommitId, PageCount, PageNo, Version
from virke.core.page import PAGE_SIZES
from virke.core.segment import (
    HEAD_STATE,
    Frame,
    FrameFields,
    Head,
    read_frame_fields,
    write_frame,
    write_head,
)
from virke.core.wire import Reader, Writer

INLINE_BYTES_MIN: Final = 40
_FRAME_BYTES_MIN: Final = 8


HeadFields = tuple[int, bytes, int, int, int, int]
"""The fields of a `Head`, in their order."""


class Inline:
    """A small recent commit, carried by the root itself: its frames follow one another in `data`."""

    def __init__(
        self,
        head: HeadFields,
        frames: Sequence[FrameFields],
        encoded: bytes,
        *,
        pages: Sequence[PageNo],
        data_bytes: int,
    ) -> None:
        """Fields that were checked (rule 1), and its bytes in a root, of which the last `data_bytes` are its frames."""
        self.version = Version(head[0])
        self.pages = pages
        """All pages that it changed, as its frames have them."""
        self.encoded = encoded
        self.data_bytes = data_bytes
        self._head = head
        self._frames = frames

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Inline) and self.encoded == other.encoded

    def __hash__(self) -> int:
        return hash(self.encoded)

    @cached_property
    def head(self) -> Head:
        """The state after it."""
        version, commit_id, time_ms, page_size, page_count, checksum = self._head
        return Head(Version(version), CommitId(commit_id), time_ms, page_size, PageCount(page_count), checksum)

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """Where its pages are in `data`."""
        return tuple([Frame(tuple(map(PageNo, pages)), *rest) for pages, *rest in self._frames])

    @cached_property
    def data(self) -> bytes:
        """The bytes of its frames, one after another."""
        return self.encoded[len(self.encoded) - self.data_bytes :]

    @cached_property
    def places(self) -> dict[PageNo, tuple[Frame, int]]:
        """Where each of its pages is: the frame, and the page's place in it."""
        return {page: (frame, slot) for frame in self.frames for slot, page in enumerate(frame.pages)}


def encode_inline(head: Head, frames: Sequence[Frame], data: bytes) -> Inline:
    """A commit for a root: its head, and frames that follow one another in `data`."""
    out = Writer()
    write_head(out, head)
    out.varint(len(frames))
    before = PageNo(0)
    for frame in frames:
        write_frame(out, frame, before)
        before = frame.pages[-1]
    out.blob(data)
    fields = (head.version, head.commit_id, head.time_ms, head.page_size, head.page_count, head.checksum)
    places = [(frame.pages, frame.part, frame.offset, frame.length, frame.crc, frame.codec) for frame in frames]
    pages = [page for frame in frames for page in frame.pages]
    return Inline(fields, places, out.bytes(), pages=pages, data_bytes=len(data))


def read_inline(source: Reader) -> Inline:
    """Take one commit, checked as `read_head` and `read_frame` check (rule 1)."""
    left = source.left
    [version] = source.varints(1)
    commit_id = source.raw(ID_BYTES)
    [time_ms] = source.varints(1)
    page_size, page_count, checksum = source.unpack(HEAD_STATE)
    if page_size not in PAGE_SIZES:
        raise source.fail(f"page size {page_size}")
    frames: list[FrameFields] = []
    pages: list[int] = []
    before = at = 0
    for _ in range(source.count(_FRAME_BYTES_MIN)):
        fields = read_frame_fields(source, before, page_size)
        found, part, offset, length, _, _ = fields
        if part or offset != at:
            raise source.fail("inline frames do not follow each other")
        frames.append(fields)
        pages += found
        before, at = found[-1], at + length
    [length] = source.varints(1)
    source.skip(length)
    if at != length:
        raise source.fail("inline frames do not fill their bytes")
    head = version, commit_id, time_ms, page_size, page_count, checksum
    return Inline(head, frames, source.since(left), pages=cast("list[PageNo]", pages), data_bytes=length)

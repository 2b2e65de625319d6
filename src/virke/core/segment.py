"""Segments: immutable objects that hold changed pages, and the references by which roots name them.

Pure. Byte layout: docs/format.md (format versions 1 and 2); golden bytes: vectors/. Knows frames and heads; knows no
root, no store and no SQLite beyond page numbers and sizes.

A segment is written as parts: data parts hold whole frames one after another, the last part ends in the index (`index`).
A part is one object of the store. The index lists groups of frames, oldest first; a group is the state after one
commit (`Head`) and the pages that commit, or a merge up to it, brought.

1. A segment names its database, branch, epoch and commit: one that was swapped for another is `Corrupt`.
2. Two writers never write one key: it has epoch, version and the 128-bit commit id of its writer.
3. Groups ascend by version; the newest group at or below a version that has the page wins.
4. No frame is larger than `FRAME_RAW_MAX`, no index names more bytes than its parts can hold.
5. `lo … hi` are the versions whose changes a segment brings. `inputs` are the segments that it replaced:
   they reconstruct the versions before `hi` for as long as history keeps them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cached_property
from typing import Final

from virke.core import codec
from virke.core.codec import crc32
from virke.core.effects import Tier
from virke.core.ids import ID_BYTES, CommitId, DatabaseId, Epoch, PageCount, PageNo, Version
from virke.core.page import PAGE_SIZES
from virke.core.strides import decode_strided, encode_strided
from virke.core.wire import Reader, Writer
from virke.errors import Corrupt
from virke.lazy_dataclasses import dataclass

FRAME_PAGES_MAX: Final = 256
FRAME_RAW_MAX: Final = 1 << 20
INDEX_BYTES_MAX: Final = 64 << 20
PARTS_MAX: Final = 0x10000
TEXT_MAX: Final = 128
_TIERS: Final = (Tier.KV, Tier.OBJECT)


STRIDED_PAGES: Final = 4
"""How many pages a frame of differences holds if there are more than may be alone; else one, as a lookup needs one of them."""
STRIDED_ALONE_MAX: Final = 256
"""Each alone they take a fifth more room; more of them do not fit beside an index without ranges (decision 0038)."""
RANGED_ALONE_MAX: Final = 1024
"""As many, some 1.5 GB, still come along with an index where there are ranges (decision 0038)."""


@dataclass(frozen=True, slots=True)
class Head:
    """The state of a branch after one commit; `checksum` is the xor of all page hashes."""

    version: Version
    commit_id: CommitId
    time_ms: int
    page_size: int
    page_count: PageCount
    checksum: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A few pages encoded together, and where: `length` bytes at `offset` of part `part`."""

    pages: tuple[PageNo, ...]
    part: int
    offset: int
    length: int
    crc: int
    codec: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose segment it is and what its keys are made of."""

    database_id: DatabaseId
    branch: str
    epoch: Epoch
    created: Version
    commit_id: CommitId
    ordinal: int = 0

    def part_key(self, part: int) -> str:
        """The store key of one part."""
        return (
            f"seg/{self.database_id.hex()}/{self.branch}/"
            f"{self.epoch:08x}-{self.created:016x}-{self.commit_id.hex()}-{self.ordinal}.{part:04x}"
        )


@dataclass(frozen=True)
class Ref:
    """How a root or a later segment names a segment; enough to fetch its index in one range."""

    identity: Identity
    lo: Version
    hi: Version
    hi_time_ms: int
    tier: Tier
    parts: int
    stored_bytes: int
    index_offset: int
    index_length: int
    index_crc: int
    has_inputs: bool

    def __hash__(self) -> int:
        # Of bytes that nothing else has: references are keys on every path, and have eleven fields.
        return self.index_crc

    @property
    def keys(self) -> tuple[str, ...]:
        """The store keys of all parts."""
        return tuple(self.identity.part_key(part) for part in range(self.parts))

    @property
    def index_key(self) -> str:
        """The store key of the part that ends in the index."""
        return self.identity.part_key(self.parts - 1)

    @cached_property
    def encoded(self) -> bytes:
        """Its bytes in a root or an index."""
        out, me = Writer(), self.identity
        write_identity(out, me)
        for number in (self.lo, self.hi, self.hi_time_ms):
            out.varint(number)
        out.u8(_TIERS.index(self.tier) | (0x80 if self.has_inputs else 0))
        for number in (self.parts, self.stored_bytes, self.index_offset, self.index_length):
            out.varint(number)
        out.u32(self.index_crc)
        return out.bytes()


def write_identity(out: Writer, identity: Identity) -> None:
    """Append one identity."""
    out.raw(identity.database_id)
    out.text(identity.branch)
    out.varint(identity.epoch)
    out.varint(identity.created)
    out.raw(identity.commit_id)
    out.u8(identity.ordinal)


_WRITER: Final = struct.Struct(f">{ID_BYTES}sB")
"""Commit id and ordinal of an identity."""
_SUM: Final = struct.Struct(">IB")
"""Checksum and codec of a frame."""


def read_identity(source: Reader) -> Identity:
    """Take one identity."""
    database_id, branch = DatabaseId(source.raw(ID_BYTES)), source.text(TEXT_MAX)
    epoch, created = source.varints(2)
    commit_id, ordinal = source.unpack(_WRITER)
    return Identity(database_id, branch, Epoch(epoch), Version(created), CommitId(commit_id), ordinal)


def read_ref(source: Reader) -> Ref:
    """Take one reference."""
    identity = read_identity(source)
    lo, hi, hi_time_ms = source.varints(3)
    flags = source.u8()
    if flags & 0x7F >= len(_TIERS):
        raise source.fail(f"unknown tier {flags & 0x7F}")
    parts, stored_bytes, index_offset, index_length = source.varints(4)
    if not 0 < parts <= PARTS_MAX or index_length > INDEX_BYTES_MAX or lo > hi:
        raise source.fail("impossible segment reference")
    return Ref(
        identity=identity,
        lo=Version(lo),
        hi=Version(hi),
        hi_time_ms=hi_time_ms,
        tier=_TIERS[flags & 0x7F],
        parts=parts,
        stored_bytes=stored_bytes,
        index_offset=index_offset,
        index_length=index_length,
        index_crc=source.u32(),
        has_inputs=bool(flags & 0x80),
    )


HEAD_STATE: Final = struct.Struct(">IIQ")
"""Page size, page count and checksum of a head."""


def write_head(out: Writer, head: Head) -> None:
    """Append one head."""
    out.varint(head.version)
    out.raw(head.commit_id)
    out.varint(head.time_ms)
    out.u32(head.page_size)
    out.u32(head.page_count)
    out.u64(head.checksum)


def read_head(source: Reader) -> Head:
    """Take one head."""
    version, commit_id, time_ms = Version(source.varint()), CommitId(source.raw(ID_BYTES)), source.varint()
    page_size, page_count, checksum = source.unpack(HEAD_STATE)
    head = Head(version, commit_id, time_ms, page_size, PageCount(page_count), checksum)
    if head.page_size not in PAGE_SIZES:
        raise source.fail(f"page size {head.page_size}")
    return head


def write_frame(out: Writer, frame: Frame, before: PageNo) -> None:
    """Append one frame's entry; `before` is the last page of the frame before it (0 for none)."""
    first = frame.pages[0]
    contiguous = frame.pages[-1] - first + 1 == len(frame.pages)
    out.varint(first - before)
    out.varint(len(frame.pages) << 1 | (not contiguous))
    if not contiguous:
        for earlier, later in zip(frame.pages, frame.pages[1:], strict=False):
            out.varint(later - earlier)
    out.varint(frame.part)
    out.varint(frame.offset)
    out.varint(frame.length)
    out.u32(frame.crc)
    out.u8(frame.codec)


FrameFields = tuple[Sequence[int], int, int, int, int, int]
"""The fields of a `Frame`, in their order."""


def read_frame_fields(source: Reader, before: int, page_size: int) -> FrameFields:
    """Take one frame's entry, checked, for a caller that may never need the frame."""
    gap, coded = source.varints(2)
    first, count = before + gap, coded >> 1
    if not 0 < gap <= 0xFFFFFFFF or not 0 < count <= FRAME_PAGES_MAX:
        raise source.fail("impossible frame")
    *gaps, part, offset, length = source.varints(count + 2 if coded & 1 else 3)
    crc, kind = source.unpack(_SUM)
    raw_bytes = count * page_size
    if (raw_bytes > FRAME_RAW_MAX and raw_bytes > page_size) or part >= PARTS_MAX or length > raw_bytes:
        raise source.fail("impossible frame")
    if raw_bytes > (length * codec.DEFLATE_RATIO_MAX if kind == codec.DEFLATE else length):
        raise source.fail("a frame promises more than its bytes can hold")
    if not coded & 1:
        return range(first, first + count), part, offset, length, crc, kind
    pages = [first]
    for step in gaps:
        first += step or 1
        pages.append(first)
    if gaps and max(gaps) > 0xFFFFFFFF:
        raise source.fail("impossible frame")
    return pages, part, offset, length, crc, kind


def read_frame(source: Reader, before: PageNo, page_size: int) -> Frame:
    """Take one frame's entry."""
    pages, *rest = read_frame_fields(source, before, page_size)
    return Frame(tuple(map(PageNo, pages)), *rest)


def frame_pages(page_size: int) -> int:
    """How many pages the writer puts into one frame (decision 0004)."""
    return max(1, min(16, 32768 // page_size))


def encode_frame(
    pages: tuple[PageNo, ...], raw: bytes, *, part: int, offset: int, is_plain: bool = False
) -> tuple[Frame, bytes]:
    """One frame for the concatenated bytes of `pages`; `is_plain`: not compressed."""
    kind, data = (codec.STORED, raw) if is_plain else codec.encode(raw)
    return Frame(pages, part, offset, len(data), crc32(data), kind), data


def encode_alike(pages: tuple[PageNo, ...], datas: Sequence[bytes], *, part: int, offset: int) -> tuple[Frame, bytes]:
    """One frame for pages whose cells are alike, as differences where that is shorter."""
    frame, data = encode_frame(pages, b"".join(datas), part=part, offset=offset)
    strided = encode_strided(datas)
    if len(strided) >= len(data):
        return frame, data
    return Frame(pages, part, offset, len(strided), crc32(strided), codec.STRIDED), strided


def check_frame(frame: Frame, data: bytes, what: str) -> None:
    """Raise `Corrupt` unless these are the bytes of a frame that were written."""
    if len(data) != frame.length:
        raise Corrupt(f"{what}: frame has {len(data)} encoded bytes, not {frame.length}")
    if crc32(data) != frame.crc:
        raise Corrupt(f"{what}: frame checksum does not match")


def decode_frame(frame: Frame, data: bytes, page_size: int, what: str) -> list[bytes]:
    """The pages of a frame, in the order of `frame.pages`.

    Raises:
        Corrupt: the bytes are not the ones that were written.
    """
    if len(data) != frame.length:
        raise Corrupt(f"{what}: frame has {len(data)} encoded bytes, not {frame.length}")
    if frame.codec == codec.STRIDED:
        if crc32(data) != frame.crc:
            raise Corrupt(f"{what}: frame checksum does not match")
        return decode_strided(data, len(frame.pages), page_size, what)
    raw = codec.decode(frame.codec, data, crc=frame.crc, raw_bytes=len(frame.pages) * page_size, what=what)
    return [raw[at : at + page_size] for at in range(0, len(raw), page_size)]


def decode_plain(frame: Frame, data: bytes, page_size: int, what: str) -> bytes:
    """The pages of a frame that is not compressed, one after another. Raises `Corrupt` as `decode_frame`."""
    return codec.decode(frame.codec, data, crc=frame.crc, raw_bytes=len(frame.pages) * page_size, what=what)

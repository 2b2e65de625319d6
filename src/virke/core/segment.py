"""Segments: immutable objects that hold changed pages, and the references by which roots name them.

Pure. Byte layout: docs/format.md (format version 1); golden bytes: vectors/. Knows frames and groups; knows no
root, no store and no SQLite beyond page numbers and sizes.

A segment is written as parts: data parts hold whole frames one after another, the last part ends in the index.
A part is one object of the store. The index lists groups of frames, oldest first; a group is the state after one
commit (`Head`) and the pages that commit, or a merge up to it, brought. Within a group, frames are sorted and do
not overlap, and are listed in blocks that are decoded only when a page in their span is asked for.

1. A segment names its database, branch, epoch and commit: one that was swapped for another is `Corrupt`.
2. Two writers never write one key: it has epoch, version and the 128-bit commit id of its writer.
3. Groups ascend by version; the newest group at or below a version that has the page wins.
4. No frame is larger than `FRAME_RAW_MAX`, no index names more bytes than its parts can hold.
5. `lo … hi` are the versions whose changes a segment brings. `inputs` are the segments that it replaced:
   they reconstruct the versions before `hi` for as long as history keeps them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from virke.core import codec
from virke.core.codec import crc32
from virke.core.effects import Tier
from virke.core.ids import ID_BYTES, CommitId, DatabaseId, Epoch, PageCount, PageNo, Version
from virke.core.page import PAGE_COUNT_MAX, PAGE_SIZES
from virke.core.wire import Reader, Writer
from virke.errors import Corrupt

MAGIC: Final = b"VirkeSeg"
FORMAT: Final = 1
FRAME_PAGES_MAX: Final = 256
FRAME_RAW_MAX: Final = 1 << 20
BLOCK_FRAMES: Final = 128
INDEX_BYTES_MAX: Final = 64 << 20
BLOCK_RAW_MAX: Final = 1 << 20
TEXT_MAX: Final = 128
_TIERS: Final = (Tier.KV, Tier.OBJECT)
_SMALL_INDEX_FRAMES: Final = 1024
_ASKED_PAGES: Final = 32
"""So many pages asked of a small index pay for decoding all of it: one request at the edge asks for a few."""


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
        _write_identity(out, me)
        for number in (self.lo, self.hi, self.hi_time_ms):
            out.varint(number)
        out.u8(_TIERS.index(self.tier) | (0x80 if self.has_inputs else 0))
        for number in (self.parts, self.stored_bytes, self.index_offset, self.index_length):
            out.varint(number)
        out.u32(self.index_crc)
        return out.bytes()


def _write_identity(out: Writer, identity: Identity) -> None:
    out.raw(identity.database_id)
    out.text(identity.branch)
    out.varint(identity.epoch)
    out.varint(identity.created)
    out.raw(identity.commit_id)
    out.u8(identity.ordinal)


def _read_identity(source: Reader) -> Identity:
    return Identity(
        database_id=DatabaseId(source.raw(ID_BYTES)),
        branch=source.text(TEXT_MAX),
        epoch=Epoch(source.varint()),
        created=Version(source.varint()),
        commit_id=CommitId(source.raw(ID_BYTES)),
        ordinal=source.u8(),
    )


def read_ref(source: Reader) -> Ref:
    """Take one reference."""
    identity = _read_identity(source)
    lo, hi, hi_time_ms = Version(source.varint()), Version(source.varint()), source.varint()
    flags = source.u8()
    if flags & 0x7F >= len(_TIERS):
        raise source.fail(f"unknown tier {flags & 0x7F}")
    ref = Ref(
        identity=identity,
        lo=lo,
        hi=hi,
        hi_time_ms=hi_time_ms,
        tier=_TIERS[flags & 0x7F],
        parts=source.varint(0x10000),
        stored_bytes=source.varint(),
        index_offset=source.varint(),
        index_length=source.varint(INDEX_BYTES_MAX),
        index_crc=source.u32(),
        has_inputs=bool(flags & 0x80),
    )
    if ref.parts == 0 or lo > hi:
        raise source.fail("impossible segment reference")
    return ref


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
    head = Head(
        version=Version(source.varint()),
        commit_id=CommitId(source.raw(ID_BYTES)),
        time_ms=source.varint(),
        page_size=source.u32(),
        page_count=PageCount(source.u32()),
        checksum=source.u64(),
    )
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


def read_frame(source: Reader, before: PageNo, page_size: int) -> Frame:
    """Take one frame's entry."""
    first = before + source.varint(0xFFFFFFFF)
    coded = source.varint(FRAME_PAGES_MAX << 1 | 1)
    count = coded >> 1
    if first == before or count == 0 or count * page_size > max(FRAME_RAW_MAX, page_size):
        raise source.fail("impossible frame")
    pages = [first]
    if coded & 1:
        for _ in range(count - 1):
            pages.append(pages[-1] + (source.varint(0xFFFFFFFF) or 1))
    part, offset, length = source.varint(0xFFFF), source.varint(), source.varint(count * page_size)
    crc, kind = source.u32(), source.u8()
    if count * page_size > length * (codec.DEFLATE_RATIO_MAX if kind == codec.DEFLATE else 1):
        raise source.fail("a frame promises more than its bytes can hold")
    if not coded & 1:
        pages.extend(range(first + 1, first + count))
    return Frame(tuple(map(PageNo, pages)), part, offset, length, crc, kind)


def frame_pages(page_size: int) -> int:
    """How many pages the writer puts into one frame (decision 0004)."""
    return max(1, min(16, 32768 // page_size))


def encode_frame(
    pages: tuple[PageNo, ...], raw: bytes, *, part: int, offset: int, is_plain: bool = False
) -> tuple[Frame, bytes]:
    """One frame for the concatenated bytes of `pages`; `is_plain`: not compressed."""
    kind, data = (codec.STORED, raw) if is_plain else codec.encode(raw)
    return Frame(pages, part, offset, len(data), crc32(data), kind), data


def decode_frame(frame: Frame, data: bytes, page_size: int, what: str) -> list[bytes]:
    """The pages of a frame, in the order of `frame.pages`.

    Raises:
        Corrupt: the bytes are not the ones that were written.
    """
    if len(data) != frame.length:
        raise Corrupt(f"{what}: frame has {len(data)} encoded bytes, not {frame.length}")
    raw = codec.decode(frame.codec, data, crc=frame.crc, raw_bytes=len(frame.pages) * page_size, what=what)
    return [raw[at : at + page_size] for at in range(0, len(raw), page_size)]


def decode_plain(frame: Frame, data: bytes, page_size: int, what: str) -> bytes:
    """The pages of a frame that is not compressed, one after another. Raises `Corrupt` as `decode_frame`."""
    return codec.decode(frame.codec, data, crc=frame.crc, raw_bytes=len(frame.pages) * page_size, what=what)


@dataclass(frozen=True, slots=True)
class Block:
    """A run of frame entries of one group, encoded; decoded when a page of its span is asked for."""

    first: PageNo
    last: PageNo
    frames: int
    codec: int
    raw_bytes: int
    crc: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Group:
    """The pages that one commit, or a merge up to it, brought."""

    head: Head
    blocks: tuple[Block, ...]


class Index:
    """A segment's index: which page is in which frame, as of which version."""

    __slots__ = (
        "_asked",
        "_block_firsts",
        "_blocks",
        "_firsts",
        "_is_small",
        "_newest",
        "groups",
        "identity",
        "inputs",
        "is_one_state",
        "what",
    )

    def __init__(self, identity: Identity, inputs: tuple[Ref, ...], groups: tuple[Group, ...]) -> None:
        self.identity = identity
        self.inputs = inputs
        self.groups = groups
        self.what = f"segment {identity.part_key(0)}"
        self._blocks: dict[tuple[int, int], tuple[Frame, ...]] = {}
        self._block_firsts = [[block.first for block in group.blocks] for group in groups]
        self._firsts: dict[tuple[int, int], list[PageNo]] = {}
        """The first page of each frame of a decoded block."""
        self._newest: dict[PageNo, tuple[Frame, int]] | None = None
        self._asked = 0
        """How many pages were asked for before `_newest` was made."""
        self.is_one_state = groups[0].head.version == groups[-1].head.version
        """Whether all groups are of one state: then no page is in two of them."""
        self._is_small = self.frame_count() <= _SMALL_INDEX_FRAMES

    def find(self, page: PageNo, version: Version) -> tuple[Frame, int] | None:
        """The frame that holds `page` as of `version`, and the page's place in it; None if it is not here."""
        if version >= self.groups[-1].head.version:
            if self._newest is not None:
                return self._newest.get(page)
            self._asked += 1
            if self._is_small and self._asked > _ASKED_PAGES:
                self._newest = self.pages(version)
                return self._newest.get(page)
        for number in range(len(self.groups) - 1, -1, -1):
            group = self.groups[number]
            if group.head.version <= version and (found := self._find_in(number, group, page)):
                return found
        return None

    def pages(self, version: Version, first: int = 1, last: int = PAGE_COUNT_MAX) -> dict[PageNo, tuple[Frame, int]]:
        """Every page from `first` to `last` that this segment holds as of `version`, with its place."""
        found: dict[PageNo, tuple[Frame, int]] = {}
        for number, group in enumerate(self.groups):
            if group.head.version <= version:
                for frame in self.frames(number, first, last):
                    for slot, page in enumerate(frame.pages):
                        if first <= page <= last:
                            found[page] = (frame, slot)
        return found

    def frames(self, group: int, first: int = 1, last: int = PAGE_COUNT_MAX) -> Iterator[Frame]:
        """All frames of one group, ascending; of those outside `first` … `last`, some may be left out."""
        for number, block in enumerate(self.groups[group].blocks):
            if block.last >= first and block.first <= last:
                yield from self._block(group, number)

    def frame_count(self) -> int:
        """How many frames the segment has."""
        return sum(block.frames for group in self.groups for block in group.blocks)

    def after(self, frame: Frame) -> Iterator[Frame]:
        """The frames behind `frame`: in a small segment all of them, and then those before it; else of its group."""
        if self._is_small:
            frames = [one for group in range(len(self.groups)) for one in self.frames(group)]
            at = frames.index(frame)
            yield from frames[at + 1 :]
            yield from frames[:at]
            return
        for number, group in enumerate(self.groups):
            at = bisect_right(self._block_firsts[number], frame.pages[0]) - 1
            if at >= 0 and frame in self._block(number, at):
                for block in range(at, len(group.blocks)):
                    yield from (other for other in self._block(number, block) if other.pages[0] > frame.pages[0])
                return

    def _find_in(self, number: int, group: Group, page: PageNo) -> tuple[Frame, int] | None:
        at = bisect_right(self._block_firsts[number], page) - 1
        if at < 0 or page > group.blocks[at].last:
            return None
        frames = self._block(number, at)
        frame = frames[bisect_right(self._firsts[number, at], page) - 1]
        if page in frame.pages:
            return frame, frame.pages.index(page)
        return None

    def _block(self, group: int, number: int) -> tuple[Frame, ...]:
        cached = self._blocks.get((group, number))
        if cached is None:
            block, page_size = self.groups[group].blocks[number], self.groups[group].head.page_size
            cached = _decode_block(block, page_size, self.what)
            self._firsts[group, number] = [frame.pages[0] for frame in cached]
            self._blocks[group, number] = cached
        return cached


def encode_block(frames: list[Frame]) -> Block:
    """One block for up to `BLOCK_FRAMES` frames of a group."""
    out, before = Writer(), PageNo(0)
    for frame in frames:
        write_frame(out, frame, before)
        before = frame.pages[-1]
    raw = out.bytes()
    kind, data = codec.encode(raw)
    return Block(frames[0].pages[0], frames[-1].pages[-1], len(frames), kind, len(raw), crc32(data), data)


def _decode_block(block: Block, page_size: int, what: str) -> tuple[Frame, ...]:
    raw = codec.decode(block.codec, block.data, crc=block.crc, raw_bytes=block.raw_bytes, what=what)
    source, before, frames = Reader(raw, what), PageNo(0), []
    for _ in range(block.frames):
        frame = read_frame(source, before, page_size)
        before = frame.pages[-1]
        frames.append(frame)
    source.done()
    if frames[0].pages[0] != block.first or before != block.last:
        raise Corrupt(f"{what}: index block does not cover its span")
    return tuple(frames)


def encode_index(identity: Identity, inputs: tuple[Ref, ...], groups: tuple[Group, ...]) -> bytes:
    """The bytes of an index."""
    out = Writer()
    out.raw(MAGIC)
    out.u16(FORMAT)
    _write_identity(out, identity)
    out.varint(len(inputs))
    for ref in inputs:
        out.raw(ref.encoded)
    out.varint(len(groups))
    for group in groups:
        write_head(out, group.head)
        out.varint(len(group.blocks))
        for block in group.blocks:
            for number in (block.first, block.last - block.first, block.frames, block.raw_bytes):
                out.varint(number)
            out.u8(block.codec)
            out.u32(block.crc)
            out.blob(block.data)
    return out.sealed()


def decode_index(data: bytes, ref: Ref) -> Index:
    """The index that `ref` names.

    Raises:
        Corrupt: the bytes are damaged, of a newer format, or another segment's.
    """
    what = f"segment {ref.identity.part_key(0)}"
    if len(data) != ref.index_length or crc32(data) != ref.index_crc:
        raise Corrupt(f"{what}: index does not match its reference")
    source = Reader.unsealed(data, what)
    if source.raw(len(MAGIC)) != MAGIC:
        raise source.fail("not a segment")
    if (found := source.u16()) != FORMAT:
        raise source.fail(f"format version {found} is not known to this Virke (knows {FORMAT}); upgrade it")
    identity = _read_identity(source)
    if identity != ref.identity:
        raise source.fail("another segment lies under this key")
    inputs = tuple(read_ref(source) for _ in range(source.count(50)))
    groups = tuple(_read_group(source) for _ in range(source.count(40)))
    source.done()
    versions = [group.head.version for group in groups]
    if not groups or versions != sorted(versions) or versions[-1] != ref.hi:
        raise source.fail("groups are not in order")
    return Index(identity, inputs, groups)


def _read_group(source: Reader) -> Group:
    head = read_head(source)
    blocks: list[Block] = []
    for _ in range(source.count(10)):
        first = source.varint(0xFFFFFFFF)
        block = Block(
            first=PageNo(first),
            last=PageNo(first + source.varint(0xFFFFFFFF)),
            frames=source.varint(BLOCK_FRAMES),
            raw_bytes=source.varint(BLOCK_RAW_MAX),
            codec=source.u8(),
            crc=source.u32(),
            data=source.blob(BLOCK_RAW_MAX),
        )
        if block.frames == 0 or (blocks and block.first <= blocks[-1].last):
            raise source.fail("index blocks are not in order")
        blocks.append(block)
    return Group(head, tuple(blocks))

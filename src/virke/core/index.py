"""A segment's index: which page is in which frame, as of which version; in both formats.

Pure. Byte layout: docs/format.md; golden bytes: vectors/. Knows heads, blocks and parts; reads no object itself.

1. Groups ascend by version; the newest group at or below a version that has the page wins.
2. Blocks are decoded only when a page in their span is asked for.
3. The entries of a block may be in the part that has their frames, and the tables of a very large index in parts of their
   own. A caller that needs what is not here learns where it is (`Away`), reads it, and hands it in (`take`).
4. No index names more bytes than its parts can hold.
5. Every byte is checked before it decides anything: the index as a whole, or (`LATE_BYTES`) its tables at once and the
   entries of a block when they are decoded, which have a checksum each. Damaged ones count as away, so they are read again.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Final

from virke.core import codec
from virke.core.blocks import Blocks, Listed, ListedBlocks, Place, Rows
from virke.core.codec import crc32
from virke.core.entries import (
    FRAMES_MAX,
    RAW_MAX,
    Block,
    Decoded,
    Entries,
    Found,
    Number,
    decode_entries,
    encode_entries,
)
from virke.core.ids import ID_BYTES, CommitId, PageCount, PageNo, Version
from virke.core.page import PAGE_COUNT_MAX, PAGE_SIZES
from virke.core.segment import Frame, Head, Identity, Ref, read_head, read_identity, read_ref, write_identity
from virke.core.wire import Reader, Writer, number_column, running_sums
from virke.errors import Corrupt
from virke.lazy_dataclasses import dataclass

MAGIC: Final = b"VirkeSeg"
FORMAT: Final = 2
FORMATS: Final = (1, 2)
TABLES_RAW_MAX: Final = 256 << 20
LATE_BYTES: Final = 16 << 10
"""From here on summing an index up costs a lookup more than the few blocks that it decodes: 264 KB at 1 GB."""
_SMALL_FRAMES: Final = 1024
_ASKED_PAGES: Final = 32
"""So many pages asked of a small index pay for decoding all of it: one request at the edge asks for a few."""
_GROUP_BYTES: Final = struct.calcsize(">QQQIII") + ID_BYTES
_BLOCK_BYTES: Final = struct.calcsize(">11I")
assert (_GROUP_BYTES, _BLOCK_BYTES) == (52, 44)


class Away(Exception):
    """What an index was asked for needs the bytes at `place`, the entries of block `block`, which are to be handed in."""

    def __init__(self, index: Index, block: Number, page: PageNo, place: Place) -> None:
        super().__init__(f"{index.what}: entries of block {block} are not here")
        self.index = index
        self.block = block
        self.page = page
        """The first page of the block."""
        self.place = place


@dataclass(frozen=True, slots=True)
class Group:
    """The pages that one commit, or a merge up to it, brought."""

    head: Head


Listing = tuple[tuple[Head, tuple[Listed, ...]], ...]
"""The groups of an index with their blocks, as `encode_tables` takes them."""


class Index:
    """What a segment holds. `blocks[i]` are those of group `i`."""

    def __init__(
        self,
        ref: Ref,
        inputs: tuple[Ref, ...],
        heads: Sequence[Head],
        blocks: Sequence[Blocks],
        *,
        inside: Place | None = None,
    ) -> None:
        """`inside`: where the entries in the index are, if they were not summed up yet (rule 5)."""
        self.ref = ref
        self.identity = ref.identity
        self.inputs = inputs
        self.groups = tuple(map(Group, heads))
        self._blocks = blocks
        self._entries = Decoded({})
        self._newest: dict[PageNo, Found] | None = None
        self._asked = 0
        """How many pages were asked for before `_newest` was made."""
        self.is_one_state = heads[0].version == heads[-1].version
        """Whether all groups are of one state: then no page is in two of them."""
        self._inside = inside
        is_here = inside is None and all(group.is_here for group in blocks)
        self._is_small = self.frame_count() <= _SMALL_FRAMES and is_here

    @cached_property
    def what(self) -> str:
        """What it is called in errors."""
        return f"segment {self.identity.part_key(0)}"

    def find(self, page: PageNo, version: Version) -> Found | None:
        """The frame that holds `page` as of `version`, and the page's place in it; None if it is not in this segment.

        Raises:
            Away: the entries that say so are not here.
        """
        if version >= self.groups[-1].head.version:
            if self._newest is not None:
                return self._newest.get(page)
            self._asked += 1
            if self._is_small and self._asked > _ASKED_PAGES:
                self._newest = self.pages(version)
                return self._newest.get(page)
        for number in range(len(self.groups) - 1, -1, -1):
            if self.groups[number].head.version <= version and (found := self._find_in(number, page)):
                return found
        return None

    def pages(self, version: Version, first: int = 1, last: int = PAGE_COUNT_MAX) -> dict[PageNo, Found]:
        """Every page from `first` to `last` that this segment holds as of `version`, with its place. Raises `Away`."""
        found: dict[PageNo, Found] = {}
        for number, group in enumerate(self.groups):
            if group.head.version <= version:
                for frame in self.frames(number, first, last):
                    for slot, page in enumerate(frame.pages):
                        if first <= page <= last:
                            found[page] = (frame, slot)
        return found

    def frames(self, group: int, first: int = 1, last: int = PAGE_COUNT_MAX) -> Iterator[Frame]:
        """All frames of one group, ascending; of those outside `first` … `last`, some may be left out. Raises `Away`."""
        for at in self._spanned_blocks(group, first, last):
            yield from self._block_entries(group, at)

    def missing(self, first: int = 1, last: int = PAGE_COUNT_MAX) -> list[tuple[Number, Place]]:
        """The blocks with pages from `first` to `last` whose entries are not here, and where they are."""
        found: list[tuple[Number, Place]] = []
        for group, blocks in enumerate(self._blocks):
            for at in () if blocks.is_here and self._inside is None else self._spanned_blocks(group, first, last):
                if (place := self._away_place((group, at))) is not None:
                    found.append(((group, at), place))
        return found

    def is_away(self, block: Number) -> bool:
        """Whether the entries of a block have to be handed in."""
        return self._away_place(block) is not None

    def take(self, block: Number, data: bytes) -> None:
        """The encoded entries of a block. Raises `Corrupt`: they are not."""
        group, at = block
        listed = self._blocks[group][at].block
        self._entries[block] = decode_entries(listed, data, self.groups[group].head.page_size, self.what)

    def first_of(self, block: Number) -> int:
        """The first page of a block."""
        return self._blocks[block[0]].firsts[block[1]]

    def begins_at(self, group: int) -> tuple[int, int] | None:
        """The part of a group's first frame, and its place in it (-1 in format 1); None if it has none."""
        blocks = self._blocks[group]
        return (blocks[0].block.part, blocks[0].block.start) if blocks.firsts else None

    def listing(self) -> Listing:
        """All groups with their blocks, in format 2."""
        assert self._inside is None, "what was not summed up is not copied"
        return tuple((group.head, tuple(self._listed_in(number))) for number, group in enumerate(self.groups))

    def used_bytes(self) -> list[int]:
        """Of each part what its frames and their entries take, from its beginning on. Raises `Corrupt`."""
        used = [0] * self.ref.parts
        for head, blocks in self.listing():
            for block, entries, _ in blocks:
                if isinstance(entries, Place):  # behind its frames
                    part, end = entries.part, entries.offset + entries.length
                else:
                    part, end = block.part, decode_entries(block, entries, head.page_size, self.what).end()
                if part != block.part:
                    raise Corrupt(f"{self.what}: entries of an index block are in another part than its frames")
                used[part] = max(used[part], end)
        return used

    def frame_count(self) -> int:
        """How many frames the segment has."""
        return sum(blocks.frame_count for blocks in self._blocks)

    def after(self, frame: Frame) -> Iterator[Frame]:
        """The frames behind `frame`: in a small segment all of them, and then those before it; else of its group.

        Those whose entries are not here are left out.
        """
        if self._is_small:
            frames = [one for group in range(len(self.groups)) for one in self.frames(group)]
            at = frames.index(frame)
            yield from frames[at + 1 :]
            yield from frames[:at]
            return
        for group, blocks in enumerate(self._blocks):
            first = bisect_right(blocks.firsts, frame.pages[0]) - 1
            if first >= 0 and frame in self._entries_here(group, first):
                for at in range(first, len(blocks.firsts)):
                    yield from (other for other in self._entries_here(group, at) if other.pages[0] > frame.pages[0])
                return

    def _listed_in(self, group: int) -> Iterator[Listed]:
        blocks = self._blocks[group]
        for at in range(len(blocks.firsts)):
            listed = blocks[at]
            if listed.block.part >= 0:
                yield listed
                continue
            for frames in _in_one_piece(self._block_entries(group, at)):
                yield Listed(*encode_entries(frames))

    def _entries_here(self, group: int, at: int) -> Iterable[Frame]:
        try:
            return self._block_entries(group, at)
        except Away:
            return ()

    def _spanned_blocks(self, group: int, first: int, last: int) -> range:
        blocks = self._blocks[group]
        return range(bisect_left(blocks.lasts, first), bisect_right(blocks.firsts, last))

    def _find_in(self, group: int, page: PageNo) -> Found | None:
        blocks = self._blocks[group]
        at = bisect_right(blocks.firsts, page) - 1
        return None if at < 0 or page > blocks.lasts[at] else self._block_entries(group, at).find(page)

    def _away_place(self, block: Number) -> Place | None:
        """Where the entries of a block have to be read from; None if they are here, and not damaged."""
        if block in self._entries:
            return None
        listed = self._blocks[block[0]][block[1]]
        if isinstance(listed.entries, Place):
            return listed.entries
        if self._inside is None or crc32(listed.entries) == listed.block.crc:
            return None
        return _place_in(self._inside, listed)

    def _block_entries(self, group: int, at: int) -> Entries:
        cached = self._entries.get((group, at))
        if cached is None:
            listed = self._blocks[group][at]
            block, data, _ = listed
            if isinstance(data, Place):
                raise Away(self, (group, at), block.first, data)
            try:
                cached = decode_entries(block, data, self.groups[group].head.page_size, self.what)
            except Corrupt:
                if self._inside is None or crc32(data) == block.crc:
                    raise
                raise Away(self, (group, at), block.first, _place_in(self._inside, listed)) from None
            self._entries[group, at] = cached
        return cached


def _place_in(inside: Place, listed: Listed) -> Place:
    """Where entries that are in the index are in its part."""
    return Place(inside.part, inside.offset + listed.offset, len(listed.entries))


def _in_one_piece(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    """The same, in runs of frames that are in one part, one after another."""
    found: list[Frame] = []
    for frame in frames:
        if found and (found[-1].part, found[-1].offset + found[-1].length) != (frame.part, frame.offset):
            yield found
            found = []
        found.append(frame)
    if found:
        yield found


# Format 2


@dataclass(frozen=True, slots=True)
class Stub:
    """The beginning of an index whose tables are in parts of their own: read `places`, then `with_tables`."""

    ref: Ref
    inputs: tuple[Ref, ...]
    places: tuple[Place, ...]
    tables: tuple[int, int, int, int, int]
    """Groups, blocks, codec, bytes before encoding, crc."""
    entries: memoryview
    inside: Place | None = None
    """Where the entries are, if they were not summed up."""

    def with_tables(self, datas: Iterable[bytes]) -> Index:
        """The index, from the bytes at its places. Raises `Corrupt`."""
        return _index_of(self, b"".join(datas))


def encode_tables(
    groups: Sequence[tuple[Head, Sequence[Listed]]],
) -> tuple[tuple[int, int, int, int, int], bytes, bytes]:
    """The tables of an index: what a `Stub` says of them, their encoded bytes, and the entries that are in the index."""
    heads, entries = [head for head, _ in groups], bytearray()
    rows: list[tuple[int, ...]] = []
    part = 0
    for _, blocks in groups:
        before = 0
        for one in blocks:
            block, is_far = one.block, isinstance(one.entries, Place)
            place = one.entries if isinstance(one.entries, Place) else Place(0, len(entries), len(one.entries))
            entries += b"" if isinstance(one.entries, Place) else one.entries
            span, gap = block.last - block.first, block.first - before
            row = (gap, span, block.frames, block.part - part, block.start, is_far, place.offset, place.length)
            rows.append((*row, block.raw_bytes, block.crc, block.codec))
            before, part = block.last, block.part
    many = len(heads)
    raw = b"".join(
        (
            struct.pack(f">{many}Q", *(head.version for head in heads)),
            struct.pack(f">{many}Q", *(head.time_ms for head in heads)),
            struct.pack(f">{many}Q", *(head.checksum for head in heads)),
            struct.pack(f">{many}I", *(head.page_size for head in heads)),
            struct.pack(f">{many}I", *(head.page_count for head in heads)),
            struct.pack(f">{many}I", *(len(blocks) for _, blocks in groups)),
            *(head.commit_id for head in heads),
            *(struct.pack(f">{len(rows)}I", *column) for column in zip(*rows, strict=True)),
        )
    )
    kind, data = codec.encode(raw)
    return (many, len(rows), kind, len(raw), crc32(data)), data, bytes(entries)


def encode_index(
    identity: Identity,
    inputs: tuple[Ref, ...],
    encoded: tuple[tuple[int, int, int, int, int], bytes, bytes],
    places: Sequence[Place] = (),
) -> bytes:
    """The bytes of an index; with `places` its tables are there, and not in it."""
    (groups, blocks, kind, raw_bytes, crc), data, entries = encoded
    out = Writer()
    _begin_index(out, identity, inputs, FORMAT)
    for number in (groups, blocks, len(places)):
        out.varint(number)
    for place in places:
        for number in (place.part, place.offset, place.length):
            out.varint(number)
    out.u8(kind)
    out.varint(raw_bytes)
    out.u32(crc)
    out.blob(b"" if places else data)
    out.blob(entries)
    return out.sealed()


def _begin_index(out: Writer, identity: Identity, inputs: tuple[Ref, ...], form: int) -> None:
    out.raw(MAGIC)
    out.u16(form)
    write_identity(out, identity)
    out.varint(len(inputs))
    for ref in inputs:
        out.raw(ref.encoded)


def decode_index(data: bytes, ref: Ref, at: int = 0, *, may_be_late: bool = False) -> Index | Stub:
    """The index that `ref` names, or how to get it; `at`: where it begins in `data`, which ends with it.

    `may_be_late`: the entries of a large one may be summed up when they are decoded (rule 5). One with inputs is not late: no
    other checksum is over those.

    Raises:
        Corrupt: the bytes are damaged, of a newer format, or another segment's.
    """
    what, view = f"segment {ref.identity.part_key(0)}", memoryview(data)[at:]
    is_late = may_be_late and ref.index_length >= LATE_BYTES and not ref.has_inputs
    if len(view) != ref.index_length or (not is_late and crc32(view) != ref.index_crc):
        raise Corrupt(f"{what}: index does not match its reference")
    body = bytes(view[:-4])  # the reference's checksum is over the one at the end as well
    source = Reader(body, what)
    if source.raw(len(MAGIC)) != MAGIC:
        raise source.fail("not a segment")
    if (found := source.u16()) not in FORMATS:
        raise source.fail(f"format version {found} is not known to this Virke (knows {FORMAT}); upgrade it")
    if is_late and found != FORMAT:
        return decode_index(data, ref, at)
    if read_identity(source) != ref.identity:
        raise source.fail("another segment is under this key")
    inputs = tuple(read_ref(source) for _ in range(source.count(50)))
    if found == 1:
        return _read_first(source, ref, inputs)
    groups, blocks = source.varint(PAGE_COUNT_MAX), source.varint(PAGE_COUNT_MAX)
    places = tuple(_read_place(source, ref) for _ in range(source.count(3)))
    if is_late and (inputs or places):
        return decode_index(data, ref, at)
    kind, raw_bytes, crc = source.u8(), source.varint(TABLES_RAW_MAX), source.u32()
    tables = source.blob(ref.index_length)
    length = source.varint(ref.index_length)
    starts = source.skip(length)
    inside = Place(ref.parts - 1, ref.index_offset + starts, length) if is_late else None
    entries = memoryview(body)[starts : starts + length]
    stub = Stub(ref, inputs, places, (groups, blocks, kind, raw_bytes, crc), entries, inside)
    source.done()
    return stub if places else _index_of(stub, tables)


def whole_index(data: bytes, ref: Ref) -> Index:
    """The index that `ref` names, which is in one piece. Raises `Corrupt` as `decode_index`."""
    found = decode_index(data, ref)
    if isinstance(found, Stub):
        raise Corrupt(f"segment {ref.identity.part_key(0)}: the tables of its index are not with it")
    return found


def _read_place(source: Reader, ref: Ref) -> Place:
    return Place(source.varint(ref.parts - 1), source.varint(), source.varint(TABLES_RAW_MAX))


def _index_of(stub: Stub, data: bytes) -> Index:
    many, count, kind, raw_bytes, crc = stub.tables
    what = f"segment {stub.ref.identity.part_key(0)}"
    if raw_bytes != many * _GROUP_BYTES + count * _BLOCK_BYTES or not many:
        raise Corrupt(f"{what}: the tables of the index have another size")
    if not codec.can_hold(kind, len(data), raw_bytes):
        raise Corrupt(f"{what}: the index promises more than its bytes can hold")
    raw = codec.decode(kind, data, crc=crc, raw_bytes=raw_bytes, what=what)
    longs = struct.unpack_from(f">{3 * many}Q", raw)
    shorts = struct.unpack_from(f">{3 * many}I", raw, 24 * many)
    ids = [raw[at : at + ID_BYTES] for at in range(36 * many, _GROUP_BYTES * many, ID_BYTES)]
    versions, sizes, counts = longs[:many], shorts[:many], shorts[2 * many :]
    if list(versions) != sorted(versions) or versions[-1] != stub.ref.hi or sum(counts) != count:
        raise Corrupt(f"{what}: groups are not in order")
    if not set(sizes) <= set(PAGE_SIZES):
        raise Corrupt(f"{what}: impossible page size")
    heads = [
        Head(Version(version), CommitId(commit_id), time_ms, size, PageCount(pages), checksum)
        for version, commit_id, time_ms, size, pages, checksum in zip(
            versions, ids, longs[many : 2 * many], sizes, shorts[many : 2 * many], longs[2 * many :], strict=True
        )
    ]
    table = number_column(raw[_GROUP_BYTES * many :])
    columns = [table[at * count : (at + 1) * count] for at in range(11)]
    parts = running_sums(columns[3], 0)
    if parts is None:
        raise Corrupt(f"{what}: index blocks are not in order")
    columns[3] = parts
    starts = [0, *accumulate(counts)]
    blocks = [
        Rows([column[first:end] for column in columns], stub.entries, parts=stub.ref.parts, what=what)
        for first, end in pairwise(starts)
    ]
    return Index(stub.ref, stub.inputs, heads, blocks, inside=stub.inside)


# Format 1


def _read_first(source: Reader, ref: Ref, inputs: tuple[Ref, ...]) -> Index:
    """The rest of an index of format 1."""
    heads: list[Head] = []
    blocks: list[list[Listed]] = []
    for _ in range(source.count(40)):
        heads.append(read_head(source))
        blocks.append([])
        for _ in range(source.count(10)):
            blocks[-1].append(_read_listed(source))
            if len(blocks[-1]) > 1 and blocks[-1][-1].block.first <= blocks[-1][-2].block.last:
                raise source.fail("index blocks are not in order")
    source.done()
    versions = [head.version for head in heads]
    if not heads or versions != sorted(versions) or versions[-1] != ref.hi:
        raise source.fail("groups are not in order")
    return Index(ref, inputs, heads, list(map(ListedBlocks, blocks)))


def _read_listed(source: Reader) -> Listed:
    first = source.varint(0xFFFFFFFF)
    last, frames, raw_bytes = first + source.varint(0xFFFFFFFF), source.varint(FRAMES_MAX), source.varint(RAW_MAX)
    kind, crc = source.u8(), source.u32()
    if frames == 0:
        raise source.fail("index blocks are not in order")
    return Listed(Block(PageNo(first), PageNo(last), frames, -1, -1, kind, raw_bytes, crc), source.blob(RAW_MAX))

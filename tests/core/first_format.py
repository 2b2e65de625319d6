"""The index of format 1, as Virke wrote it until November 2026: what tests of its decoder are built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from virke.core import codec
from virke.core.codec import crc32
from virke.core.ids import PageNo
from virke.core.segment import Frame, Head, Identity, Ref, write_frame, write_head, write_identity
from virke.core.wire import Writer


@dataclass(frozen=True, slots=True)
class FirstBlock:
    """A run of frame entries of one group, encoded."""

    first: int
    last: int
    frames: int
    codec: int
    raw_bytes: int
    crc: int
    data: bytes


def encode_block(frames: Sequence[Frame]) -> FirstBlock:
    """One block for some frames of a group."""
    out, before = Writer(), PageNo(0)
    for frame in frames:
        write_frame(out, frame, before)
        before = frame.pages[-1]
    raw = out.bytes()
    kind, data = codec.encode(raw)
    return FirstBlock(frames[0].pages[0], frames[-1].pages[-1], len(frames), kind, len(raw), crc32(data), data)


def encode_index(
    identity: Identity, inputs: Sequence[Ref], groups: Sequence[tuple[Head, Sequence[FirstBlock]]]
) -> bytes:
    """The bytes of an index."""
    out = Writer()
    out.raw(b"VirkeSeg")
    out.u16(1)
    write_identity(out, identity)
    out.varint(len(inputs))
    for ref in inputs:
        out.raw(ref.encoded)
    out.varint(len(groups))
    for head, blocks in groups:
        write_head(out, head)
        out.varint(len(blocks))
        for block in blocks:
            for number in (block.first, block.last - block.first, block.frames, block.raw_bytes):
                out.varint(number)
            out.u8(block.codec)
            out.u32(block.crc)
            out.blob(block.data)
    return out.sealed()

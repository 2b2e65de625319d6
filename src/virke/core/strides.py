"""Frames of B-tree pages whose cells are alike: each byte as the difference to the one a cell's length before it, deflated.

Pure. Knows bytes. That interior pages of a table are like that (child and key rise by about as much from cell to cell) is the
reason, and no condition: any page comes back as it was.

1. A frame is a stride (1 … 255) for each page, then a raw deflate stream of all pages' differences (docs/format.md).
2. Sums and differences are taken of all bytes of a page at once, as digits of one large integer: no loop over bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from virke.core import codec
from virke.core.codec import inflate
from virke.errors import Corrupt

_STRIDES: Final = range(5, 19)
"""A cell of an interior page of a table has 4 bytes of child and 1 to 9 of key; two cells often repeat better than one."""
_LANE: Final = 3
"""Bytes for a sum: 65,536 times 255 fits."""


def encode_strided(pages: Sequence[bytes]) -> bytes:
    """Pages of one size, encoded."""
    strides = [
        min(_STRIDES, key=lambda stride: len(zlib.compress(_stride_differences(page, stride), 1))) for page in pages
    ]
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = b"".join(_stride_differences(page, stride) for page, stride in zip(pages, strides, strict=True))
    return bytes(strides) + compressor.compress(raw) + compressor.flush()


def decode_strided(data: bytes, count: int, page_size: int, what: str) -> list[bytes]:
    """The `count` pages of a frame. Raises `Corrupt`."""
    strides = data[:count]
    if len(strides) < count or 0 in strides:
        raise Corrupt(f"{what}: frame without strides")
    raw = inflate(data[count:], count * page_size, what)
    if len(raw) != count * page_size:
        raise Corrupt(f"{what}: frame has {len(raw)} bytes, not {count * page_size}")
    pages = (raw[at : at + page_size] for at in range(0, len(raw), page_size))
    return [_stride_sums(page, stride) for page, stride in zip(pages, strides, strict=True)]


def _stride_differences(page: bytes, stride: int) -> bytes:
    """Each byte less the one `stride` before it, modulo 256."""
    size = len(page)
    wide = bytearray(2 * size)
    wide[::2] = page
    digits = int.from_bytes(wide, "little")
    before = (digits << 16 * stride) & ((1 << 16 * size) - 1)
    borrow = int.from_bytes(b"\0\1" * size, "little")
    return (digits + borrow - before).to_bytes(2 * size + 1, "little")[: 2 * size : 2]


def _stride_sums(page: bytes, stride: int) -> bytes:
    """The inverse: each byte plus all those `stride`, 2 × `stride` … before it, modulo 256."""
    if codec.optimised is not None:
        found: bytes = codec.optimised.sums(page, stride)
        return found
    size = len(page)
    wide = bytearray(_LANE * size)
    wide[::_LANE] = page
    digits, step, end = int.from_bytes(wide, "little"), 8 * _LANE * stride, 8 * _LANE * size
    while step < end:
        digits += digits << step
        digits &= (1 << end) - 1
        step *= 2
    return digits.to_bytes(_LANE * size, "little")[::_LANE]

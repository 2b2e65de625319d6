"""One frame's bytes: how a few pages are encoded together, and back.

Pure. The only file that imports `isal`, and `virke_frames`, which only components have; where neither is installed the
standard zlib reads and writes the same format (decisions 0002, 0038). Knows no page numbers.

1. Decoding yields exactly the length that the index promises, or raises `Corrupt`; it never allocates more.
2. A frame that does not shrink is `stored`.
3. Every frame's CRC-32, over the encoded bytes, is checked before they are decoded.
"""

from __future__ import annotations

import zlib
from types import ModuleType
from typing import Final

from virke.errors import Corrupt

isal_zlib: ModuleType | None
try:
    from isal import isal_zlib
except ImportError:  # the same format, slower
    isal_zlib = None

optimised: ModuleType | None
try:
    import virke_frames as optimised
except ImportError:  # not in a component
    optimised = None

STORED: Final = 0
DEFLATE: Final = 1
STRIDED: Final = 2
"""Deflated differences (`strides`): of frames in segments of format 2 alone."""
CODECS: Final = (STORED, DEFLATE, STRIDED)
DEFLATE_RATIO_MAX: Final = 1032
"""The format's own bound: 258 bytes for each 2 bits."""
_RAW_DEFLATE: Final = -15


def crc32(data: bytes | bytearray | memoryview) -> int:
    """The checksum of frames, indexes and roots (IEEE 802.3)."""
    library = optimised or isal_zlib or zlib
    found: int = library.crc32(data)
    return found


def can_hold(codec: int, length: int, raw_bytes: int) -> bool:
    """Whether `length` encoded bytes can stand for `raw_bytes`: what bounds a decoder's allocations."""
    return length <= raw_bytes <= length * (1 if codec == STORED else DEFLATE_RATIO_MAX)


def encode(raw: bytes) -> tuple[int, bytes]:
    """The codec chosen for `raw`, and its encoded bytes."""
    if optimised is not None:
        shorter: bytes | None = optimised.deflate(raw)
        return (STORED, raw) if shorter is None else (DEFLATE, shorter)
    if isal_zlib is not None:
        packed: bytes = isal_zlib.compress(raw, 1, _RAW_DEFLATE)
    else:
        compressor = zlib.compressobj(1, zlib.DEFLATED, _RAW_DEFLATE)
        packed = compressor.compress(raw) + compressor.flush()
    return (DEFLATE, packed) if len(packed) < len(raw) else (STORED, raw)


def decode(codec: int, data: bytes, *, crc: int, raw_bytes: int, what: str) -> bytes:
    """The `raw_bytes` bytes that `encode` was given.

    Raises:
        Corrupt: the checksum, the codec, the stream or the length is wrong.
    """
    if crc32(data) != crc:
        raise Corrupt(f"{what}: frame checksum does not match")
    if codec == STORED:
        raw = data
    elif codec == DEFLATE:
        raw = inflate(data, raw_bytes, what)
    else:
        raise Corrupt(f"{what}: unknown codec {codec}")
    if len(raw) != raw_bytes:
        raise Corrupt(f"{what}: frame has {len(raw)} bytes, not {raw_bytes}")
    return raw


def inflate(data: bytes, raw_bytes: int, what: str) -> bytes:
    """What a raw deflate stream holds, at most one byte more than `raw_bytes`. Raises `Corrupt`."""
    if optimised is not None and (exact := optimised.inflate(data, raw_bytes)) is not None:
        whole: bytes = exact
        return whole
    library = zlib if isal_zlib is None else isal_zlib
    inflater = library.decompressobj(_RAW_DEFLATE)
    try:
        raw: bytes = inflater.decompress(data, raw_bytes + 1)
    except library.error as error:
        raise Corrupt(f"{what}: {error}") from error
    if not inflater.eof and len(raw) <= raw_bytes:
        raise Corrupt(f"{what}: frame is cut short")
    return raw

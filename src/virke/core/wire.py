"""Bytes in and out of every format: a bounded reader and a plain writer, big-endian.

Pure. Knows integers, byte strings and text; knows no record.

1. A read past the end, a length beyond its bound or bad UTF-8 is `Corrupt`; nothing is allocated before
   its size was checked against what is really there.
2. Writing never loses: a value that does not fit its field raises `struct.error` or `OverflowError`.
"""

from __future__ import annotations

import struct
import sys
from array import array
from itertools import accumulate
from typing import Any

from virke.core import codec
from virke.core.codec import crc32
from virke.errors import Corrupt

_VARINT_MAX = (1 << 63) - 1
_SHIFT_MAX = 63
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")

assert array("I").itemsize == _U32.size


def number_column(data: bytes, kind: str = "I") -> array[int]:
    """A column of integers: `I` of four bytes, `H` of two."""
    found = array(kind)
    found.frombytes(data)
    if sys.byteorder == "little":
        found.byteswap()
    return found


def running_sums(column: array[int], least: int) -> array[int] | None:
    """Of each number the sum up to it; None if one is less than `least` or a sum has more than 32 bits."""
    found = array("I")
    if codec.optimised is None:
        if column and (min(column) < least or sum(column) > 0xFFFFFFFF):
            return None
        found.extend(accumulate(column))
        return found
    sums: bytes | None = codec.optimised.running(column, least)
    if sums is None:
        return None
    found.frombytes(sums)
    return found


class Writer:
    """Appends fields to a buffer."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def u8(self, value: int) -> None:
        """One byte."""
        self._buffer.append(value)

    def u16(self, value: int) -> None:
        """Two bytes."""
        self._buffer += _U16.pack(value)

    def u32(self, value: int) -> None:
        """Four bytes."""
        self._buffer += _U32.pack(value)

    def u64(self, value: int) -> None:
        """Eight bytes."""
        self._buffer += _U64.pack(value)

    def varint(self, value: int) -> None:
        """A non-negative integer, seven bits a byte, least significant first."""
        if value < 0:
            raise OverflowError(f"varint of {value}")
        while value > 0x7F:
            self._buffer.append(value & 0x7F | 0x80)
            value >>= 7
        self._buffer.append(value)

    def raw(self, data: bytes | memoryview) -> None:
        """Bytes of a length that the reader knows."""
        self._buffer += data

    def blob(self, data: bytes) -> None:
        """A varint length, then the bytes."""
        self.varint(len(data))
        self._buffer += data

    def flag(self, is_set: bool) -> None:
        """One byte, 0 or 1."""
        self._buffer.append(is_set)

    def text(self, text: str) -> None:
        """UTF-8 as a blob."""
        self.blob(text.encode())

    def __len__(self) -> int:
        return len(self._buffer)

    def sealed(self) -> bytes:
        """Everything written so far, followed by its CRC-32."""
        return bytes(self._buffer) + _U32.pack(crc32(self._buffer))

    def bytes(self) -> bytes:
        """Everything written so far."""
        return bytes(self._buffer)


class Reader:
    """Takes fields from a buffer; every failure is `Corrupt` and names `what` is being read."""

    __slots__ = ("_at", "_data", "_what")

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    @classmethod
    def unsealed(cls, data: bytes, what: str) -> Reader:
        """A reader over `data` less the CRC-32 at its end, which is checked first."""
        if len(data) < 4 or crc32(memoryview(data)[:-4]) != _U32.unpack_from(data, len(data) - 4)[0]:
            raise Corrupt(f"{what}: checksum does not match")
        return cls(data[:-4], what)

    def fail(self, why: str) -> Corrupt:
        """The error to raise when a field has an impossible value."""
        return Corrupt(f"{self._what}: {why}")

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._at

    def _take_bytes(self, length: int) -> int:
        at = self._at
        if length > len(self._data) - at:
            raise self.fail("cut short")
        self._at = at + length
        return at

    def u8(self) -> int:
        """One byte."""
        return self._data[self._take_bytes(1)]

    def u16(self) -> int:
        """Two bytes."""
        return int(_U16.unpack_from(self._data, self._take_bytes(2))[0])

    def u32(self) -> int:
        """Four bytes."""
        return int(_U32.unpack_from(self._data, self._take_bytes(4))[0])

    def u64(self) -> int:
        """Eight bytes."""
        return int(_U64.unpack_from(self._data, self._take_bytes(8))[0])

    def varint(self, most: int = _VARINT_MAX) -> int:
        """A varint of at most `most`."""
        data, at = self._data, self._at
        value = shift = 0
        try:
            while (byte := data[at]) > 0x7F:
                value |= (byte & 0x7F) << shift
                at, shift = at + 1, shift + 7
                if shift > _SHIFT_MAX:
                    raise self.fail("varint too long")
        except IndexError:
            raise self.fail("cut short") from None
        self._at = at + 1
        value |= byte << shift
        if value > most:
            raise self.fail(f"{value} is more than {most}")
        return value

    def varints(self, count: int) -> list[int]:
        """So many varints, one after another; those of a root are most of what a reader takes."""
        data, at = self._data, self._at
        found: list[int] = []
        try:
            for _ in range(count):
                value = data[at]
                at += 1
                if value > 0x7F:
                    byte = data[at]
                    at += 1
                    value += (byte << 7) - 0x80
                    if byte > 0x7F:
                        value, shift = value - 0x4000, 14
                        while (byte := data[at]) > 0x7F:
                            value |= (byte & 0x7F) << shift
                            at += 1
                            if (shift := shift + 7) > _SHIFT_MAX:
                                raise self.fail("varint too long")
                        value |= byte << shift
                        at += 1
                        if value > _VARINT_MAX:
                            raise self.fail(f"{value} is more than {_VARINT_MAX}")
                found.append(value)
        except IndexError:
            raise self.fail("cut short") from None
        self._at = at
        return found

    def count(self, item_bytes_min: int) -> int:
        """A number of items that follow, each of at least `item_bytes_min` bytes: never more than fit."""
        return self.varint(self.left // item_bytes_min + 1)

    def raw(self, length: int) -> bytes:
        """Exactly `length` bytes."""
        at = self._at
        if (end := at + length) > len(self._data):
            raise self.fail("cut short")
        self._at = end
        return self._data[at:end]

    def unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        """Fields of fixed sizes."""
        at = self._at
        if (end := at + form.size) > len(self._data):
            raise self.fail("cut short")
        self._at = end
        return form.unpack_from(self._data, at)

    def peek(self, length: int) -> bytes:
        """The next `length` bytes, or as many as there are; they are still to be read."""
        return self._data[self._at : self._at + length]

    def since(self, left: int) -> bytes:
        """What was read since so many bytes were `left`."""
        return self._data[len(self._data) - left : self._at]

    def skip(self, length: int) -> int:
        """Leave `length` bytes out; where they begin."""
        return self._take_bytes(length)

    def blob(self, most: int) -> bytes:
        """A varint length of at most `most`, then the bytes."""
        return self.raw(self.varint(most))

    def flag(self) -> bool:
        """One byte, 0 or 1."""
        if (value := self.u8()) > 1:
            raise self.fail(f"a flag is {value}")
        return value == 1

    def text(self, most: int) -> str:
        """UTF-8 text of at most `most` bytes."""
        try:
            return self.blob(most).decode()
        except UnicodeDecodeError as error:
            raise self.fail("text is not UTF-8") from error

    def done(self) -> None:
        """Refuse bytes behind the last field."""
        if self.left:
            raise self.fail(f"{self.left} bytes too many")

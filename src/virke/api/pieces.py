"""JSON in pieces: a value with long lists in it, of which a few items at a time are bytes.

Knows values and the codec; knows no result.

1. The pieces together are what the codec makes of the whole, byte for byte.
2. A piece is of at most `ITEMS_OF_A_PIECE` items or about `BYTES_OF_A_PIECE`, or of one item that is longer.
3. What items become is known to work before the first piece: from then on nothing here can fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from virke.api.codec import Codec
from virke.api.messages import Parts

ITEMS_OF_A_PIECE: Final = 256
BYTES_OF_A_PIECE: Final = 64 << 10
FEW: Final = 8
"""Items that are not measured: most answers have fewer."""


class Long:
    """A list whose items are made when their turn comes."""

    __slots__ = ("encode", "items")

    def __init__(self, items: Sequence[Any], encode: Callable[[Any], object]) -> None:
        self.items = items
        self.encode = encode


def rows_of(rows: Sequence[Any], encode: Callable[[Any], object]) -> object:
    """Rows as JSON: a list, or a `Long` where they are many, or their values are long."""
    count = len(rows)
    if count > ITEMS_OF_A_PIECE or (count > FEW and sum(map(_row_length, rows)) > BYTES_OF_A_PIECE):
        return Long(rows, encode)
    return [encode(row) for row in rows]


def _row_length(row: Sequence[object]) -> int:
    return sum(len(value) for value in row if isinstance(value, str | bytes))


def body_of(value: object, codec: Codec) -> bytes | Parts:
    """The bytes of a value, in parts if something in it is long."""
    try:
        return codec.dumps(value)
    except TypeError:  # the codec met a `Long`
        return Parts(pieces_of(value, codec), _close_nothing)


def bytes_of(value: object, codec: Codec) -> bytes:
    """The bytes of a value as a whole, for what takes no parts."""
    try:
        return codec.dumps(value)
    except TypeError:
        return b"".join(pieces_of(value, codec))


def body_of_lines(lines: Iterator[bytes]) -> bytes | Parts:
    """Lines as a body, in parts if they are many."""
    parts = joined_pieces(lines)
    first, second = next(parts), next(parts, None)
    return first if second is None else Parts(chain((first, second), parts), _close_nothing)


def pieces_of(value: object, codec: Codec) -> Iterator[bytes]:
    """The bytes of a value, piece by piece."""
    return joined_pieces(_encoded_pieces(value, codec))


def joined_pieces(small: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of some size; at least one."""
    held: list[bytes] = []
    size = 0
    for piece in small:
        held.append(piece)
        size += len(piece)
        if len(held) >= ITEMS_OF_A_PIECE or size >= BYTES_OF_A_PIECE:
            yield b"".join(held)
            held.clear()
            size = 0
    yield b"".join(held)


def _encoded_pieces(value: object, codec: Codec) -> Iterator[bytes]:
    if isinstance(value, Long):
        yield from _encoded_items(value, codec)
        return
    try:
        yield codec.dumps(value)
    except TypeError:
        if not isinstance(value, dict | list):
            raise
    else:
        return
    begin, end = (b"{", b"}") if isinstance(value, dict) else (b"[", b"]")
    for one in value:
        yield begin
        begin = b","
        if isinstance(value, dict):
            yield codec.dumps(one) + b":"
            yield from _encoded_pieces(value[one], codec)
        else:
            yield from _encoded_pieces(one, codec)
    yield end


def _encoded_items(long: Long, codec: Codec) -> Iterator[bytes]:
    before = b"["
    for item in long.items:
        yield before + codec.dumps(long.encode(item))
        before = b","
    yield b"]" if long.items else b"[]"


def _close_nothing() -> None:
    """Rows that are in memory have nothing to be closed."""

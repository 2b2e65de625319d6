"""A turn: who may commit next while others wait, as the root says it.

Pure. Byte layout: docs/format.md.

1. Turns are for liveness alone: what a root may be swapped for is decided by compare-and-swap, with or without one.
"""

from __future__ import annotations

from virke.core.ids import ID_BYTES
from virke.core.wire import Reader, Writer
from virke.lazy_dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """16 random bytes of its holder, how often it was renewed, for how long it is, and when it was written.

    `written_ms` is the holder's wall clock; it may only shorten a wait.
    """

    token: bytes
    serial: int
    length_ms: int
    written_ms: int


def write_turn(out: Writer, turn: Turn) -> None:
    """Append a turn."""
    out.raw(turn.token)
    out.varint(turn.serial)
    out.varint(turn.length_ms)
    out.varint(turn.written_ms)


def read_turn(source: Reader) -> Turn:
    """Take a turn."""
    return Turn(source.raw(ID_BYTES), source.varint(), source.varint(), source.varint())

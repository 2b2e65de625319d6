"""The ring: the ids of a root's recent commits, oldest first, and what keyed requests among them were answered.

Pure. Byte layout: docs/format.md, as part of the root. Knows commit ids; knows no root.

A request needs the newest entry of up to 64. So entries that gave no answers, as most do, stay the bytes that they came as, and each is made
when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Final, cast, overload

from virke.core.ids import ID_BYTES, CommitId
from virke.core.wire import Reader, Writer
from virke.lazy_dataclasses import dataclass

RING_LENGTH: Final = 64
ANSWERS_MAX: Final = 4096
_ENTRY_BYTES: Final = ID_BYTES + 1
"""Of an entry without answers."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request with this idempotency key was answered: 16 bytes of the key's hash, rows affected."""

    key: bytes
    rows: int


@dataclass(frozen=True)
class RingEntry:
    """One recent commit: its id, and the answers that it gave."""

    commit_id: CommitId
    answers: tuple[Answer, ...] = ()

    @cached_property
    def encoded(self) -> bytes:
        """Its bytes in a root."""
        if not self.answers:
            return self.commit_id + b"\0"
        out = Writer()
        out.raw(self.commit_id)
        out.varint(len(self.answers))
        for answer in self.answers:
            out.raw(answer.key)
            out.varint(answer.rows)
        return out.bytes()


class Ring(Sequence[RingEntry]):
    """Entries without answers, as they are in a root."""

    __slots__ = ("encoded",)

    def __init__(self, encoded: bytes) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.encoded) // _ENTRY_BYTES

    @overload
    def __getitem__(self, at: int) -> RingEntry: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[RingEntry, ...]: ...
    def __getitem__(self, at: int | slice) -> RingEntry | tuple[RingEntry, ...]:
        if isinstance(at, slice):
            return tuple([self._entry_at(number) for number in range(*at.indices(len(self)))])
        return self._entry_at(range(len(self))[at])

    def __iter__(self) -> Iterator[RingEntry]:
        return map(self._entry_at, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ring):
            return self.encoded == other.encoded
        return tuple(self) == other

    def __hash__(self) -> int:
        return hash(tuple(self))

    def _entry_at(self, number: int) -> RingEntry:
        at = number * _ENTRY_BYTES
        return RingEntry(cast("CommitId", self.encoded[at : at + ID_BYTES]))


def ring_after(ring: Ring, entry: RingEntry) -> Ring:
    """The ring with one entry more, which gave no answers: as much as a root keeps."""
    return Ring((ring.encoded + entry.encoded)[-RING_LENGTH * _ENTRY_BYTES :])


def write_ring(out: Writer, ring: Sequence[RingEntry]) -> None:
    """Append the entries of a root."""
    out.varint(len(ring))
    out.raw(ring.encoded if isinstance(ring, Ring) else b"".join([entry.encoded for entry in ring]))


def read_ring(source: Reader) -> Sequence[RingEntry]:
    """Take the entries of a root."""
    count = source.count(_ENTRY_BYTES)
    data = source.peek(count * _ENTRY_BYTES)
    if not any(data[ID_BYTES::_ENTRY_BYTES]) and len(data) == count * _ENTRY_BYTES:
        source.skip(len(data))
        return Ring(data)
    return tuple([_read_entry(source) for _ in range(count)])


def _read_entry(source: Reader) -> RingEntry:
    commit_id = CommitId(source.raw(ID_BYTES))
    answers = tuple(Answer(source.raw(ID_BYTES), source.varint()) for _ in range(source.varint(ANSWERS_MAX)))
    return RingEntry(commit_id, answers)

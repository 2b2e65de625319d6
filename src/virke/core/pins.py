"""Where a branch comes from, and what of it others hold: parents, pins, tombstones, and their bytes.

Pure. Byte layout: docs/format.md. Knows no segments: what a pin keeps is worked out by core/collect.py.

1. A branch of one name may live several times. Its birth epoch distinguishes its lives: a later life has a higher one,
   and every epoch that it reaches is lower than the birth epoch of the next.
2. A pin is in the root of the branch that is held. It names the pinned version, and the version of the swap that
   brought the pin: what was merged after that swap is read through its inputs, so no list of segments is needed.
3. A register of a branch never becomes absent again while its database lives: a deleted branch leaves a tombstone.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from virke.core.ids import ID_BYTES, MAIN_BRANCH, NAME_BYTES_MAX, DatabaseId, Epoch, Version
from virke.core.wire import Reader, Writer
from virke.lazy_dataclasses import dataclass

TOMBSTONE_MAGIC: Final = b"VirkeEnd"
TOMBSTONE_FORMAT: Final = 1
TOMBSTONE_BYTES_MAX: Final = 1024
PIN_BYTES_MIN: Final = 5


@dataclass(frozen=True, slots=True)
class Parent:
    """The branch that a branch was made from: its name, and which life of it."""

    branch: str
    birth_epoch: Epoch


class PinKind(Enum):
    """What holds a version: a branch that was made from it, or a tag, which is a name alone."""

    BRANCH = "branch"
    TAG = "tag"


_KINDS: Final = (PinKind.BRANCH, PinKind.TAG)


@dataclass(frozen=True, slots=True)
class Pin:
    """Keeps `version` of the branch in whose root it is; `pinned_at` is the version of the swap that brought it.

    `birth_epoch` is that of the branch `name`; 0 for a tag.
    """

    kind: PinKind
    name: str
    birth_epoch: Epoch
    version: Version
    pinned_at: Version


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What the register of a deleted branch holds: every life of it up to `epoch` is over, for good."""

    database_id: DatabaseId
    name: str
    branch: str
    epoch: Epoch
    parent: Parent


def root_key(name: str, branch: str = MAIN_BRANCH) -> str:
    """The register key of one branch of a database."""
    return f"root/{name}/{branch}"


def encode_tombstone(tombstone: Tombstone) -> bytes:
    """The bytes of a tombstone; equal ones are interchangeable, so they carry no commit id."""
    out = Writer()
    out.raw(TOMBSTONE_MAGIC)
    out.u16(TOMBSTONE_FORMAT)
    out.raw(tombstone.database_id)
    out.text(tombstone.name)
    out.text(tombstone.branch)
    out.varint(tombstone.epoch)
    write_parent(out, tombstone.parent)
    return out.sealed()


def decode_tombstone(data: bytes, what: str) -> Tombstone:
    """The tombstone that `data` holds; they start with `TOMBSTONE_MAGIC`.

    Raises:
        Corrupt: the bytes are damaged, or of a newer format.
    """
    if len(data) > TOMBSTONE_BYTES_MAX:
        raise Reader(b"", what).fail(f"{len(data)} bytes is too large for a tombstone")
    source = Reader.unsealed(data, what)
    source.raw(len(TOMBSTONE_MAGIC))
    if (found := source.u16()) != TOMBSTONE_FORMAT:
        raise source.fail(
            f"tombstone of version {found} is not known to this Virke (knows {TOMBSTONE_FORMAT}); upgrade it"
        )
    tombstone = Tombstone(
        DatabaseId(source.raw(ID_BYTES)),
        source.text(NAME_BYTES_MAX),
        source.text(NAME_BYTES_MAX),
        Epoch(source.varint()),
        read_parent(source),
    )
    source.done()
    return tombstone


def write_parent(out: Writer, parent: Parent) -> None:
    """Append a parent."""
    out.text(parent.branch)
    out.varint(parent.birth_epoch)


def read_parent(source: Reader) -> Parent:
    """Take a parent."""
    return Parent(source.text(NAME_BYTES_MAX), Epoch(source.varint()))


def write_pins(out: Writer, pins: tuple[Pin, ...]) -> None:
    """Append a list of pins."""
    out.varint(len(pins))
    for pin in pins:
        out.u8(_KINDS.index(pin.kind))
        out.text(pin.name)
        out.varint(pin.birth_epoch)
        out.varint(pin.version)
        out.varint(pin.pinned_at)


def read_pins(source: Reader) -> tuple[Pin, ...]:
    """Take a list of pins: none twice, in ascending order of kind and name."""
    pins: list[Pin] = []
    before = (-1, "")
    for _ in range(source.count(PIN_BYTES_MIN)):
        kind = source.u8()
        if kind >= len(_KINDS):
            raise source.fail(f"unknown kind of pin {kind}")
        name = source.text(NAME_BYTES_MAX)
        if (kind, name) <= before:
            raise source.fail("pins are not in order")
        before = kind, name
        epoch, version, pinned_at = Epoch(source.varint()), Version(source.varint()), Version(source.varint())
        pins.append(Pin(_KINDS[kind], name, epoch, version, pinned_at))
    return tuple(pins)


def sorted_pins(pins: tuple[Pin, ...]) -> tuple[Pin, ...]:
    """`pins` in the order in which a root holds them."""
    return tuple(sorted(pins, key=lambda pin: (_KINDS.index(pin.kind), pin.name)))

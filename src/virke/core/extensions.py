"""Extensions: how a root gets new fields without a new format.

Pure. Byte layout: docs/format.md.

1. An unknown extension is kept as it is. An unknown one that is critical makes its root unreadable, and says so.
2. `RESTORES` is only shown to people: a reader that does not know it, or can't read it, loses nothing else.
"""

from __future__ import annotations

from typing import Final

from virke.core.ids import Version
from virke.core.wire import Reader, Writer
from virke.errors import Corrupt
from virke.lazy_dataclasses import dataclass

RESTORES: Final = 1
"""The versions that brought an earlier one back, and which."""
RESTORES_MAX: Final = 32
RECENT: Final = 2
"""Copies of recent segments' indexes (core/recent)."""
CARRIED: Final = 3
"""Frames of recent segments that have interior pages (core/carried)."""
KNOWN: Final = frozenset({RESTORES, RECENT, CARRIED})
_CRITICAL: Final = 1
_INHERITED: Final = 2


@dataclass(frozen=True, slots=True)
class Extension:
    """What a newer Virke added to a root: its type's number, and bytes that only it can read.

    `is_critical`: a reader that does not know the type must not use the root. `is_inherited`: a new branch takes it over.
    """

    type_number: int
    data: bytes
    is_critical: bool = False
    is_inherited: bool = False


def write_extensions(out: Writer, extensions: tuple[Extension, ...]) -> None:
    """Append a list of extensions, which ascend by type."""
    out.varint(len(extensions))
    for each in extensions:
        out.varint(each.type_number)
        out.u8(_CRITICAL * each.is_critical | _INHERITED * each.is_inherited)
        out.blob(each.data)


def read_extensions(source: Reader, bytes_max: int) -> tuple[Extension, ...]:
    """Take a list of extensions, each of at most `bytes_max`."""
    found: list[Extension] = []
    before = -1
    for _ in range(source.count(3)):
        number, flags = source.varint(), source.u8()
        if number <= before or flags > _CRITICAL | _INHERITED:
            raise source.fail("extensions are not in order, or have unknown flags")
        before = number
        if flags & _CRITICAL and number not in KNOWN:
            raise source.fail(f"extension {number} is not known to this Virke and can't be left out; upgrade it")
        found.append(Extension(number, source.blob(bytes_max), bool(flags & _CRITICAL), bool(flags & _INHERITED)))
    return tuple(found)


def restores_in(extensions: tuple[Extension, ...]) -> dict[Version, Version]:
    """The last restores: the version that each made, and the one that it brought back."""
    data = next((each.data for each in extensions if each.type_number == RESTORES), b"")
    source = Reader(data, "restores")
    found: dict[Version, Version] = {}
    try:
        while source.left:
            made = source.varint()
            found[Version(made)] = Version(source.varint())
    except Corrupt:  # of a later Virke: what it says is for people alone
        return {}
    return found


def with_restore(extensions: tuple[Extension, ...], made: Version, of: Version) -> tuple[Extension, ...]:
    """The same, and that version `made` brought `of` back; the last `RESTORES_MAX` are kept."""
    out = Writer()
    for one in [*restores_in(extensions).items(), (made, of)][-RESTORES_MAX:]:
        out.varint(one[0])
        out.varint(one[1])
    others = [each for each in extensions if each.type_number != RESTORES]
    return tuple(sorted([*others, Extension(RESTORES, out.bytes())], key=lambda each: each.type_number))

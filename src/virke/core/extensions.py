"""Extensions: how a root gets new fields without a new format.

Pure. Byte layout: docs/format.md. Knows no type yet: the first one that is defined is added to `KNOWN`.

1. An unknown extension is kept as it is. An unknown one that is critical makes its root unreadable, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from virke.core.wire import Reader, Writer

KNOWN: Final = frozenset[int]()
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

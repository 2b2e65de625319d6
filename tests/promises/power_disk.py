"""A disk that forgets at a power cut what was not synced: from recorded operations to what may be found afterwards.

Knows operations on files and folders, by number (inode); knows nothing of what is in them.

1. What was written to a file is certain once the file was synced, an entry of a folder once the folder was: neither
   brings the other.
2. Of what is not certain each piece is there or not, on its own: an entry that was made or removed, a change of a
   length, and of a write each part that is in one sector. So writes are lost, torn and reordered.
3. A part of a sector that a write did not touch stays as it was (what SQLite calls powersafe overwrite).
4. A file's length grows with the pieces that are there; a hole reads as zeros.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SECTOR: Final = 512
ROOT: Final = 0
"""The folder in which everything is; it was there before, and stays."""


@dataclass(frozen=True, slots=True)
class Enter:
    """A folder got an entry: a new file or folder, or another name of a file."""

    folder: int
    name: str
    inode: int
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class Remove:
    """A folder lost an entry."""

    folder: int
    name: str


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes of a file."""

    inode: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file's length."""

    inode: int
    length: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A file or a folder was brought to the medium."""

    inode: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Nothing of the disk: what a caller began (`begun`, `removing`), or was answered (`kept`, `removed`)."""

    word: str
    tokens: tuple[str, ...]


Operation = Enter | Remove | Write | Truncate | Sync | Mark


@dataclass(frozen=True, slots=True)
class Fate:
    """How likely a piece that is not certain is there: of entries, and of bytes."""

    name: str
    entries: float
    bytes: float


NOTHING: Final = Fate("nothing", 0, 0)
ALL: Final = Fate("all", 1, 1)
NAMES_ALONE: Final = Fate("entries without bytes", 1, 0)
FATES: Final = (
    NOTHING,
    ALL,
    NAMES_ALONE,
    Fate("bytes without entries", 0, 1),
    Fate("half", 0.5, 0.5),
    Fate("nearly all", 0.9, 0.9),
    Fate("hardly any", 0.1, 0.1),
)


@dataclass
class _Folder:
    certain: dict[str, int] = field(default_factory=dict)
    pending: list[Enter | Remove] = field(default_factory=list)


@dataclass
class _File:
    certain: bytearray = field(default_factory=bytearray)
    pending: list[Write | Truncate] = field(default_factory=list)


class Disk:
    """What is certain, and what is not, after the operations so far."""

    def __init__(self) -> None:
        self._folders: dict[int, _Folder] = {ROOT: _Folder()}
        self._files: dict[int, _File] = {}

    def do(self, operation: Operation) -> None:
        """One more operation."""
        match operation:
            case Enter(folder, _, inode, is_folder):
                self._folders[folder].pending.append(operation)
                if is_folder:
                    self._folders.setdefault(inode, _Folder())
                else:
                    self._files.setdefault(inode, _File())
            case Remove(folder):
                self._folders[folder].pending.append(operation)
            case Write(inode) | Truncate(inode):
                self._files[inode].pending.append(operation)
            case Sync(inode) if inode in self._folders:
                there = self._folders[inode]
                _enter(there.certain, there.pending)
                there.pending.clear()
            case Sync(inode):
                file = self._files[inode]
                _change(file.certain, file.pending)
                file.pending.clear()
            case Mark():
                pass

    def whole(self, inode: int) -> bytes:
        """A file as programs see it, while there is power."""
        file = self._files[inode]
        content = bytearray(file.certain)
        _change(content, file.pending)
        return bytes(content)

    def cut(self, fate: Fate, chance: random.Random, *, safe: frozenset[str] = frozenset()) -> dict[Path, int]:
        """The files that are there after the power came back, and `content` of each; what is in `safe` folders stays."""
        return dict(self._found(ROOT, Path(), fate, (chance, safe)))

    def _found(
        self, folder: int, path: Path, fate: Fate, how: tuple[random.Random, frozenset[str]]
    ) -> Iterator[tuple[Path, int]]:
        chance, safe = how
        there = self._folders[folder]
        entries = dict(there.certain)
        _enter(entries, [one for one in there.pending if one.name in safe or chance.random() < fate.entries])
        for name, inode in sorted(entries.items()):
            if inode in self._folders:
                yield from self._found(inode, path / name, ALL if name in safe else fate, how)
            else:
                yield path / name, inode

    def content(self, inode: int, fate: Fate, chance: random.Random) -> bytes:
        """What of a file is there."""
        file = self._files[inode]
        content = bytearray(file.certain)
        _change(content, list(_pieces(file.pending, fate.bytes, chance)))
        return bytes(content)


def _enter(entries: dict[str, int], changes: Sequence[Enter | Remove]) -> None:
    for change in changes:
        match change:
            case Enter(_, name, inode):
                entries[name] = inode
            case Remove(_, name):
                entries.pop(name, None)


def _change(content: bytearray, changes: Sequence[Write | Truncate]) -> None:
    for change in changes:
        match change:
            case Write(_, offset, data):
                content.extend(bytes(max(0, offset - len(content))))
                content[offset : offset + len(data)] = data
            case Truncate(_, length):
                del content[length:]
                content.extend(bytes(length - len(content)))


def _pieces(changes: Sequence[Write | Truncate], share: float, chance: random.Random) -> Iterator[Write | Truncate]:
    for change in changes:
        match change:
            case Write(inode, offset, data):
                at = offset
                while at < offset + len(data):
                    end = min(offset + len(data), (at // SECTOR + 1) * SECTOR)
                    if chance.random() < share:
                        yield Write(inode, at, data[at - offset : end - offset])
                    at = end
            case Truncate():
                if chance.random() < share:
                    yield change

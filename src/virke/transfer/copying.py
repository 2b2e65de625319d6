"""Copying a database to another store: out as an SQLite file, in as one commit, and compared byte for byte (decision 0046).

Knows the order of things; what leaves and enters is `exporting`'s and `importing`'s.

1. A database that holds something is never overwritten. One that holds nothing is taken: it may be what a copy left that was killed.
2. The copy is one commit, so a copy that was killed left nothing or an empty database; the same call does it again.
3. What is copied passed SQLite's `integrity_check`, and the copy is read back from its store, before it is called done.
"""

from __future__ import annotations

import io
import shutil
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, cast

from virke.core.settings import Settings
from virke.errors import Corrupt, Exists
from virke.lazy_dataclasses import dataclass
from virke.transfer.exporting import IMAGE, Origin, export_file
from virke.transfer.image import HEADER_BYTES
from virke.transfer.importing import import_file
from virke.transfer.scratch import BUFFER_BYTES, scratch

if TYPE_CHECKING:
    from virke.core.moments import At
    from virke.engine.database import Database
    from virke.transfer.source import Progress

_OF_A_STORE: Final = "tier"
"""The setting that pins a database to a tier says something of the store that it is on."""
_MARKS: Final = ((18, 20), (24, 28), (92, 96))
"""The bytes of page 1 in which a database and its copy may differ: the journal mode and the counters of changes."""


class Source(Origin, Protocol):
    """The database that is copied."""

    def settings(self) -> Settings:
        """Its settings as the store has them now."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did: the version that was made, its bytes as an SQLite file, and the SHA-256 of them.

    The digest counts bytes as zero that tell versions apart: 18, 19, 24 to 27 and 92 to 95.
    """

    version: int
    bytes: int
    sha256: str


def copy_database(
    source: Source, target: Database, *, at: At | None = None, progress: Progress | None = None
) -> Copied:
    """Fill the empty database `target` with one version of `source`, and compare them.

    Either may be a node's. `progress` is called with bytes done and in total, stage by stage.

    Raises:
        Exists: `target` holds something. NotFound, Invalid: `source` has no such version, or is damaged. Unavailable.
        Corrupt: an object of `source` is damaged; nothing was committed. Or the copy differs; the message says which.
    """
    if target.status(history=False).page_count:
        raise Exists(
            f"{target.name!r} holds something there already; nothing was copied",
            hint="a copy goes into a new database: choose another name (--as)",
        )
    wanted = {key: value for key, value in source.settings().as_dict().items() if key != _OF_A_STORE}
    have = target.settings().as_dict()
    if changes := {key: value for key, value in wanted.items() if have[key] != value}:
        target.change_settings(changes)
    with scratch() as work:
        file = work.folder / "copy.sqlite"
        written = export_file(source, file, at=at, progress=progress)
        there = _digest_of(file)
        done = import_file(target, file, progress=progress)
    sink = _Digest()
    export_file(target, cast(BinaryIO, sink), format=IMAGE, at=done.version, progress=progress)
    here = sink.hex()
    if here != there:
        raise Corrupt(f"the copy of {target.name!r} is not what was copied: {here} instead of {there}")
    return Copied(done.version, written.bytes, here)


class _Digest(io.RawIOBase):
    """The SHA-256 of a SQLite file that is written to it, its marks counted as zeros."""

    def __init__(self) -> None:
        self._head, self._rest = bytearray(), sha256()

    def writable(self) -> bool:
        """It takes bytes."""
        return True

    def write(self, data: Any, /) -> int:
        """The next bytes of the file."""
        piece = memoryview(data)
        missing = HEADER_BYTES - len(self._head)
        self._head += piece[:missing]
        if missing > 0 and len(self._head) == HEADER_BYTES:
            for begin, end in _MARKS:
                self._head[begin:end] = bytes(end - begin)
            self._rest.update(self._head)
        self._rest.update(piece[missing:] if missing > 0 else piece)
        return len(piece)

    def hex(self) -> str:
        """The digest of what was written."""
        return self._rest.hexdigest()


def _digest_of(path: Path) -> str:
    sink = _Digest()
    with path.open("rb") as file:
        shutil.copyfileobj(file, sink, BUFFER_BYTES)
    return sink.hex()

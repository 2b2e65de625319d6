"""Room on this machine's disk: for SQL that imports run, and for programs that outgrow memory (decisions 0044, 0045).

Knows the engine's paged file, SQLite's own files and the folder for temporary files.

1. Sorts, temporary tables and journals are files without a name that SQLite opens itself; nothing else can be opened.
2. What is lent to programs has no name either: a process that is killed leaves nothing behind.
3. What the work took of memory goes back to the system: the C library would keep it, in pieces, and what runs next has memory of its own.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Final

from virke.engine.room import Room
from virke.engine.sqlite import MAIN_DATABASE, MAIN_JOURNAL, TEMPORARY_FILE, VFSFile
from virke.engine.vfs import PagedFile, SnapshotVFS
from virke.transfer.spilling import SpilledPages


class FilesVFS(SnapshotVFS):
    """The snapshot's file, and files without a name as the system has them (rule 1)."""

    def xOpen(self, name: object, flags: list[int]) -> PagedFile | VFSFile:  # type: ignore[override]
        """By what SQLite wants it for."""
        if flags[0] & MAIN_DATABASE:
            return self.file
        if flags[0] & MAIN_JOURNAL:  # which lasts as long as the connection does
            flags = [TEMPORARY_FILE, 0]
        return VFSFile("", None, flags)


def give_memory_back() -> None:
    """Let the C library return what it holds and nobody uses (rule 3), in some 25 ms. Of glibc alone: another one can't be asked."""
    if sys.platform == "linux":
        import ctypes  # here, for what needs it seldom (B12)

        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


HELD_BYTES_MAX: Final = 8 << 20
"""What a program in room holds of its pages, to write them in order: SQLite's cache is in front of it, the system's behind it."""
ROOM: Final = Room(partial(SpilledPages, held_bytes_max=HELD_BYTES_MAX), FilesVFS, leave=give_memory_back)

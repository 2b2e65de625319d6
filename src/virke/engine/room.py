"""Room beyond memory for what one program changes, where the place has a disk; and the error of a program that needs it.

Knows what a connection is made of; knows no file: the place lends it (`virke.transfer.room`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from virke.engine.vfs import Overlay, PagedFile, SnapshotVFS
from virke.errors import TooLarge
from virke.lazy_dataclasses import dataclass

HELD_BYTES_MAX: Final = 64 << 20
"""What a program may change, sort and be able to take back in memory alone, where there is room beyond it."""
WORK_BYTES: Final = 128 << 20
"""What SQLite may take of memory in room: its sorts, temporary tables and journals are files."""


ROOMY_CACHE_KIB: Final = 24 << 10
"""The page cache of a connection in room."""


class NeedsRoom(TooLarge):
    """A program changes, or sorts, more than is held in memory: it is run again in room. No caller sees it."""


@dataclass(frozen=True, slots=True)
class Room:
    """Pages that spill into a file, empty at first; and a VFS whose journals and temporary files are files."""

    overlay: Callable[[], Overlay]
    vfs: Callable[[PagedFile], SnapshotVFS]
    bytes_max: int = sys.maxsize
    """Of pages: the file may grow as long as the disk has place."""
    leave: Callable[[], object] = lambda: None
    """Called when the work in it is over, and its connection closed."""

"""SQLite's half of a connection: its file, its VFS and what SQLite made for them, without a guard.

It can be opened before any database is known: at the edge that happens while the component is built (decision 0060).

Knows SQLite and its VFS; knows no snapshot of a store and no request: `Connection` puts those on it.

1. What SQLite read of the file of nothing is never taken for a database's: its schema is forgotten when it was opened, and the file's
   first page has another change counter from the first snapshot on (`PagedFile.move`).
"""

from __future__ import annotations

from typing import Final, NamedTuple, NoReturn

from virke.core.ids import ID_BYTES, CommitId, PageCount, PageNo, Version
from virke.core.page import PAGE_SIZE_DEFAULT
from virke.core.segment import Head
from virke.engine import sqlite
from virke.engine.layers import Pages
from virke.engine.room import Room
from virke.engine.vfs import PagedFile, SnapshotVFS

_FORGET_SCHEMA: Final = "PRAGMA writable_schema=RESET"


class Bare(NamedTuple):
    """A connection of SQLite's that nothing watches yet."""

    file: PagedFile
    vfs: SnapshotVFS
    raw: sqlite.Connection
    cache_kib: int

    def shows(self, snapshot: Pages, overlay_bytes_max: int) -> None:
        """What was opened ahead shows this from now on."""
        self.file.overlay_bytes_max = overlay_bytes_max
        self.file.move(snapshot)


def open_bare(snapshot: Pages, *, cache_kib: int, overlay_bytes_max: int, room: Room | None = None) -> Bare:
    """Open one that shows `snapshot`. What its transactions write is held in memory up to `overlay_bytes_max`, or in `room`."""
    file = PagedFile(snapshot, *((room.bytes_max, room.overlay) if room else (overlay_bytes_max, dict)))
    vfs = (room.vfs if room else SnapshotVFS)(file)
    try:
        raw = sqlite.open_unguarded("main", vfs=vfs.name, cache_kib=cache_kib)
    except BaseException:
        vfs.unregister()
        raise
    return Bare(file, vfs, raw, cache_kib)


def open_ahead(cache_kib: int) -> Bare:
    """Open one that shows nothing yet."""
    bare = open_bare(_Nothing(), cache_kib=cache_kib, overlay_bytes_max=0)
    bare.raw.execute(_FORGET_SCHEMA, can_cache=False).fetchall()
    return bare


class _Nothing:
    """The pages of no database."""

    head: Final = Head(Version(0), CommitId(bytes(ID_BYTES)), 0, PAGE_SIZE_DEFAULT, PageCount(0), 0)
    lineage: Final = None

    def page(self, number: PageNo) -> NoReturn:
        """There is none."""
        raise AssertionError(f"page {number} of nothing was asked for")

    run = page_here = page

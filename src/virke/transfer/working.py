"""SQL on a snapshot for as long as a file takes: what it changes is kept apart, and is a stream of pages in the end (decision 0044).

Knows the engine's paged file and SQLite's connections; knows no store and no file format.

1. Only pages that SQL asks for are read of the snapshot; only pages that it wrote are kept, in memory and then in a file.
2. There is no journal: after an error the copy is thrown away. A caller that wants to go back to a savepoint asks for one (`sql_dump`).
3. Sorts, temporary tables and a journal are files without a name (`room`); nothing else can be opened.
4. All statements see one instant. SQL stays inside its database, and only `PRAGMA writable_schema` is let through on top.
5. Memory is bounded by `CACHE_KIB`, `spilling`, the frames of the process and the largest value.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from virke.core.page import PAGE_SIZE_DEFAULT
from virke.engine.snapshot import Snapshot
from virke.engine.sqlite import Connection, Error, Guard
from virke.engine.streaming import Written
from virke.engine.vfs import PagedFile
from virke.errors import VirkeError
from virke.transfer.room import FilesVFS
from virke.transfer.scratch import SPILL, check_database, opened_database
from virke.transfer.source import Progress, silent_progress
from virke.transfer.spilling import SpilledPages

CACHE_KIB: Final = 24 << 10
PROGRESS_PAGES: Final = 256


class Working:
    """A snapshot, and what SQL wrote over it."""

    def __init__(self, base: Snapshot, pages: SpilledPages, vfs: FilesVFS) -> None:
        self._base = base
        self._pages = pages
        self._vfs = vfs

    @contextmanager
    def opened(self) -> Iterator[tuple[Connection, Guard]]:
        """A guarded connection, and its guard, as `scratch.opened`; one at a time."""
        with opened_database(
            "main", self._vfs.name, self._base.page_size or PAGE_SIZE_DEFAULT, cache_kib=CACHE_KIB
        ) as both:
            yield both

    def check(self, name: str) -> tuple[str, ...]:
        """As `Scratch.check`, of what SQL made."""
        return check_database(self.opened, name)

    @property
    def held_bytes(self) -> int:
        """What memory holds of the pages that were written."""
        return self._pages.held_bytes

    @property
    def is_changed(self) -> bool:
        """Whether there is something to commit."""
        return self._vfs.file.is_dirty and self._vfs.file.patch(copies=False).page_count > 0

    def shape(self) -> tuple[int, int]:
        """Page size and page count."""
        written = Written(self._vfs.file)
        return written.page_size, written.page_count

    def changes(self, progress: Progress = silent_progress) -> Iterator[tuple[int, bytes]]:
        """As `Written.pages`."""
        written = Written(self._vfs.file)
        size, count, shown = written.page_size, written.page_count, 0
        for number, page in written.pages():
            yield number, page
            if number >= shown + PROGRESS_PAGES:
                shown = number
                progress(number * size, count * size)
        progress(count * size, count * size)


@contextmanager
def working_copy(base: Snapshot, folder: Path, now_ms: int) -> Iterator[Working]:
    """A working copy of a snapshot whose files are in `folder`; gone at the end of the `with` block.

    Raises:
        What reading a page of the snapshot raised, in the place of what SQLite made of it. OSError: of the files.
    """
    pages = SpilledPages(folder / SPILL)
    vfs = FilesVFS(PagedFile(base, sys.maxsize, lambda: pages))
    vfs.now_ms = now_ms
    try:
        yield Working(base, pages, vfs)
    except (Error, VirkeError) as error:
        failure = pages.failure or vfs.file.failure
        if failure is None or failure is error:
            raise
        raise failure from error
    finally:
        vfs.unregister()
        pages.close()

"""SQLite files as they are on disk: taken in only when they are whole, and written so that no half file is ever seen.

Knows SQLite's file header (sqlite.org/fileformat2.html, section 1.3), write-ahead logs and journals next to a file.

1. The user's file is only read. A copy is checked and used, so what was checked is what is imported.
2. A write-ahead log next to the file is folded into the copy by SQLite. A hot journal is refused: the file alone is
   not its database.
3. A file that is shorter than its header says, or that SQLite's full `integrity_check` finds damaged, is refused; a full-text
   index that does not match its table is a warning.
4. A written file appears under its name complete and on disk, or not at all; one that is there is kept without `force`.
5. Until then it is `.NAME.….part` beside it, locked. What a process that was killed left there, the next export of that name
   removes: it has no lock, and was not written to for `GRACE_S` (who makes one locks it a moment later).
"""

from __future__ import annotations

import os
import shutil
import struct
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO, Final

from virke.core.page import HEADER_MAGIC, PAGE_SIZES, lock_page
from virke.errors import Exists, Invalid
from virke.processes import try_lock
from virke.transfer.scratch import BUFFER_BYTES, PROGRESS_PAGES, Pages, Scratch
from virke.transfer.source import Progress, Source

HEADER_BYTES: Final = 100
USABLE_BYTES_MIN: Final = 480
GRACE_S: Final = 60
_JOURNAL_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")
_U32 = struct.Struct(">I")


def page_shape(header: bytes, file_bytes: int, name: str) -> tuple[int, int]:
    """Page size and page count of a file of `file_bytes` that begins with `header`.

    Raises:
        Invalid: it is no SQLite file that this version can read, or it is cut short.
    """
    if len(header) < HEADER_BYTES or header[:16] != HEADER_MAGIC:
        raise Invalid(f"{name} is not an SQLite database, or is cut short: its header is missing")
    size = int.from_bytes(header[16:18], "big")
    size = 65536 if size == 1 else size
    if size not in PAGE_SIZES or size - header[20] < USABLE_BYTES_MIN or header[21:24] != b"\x40\x20\x20":
        raise Invalid(f"{name} is damaged: its header says page size {size}, {header[20]} reserved bytes")
    if not (1 <= header[18] <= 2 and 1 <= header[19] <= 2 and _U32.unpack_from(header, 44)[0] <= 4):
        raise Invalid(f"{name} is of a file format that SQLite does not know yet, or is damaged")
    count = int(_U32.unpack_from(header, 28)[0])
    if not count or header[24:28] != header[92:96]:  # an SQLite before 3.7 wrote last: the size decides
        count = -(-file_bytes // size)
    if file_bytes < count * size:
        raise Invalid(f"{name} is cut short: {count} pages of {size} bytes make {count * size}, it has {file_bytes}")
    return size, count


def take_in(source: Source, scratch: Scratch, now_ms: int, progress: Progress) -> tuple[str, ...]:
    """Make the scratch file a checked copy of `source`; the warnings about it.

    Raises:
        Invalid: it is damaged, cut short, in the middle of a change, or being written right now.
    """
    source.complete()
    path = source.path.resolve()  # SQLite keeps logs and journals next to the file that a link names
    log, journal = _file_beside(path, "-wal"), _file_beside(path, "-journal")
    if journal and _begins_with(journal, _JOURNAL_MAGIC):
        raise Invalid(
            f"{source.name} was left in the middle of a change ({journal.name} is next to it): "
            "open it once with the sqlite3 shell, then import it"
        )
    with source.path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    if not log:
        page_shape(header, source.size, source.name)
    seen = _stamps_of(path)
    progress(0, source.size)
    shutil.copyfile(source.path, scratch.path)
    if log:
        shutil.copyfile(log, _suffixed_path(scratch.path, "-wal"))
    if _stamps_of(path) != seen:
        raise Invalid(f"{source.name} is being written by another program: close it there, then import it")
    progress(source.size, source.size)
    if not log:
        _normalise_mode(scratch.path)
    progress(0, source.size)
    warnings = scratch.check(source.name, now_ms)  # opening it folds the log in: the connection leaves WAL mode
    _trim_file(scratch.path, source.name)
    progress(source.size, source.size)
    return warnings


def _file_beside(path: Path, suffix: str) -> Path | None:
    """The file of this suffix next to `path`, if it is there and not empty."""
    other = _suffixed_path(path, suffix)
    return other if other.is_file() and other.stat().st_size else None


def _begins_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _suffixed_path(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _stamps_of(path: Path) -> list[tuple[int, int] | None]:
    files = (path, _file_beside(path, "-wal"), _file_beside(path, "-journal"))
    return [(file.stat().st_size, file.stat().st_mtime_ns) if file else None for file in files]


def _normalise_mode(path: Path) -> None:
    """A file in WAL mode without a log becomes one in rollback mode: bytes 18 and 19."""
    with path.open("r+b") as file:
        file.seek(18)
        file.write(b"\x01\x01")


def _trim_file(path: Path, name: str) -> None:
    """Cut off what is behind the last page."""
    with path.open("r+b") as file:
        size, count = page_shape(file.read(HEADER_BYTES), path.stat().st_size, name)
        file.truncate(size * count)


def image_parts(base: Pages, progress: Progress) -> Generator[bytes, None, None]:
    """All pages of a snapshot, zeros for the lock page, in pieces of about `BUFFER_BYTES`."""
    size, total = base.page_size, base.page_count * base.page_size
    held = bytearray()
    for number, data in base.pages():
        if number == lock_page(size) + 1:
            held += bytes(size)
        held += data
        if len(held) >= BUFFER_BYTES:
            yield bytes(held)
            held.clear()
        if not number % PROGRESS_PAGES:
            progress(number * size, total)
    if base.page_count == lock_page(size):
        held += bytes(size)
    yield bytes(held)
    progress(total, total)


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file that gets its name, complete and synced, at the end of the `with` block.

    Raises:
        Exists: the name is taken, and not `force`; or it is a database in use.
        Invalid: the folder is missing or can't be written.
    """
    try:
        _check_free(path, force)
    except OSError as error:
        raise Invalid(f"can't write {path}: {error.strerror}") from error
    part = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    try:
        _remove_left(path)
        with part.open("xb", buffering=BUFFER_BYTES) as file:
            with suppress(OSError):  # where the file system has no locks
                try_lock(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
        _rename_part(part, path, force)
    except OSError as error:
        raise Invalid(f"can't write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _remove_left(path: Path) -> None:
    """Remove what killed exports of this name left (rule 5); what can't be removed stays."""
    latest_s = time.time() - GRACE_S
    for part in path.parent.glob(f".{escape(path.name)}.{'[0-9a-f]' * 8}.part"):
        with suppress(OSError), part.open("r+b") as file:
            if part.stat().st_mtime < latest_s and try_lock(file.fileno()):
                part.unlink()


def _check_free(path: Path, force: bool) -> None:
    """Refuse a name under which no new file may appear. Raises `Exists`, `Invalid`, `OSError`."""
    if path.exists():
        if not path.is_file():  # a rename would take the place of the device itself
            raise Invalid(f"can't write {path}: it is not a regular file ('-' writes to standard output)")
        if not force:
            raise Exists(f"{path} is there already; nothing was written (--force replaces it)")
    for suffix in ("-wal", "-journal"):
        if _file_beside(path.resolve(), suffix):  # it would be applied to the new file
            raise Exists(f"{path.name}{suffix} is next to {path}: close the program that uses it, or remove it")


def _rename_part(part: Path, path: Path, force: bool) -> None:
    if force:
        part.replace(path)
    else:
        try:
            os.link(part, path)  # unlike a rename, this never replaces
        except FileExistsError as error:
            raise Exists(f"{path} appeared meanwhile; nothing was written (--force replaces it)") from error
        except OSError:  # a file system without links
            part.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

"""A private SQLite file in which another one is taken in, and how it differs from a snapshot.

Knows temporary files, SQLite connections on them and pages; knows no store: a snapshot and a target are protocols.

1. The folder is the user's alone, and is removed whatever happens; after a kill by who comes next (`leftovers`).
2. The file needs no durability and no journal: after an error it is thrown away, never repaired.
3. All statements on one connection see one instant (`clock_vfs`).
4. SQL stays inside the file: the connection is guarded, and only `PRAGMA writable_schema` is let through on top.
5. Memory is bounded by the page cache, the largest value, and 16 bytes for each page of the base.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final, Protocol

from virke.core.page import PAGE_SIZE_DEFAULT, header_page_size, lock_page
from virke.engine.clock_vfs import clock_vfs
from virke.engine.sqlite import Connection, Error, Guard, lend_all, open_connection, translate
from virke.errors import Corrupt, Invalid, TooLarge, Unavailable
from virke.lazy_dataclasses import dataclass
from virke.transfer.leftovers import PREFIX, in_use, remove_leftovers
from virke.transfer.source import Progress, silent_progress

CACHE_KIB: Final = 48 << 10
VALUE_BYTES_MAX: Final = 512 << 20
BUFFER_BYTES: Final = 1 << 20
PROGRESS_PAGES: Final = 1024
SPILL: Final = "scratch.sqlite"
"""The name of the one large file in a folder (`leftovers` knows it)."""
FINGERPRINT_BYTES: Final = 16
_FINDINGS_MAX: Final = 10_000
_OUT_OF_STEP: Final = re.compile(
    r"(?:malformed|unable to validate the) inverted index for FTS[345] table main\.(.*?)(?:: SQL logic error)?"
    r"|fts5: checksum mismatch for table \"(.*)\""
).fullmatch
"""What SQLite says of a full-text index that does not match its table (or whose table is gone); not what it says of a damaged one."""
_LIMIT_SQL_LENGTH: Final = 1  # SQLITE_LIMIT_SQL_LENGTH


class Pages(Protocol):
    """A snapshot, as far as a transfer needs it."""

    @property
    def version(self) -> int:
        """Its version."""

    @property
    def page_size(self) -> int:
        """Bytes of a page."""

    @property
    def page_count(self) -> int:
        """Number of pages, the lock page included; 0 if nothing was ever written."""

    def pages(self) -> Iterable[tuple[int, bytes]]:
        """All pages in ascending order without the lock page."""


class Fingerprints:
    """128 bits of each page of a snapshot: shows what differs from it without reading it again."""

    def __init__(self, base: Pages) -> None:
        self.page_size = base.page_size
        self._marks = bytearray(FINGERPRINT_BYTES * base.page_count)

    def note(self, number: int, data: bytes) -> None:
        """Remember a page of the base."""
        at = (number - 1) * FINGERPRINT_BYTES
        self._marks[at : at + FINGERPRINT_BYTES] = _fingerprint_of(data)

    def has(self, number: int, data: bytes) -> bool:
        """Whether the base has these bytes as page `number`."""
        at = (number - 1) * FINGERPRINT_BYTES
        return len(data) == self.page_size and self._marks[at : at + FINGERPRINT_BYTES] == _fingerprint_of(data)


def _fingerprint_of(data: bytes) -> bytes:
    return blake2b(data, digest_size=FINGERPRINT_BYTES).digest()


@dataclass(frozen=True, slots=True)
class Scratch:
    """An SQLite file in a private folder."""

    folder: Path

    @property
    def path(self) -> Path:
        """The SQLite file; it may not exist yet."""
        return self.folder / SPILL

    def remove(self) -> None:
        """Forget the file; the folder stays."""
        self.path.unlink(missing_ok=True)

    def shape(self) -> tuple[int, int]:
        """Page size and page count of the file."""
        if not self.path.exists() or not (length := self.path.stat().st_size):
            return PAGE_SIZE_DEFAULT, 0
        with self.path.open("rb") as file:
            size = header_page_size(file.read(100))
        return size, length // size

    def changes(self, base: Fingerprints, progress: Progress = silent_progress) -> Iterator[tuple[int, bytes]]:
        """Pages that differ from the base, ascending, without the lock page; page 1 always."""
        size, count = self.shape()
        with self.path.open("rb", buffering=BUFFER_BYTES) as file:
            for number in range(1, count + 1):
                data = file.read(size)
                if number == 1 or (number != lock_page(size) and not base.has(number, data)):
                    yield number, data
                if not number % PROGRESS_PAGES:
                    progress(number * size, count * size)
        progress(count * size, count * size)

    def first_page(self) -> bytes:
        """Page 1: SQLite changes it with every transaction that changed anything."""
        with self.path.open("rb") as file:
            return file.read(self.shape()[0])

    @contextmanager
    def opened(self, now_ms: int, page_size: int = PAGE_SIZE_DEFAULT) -> Iterator[tuple[Connection, Guard]]:
        """As `opened`, on the file."""
        with clock_vfs(now_ms) as vfs, opened_database(str(self.path), vfs.name, page_size) as both:
            yield both

    def check(self, name: str, now_ms: int) -> tuple[str, ...]:
        """As `checked`, of the file."""
        return check_database(lambda: self.opened(now_ms), name)


@contextmanager
def opened_database(
    filename: str, vfs: str, page_size: int, *, cache_kib: int = CACHE_KIB
) -> Iterator[tuple[Connection, Guard]]:
    """A guarded connection and its guard; `page_size` if SQLite makes the file.

    Raises:
        Corrupt: SQLite can't read the file that is there. Unavailable: it can't be opened.
    """
    guard = Guard()
    guard.allow_schema_writes = True
    try:
        connection = open_connection(
            filename, vfs=vfs, guard=guard, cache_kib=cache_kib, value_bytes_max=VALUE_BYTES_MAX
        )
    except Error as error:
        raise translate(error, guard) from error
    try:
        connection.limit(_LIMIT_SQL_LENGTH, VALUE_BYTES_MAX)
        connection.set_authorizer(None)
        # A sort may be larger than memory: temp_store is a file here.
        connection.execute(
            f"PRAGMA page_size={page_size}; PRAGMA journal_mode=OFF; PRAGMA temp_store=FILE; "
            "PRAGMA locking_mode=EXCLUSIVE"
        ).fetchall()
        connection.set_authorizer(guard.authorize)
        lend_all(connection, guard)
        yield connection, guard
    finally:
        connection.close()


def check_database(
    opening: Callable[[], AbstractContextManager[tuple[Connection, Guard]]], name: str
) -> tuple[str, ...]:
    """Refuse a database that SQLite finds damaged, indexes included; messages call it `name`.

    A full-text index that does not match the table it is of is not damage (SQLite itself lets it get there): what
    SQLite says of those is returned, a warning each.

    Raises:
        Invalid: it is damaged, or its schema can't be read.
    """
    warnings: list[str] = []
    try:
        with opening() as (connection, _):
            for (found,) in connection.execute(f"PRAGMA integrity_check({_FINDINGS_MAX})"):
                text = " ".join(str(found).split())
                if found == "ok":
                    continue
                if not (index := _OUT_OF_STEP(text)):
                    raise Invalid(f"{name} is damaged: {text}; nothing was changed")
                table = (index[1] or index[2]).replace('"', '""')
                rebuild = f'INSERT INTO "{table}"("{table}") VALUES(\'rebuild\')'
                warnings.append(f"{name}: {text}: searches in it may be wrong until it is built again: {rebuild}")
    except (Error, Corrupt) as error:
        meant = translate(error)
        fault = "is damaged" if isinstance(meant, Corrupt) else "needs what Virke does not have"
        raise Invalid(f"{name} {fault}: {meant.message}; nothing was changed") from error
    return tuple(warnings)


@contextmanager
def scratch() -> Iterator[Scratch]:
    """A scratch folder, removed at the end of the `with` block.

    Raises:
        Unavailable: a file operation inside the block failed, most likely for want of room. TooLarge: memory is used up.
    """
    try:
        remove_leftovers(Path(gettempdir()))
        with TemporaryDirectory(prefix=PREFIX) as folder, in_use(Path(folder)):
            yield Scratch(Path(folder))
    except BrokenPipeError:
        raise  # the reader of our output has gone; nothing is wrong here
    except MemoryError as error:
        raise TooLarge("out of memory; nothing was changed") from error
    except OSError as error:
        where = error.filename or gettempdir()
        raise Unavailable(
            f"{error.strerror or error}: {where}; nothing was changed (TMPDIR names the folder for scratch files)"
        ) from error

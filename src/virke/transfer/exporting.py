"""Exporting a snapshot: as an SQLite file, page by page, or as SQL text.

Knows the order of things; the formats are in `image` and `dump`.

1. What is written is one version, whole; a file appears complete or not at all.
2. A file that is there is kept without `force`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from virke.engine.sqlite import Error, translate
from virke.errors import Invalid
from virke.transfer.dump import dump
from virke.transfer.image import new_file, write_image
from virke.transfer.scratch import Pages, scratch
from virke.transfer.source import Progress, silent

SQL: Final = "sql"
IMAGE: Final = "sqlite"
_BY_NAME: Final = {".sqlite": IMAGE, ".sqlite3": IMAGE, ".db": IMAGE, ".db3": IMAGE, ".sql": SQL, ".dump": SQL}
STANDARD_OUTPUT: Final = "-"


class Origin(Protocol):
    """The database that is exported."""

    def snapshot(self) -> Pages:
        """Its newest snapshot, pending writes pushed before."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: where to, in which format (`sql` or `sqlite`), and how many bytes."""

    path: str
    format: str
    bytes: int


def export_file(
    database: Origin,
    path: str | PathLike[str] | BinaryIO,
    *,
    format: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write the newest snapshot as `format` (`sql` or `sqlite`; by default what the name says, else `sql`).

    `path` may be a binary stream, or `-` for standard output. `progress` is called with bytes done and in total.

    Raises:
        Exists: there is such a file, and not `force`. Invalid: an unknown format, or the file can't be written.
        Unavailable, Corrupt: the database can't be read. In all these cases no file was written.
    """
    chosen = _format(path, format)
    report = progress or silent
    write = _write_image if chosen == IMAGE else _write_sql
    if isinstance(path, (str, PathLike)) and fspath(path) != STANDARD_OUTPUT:
        with new_file(Path(fspath(path)), force=force) as file:
            written = write(database.snapshot(), file, report)
        return Exported(str(fspath(path)), chosen, written)
    stream = sys.stdout.buffer if isinstance(path, (str, PathLike)) else path
    written = write(database.snapshot(), stream, report)
    stream.flush()
    return Exported(STANDARD_OUTPUT, chosen, written)


def _format(path: str | PathLike[str] | BinaryIO, format: str | None) -> str:
    if format is None:
        suffix = Path(fspath(path)).suffix.lower() if isinstance(path, (str, PathLike)) else ""
        return _BY_NAME.get(suffix, SQL)
    if format not in (SQL, IMAGE):
        raise Invalid(f"unknown format {format!r}; known: {SQL}, {IMAGE}")
    return format


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _write_image(base: Pages, file: BinaryIO, progress: Progress) -> int:
    if base.page_count:
        return write_image(base, file, progress)
    with scratch() as work:  # a file of no bytes would be a database too, but one that no tool recognises
        with work.opened(_now_ms(), base.page_size) as (connection, _):
            connection.execute("PRAGMA user_version=0").fetchall()
        return file.write(work.path.read_bytes())


def _write_sql(base: Pages, file: BinaryIO, progress: Progress) -> int:
    written = 0
    with scratch() as work:
        work.materialize(base, progress)
        with work.opened(_now_ms(), base.page_size) as (connection, guard):
            try:
                for piece in dump(connection):
                    written += file.write(piece.encode())
            except (Error, UnicodeError) as error:
                raise translate(error, guard) from error
    return written

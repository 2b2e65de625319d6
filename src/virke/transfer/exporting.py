"""Exporting a snapshot: as an SQLite file, page by page, as SQL text, or one table as CSV.

Knows the order of things; the formats are in `image`, `dump` and `csv_text`.

1. What is written is one version, whole; a file appears complete or not at all.
2. A file that is there is kept without `force`.
3. `export_parts` gives the same bytes piece by piece, to who takes them at a pace of their own; nothing is collected.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from virke.engine.sqlite import Error, translate
from virke.errors import Invalid, VirkeError
from virke.transfer.csv_text import csv_text
from virke.transfer.dump import dump
from virke.transfer.elsewhere import Elsewhere
from virke.transfer.image import image_parts, new_file
from virke.transfer.scratch import Pages, scratch
from virke.transfer.source import Progress, silent

SQL: Final = "sql"
IMAGE: Final = "sqlite"
CSV: Final = "csv"
_BY_NAME: Final = {
    ".sqlite": IMAGE,
    ".sqlite3": IMAGE,
    ".db": IMAGE,
    ".db3": IMAGE,
    ".sql": SQL,
    ".dump": SQL,
    ".csv": CSV,
}
STANDARD_OUTPUT: Final = "-"
Parts = Generator[bytes, None, None]


class Origin(Protocol):
    """The database that is exported."""

    def snapshot(self) -> Pages:
        """Its newest snapshot, pending writes pushed before."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: where to, in which format (`sql`, `sqlite` or `csv`), and how many bytes."""

    path: str
    format: str
    bytes: int


def export_file(
    database: Origin,
    path: str | PathLike[str] | BinaryIO,
    *,
    format: str | None = None,
    table: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write the newest snapshot as `format` (`sql` or `sqlite`; by default what the name says, else `sql`), or a table as CSV.

    `path` may be a binary stream, or `-` for standard output. `progress` is called with bytes done and in total.

    Raises:
        Exists: there is such a file, and not `force`. NotFound: there is no such table.
        Invalid: an unknown format, a table without `csv` or `csv` without one, or the file can't be written.
        Unavailable, Corrupt: the database can't be read. In all these cases no file was written.
    """
    chosen = format or _format_of(path, table)
    _check(chosen, table)
    report = progress or silent
    if isinstance(path, (str, PathLike)) and fspath(path) != STANDARD_OUTPUT:
        with new_file(Path(fspath(path)), force=force) as file:
            written = _write(_all(database, chosen, table, report), file)
        return Exported(str(fspath(path)), chosen, written)
    stream = sys.stdout.buffer if isinstance(path, (str, PathLike)) else path
    written = _write(_all(database, chosen, table, report), stream)
    stream.flush()
    return Exported(STANDARD_OUTPUT, chosen, written)


def export_parts(database: Origin, *, format: str = SQL, table: str | None = None) -> Parts:
    """The bytes that `export_file` writes, piece by piece; close it, unless it is read to its end.

    Raises:
        As `export_file`; `Invalid` at once, the rest when pieces are asked for.
    """
    _check(format, table)
    return _parts(database.snapshot(), format, table, silent)


def _all(database: Origin, format: str, table: str | None, progress: Progress) -> Iterator[bytes]:
    if isinstance(database, Elsewhere):
        return database.export_parts(format=format, table=table)
    return _parts(database.snapshot(), format, table, progress)


def _format_of(path: str | PathLike[str] | BinaryIO, table: str | None) -> str:
    suffix = Path(fspath(path)).suffix.lower() if isinstance(path, (str, PathLike)) else ""
    return _BY_NAME.get(suffix, SQL if table is None else CSV)


def _check(format: str, table: str | None) -> None:
    if format not in (SQL, IMAGE, CSV):
        raise Invalid(f"unknown format {format!r}; known: {SQL}, {IMAGE}, {CSV}")
    if format == CSV and table is None:
        raise Invalid("a CSV file holds one table: say which (--table)")
    if format != CSV and table is not None:
        raise Invalid(f"--table is for CSV; {format} holds the whole database")


def _write(parts: Iterator[bytes], file: BinaryIO) -> int:
    return sum(file.write(part) for part in parts)


def _parts(base: Pages, format: str, table: str | None, progress: Progress) -> Parts:
    if format == IMAGE:
        return image_parts(base, progress) if base.page_count else _empty_image(base)
    return _text_parts(base, table, progress)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _empty_image(base: Pages) -> Parts:
    with scratch() as work:  # a file of no bytes would be a database too, but one that no tool recognises
        with work.opened(_now_ms(), base.page_size) as (connection, _):
            connection.execute("PRAGMA user_version=0").fetchall()
        yield work.path.read_bytes()


def _text_parts(base: Pages, table: str | None, progress: Progress) -> Parts:
    with scratch() as work:
        work.materialize(base, progress)
        with work.opened(_now_ms(), base.page_size) as (connection, guard):
            try:
                for piece in dump(connection) if table is None else csv_text(connection, table):
                    yield piece.encode()
            except VirkeError:
                raise
            except (Error, UnicodeError) as error:
                raise translate(error, guard) from error

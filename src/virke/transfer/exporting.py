"""Exporting a snapshot: as an SQLite file, page by page, as SQL text, or one table as CSV or NDJSON.

Knows the order of things; the formats are in `image`, `dump`, `csv_text` and `json_table`.

1. What is written is one version, whole; a file appears complete or not at all.
2. A file that is there is kept without `force`.
3. The end of a file's name says the format, and after it `.gz` that it is compressed; one that says nothing known is an error.
4. `export_parts` gives the same bytes piece by piece, to who takes them at a pace of their own; nothing is collected.
"""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Generator, Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from virke.engine.snapshot import Snapshot
from virke.engine.sqlite import Connection, Error, translate
from virke.errors import Invalid, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.transfer.csv_text import csv_text
from virke.transfer.dump import Part, dump_pieces
from virke.transfer.elsewhere import Elsewhere
from virke.transfer.image import image_parts, new_file
from virke.transfer.json_table import json_lines
from virke.transfer.scratch import scratch
from virke.transfer.source import Progress, silent_progress
from virke.transfer.working import working_copy

if TYPE_CHECKING:
    from virke.core.moments import At

SQL: Final = "sql"
IMAGE: Final = "sqlite"
CSV: Final = "csv"
NDJSON: Final = "ndjson"
FORMATS: Final = (SQL, IMAGE, CSV, NDJSON)
_BY_NAME: Final = {
    ".sqlite": IMAGE,
    ".sqlite3": IMAGE,
    ".db": IMAGE,
    ".db3": IMAGE,
    ".sql": SQL,
    ".dump": SQL,
    ".csv": CSV,
    ".ndjson": NDJSON,
    ".jsonl": NDJSON,
}
STANDARD_OUTPUT: Final = "-"
_GZIPPED: Final = ".gz"
_GZIP_WINDOW: Final = 31
"""As zlib has it: the largest window, in the form of gzip."""
Parts = Generator[bytes, None, None]


class Origin(Protocol):
    """The database that is exported."""

    def snapshot(self, at: At | None = None) -> Snapshot:
        """Its newest snapshot, pending writes pushed before, or an earlier one. Raises `NotFound`, `Invalid`."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: where to, in which format (`FORMATS`), and how many bytes."""

    path: str
    format: str
    bytes: int


def export_file(
    database: Origin,
    path: str | PathLike[str] | BinaryIO,
    *,
    format: str | None = None,
    table: str | None = None,
    schema_only: bool = False,
    data_only: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    at: At | None = None,
) -> Exported:
    """Write the newest snapshot, or the one that `at` means (a version or a time), as `format` (one of `FORMATS`; by default what the name says), or one table.

    As SQL it may be the schema only or the rows only. `path` may be a binary stream, or `-` for standard output. `progress` is
    called with bytes done and in total (0 of text, which is known when it is written).

    Raises:
        Exists: there is such a file, and not `force`. NotFound: there is no such table, or no such version any more.
        Invalid: an unknown format or ending, a table without a format of one or the reverse, or the file can't be written.
        Unavailable, Corrupt: the database can't be read. In all these cases no file was written.
    """
    name = fspath(path) if isinstance(path, (str, PathLike)) else STANDARD_OUTPUT
    chosen = format or _format_of(name, table)
    part = _checked_part(chosen, table, schema_only=schema_only, data_only=data_only)
    report = progress or silent_progress
    if name != STANDARD_OUTPUT:
        packed = _compressed_parts if name.lower().endswith(_GZIPPED) else iter
        with new_file(Path(name), force=force) as file:  # nothing is asked of the database before its name is free
            written = _write_parts(packed(_all_parts(database, chosen, part, report, at=at)), file)
        return Exported(name, chosen, written)
    stream = sys.stdout.buffer if isinstance(path, (str, PathLike)) else path
    written = _write_parts(_all_parts(database, chosen, part, report, at=at), stream)
    stream.flush()
    return Exported(STANDARD_OUTPUT, chosen, written)


def export_parts(
    database: Origin,
    *,
    format: str = SQL,
    table: str | None = None,
    schema_only: bool = False,
    data_only: bool = False,
    at: At | None = None,
) -> Parts:
    """The bytes that `export_file` writes, piece by piece; close it, unless it is read to its end.

    Raises:
        As `export_file`; `Invalid` at once, the rest when pieces are asked for.
    """
    part = _checked_part(format, table, schema_only=schema_only, data_only=data_only)
    return _parts_of(database.snapshot(at), format, part, silent_progress)


def _all_parts(database: Origin, format: str, part: Part, progress: Progress, *, at: At | None) -> Iterator[bytes]:
    if isinstance(database, Elsewhere):
        return database.export_parts(format=format, part=part, at=at)
    return _parts_of(database.snapshot(at), format, part, progress)


def _compressed_parts(parts: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=_GZIP_WINDOW)
    for part in parts:
        yield packer.compress(part)
    yield packer.flush()


def _format_of(name: str, table: str | None) -> str:
    suffix = Path(name.lower().removesuffix(_GZIPPED)).suffix if name != STANDARD_OUTPUT else ""
    found = _BY_NAME.get(suffix, "" if suffix else SQL if table is None else CSV)
    if not found:
        raise Invalid(
            f"what is a file whose name ends in {suffix}? Known are .sql, .sqlite, .db, .csv and .ndjson, each with .gz after "
            "it or not; --format says it too"
        )
    return found


def _checked_part(format: str, table: str | None, *, schema_only: bool, data_only: bool) -> Part:
    if format not in FORMATS:
        raise Invalid(f"unknown format {format!r}; known: {', '.join(FORMATS)}")
    if format in (CSV, NDJSON) and table is None:
        raise Invalid(f"a file of {format} holds one table: say which (--table)")
    if format == IMAGE and table is not None:
        raise Invalid(f"--table is for the other formats; {format} holds the whole database")
    if schema_only and data_only:
        raise Invalid("schema only and data only exclude each other")
    if (schema_only or data_only) and format != SQL:
        raise Invalid(f"schema only and data only are for SQL, not for {format}")
    return Part(table, schema=not data_only, rows=not schema_only)


def _write_parts(parts: Iterator[bytes], file: BinaryIO) -> int:
    return sum(file.write(part) for part in parts)


def _parts_of(base: Snapshot, format: str, part: Part, progress: Progress) -> Parts:
    if format == IMAGE:
        return image_parts(base, progress) if base.page_count else _empty_image(base)
    return _text_parts(base, format, part, progress)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _empty_image(base: Snapshot) -> Parts:
    with scratch() as work:  # a file of no bytes would be a database too, but one that no tool recognises
        with work.opened(_now_ms(), base.page_size) as (connection, _):
            connection.execute("PRAGMA user_version=0").fetchall()
        yield work.path.read_bytes()


def _text_parts(base: Snapshot, format: str, part: Part, progress: Progress) -> Parts:
    done = 0
    with scratch() as work, working_copy(base, work.folder, _now_ms()) as copy, copy.opened() as (connection, guard):
        try:
            for piece in _text_pieces(connection, format, part):
                data = piece.encode()
                yield data
                done += len(data)
                progress(done, 0)
        except VirkeError:
            raise
        except (Error, UnicodeError) as error:
            raise translate(error, guard) from error


def _text_pieces(connection: Connection, format: str, part: Part) -> Iterator[str]:
    if format == SQL:
        return dump_pieces(connection, part)
    assert part.table is not None, "it was asked for"
    return csv_text(connection, part.table) if format == CSV else json_lines(connection, part.table)

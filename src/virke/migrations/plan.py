"""The files of a migrations folder, checked against each other and against what a database has applied.

Reads the folder, changes nothing, knows no database.

1. Files are `NNN_name.sql`, numbered without gap or double from 0 or 1; `NNN_name.undo.sql` belongs to one of them.
2. A checksum is the SHA-256 of the text in UTF-8 with Unix line ends and no byte-order mark: a
   checkout on another system is not an edit.
3. What a database has applied must be the beginning of what the folder has, letter for letter.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from virke.errors import Invalid, NotFound

_FILE = re.compile(r"(\d{1,15})_([\w.-]+)\.sql", re.ASCII)
_UNDO = ".undo.sql"


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """One migration: `sql` brings the schema forward, `undo` (its `.undo.sql`, if there is one) takes it back."""

    number: int
    name: str
    path: Path
    sql: str
    checksum: str
    undo: str | None = None

    @property
    def undo_name(self) -> str:
        """What the file that undoes this one is called."""
        return self.path.name.removesuffix(".sql") + _UNDO


@dataclass(frozen=True, slots=True)
class Record:
    """What a database remembers of one applied migration; `undo` None: no exact one was found."""

    number: int
    name: str
    checksum: str
    applied_at: str
    undo: str | None


def plan(folder: Path) -> list[MigrationFile]:
    """The migrations of `folder` in order.

    Raises:
        NotFound: there is no such folder.
        Invalid: a `.sql` file has a wrong name, a number is missing or taken twice, a text is not UTF-8 or can't be read.
    """
    try:
        if not folder.is_dir():
            raise NotFound(
                f"no migrations folder {str(folder)!r}: make it and add 001_name.sql, or name one with --dir"
            )
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() == ".sql" and p.name[0] != "." and p.is_file())
    except OSError as error:
        raise Invalid(f"can't read {error.filename or folder}: {error.strerror}") from error
    undo_paths = {path.name: path for path in paths if path.name.lower().endswith(_UNDO)}
    files = sorted((_read(path) for path in paths if path.name not in undo_paths), key=lambda file: file.number)
    for before, after in itertools.pairwise(files):
        if before.number == after.number:
            raise Invalid(f"{before.path.name} and {after.path.name} have the same number")
        if after.number != before.number + 1:
            raise Invalid(f"migration {before.number + 1:03} is missing: {after.path.name} follows {before.path.name}")
    if files and files[0].number > 1:
        raise Invalid(f"migration 001 is missing: the first file is {files[0].path.name}")
    return _join(files, undo_paths)


def _join(files: list[MigrationFile], undo_paths: dict[str, Path]) -> list[MigrationFile]:
    """Each file with the text of its `.undo.sql`, if it has one."""
    orphans = undo_paths.keys() - {file.undo_name for file in files}
    if orphans:
        orphan = min(orphans)
        raise Invalid(f"{orphan} undoes nothing: there is no {orphan.removesuffix(_UNDO)}.sql beside it")
    return [_with_undo(file, undo_paths) for file in files]


def _with_undo(file: MigrationFile, undo_paths: dict[str, Path]) -> MigrationFile:
    path = undo_paths.get(file.undo_name)
    if path is None:
        return file
    return MigrationFile(file.number, file.name, file.path, file.sql, file.checksum, undo=_text(path))


def _read(path: Path) -> MigrationFile:
    match = _FILE.fullmatch(path.name)
    if match is None:
        raise Invalid(f"{path.name} is not a migration's name: use digits, '_', a name and '.sql', as in 001_users.sql")
    sql = _text(path)
    return MigrationFile(int(match[1]), match[2], path, sql, hashlib.sha256(sql.encode()).hexdigest())


def _text(path: Path) -> str:
    """The file's text with normalised line ends (invariant 2)."""
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise Invalid(f"{path.name} is not UTF-8: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise Invalid(f"can't read {path}: {error.strerror}") from error


def check(files: Sequence[MigrationFile], records: Sequence[Record]) -> None:
    """Refuse a folder that is not a continuation of what was applied (invariant 3).

    Raises:
        Invalid: an applied file is missing, renamed or edited, or one was slipped in before an applied one.
    """
    by_number = {file.number: file for file in files}
    for record in records:
        label = f"{record.number:03}_{record.name}.sql"
        file = by_number.get(record.number)
        if file is None:
            raise Invalid(f"{label} was applied on {record.applied_at}, but its file is missing: bring it back")
        if file.name != record.name:
            raise Invalid(f"{file.path.name} was applied as {label}: give it its old name again")
        if file.checksum != record.checksum:
            raise Invalid(
                f"{file.path.name} was edited after it was applied on {record.applied_at}: "
                "put its old text back and write the change as a new migration"
            )
    applied = {record.number for record in records}
    late = [file for file in files if applied and file.number not in applied and file.number < max(applied)]
    if late:
        raise Invalid(f"{late[0].path.name} was never applied, but a later one was: give it the next free number")

"""Migration files, checked against each other and against what a database has applied.

They are those of a folder, or (name, text) pairs from elsewhere. Changes nothing, knows no database and no disk.

1. Files are `NNN_name.sql`, numbered without gap or double from 0 or 1, or all by time (`20240131120000`, Unix seconds), without
   double; `NNN_name.undo.sql` belongs to one of them. Those of other tools are made so (`other_tools`).
2. A checksum is the SHA-256 of the text in UTF-8 with Unix line ends and no byte-order mark: a
   checkout on another system is not an edit.
3. What a database has applied must be the beginning of what the folder has, letter for letter.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from virke.errors import Invalid
from virke.lazy_dataclasses import dataclass
from virke.migrations.folder import read_folder
from virke.migrations.other_tools import in_own_form

Texts = Sequence[tuple[str, str]]
"""The names and texts of migration files that are not in a folder, in any order."""
_FILE = re.compile(r"(\d{1,15})_([\w.-]+)\.sql", re.ASCII)
_UNDO = ".undo.sql"
TIME_MIN: Final = 1_000_000_000
"""A number from here on is a time: of 10 digits or more."""


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """One migration: `sql` brings the schema forward, `undo` (its `.undo.sql`, if there is one) takes it back."""

    number: int
    name: str
    file_name: str
    sql: str
    checksum: str
    undo: str | None = None

    @property
    def undo_name(self) -> str:
        """What the file that undoes this one is called."""
        return self.file_name.removesuffix(".sql") + _UNDO


@dataclass(frozen=True, slots=True)
class Record:
    """What a database remembers of one applied migration; `undo` None: no exact one was found."""

    number: int
    name: str
    checksum: str
    applied_at: str
    undo: str | None


def plan(source: Path | Texts) -> list[MigrationFile]:
    """The migrations of a folder, or of these texts, in order.

    Raises:
        NotFound: there is no such folder.
        Invalid: a `.sql` file has a wrong name, a number is missing or taken twice, a text is not UTF-8 or can't be read.
    """
    texts = in_own_form(read_folder(source) if isinstance(source, Path) else _by_name(source))
    undo_texts = {name: text for name, text in texts.items() if name.lower().endswith(_UNDO)}
    files = sorted(
        (_read_migration(name, texts[name]) for name in texts.keys() - undo_texts), key=lambda file: file.number
    )
    is_by_time = bool(files) and files[0].number >= TIME_MIN
    for before, after in itertools.pairwise(files):
        if before.number == after.number:
            raise Invalid(f"{before.file_name} and {after.file_name} have the same number")
        if after.number != before.number + 1 and not is_by_time:
            raise Invalid(f"migration {before.number + 1:03} is missing: {after.file_name} follows {before.file_name}")
    if files and files[0].number > 1 and not is_by_time:
        raise Invalid(f"migration 001 is missing: the first file is {files[0].file_name}")
    return _join_undo(files, undo_texts)


def _by_name(texts: Texts) -> dict[str, str]:
    found = dict(texts)
    if len(found) < len(texts):
        names = [name for name, _ in texts]
        raise Invalid(f"there are two files {next(name for name in names if names.count(name) > 1)!r}")
    return found


def _join_undo(files: list[MigrationFile], undo_texts: dict[str, str]) -> list[MigrationFile]:
    """Each file with the text of its `.undo.sql`, if it has one."""
    orphans = undo_texts.keys() - {file.undo_name for file in files}
    if orphans:
        orphan = min(orphans)
        raise Invalid(f"{orphan} undoes nothing: there is no {orphan.removesuffix(_UNDO)}.sql next to it")
    undo_of = {name: _normalised_text(name, text) for name, text in undo_texts.items()}
    return [replace(file, undo=undo_of.get(file.undo_name)) for file in files]


def _read_migration(name: str, text: str) -> MigrationFile:
    match = _FILE.fullmatch(name)
    if match is None:
        raise Invalid(f"{name} is not a migration's name: use digits, '_', a name and '.sql', as in 001_users.sql")
    sql = _normalised_text(name, text)
    return MigrationFile(int(match[1]), match[2], name, sql, hashlib.sha256(sql.encode()).hexdigest())


def _normalised_text(name: str, text: str) -> str:
    """A text with normalised line ends and no byte-order mark (invariant 2)."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"{name} is not valid Unicode: {error.reason} at character {error.start}") from error
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def check_continues(files: Sequence[MigrationFile], records: Sequence[Record]) -> None:
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
            raise Invalid(f"{file.file_name} was applied as {label}: give it its old name again")
        if file.checksum != record.checksum:
            raise Invalid(
                f"{file.file_name} was edited after it was applied on {record.applied_at}: "
                "put its old text back and write the change as a new migration"
            )
    applied = {record.number for record in records}
    late = [file for file in files if applied and file.number not in applied and file.number < max(applied)]
    if late:
        raise Invalid(f"{late[0].file_name} was never applied, but a later one was: give it the next free number")

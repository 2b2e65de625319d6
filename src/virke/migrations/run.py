"""Migrations applied to a database, taken back, and reported.

Knows the record table `virke_migrations` and the transaction of a database; knows nothing of files but what
`plan` read.

1. A file and its record are one transaction: both are there or neither.
2. The record is read inside the transaction that applies the file, so of two processes that migrate at the same
   time one applies it, the other one loses the race, looks again and finds it done.
3. Everything that can be checked is checked before the first file runs.
4. A dry run runs every waiting file in one transaction that is rolled back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from virke.errors import Conflict, Invalid, VirkeError
from virke.migrations.derive import RECORDS, Ran, derive_undo, read_schema
from virke.migrations.plan import MigrationFile, Record, check, plan
from virke.migrations.statements import Statement, split

if TYPE_CHECKING:
    from virke.engine.database import Database
    from virke.engine.transaction import Transaction

ATTEMPTS_MAX: Final = 32
"""Lost races per file before `Conflict` is surfaced; each one means that somebody else committed."""

_CREATE: Final = (
    f"CREATE TABLE IF NOT EXISTS {RECORDS}(number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, "
    "applied_at TEXT NOT NULL, undo TEXT)"
)
_EXISTS: Final = f"SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '{RECORDS}'"
_READ: Final = f"SELECT number, name, checksum, applied_at, undo FROM {RECORDS} ORDER BY number"
_INSERT: Final = (
    f"INSERT INTO {RECORDS}(number, name, checksum, applied_at, undo) "
    "VALUES (?, ?, ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), ?)"
)
_LINE: Final = re.compile(r" \(line \d+\)$")


@dataclass(frozen=True, slots=True)
class MigrationState:
    """One migration of a folder: `applied_at` None: it waits.

    `undo` is `file`, `automatic`, `none`, or, while it waits and has no file, `unknown`.
    """

    number: int
    name: str
    applied_at: str | None
    undo: str


class _RolledBack(Exception):
    """Leaves the transaction of a dry run, so that nothing of it is kept."""


def status(database: Database, folder: Path) -> list[MigrationState]:
    """Every migration of `folder` in order, applied or waiting.

    Raises:
        Invalid: the folder is not a continuation of what was applied (see `plan` and `check`).
    """
    files = plan(folder)
    records = {record.number: record for record in _checked(database, files)}
    return [_state(file, records.get(file.number)) for file in files]


def _state(file: MigrationFile, record: Record | None) -> MigrationState:
    if file.undo is not None:
        undo = "file"
    elif record is None:
        undo = "unknown"
    else:
        undo = "none" if record.undo is None else "automatic"
    return MigrationState(file.number, file.name, record.applied_at if record else None, undo)


def migrate(database: Database, folder: Path, dry_run: bool = False) -> list[MigrationFile]:
    """Apply the migrations of `folder` that wait, and return them; with `dry_run` nothing of it is kept.

    Raises:
        Invalid: the folder is wrong (nothing ran), or SQLite refused a statement: the files before it are applied,
            its own file is not.
        Conflict: other writers won every attempt; run it again.
    """
    files = plan(folder)
    _checked(database, files)
    if dry_run:
        return _rehearse(database, files)
    return [file for file in files if _apply(database, files, file)]


def _rehearse(database: Database, files: Sequence[MigrationFile]) -> list[MigrationFile]:
    waiting: list[MigrationFile] = []
    try:
        with database.transaction() as transaction:
            applied = {record.number for record in _records(transaction)}
            waiting = [file for file in files if file.number not in applied]
            for file in waiting:
                _run(transaction, file.sql, file.path.name)
            raise _RolledBack
    except _RolledBack:
        return waiting


def _apply(database: Database, files: Sequence[MigrationFile], file: MigrationFile) -> bool:
    """Apply one file; False if it was applied already."""
    for attempt in range(ATTEMPTS_MAX):
        try:
            with database.transaction() as transaction:
                records = _records(transaction)
                check(files, records)
                if any(record.number == file.number for record in records):
                    raise _RolledBack
                transaction.execute(_CREATE)
                before = read_schema(transaction)
                ran = _run(transaction, file.sql, file.path.name)
                undo = derive_undo(before, read_schema(transaction), ran)
                transaction.execute(_INSERT, (file.number, file.name, file.checksum, undo))
            return True
        except _RolledBack:
            return False
        except Conflict:
            if attempt == ATTEMPTS_MAX - 1:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def undo(database: Database, folder: Path, steps: int = 1) -> list[MigrationFile]:
    """Take back the last `steps` applied migrations, newest first, and return them.

    Raises:
        Invalid: there are not so many, or one of them has no undo: nothing was taken back. Or SQLite refused a
            statement: what came before it is taken back, its own migration is not.
        Conflict: other writers won every attempt; run it again.
    """
    files = plan(folder)
    records = _checked(database, files)
    if not 1 <= steps <= len(records):
        raise Invalid(f"can't undo {steps} migrations: {len(records)} applied")
    by_number = {file.number: file for file in files}
    chosen = [(by_number[record.number], record) for record in reversed(records[-steps:])]
    scripts = [(file, _undo_script(file, record)) for file, record in chosen]
    return [file for file, script in scripts if _take_back(database, file, script)]


def _undo_script(file: MigrationFile, record: Record) -> str:
    script = file.undo if file.undo is not None else record.undo
    if script is None:
        raise Invalid(
            f"{file.path.name} can't be undone automatically (it dropped or changed what was there before): "
            f"write {file.undo_name} beside it"
        )
    return script


def _take_back(database: Database, file: MigrationFile, script: str) -> bool:
    """Undo one migration; False if somebody else did."""
    for attempt in range(ATTEMPTS_MAX):
        try:
            with database.transaction() as transaction:
                last = max((record.number for record in _records(transaction)), default=-1)
                if last != file.number:
                    raise _RolledBack
                _run(transaction, script, file.undo_name)
                transaction.execute(f"DELETE FROM {RECORDS} WHERE number = ?", (file.number,))
            return True
        except _RolledBack:
            return False
        except Conflict:
            if attempt == ATTEMPTS_MAX - 1:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _checked(database: Database, files: Sequence[MigrationFile]) -> list[Record]:
    """What `database` has applied, if `files` continue it."""
    records = _records(database)
    check(files, records)
    return records


def _records(source: Database | Transaction) -> list[Record]:
    if not source.query(_EXISTS).rows:
        return []
    return [
        Record(int(str(number)), str(name), str(checksum), str(applied_at), None if undo is None else str(undo))
        for number, name, checksum, applied_at, undo in source.query(_READ).rows
    ]


def _run(transaction: Transaction, sql: str, label: str) -> list[Ran]:
    """Run the statements of a file; errors name the file and the line."""
    ran = []
    for statement in split(sql):
        if _is_transaction_mark(statement, label):
            continue
        # Leading line ends put the statement where it is in the file, so that SQLite's own line numbers are right.
        first, last = statement.tokens[0], statement.tokens[-1]
        text = "\n" * (statement.line - 1) + sql[first.offset : last.offset + len(last.text)]
        try:
            ran.append(Ran(statement, transaction.run_script(text).rows_affected))
        except VirkeError as error:
            if isinstance(error, Conflict):
                raise
            where = "" if _LINE.search(error.message) else f" (line {statement.line})"
            error.message = f"{label}: {error.message}{where}"
            error.args = (error.message,)
            raise
    return ran


def _is_transaction_mark(statement: Statement, label: str) -> bool:
    """Whether this is a file's own BEGIN or COMMIT, which mean nothing: the file is one transaction anyway."""
    if statement.keyword == "ROLLBACK":
        raise Invalid(f"{label}: ROLLBACK has no place in a migration (line {statement.line})")
    return statement.keyword in {"BEGIN", "COMMIT", "END"}

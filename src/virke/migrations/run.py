"""Migrations applied to a database, taken back, and reported.

Knows the record table `virke_migrations` and the transactions of a database; knows nothing of files except what
`plan` made of them.

1. A file and its record are one transaction: both are there or neither.
2. Whether a file may run is decided inside its transaction, by the records that are there then: it is the next one of
   the folder, and all before it are applied as the folder has them. So of processes that migrate at the same time one
   applies it, and the others go on from what they find; with another folder they are refused.
3. A script that undoes runs only while its migration is the last one applied: never twice, never under a later one.
4. Everything that can be checked is checked before the first file runs.
5. A file that switches foreign keys off runs whole with keys off, whatever it says later, and is refused if it breaks
   keys that held before. The caller's own value is never touched.
6. A dry run is the same code on a rehearsal: file after file, each on what the one before it left.
7. An error names its file and line, and the files that were done before it (`context`: `file`, `line`, and `applied`,
   `would_apply` or `undid`).
8. A lost race runs the file again, at most `max_attempts` times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from virke.errors import Invalid, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.migrations.derive import RECORDS, derive_undo, read_schema
from virke.migrations.plan import MigrationFile, Record, Texts, check_continues, plan
from virke.migrations.running import retry_lost_races, run_file, running_file
from virke.migrations.target import Elsewhere, Step, Target, open_rehearsal

if TYPE_CHECKING:
    from virke.engine.database import Database

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

Report = Callable[[MigrationFile], object]
"""Called with each file as soon as it is done."""


@dataclass(frozen=True, slots=True)
class MigrationState:
    """One migration of a folder: `applied_at` None: it waits.

    `undo` is `file`, `automatic`, `none`, or, while it waits and has no file, `unknown`.
    """

    number: int
    name: str
    applied_at: str | None
    undo: str


class _Overtaken(Exception):
    """Leaves a transaction that finds other records than expected, so that nothing of it is kept."""

    def __init__(self, records: Sequence[Record]) -> None:
        super().__init__()
        self.records = records


def status(database: Database, source: Path | Texts) -> list[MigrationState]:
    """Every migration of a folder, or of these texts, in order, applied or waiting.

    Raises:
        Invalid: the folder is not a continuation of what was applied (see `plan` and `check`).
    """
    files = plan(source)
    records = {record.number: record for record in _checked_records(database, files)}
    return [_state_of(file, records.get(file.number)) for file in files]


def applied(database: Database) -> list[Record]:
    """What a database has applied, in order."""
    return _read_records(database)


def _state_of(file: MigrationFile, record: Record | None) -> MigrationState:
    if file.undo is not None:
        undo = "file"
    elif record is None:
        undo = "unknown"
    else:
        undo = "none" if record.undo is None else "automatic"
    return MigrationState(file.number, file.name, record.applied_at if record else None, undo)


# Applying


def migrate(
    database: Database, source: Path | Texts, dry_run: bool = False, *, report: Report | None = None
) -> list[MigrationFile]:
    """Apply the migrations of a folder, or of these texts, that wait, and return them; with `dry_run` nothing of it is kept.

    Raises:
        Invalid: the folder is wrong (nothing ran), or SQLite refused a statement: the files before it are applied
            (`context["applied"]` names them), its own file is not.
        Conflict: other writers won every attempt at a file; those before it are applied, run it again.
    """
    files = plan(source)
    if isinstance(database, Elsewhere):
        return _run_elsewhere(database, files, _Done("would_apply" if dry_run else "applied", report), dry_run=dry_run)
    records = _checked_records(database, files)
    attempts = database.known_settings.max_attempts
    if not dry_run:
        return _apply_all(database, files, records, _Done("applied", report), attempts=attempts)
    return retry_lost_races(
        attempts, "the rehearsal", partial(_rehearse_files, database, files, _reporting_once(report))
    )


def _run_elsewhere(
    database: Elsewhere, files: Sequence[MigrationFile], done: _Done, *, dry_run: bool = False, steps: int | None = None
) -> list[MigrationFile]:
    """Let the process that has the database do it; what it did before an error is reported here, too."""
    texts = [(file.file_name, file.sql) for file in files]
    texts += [(file.undo_name, file.undo) for file in files if file.undo is not None]
    try:
        numbers = database.migrate_files(texts, dry_run=dry_run, undo=steps)
    except VirkeError as error:
        named = error.context.get(done.key)
        for file in files:
            if isinstance(named, list) and file.file_name in named:
                done.add(file)
        raise
    by_number = {file.number: file for file in files}
    for number in numbers:
        done.add(by_number[number])
    return done.files


def _rehearse_files(database: Database, files: Sequence[MigrationFile], report: Report) -> list[MigrationFile]:
    """Apply all to a rehearsal; `Conflict` means that its snapshot was collected meanwhile."""
    with open_rehearsal(database) as target:
        return _apply_all(target, files, _checked_records(target, files), _Done("would_apply", report), attempts=1)


def _reporting_once(report: Report | None) -> Report:
    """`report` that says each file once, also if the rehearsal begins again."""
    said = set[int]()

    def say(file: MigrationFile) -> None:
        if report and file.number not in said:
            said.add(file.number)
            report(file)

    return say


class _Done:
    """The files that are done so far, and where to say so."""

    def __init__(self, key: str, report: Report | None) -> None:
        self.key = key
        self._report = report
        self.files: list[MigrationFile] = []

    def add(self, file: MigrationFile) -> None:
        """One more is done."""
        self.files.append(file)
        if self._report:
            self._report(file)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Let an error that leaves the block say what was done before it (invariant 7)."""
        try:
            yield
        except VirkeError as error:
            error.context[self.key] = [file.file_name for file in self.files]
            raise


def _apply_all(
    target: Target, files: Sequence[MigrationFile], records: Sequence[Record], done: _Done, *, attempts: int
) -> list[MigrationFile]:
    """Apply what waits after `records`."""
    waiting = _waiting_files(files, records)
    with done.noted():
        while waiting:
            file, *rest = waiting
            try:
                retry_lost_races(attempts, file.file_name, partial(_apply_file, target, files, file))
            except _Overtaken as others:
                waiting = _waiting_files(files, others.records)
            else:
                done.add(file)
                waiting = rest
    return done.files


def _waiting_files(files: Sequence[MigrationFile], records: Sequence[Record]) -> list[MigrationFile]:
    applied = {record.number for record in records}
    return [file for file in files if file.number not in applied]


def _apply_file(target: Target, files: Sequence[MigrationFile], file: MigrationFile) -> None:
    """Apply one file, if it is the next one (invariant 2)."""
    with running_file(target, file.sql, file.file_name) as step:
        records = _read_records(step)
        check_continues(files, records)
        if _waiting_files(files, records)[:1] != [file]:
            raise _Overtaken(records)
        step.execute(_CREATE)
        before = read_schema(step)
        ran = run_file(step, file.sql, file.file_name)
        undo = derive_undo(before, read_schema(step), ran)
        step.execute(_INSERT, (file.number, file.name, file.checksum, undo))


# Undoing


def undo(
    database: Database, source: Path | Texts, steps: int = 1, *, report: Report | None = None
) -> list[MigrationFile]:
    """Take back the last `steps` applied migrations, newest first, and return them.

    What another process took back in the meantime is left out.

    Raises:
        Invalid: there are not so many, or one of them has no undo: nothing was taken back. Or SQLite refused a
            statement, or a later migration was applied in the meantime: what came before it is taken back
            (`context["undid"]` names it), its own migration is not.
        Conflict: other writers won every attempt at one; those before it are taken back, run it again.
    """
    files = plan(source)
    if isinstance(database, Elsewhere):
        return _run_elsewhere(database, files, _Done("undid", report), steps=steps)
    records = _checked_records(database, files)
    attempts = database.known_settings.max_attempts
    if not 1 <= steps <= len(records):
        raise Invalid(f"can't undo {steps} migrations: {len(records)} applied")
    by_number = {file.number: file for file in files}
    chosen = [(by_number[record.number], record) for record in reversed(records[-steps:])]
    for file, record in chosen:
        _undo_script(file, record)
    done = _Done("undid", report)
    with done.noted():
        for file, record in chosen:
            try:
                retry_lost_races(attempts, file.undo_name, partial(_take_back, database, files, file, record=record))
            except _Overtaken:
                continue
            done.add(file)
    return done.files


def _undo_script(file: MigrationFile, record: Record) -> str:
    script = file.undo if file.undo is not None else record.undo
    if script is None:
        raise Invalid(
            f"{file.file_name} can't be undone automatically (it dropped or changed what was there before): "
            f"write {file.undo_name} next to it"
        )
    return script


def _take_back(target: Target, files: Sequence[MigrationFile], file: MigrationFile, *, record: Record) -> None:
    """Undo one migration, if it is the last one (invariant 3)."""
    script = _undo_script(file, record)
    with running_file(target, script, file.undo_name) as step:
        records = _read_records(step)
        check_continues(files, records)
        last = records[-1].number if records else -1
        if last > file.number:
            raise Invalid(f"{file.file_name} is no longer the last one: a later migration was applied; run it again")
        if last != file.number:
            raise _Overtaken(records)
        if records[-1].undo != record.undo:
            raise Invalid(f"{file.file_name} was undone and applied again in the meantime; run it again")
        run_file(step, script, file.undo_name)
        step.execute(f"DELETE FROM {RECORDS} WHERE number = ?", (file.number,))


# Records


def _checked_records(target: Target, files: Sequence[MigrationFile]) -> list[Record]:
    """What `target` has applied, if `files` continue it."""
    records = _read_records(target)
    check_continues(files, records)
    return records


def _read_records(source: Target | Step) -> list[Record]:
    if not source.query(_EXISTS).rows:
        return []
    return [
        Record(int(str(number)), str(name), str(checksum), str(applied_at), None if undo is None else str(undo))
        for number, name, checksum, applied_at, undo in source.query(_READ).rows
    ]

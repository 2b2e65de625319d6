"""A database taken to a node or a store: created if it is missing, its migrations rehearsed and applied.

Knows migrations and databases; says nothing itself. Whatever has to be said goes to a `Report` as it happens.

1. Nothing is created and nothing applied before all pending migrations were rehearsed: on the database as it is, or, where
   there is none, on one in memory.
2. It can be run again at any time: what is there and applied stays, so the second time it does nothing.
3. An error says what it left behind: its message ends with the files that were applied before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from virke.engine.database import Database
from virke.errors import NotFound, VirkeError
from virke.migrations import MigrationFile, Texts, migrate
from virke.opening import connect, create
from virke.project.destination import Destination

Report = Callable[[str, str], None]
"""Called with a verb and what it was done to, as it happens."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What was done: `database` is open, unless it was a dry run of a database that does not exist."""

    database: Database | None
    is_new: bool
    files: list[MigrationFile]

    @property
    def version(self) -> int | None:
        """The version that the database has now."""
        return None if self.database is None else self.database.version

    @property
    def is_change(self) -> bool:
        """Whether anything was done, or would be."""
        return self.is_new or bool(self.files)


def deploy(
    name: str,
    where: Destination,
    folder: Path,
    *,
    dry_run: bool = False,
    memory_mb: int | None = None,
    report: Report,
) -> Deployed:
    """Take the database to where it shall be, with the migrations of a folder (which may be missing).

    Raises:
        VirkeError: as `migrate`; `context["applied"]` names what was applied, and the message says it; `context["created"]`: whether
            the database is there now and was not before.
    """
    source: Path | Texts = folder if folder.exists() else ()
    verb = "would apply" if dry_run else "applied"
    try:
        database = connect(name, where.store, background=False, memory_mb=memory_mb)
    except NotFound:
        files = _rehearsed(name, None, source)
        if dry_run:
            report("would create", name)
            _report_all(report, verb, files)
            return Deployed(None, True, files)
        database = connect(name, where.store, create=True, background=False, memory_mb=memory_mb)
        report("created", name)
        is_new = True
    else:
        is_new = False
    try:
        if not is_new:
            files = _rehearsed(name, database, source)
        if dry_run:
            _report_all(report, verb, files)
        elif files:
            files = _applied(database, source, report)
    except BaseException as error:
        database.close(push=False)
        if isinstance(error, VirkeError):
            error.context["created"] = is_new
        raise
    return Deployed(database, is_new, files)


def _report_all(report: Report, verb: str, files: list[MigrationFile]) -> None:
    for file in files:
        report(verb, file.file_name)


def _rehearsed(name: str, database: Database | None, source: Path | Texts) -> list[MigrationFile]:
    """The files that wait, each of which ran once on something that is thrown away."""
    try:
        if database is not None:
            return migrate(database, source, dry_run=True)
        scratch = create(name, "memory://")
        try:
            return migrate(scratch, source)
        finally:
            scratch.close(push=False)
    except VirkeError as error:
        error.context["applied"] = []
        _add(error, "this was the rehearsal: nothing was applied")
        raise


def _applied(database: Database, source: Path | Texts, report: Report) -> list[MigrationFile]:
    done: list[str] = []

    def say(file: MigrationFile) -> None:
        done.append(file.file_name)
        report("applied", file.file_name)

    try:
        return migrate(database, source, report=say)
    except VirkeError as error:
        error.context["applied"] = done
        _add(error, f"applied before it: {', '.join(done)}" if done else "nothing was applied")
        raise


def _add(error: VirkeError, words: str) -> None:
    error.message = f"{error.message}; {words}"
    error.args = (error.message,)

"""A database taken to a node or a store: created if it is missing, its migrations rehearsed and applied, and its seed once.

Knows migrations, seeds and databases; says nothing itself. Whatever has to be said goes to a `Report` as it happens.

1. Nothing is created and nothing applied before all pending migrations were rehearsed: on the database as it is, or, where
   there is none, on one in memory.
2. It can be run again at any time: what is there and applied stays, so the second time it does nothing.
3. An error says what it left behind: its message ends with the files that were applied before it.
4. When a seed is imported, and that it is imported once, is said in `seed`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from virke.engine.database import Database
from virke.errors import NotFound, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.migrations import MigrationFile, Texts, migrate
from virke.opening import connect
from virke.project.destination import Destination
from virke.project.seed import Seed, rehearse_new, rehearse_on, seed_if_due, sow_seed

WOULD_IMPORT: Final = "would import"
Report = Callable[[str, str], None]
"""Called with a verb and what it was done to, as it happens."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What was done: `database` is open, unless it was a dry run of a database that does not exist."""

    database: Database | None
    is_new: bool
    files: list[MigrationFile]
    seed: str | None = None
    """The seed that was imported, or would be."""

    @property
    def version(self) -> int | None:
        """The version that the database has now."""
        return None if self.database is None else self.database.version

    @property
    def is_change(self) -> bool:
        """Whether anything was done, or would be."""
        return self.is_new or bool(self.files) or self.seed is not None


def deploy_database(
    name: str,
    where: Destination,
    folder: Path,
    *,
    seed: Seed | None = None,
    dry_run: bool = False,
    memory_mb: int | None = None,
    report: Report,
) -> Deployed:
    """Take the database to where it shall be, with the migrations of a folder (which may be missing) and its seed.

    Raises:
        VirkeError: as `migrate` and `import_file`; `context["applied"]` names what was applied, and the message says it; `context["created"]`: whether
            the database is there now and was not before.
    """
    source: Path | Texts = folder if folder.exists() else ()
    try:
        database = connect(name, where.store, background=False, memory_mb=memory_mb)
    except NotFound:
        files = _rehearse_all(None, source, seed)
        if dry_run:
            report("would create", name)
            _report_all(report, files, seed)
            return Deployed(None, True, files, seed.name if seed else None)
        database = connect(name, where.store, create=True, background=False, memory_mb=memory_mb)
        report("created", name)
        is_new = True
    else:
        is_new = False
    try:
        waiting = seed_if_due(database, seed, source, report)
        if not is_new:
            files = _rehearse_all(database, source, waiting)
        if dry_run:
            _report_all(report, files, waiting)
        else:
            files, waiting = _do_all(database, source, files, waiting, report=report)
    except BaseException as error:
        database.close(push=False)
        if isinstance(error, VirkeError):
            error.context["created"] = is_new
        raise
    return Deployed(database, is_new, files, waiting.name if waiting else None)


def _do_all(
    database: Database, source: Path | Texts, files: list[MigrationFile], seed: Seed | None, *, report: Report
) -> tuple[list[MigrationFile], Seed | None]:
    """Do all of it; the files that were applied, and the seed if this process imported it."""
    sown = seed is not None and seed.is_first and sow_seed(database, seed, report)
    if files:
        files = _apply_files(database, source, report)
    if seed is not None and not seed.is_first:
        sown = _sow_after_files(database, seed, files, report)
    return files, seed if sown else None


def _sow_after_files(database: Database, seed: Seed, files: list[MigrationFile], report: Report) -> bool:
    try:
        return sow_seed(database, seed, report)
    except VirkeError as error:
        done = [file.file_name for file in files]
        error.context["applied"] = done
        _add_words(error, f"applied before it: {', '.join(done)}" if done else "no migration was applied")
        raise


def _report_all(report: Report, files: list[MigrationFile], seed: Seed | None) -> None:
    """What a dry run would do."""
    if seed is not None and seed.is_first:
        report(WOULD_IMPORT, seed.name)
    for file in files:
        report("would apply", file.file_name)
    if seed is not None and not seed.is_first:
        report(WOULD_IMPORT, seed.name)


def _rehearse_all(database: Database | None, source: Path | Texts, seed: Seed | None) -> list[MigrationFile]:
    """The files that wait, each of which ran once on something that is thrown away, and so did the seed."""
    try:
        if database is None or (seed is not None and seed.is_first):
            return rehearse_new(seed, source)
        files = migrate(database, source, dry_run=True)
        if seed is not None:
            rehearse_on(database, seed, source)
        return files
    except VirkeError as error:
        error.context["applied"] = []
        _add_words(error, "this was the rehearsal: nothing was applied")
        raise


def _apply_files(database: Database, source: Path | Texts, report: Report) -> list[MigrationFile]:
    done: list[str] = []

    def say(file: MigrationFile) -> None:
        done.append(file.file_name)
        report("applied", file.file_name)

    try:
        return migrate(database, source, report=say)
    except VirkeError as error:
        error.context["applied"] = done
        _add_words(error, f"applied before it: {', '.join(done)}" if done else "nothing was applied")
        raise


def _add_words(error: VirkeError, words: str) -> None:
    error.message = f"{error.message}; {words}"
    error.args = (error.message,)

"""Migrations, done by blocking: the files come with the request, and answers are those of `virke db migrate --json`.

Knows databases and migrations; knows no HTTP.
"""

from __future__ import annotations

from dataclasses import asdict

from virke import migrations as files
from virke.api.operations import Migrate
from virke.engine.database import Database
from virke.migrations import MigrationFile


def migrations(database: Database) -> object:
    """What a database has applied. Its files are not known here, so `undo` says only whether one was derived."""
    return {
        "migrations": [
            {
                "number": one.number,
                "name": one.name,
                "applied_at": one.applied_at,
                "undo": "none" if one.undo is None else "automatic",
                "checksum": one.checksum,
            }
            for one in files.applied(database)
        ]
    }


def migrate(operation: Migrate, database: Database) -> object:
    """Apply files, rehearse them, take the last ones back, or say which are applied.

    Raises:
        VirkeError: what went wrong; `context` says in which file, and which files were done before it.
    """
    if operation.report:
        return {"migrations": [asdict(one) for one in files.status(database, operation.files)]}
    if operation.undo is not None:
        return _done("undid", files.undo(database, operation.files, operation.undo), database)
    key = "would_apply" if operation.dry_run else "applied"
    return _done(key, files.migrate(database, operation.files, operation.dry_run), database)


def _done(key: str, done: list[MigrationFile], database: Database) -> object:
    return {key: [{"number": file.number, "name": file.name} for file in done], "version": database.version}

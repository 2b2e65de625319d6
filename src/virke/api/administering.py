"""Migrations and tokens, done by blocking: answers are those of `virke db migrate --json` and `virke token … --json`.

Knows databases, migrations and tokens; knows no HTTP.

1. The files of migrations come with the request.
2. The text of a token is in the answer that creates it, and nowhere else.
"""

from __future__ import annotations

from dataclasses import asdict

from virke import migrations as files
from virke import tokens
from virke.api.operations import CreateToken, Migrate
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.migrations import MigrationFile
from virke.stores.base import Store


def applied_migrations(database: Database) -> object:
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


def run_migrations(operation: Migrate, database: Database) -> object:
    """Apply files, rehearse them, take the last ones back, or say which are applied.

    Raises:
        VirkeError: what went wrong; `context` says in which file, and which files were done before it.
    """
    if operation.report:
        return {"migrations": [asdict(one) for one in files.status(database, operation.files)]}
    if operation.undo is not None:
        return _migrations_done("undid", files.undo(database, operation.files, operation.undo), database)
    key = "would_apply" if operation.dry_run else "applied"
    return _migrations_done(key, files.migrate(database, operation.files, operation.dry_run), database)


def _migrations_done(key: str, done: list[MigrationFile], database: Database) -> object:
    return {key: [{"number": file.number, "name": file.name} for file in done], "version": database.version}


# Tokens


def list_tokens(store: Store) -> object:
    """Every token of a store, without its text. Raises `Unavailable`, `Corrupt`."""
    now_ms = Environment().now_ms()
    return {"tokens": [one.as_dict() | {"expired": one.is_expired(now_ms)} for one in tokens.listing(store)]}


def create_token(operation: CreateToken, store: Store) -> object:
    """A new token, with its text. Raises as `tokens.create`."""
    text, token = tokens.create(
        store, operation.databases, operation.grants, lifetime_s=operation.expires_s, name=operation.name
    )
    return {"token": text} | token.as_dict()


def revoke_token(token_id: str, store: Store) -> object:
    """A token is no longer good. Raises as `tokens.revoke`."""
    revoked, left = tokens.revoke(store, token_id)
    return {"revoked": revoked.id, "left": left}

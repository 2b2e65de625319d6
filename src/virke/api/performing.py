"""Carries operations out by blocking: for WSGI, for the edge, and in the threads of a node.

Knows databases and the place that has them; knows no HTTP.

1. A statement does no more than the scope of its token allows; SQLite decides what it does.
2. What is returned is what `routes.answer` takes: results, or a value of JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, fields
from typing import Any, Protocol

from virke.api import administering, transferring
from virke.api.hrana import blocking
from virke.api.hrana.complaints import Refused
from virke.api.hrana.operations import Answered, Cursor, Once, Pipeline
from virke.api.native import Streamed
from virke.api.operations import (
    ChangeSettings,
    Collect,
    CreateDatabase,
    CreateToken,
    DeleteDatabase,
    DescribeStatement,
    DoUpkeep,
    Export,
    Flush,
    GetDiff,
    GetMigrations,
    GetSchema,
    GetSettings,
    GetStatus,
    GetVersions,
    Import,
    ListDatabases,
    ListTokens,
    Migrate,
    Operation,
    Promote,
    Restore,
    RevokeToken,
    Run,
)
from virke.engine.database import Database
from virke.engine.results import QueryResult, Status
from virke.engine.terms import Cancel, Terms
from virke.errors import Invalid, NotHere
from virke.scopes import Scope


class Place(transferring.Place, Protocol):
    """What has databases, by name, and can create and delete them."""

    def names(self) -> list[str]:
        """The names of all. Raises `Unavailable`."""

    def create(self, name: str, *, if_not_exists: bool, page_size: int | None) -> bool:
        """Create one; False if it was there. Raises `Exists`, `Invalid`, `Unavailable`, `OutcomeUnknown`."""

    def delete(self, name: str) -> None:
        """Delete one. Raises `NotFound`, `Conflict`, `Unavailable`, `OutcomeUnknown`."""


def perform_operation(operation: Operation, place: Place, scope: Scope, cancel: Cancel | None = None) -> object:
    """Do what an operation asks, with what `scope` allows; `cancel` ends a read from another thread.

    Raises:
        VirkeError: what became of it, if it was not done.
    """
    do = _PERFORMERS.get(type(operation))
    if do is None:
        raise Invalid("this server does not do that here")
    if operation.database is None:
        return do(operation, place, scope, cancel)
    with place.in_use(operation.database):
        return do(operation, place, scope, cancel)


def _run_sql(run: Run, place: Place, scope: Scope, cancel: Cancel | None) -> QueryResult | list[QueryResult] | Streamed:
    database, scope = place.database(run.database), run.allowed(scope)
    if run.streams and (streamed := _streamed_rows(run, place, cancel)):
        return streamed
    if run.is_batch and run.at is not None:
        return database.serving.batch_at(run.requests, run.at, timeout_ms=run.timeout_ms, meta=run.meta, cancel=cancel)
    if run.is_unit or (scope >= Scope.WRITE and _is_write(run, database)):
        results = database.serving.run(
            run.steps, scope=scope, key=run.key, meta=run.meta, foreign_keys=run.foreign_keys, timeout_ms=run.timeout_ms
        )
        return results if run.is_batch else results[0]
    [(sql, params)] = run.requests
    result = database.query(
        sql,
        params,
        consistency=run.consistency,
        bookmark=run.bookmark,
        meta=run.meta,
        scope=scope,
        at=run.at,
        timeout_ms=run.timeout_ms,
        cancel=cancel,
    )
    result.stale_ms = database.serving.stale_ms
    return result


def _is_write(run: Run, database: Database) -> bool:
    """Whether a single statement is known to be one for `Serving.run`: it has a key, or writes with a mode of its own."""
    if run.foreign_keys is None or run.key is not None:
        return run.key is not None
    return run.at is None and not database.describe(run.requests[0][0]).read_only


def _streamed_rows(run: Run, place: Place, cancel: Cancel | None) -> Streamed | None:
    """The rows of a statement that reads, one at a time; None if it writes."""
    [(sql, params)] = run.requests
    terms = Terms(run.consistency, run.bookmark, run.timeout_ms, cancel)
    with ExitStack() as stack:
        stack.enter_context(place.in_use(run.database))
        serving = place.database(run.database).serving
        try:
            rows = serving.rows(sql, params, terms)
        except NotHere:
            return None
        stack.callback(rows.close)
        return Streamed(rows, stack.pop_all().close, serving.stale_ms)


def _describe_statement(operation: DescribeStatement, place: Place, *_: object) -> object:
    found = place.database(operation.database).describe(operation.sql)
    return asdict(found)


def _get_schema(operation: GetSchema, place: Place, *_: object) -> object:
    return [asdict(entry) for entry in place.database(operation.database).schema(operation.table)]


def _get_status(operation: GetStatus, place: Place, *_: object) -> object:
    return status_of(place.database(operation.database).status(history=not operation.is_brief))


def status_of(status: Status) -> Mapping[str, object]:
    """The state of a database as JSON."""
    found = {field.name: getattr(status, field.name) for field in fields(status)}
    found["rejected_writes"] = [asdict(write) for write in status.rejected_writes]
    found["upkeep_due"] = list(status.upkeep_due)
    return {name: value if isinstance(value, int | list | None) else str(value) for name, value in found.items()}


def _get_settings(operation: GetSettings, place: Place, *_: object) -> object:
    return place.database(operation.database).settings().as_dict()


def _change_settings(operation: ChangeSettings, place: Place, *_: object) -> object:
    return place.database(operation.database).change_settings(operation.changes).as_dict()


def _flush_writes(operation: Flush, place: Place, *_: object) -> object:
    return asdict(place.database(operation.database).flush())


def _promote_database(operation: Promote, place: Place, *_: object) -> object:
    return status_of(place.database(operation.database).promote())


def _list_versions(operation: GetVersions, place: Place, *_: object) -> object:
    return [asdict(one) for one in place.database(operation.database).versions(operation.limit)]


def _get_diff(operation: GetDiff, place: Place, *_: object) -> object:
    return asdict(place.database(operation.database).serving.diff(operation.before, operation.after))


def _restore_version(operation: Restore, place: Place, *_: object) -> object:
    return asdict(place.database(operation.database).restore(operation.at, dry_run=operation.dry_run))


def _collect_garbage(operation: Collect, place: Place, *_: object) -> object:
    return asdict(place.database(operation.database).collect(dry_run=operation.dry_run, grace_ms=operation.grace_ms))


def _do_upkeep(operation: DoUpkeep, place: Place, *_: object) -> object:
    return asdict(place.database(operation.database).upkeep(operation.limit))


def _list_migrations(operation: GetMigrations, place: Place, *_: object) -> object:
    return administering.applied_migrations(place.database(operation.database))


def _run_migrations(operation: Migrate, place: Place, *_: object) -> object:
    return administering.run_migrations(operation, place.database(operation.database))


def _import_file(operation: Import, place: Place, *_: object) -> object:
    return transferring.take_in(operation, place)


def _export_file(operation: Export, place: Place, *_: object) -> object:
    return transferring.give_out(operation, place)


def _list_databases(operation: ListDatabases, place: Place, *_: object) -> object:
    return place.names()


def _create_database(operation: CreateDatabase, place: Place, *_: object) -> object:
    created = place.create(operation.database, if_not_exists=operation.if_not_exists, page_size=operation.page_size)
    return {"name": operation.database, "created": created}


def _delete_database(operation: DeleteDatabase, place: Place, *_: object) -> object:
    place.delete(operation.database)
    return {"name": operation.database, "deleted": True}


def _list_tokens(_: ListTokens, place: Place, *__: object) -> object:
    return administering.list_tokens(place.store)


def _create_token(operation: CreateToken, place: Place, *_: object) -> object:
    return administering.create_token(operation, place.store)


def _revoke_token(operation: RevokeToken, place: Place, *_: object) -> object:
    return administering.revoke_token(operation.token_id, place.store)


def _answer_pipeline(operation: Pipeline, place: Place, scope: Scope, *_: object) -> object:
    return _with_age(
        blocking.answer_pipeline(operation, database := _named_database(operation, place), scope), database
    )


def _answer_cursor(operation: Cursor, place: Place, scope: Scope, *_: object) -> object:
    return _with_age(blocking.answer_cursor(operation, database := _named_database(operation, place), scope), database)


def _answer_once(operation: Once, place: Place, scope: Scope, *_: object) -> object:
    return _with_age(blocking.answer_once(operation, database := _named_database(operation, place), scope), database)


def _with_age(body: object, database: Database) -> Answered:
    return Answered(body, database.serving.stale_ms)


def _named_database(operation: Pipeline | Cursor | Once, place: Place) -> Database:
    if not operation.database:
        raise Refused("no database is named: the URL of a libSQL client ends with /db/NAME/", status=404)
    return place.database(operation.database)


_PERFORMERS: dict[type, Callable[[Any, Place, Scope, Cancel | None], object]] = {
    Run: _run_sql,
    DescribeStatement: _describe_statement,
    GetSchema: _get_schema,
    GetStatus: _get_status,
    GetSettings: _get_settings,
    ChangeSettings: _change_settings,
    Flush: _flush_writes,
    Promote: _promote_database,
    GetVersions: _list_versions,
    GetDiff: _get_diff,
    Restore: _restore_version,
    Collect: _collect_garbage,
    DoUpkeep: _do_upkeep,
    GetMigrations: _list_migrations,
    Migrate: _run_migrations,
    Import: _import_file,
    Export: _export_file,
    ListDatabases: _list_databases,
    CreateDatabase: _create_database,
    DeleteDatabase: _delete_database,
    ListTokens: _list_tokens,
    CreateToken: _create_token,
    RevokeToken: _revoke_token,
    Pipeline: _answer_pipeline,
    Cursor: _answer_cursor,
    Once: _answer_once,
}

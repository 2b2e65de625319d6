"""The table of routes: which methods, which fields, and what operation a request is.

Knows the bodies and queries of requests; knows no response and performs nothing.

1. A body, and the query of the URL, may have the fields that the table names, and no others: a misspelt one is an error.
2. What is wrong with a request is said before anything is performed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from virke.api import native
from virke.api.codec import Codec
from virke.api.messages import NDJSON, Request
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
    GetDocument,
    GetHealth,
    GetMetrics,
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
from virke.core.collect import GRACE_MS
from virke.core.ids import check_name
from virke.core.moments import GRAMMAR, read_at
from virke.core.settings import CHOICES
from virke.engine.history import LIMIT_MOST
from virke.engine.results import mark_in
from virke.engine.values import Json
from virke.errors import Invalid
from virke.lazy_dataclasses import dataclass
from virke.scopes import Scope

if TYPE_CHECKING:
    from virke.engine.results import Request as SqlRequest

BOOKMARK: Final = "virke-bookmark"
CONSISTENCY: Final = "virke-consistency"
KEY: Final = "idempotency-key"
_RUN: Final = ("timeout_ms", "meta", "read_only", "foreign_keys")
_SQL: Final = ("sql", "params", "rows", "script", "at", *_RUN)
ANY: Final = ("*",)
_TRUE: Final = {"": True, "1": True, "true": True, "0": False, "false": False}
IMPORTS: Final = frozenset({None, "sql", "sqlite", "csv", "ndjson"})
EXPORTS: Final = frozenset({"sql", "sqlite", "csv", "ndjson"})


@dataclass(frozen=True, slots=True)
class Call:
    """A request as a route sees it: the database that the path names, what follows the route, and the decoded rest."""

    request: Request
    database: str
    rest: str | None
    body: Mapping[str, Json]
    """The body as an object; empty if there is none, or it is no JSON."""
    fields: Mapping[str, str]
    """Those of the query of the URL."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one route: what makes an operation of a request, and the fields that it may have.

    `body` None: the request has no body, or one that is not JSON. `ANY`: what performs it knows the fields.
    """

    make: Callable[[Call], Operation | GetDocument]
    body: tuple[str, ...] | None = None
    query: tuple[str, ...] = ()

    def parse(self, request: Request, codec: Codec, database: str, *, rest: str | None) -> Operation | GetDocument:
        """What a request asks for. Raises `Invalid`."""
        body: Mapping[str, Json] = {}
        if self.body is not None and request.body.strip():
            fields = None if self.body == ANY else frozenset(self.body)
            body = native.object_of(codec.loads(request.body), fields)
        return self.make(Call(request, database, rest, body, request.fields(frozenset(self.query))))


def _flag_in(fields: Mapping[str, str], name: str) -> bool:
    value = _TRUE.get(fields.get(name, "0").lower())
    if value is None:
        raise Invalid(f"{name} must be 1 or 0, not {fields[name]!r}")
    return value


def _parse_statement(call: Call) -> Run:
    body = call.body
    rows, is_script, at = native.rows_in(body), _boolean_in(body, "script"), _moment_in(body)
    if (rows is not None) + is_script + (at is not None) > 1 or (rows is not None and "params" in body):
        raise Invalid("`rows`, `script` and `at` exclude each other, and `rows` excludes `params`")
    run = _run_operation(call, (native.statement_of(dict(body), frozenset(_SQL)),))
    _check_key(run, at)
    if run.streams and (rows is not None or is_script or at is not None):
        raise Invalid("only the rows of one statement, as of now, are streamed: `rows`, `script` and `at` are not")
    is_plain = rows is None and not is_script and at is None
    return run if is_plain else replace(run, rows=rows, is_script=is_script, at=at)


def _parse_batch(call: Call) -> Run:
    statements = call.body.get("statements")
    if not isinstance(statements, list):
        raise Invalid("`statements` must be a list of statements")
    run = _run_operation(call, tuple(native.statement_of(one) for one in statements), is_batch=True)
    at = _moment_in(call.body)
    _check_key(run, at)
    return replace(run, at=at)


def _check_key(run: Run, at: int | str | None) -> None:
    """Raise `Invalid` where a key is given for what can't write."""
    if at is not None and run.key is not None:
        raise Invalid("what reads an earlier state writes nothing, and takes no idempotency key")


def _run_operation(call: Call, requests: tuple[SqlRequest, ...], *, is_batch: bool = False) -> Run:
    headers, meta = call.request.headers, _boolean_in(call.body, "meta")
    streams = not is_batch and NDJSON in headers.get("accept", "").lower()
    bookmark, consistency = headers.get(BOOKMARK), headers.get(CONSISTENCY)
    if consistency is not None and consistency not in CHOICES["read_consistency"]:
        raise Invalid(f"{CONSISTENCY} is one of {', '.join(CHOICES['read_consistency'])}, not {consistency!r}")
    if bookmark is not None:
        mark_in(bookmark)
    if streams and meta:
        raise Invalid("`meta` says what a whole answer cost; rows that are streamed have none")
    return Run(
        call.database,
        requests,
        is_batch=is_batch,
        bookmark=bookmark,
        consistency=consistency,
        key=headers.get(KEY),
        timeout_ms=_whole_number_in(call.body, "timeout_ms"),
        meta=meta,
        read_only=_boolean_in(call.body, "read_only"),
        foreign_keys=_boolean_in(call.body, "foreign_keys") if call.body.get("foreign_keys") is not None else None,
        streams=streams,
    )


def _whole_number_in(body: Mapping[str, Json], name: str) -> int | None:
    value = body.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise Invalid(f"`{name}` must be a whole number, not {value!r}")
    return value


def _moment_in(body: Mapping[str, Json]) -> int | str | None:
    """A version or a time. Raises `Invalid`: it is neither."""
    at = body.get("at")
    if at is None:
        return None
    read_at(at, 0)  # type: ignore[arg-type]  # it says so of what is neither
    assert isinstance(at, int | str), "nothing else in JSON is one"
    return at


def _boolean_in(body: Mapping[str, Json], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise Invalid(f"`{name}` must be true or false, not {value!r}")
    return value


def _text_in(body: Mapping[str, Json], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise Invalid(f"`{name}` must be a text, not {value!r}")
    return value


def _parse_describe(call: Call) -> DescribeStatement:
    return DescribeStatement(call.database, native.statement_of(dict(call.body))[0])


def _parse_schema(call: Call) -> GetSchema:
    return GetSchema(call.database, call.rest)


def _change_settings(call: Call) -> ChangeSettings:
    if not call.body:
        raise Invalid("the body must be an object of the settings to change")
    changes: dict[str, str | int] = {}
    for name, value in call.body.items():
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise Invalid(f"the setting {name} must be a text or a whole number")
        changes[name] = value
    return ChangeSettings(call.database, changes)


def _parse_migrate(call: Call) -> Migrate:
    body = call.body
    files = body.get("files", [])
    if not isinstance(files, list):
        raise Invalid('`files` must be a list of {"name", "sql"}')
    pairs = []
    for one in files:
        match one:
            case {"name": str(name), "sql": str(sql), **more} if not more:
                pairs.append((name, sql))
            case _:
                raise Invalid('each of `files` must be {"name": "001_name.sql", "sql": "…"}')
    undo = 1 if body.get("undo") is True else None if body.get("undo") is False else _whole_number_in(body, "undo")
    dry_run, report = _boolean_in(body, "dry_run"), _boolean_in(body, "status")
    if dry_run + report + (undo is not None) > 1:
        raise Invalid("`status`, `dry_run` and `undo` exclude each other")
    return Migrate(call.database, tuple(pairs), dry_run=dry_run, undo=undo, report=report)


def _parse_import(call: Call) -> Import:
    fields, request = call.fields, call.request
    if (kind := fields.get("kind")) not in IMPORTS:
        raise Invalid(f"kind must be sql, sqlite, csv or ndjson, not {kind!r}; without it the content says what it is")
    announced = request.headers.get("content-length", "")
    return Import(
        call.database,
        request.parts if request.parts is not None else iter((request.body,)),
        int(announced) if announced.isascii() and announced.isdigit() else None,
        kind=kind,
        table=fields.get("table"),
        name=fields.get("name"),
        replace=_flag_in(fields, "replace"),
        encoding=fields.get("encoding"),
        no_header=_flag_in(fields, "no_header"),
        types=fields.get("types", "infer"),
    )


def _parse_export(call: Call) -> Export:
    table = call.fields.get("table")
    form = call.fields.get("format", "sql" if table is None else "csv")
    if form not in EXPORTS or (form in ("csv", "ndjson") and table is None) or (form == "sqlite" and table is not None):
        raise Invalid("format must be sql or sqlite, or with `table` sql, csv or ndjson")
    schema_only, data_only = _flag_in(call.fields, "schema_only"), _flag_in(call.fields, "data_only")
    if (schema_only and data_only) or (form != "sql" and (schema_only or data_only)):
        raise Invalid("schema_only and data_only exclude each other, and are for sql")
    if (at := call.fields.get("at")) is not None:
        read_at(at, 0)
    return Export(call.database, form, table, schema_only, data_only, at)


def _parse_versions(call: Call) -> GetVersions:
    limit = call.fields.get("limit", "20")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 9 and 0 < int(limit) <= LIMIT_MOST):
        raise Invalid(f"limit is a whole number from 1 to {LIMIT_MOST}, not {limit!r}")
    return GetVersions(call.database, int(limit))


def _parse_diff(call: Call) -> GetDiff:
    before, after = call.fields.get("from"), call.fields.get("to")
    if before is None:
        raise Invalid("`from` says which state to compare with", hint=f"it is {GRAMMAR}")
    for at in (before, after):
        if at is not None:
            read_at(at, 0)
    return GetDiff(call.database, before, after)


def _parse_restore(call: Call) -> Restore:
    if (at := _moment_in(call.body)) is None:
        raise Invalid("`at` says which state to restore", hint=f"it is {GRAMMAR}")
    return Restore(call.database, at, _boolean_in(call.body, "dry_run"))


def _parse_create(call: Call) -> CreateDatabase:
    size = _whole_number_in(call.body, "page_size")
    return CreateDatabase(check_name(call.database), _flag_in(call.fields, "if_not_exists"), size)


def _parse_upkeep(call: Call) -> DoUpkeep:
    limit = _whole_number_in(call.body, "limit")
    if limit is not None and limit < 1:
        raise Invalid(f"`limit` must be at least 1, not {limit}")
    return DoUpkeep(call.database, None if _boolean_in(call.body, "all") else limit or 1)


def _parse_collect(call: Call) -> Collect:
    grace_ms = _whole_number_in(call.body, "grace_ms")
    if grace_ms is not None and grace_ms < 0:
        raise Invalid(f"`grace_ms` must not be negative, as {grace_ms} is")
    return Collect(call.database, _boolean_in(call.body, "dry_run"), GRACE_MS if grace_ms is None else grace_ms)


def _create_token(call: Call) -> CreateToken:
    body = call.body
    wanted = body.get("db")
    databases = tuple(wanted) if isinstance(wanted, list) else (wanted,)
    if not databases or not all(isinstance(one, str) for one in databases):
        raise Invalid("`db` must be a database's name or a pattern (app-*), or a list of them")
    scope = Scope.named(_text_in(body, "scope") or "")
    patterns = tuple(str(one) for one in databases)
    return CreateToken(patterns, scope, _whole_number_in(body, "expires_s"), _text_in(body, "name") or "")


OF_A_DATABASE: Final[Mapping[str, Mapping[str, Route]]] = {
    "": {
        "PUT": Route(_parse_create, body=("page_size",), query=("if_not_exists",)),
        "DELETE": Route(lambda call: DeleteDatabase(call.database)),
    },
    "query": {"POST": Route(_parse_statement, body=_SQL)},
    "execute": {"POST": Route(_parse_statement, body=_SQL)},
    "batch": {"POST": Route(_parse_batch, body=("statements", "at", *_RUN))},
    "describe": {"POST": Route(_parse_describe, body=("sql",))},
    "schema": {"GET": Route(lambda call: GetSchema(call.database, call.rest))},
    "status": {"GET": Route(lambda call: GetStatus(call.database, _flag_in(call.fields, "brief")), query=("brief",))},
    "settings": {
        "GET": Route(lambda call: GetSettings(call.database)),
        "PATCH": Route(_change_settings, body=ANY),
    },
    "versions": {"GET": Route(_parse_versions, query=("limit",))},
    "diff": {"GET": Route(_parse_diff, query=("from", "to"))},
    "restore": {"POST": Route(_parse_restore, body=("at", "dry_run"))},
    "flush": {"POST": Route(lambda call: Flush(call.database), body=())},
    "promote": {"POST": Route(lambda call: Promote(call.database), body=())},
    "gc": {"POST": Route(_parse_collect, body=("dry_run", "grace_ms"))},
    "upkeep": {"POST": Route(_parse_upkeep, body=("all", "limit"))},
    "migrations": {"GET": Route(lambda call: GetMigrations(call.database))},
    "migrate": {"POST": Route(_parse_migrate, body=("files", "dry_run", "undo", "status"))},
    "import": {
        "POST": Route(_parse_import, query=("kind", "table", "replace", "name", "encoding", "no_header", "types"))
    },
    "export": {"GET": Route(_parse_export, query=("format", "table", "schema_only", "data_only", "at"))},
}
"""What follows `/db/NAME`: by method."""
OF_THE_NODE: Final[Mapping[str, Mapping[str, Route]]] = {
    "db": {"GET": Route(lambda call: ListDatabases())},
    "tokens": {
        "GET": Route(lambda call: ListTokens()),
        "POST": Route(_create_token, body=("db", "scope", "expires_s", "name")),
    },
    "healthz": {"GET": Route(lambda call: GetHealth())},
    "readyz": {"GET": Route(lambda call: GetHealth(ready=True))},
    "metrics": {"GET": Route(lambda call: GetMetrics())},
    "openapi.json": {"GET": Route(lambda call: GetDocument())},
}
OF_A_TOKEN: Final[Mapping[str, Route]] = {"DELETE": Route(lambda call: RevokeToken(call.rest or ""))}
TAKES_REST: Final = frozenset({"schema"})

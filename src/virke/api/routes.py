"""Routes: what a request asks for, and what an outcome is as a response.

Knows the table of routes and the bodies; performs nothing.

1. A path is decoded once, part by part: no slash, dot or percent sign in a name can lead to another route.
2. A route that exists with another method is 405 and says which; what does not exist is 404.
3. What is wrong with a request is said before anything is performed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from virke.api import native
from virke.api.codec import Codec
from virke.api.failures import failed
from virke.api.hrana import complaints
from virke.api.hrana import routes as hrana
from virke.api.hrana.operations import Cursor, Once, Pipeline
from virke.api.messages import NDJSON, Request, Response, segments
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
    GetHealth,
    GetMetrics,
    GetMigrations,
    GetSchema,
    GetSettings,
    GetStatus,
    Import,
    ListDatabases,
    ListTokens,
    Migrate,
    Operation,
    Promote,
    RevokeToken,
    Run,
)
from virke.core.ids import check_name
from virke.core.settings import Settings
from virke.engine.results import QueryResult
from virke.engine.values import Json
from virke.errors import Invalid, NotFound, VirkeError
from virke.scopes import Scope

if TYPE_CHECKING:
    from virke.engine.results import Request as Statement

BOOKMARK: Final = "virke-bookmark"
CONSISTENCY: Final = "virke-consistency"
KEY: Final = "idempotency-key"
STALE: Final = "virke-stale"
"""The age in milliseconds of a state that is older than allowed, because the store is down."""
_SETTINGS: Final = frozenset(Settings().as_dict())
_SQL_FIELDS: Final = frozenset({"sql", "params", "timeout_ms", "meta"})
_TRUE: Final = {"": True, "1": True, "true": True, "0": False, "false": False}
EXPORTS: Final = {"sql": "application/sql", "sqlite": "application/vnd.sqlite3", "csv": "text/csv"}


@dataclass(frozen=True, slots=True)
class Call:
    """A request as a route sees it: the database that the path names, what follows the route, and the decoded body."""

    request: Request
    codec: Codec
    database: str
    rest: tuple[str, ...]

    def body(self, *fields: str) -> dict[str, Json]:
        """The body as an object of these fields; empty if there is none. Raises `Invalid`."""
        if not self.request.body.strip():
            return {}
        return native.object_of(self.codec.loads(self.request.body), frozenset(fields))

    def flag(self, name: str) -> bool:
        """A yes or no in the query of the URL. Raises `Invalid`."""
        return _flag(self.request.fields(), name)


Parse = Callable[[Call], Operation]


def _flag(fields: Mapping[str, str], name: str) -> bool:
    value = _TRUE.get(fields.get(name, "0").lower())
    if value is None:
        raise Invalid(f"{name} must be 1 or 0, not {fields[name]!r}")
    return value


def _one(call: Call) -> Run:
    body = call.body(*_SQL_FIELDS)
    return _run(call, body, (native.statement_of(body, _SQL_FIELDS),))


def _batch(call: Call) -> Run:
    body = call.body("statements", "timeout_ms", "meta")
    statements = body.get("statements")
    if not isinstance(statements, list):
        raise Invalid("`statements` must be a list of statements")
    return _run(call, body, tuple(native.statement_of(one) for one in statements), is_batch=True)


def _run(call: Call, body: Mapping[str, Json], requests: tuple[Statement, ...], *, is_batch: bool = False) -> Run:
    headers = call.request.headers
    return Run(
        call.database,
        requests,
        is_batch=is_batch,
        bookmark=headers.get(BOOKMARK),
        consistency=headers.get(CONSISTENCY),
        key=headers.get(KEY),
        timeout_ms=_whole(body, "timeout_ms"),
        meta=_yes(body, "meta"),
        streams=NDJSON in headers.get("accept", ""),
    )


def _whole(body: Mapping[str, Json], name: str) -> int | None:
    value = body.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise Invalid(f"`{name}` must be a whole number, not {value!r}")
    return value


def _yes(body: Mapping[str, Json], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise Invalid(f"`{name}` must be true or false, not {value!r}")
    return value


def _text(body: Mapping[str, Json], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise Invalid(f"`{name}` must be a text, not {value!r}")
    return value


def _describe(call: Call) -> DescribeStatement:
    return DescribeStatement(call.database, native.statement_of(call.body("sql"))[0])


def _schema(call: Call) -> GetSchema:
    return GetSchema(call.database, call.rest[0] if call.rest else None)


def _change_settings(call: Call) -> ChangeSettings:
    body = native.object_of(call.codec.loads(call.request.body), _SETTINGS)
    changes: dict[str, str | int] = {}
    for name, value in body.items():
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise Invalid(f"the setting {name} must be a text or a whole number")
        changes[name] = value
    return ChangeSettings(call.database, changes)


def _migrate(call: Call) -> Migrate:
    body = call.body("files", "dry_run", "undo", "status")
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
    undo = 1 if body.get("undo") is True else None if body.get("undo") is False else _whole(body, "undo")
    dry_run, report = _yes(body, "dry_run"), _yes(body, "status")
    if dry_run + report + (undo is not None) > 1:
        raise Invalid("`status`, `dry_run` and `undo` exclude each other")
    return Migrate(call.database, tuple(pairs), dry_run=dry_run, undo=undo, report=report)


def _import(call: Call) -> Import:
    fields = call.request.fields()
    return Import(call.database, table=fields.get("table"), replace=_flag(fields, "replace"))


def _export(call: Call) -> Export:
    fields = call.request.fields()
    form = fields.get("format", "csv" if "table" in fields else "sql")
    if form not in EXPORTS or (form == "csv") != ("table" in fields):
        raise Invalid("format must be sql or sqlite; csv is for one table, named by `table`")
    return Export(call.database, form, fields.get("table"))


def _create(call: Call) -> CreateDatabase:
    size = _whole(call.body("page_size"), "page_size")
    return CreateDatabase(check_name(call.database), call.flag("if_not_exists"), size)


def _upkeep(call: Call) -> DoUpkeep:
    body = call.body("all", "limit")
    return DoUpkeep(call.database, None if _yes(body, "all") else _whole(body, "limit") or 1)


def _create_token(call: Call) -> CreateToken:
    body = call.body("db", "scope", "expires_s", "name")
    wanted = body.get("db")
    databases = tuple(wanted) if isinstance(wanted, list) else (wanted,)
    if not databases or not all(isinstance(one, str) for one in databases):
        raise Invalid("`db` must be a database's name or a pattern (app-*), or a list of them")
    scope = Scope.named(_text(body, "scope") or "")
    patterns = tuple(str(one) for one in databases)
    return CreateToken(patterns, scope, _whole(body, "expires_s"), _text(body, "name") or "")


OF_A_DATABASE: Final[Mapping[str, Mapping[str, Parse]]] = {
    "": {"PUT": _create, "DELETE": lambda call: DeleteDatabase(call.database)},
    "query": {"POST": _one},
    "execute": {"POST": _one},
    "batch": {"POST": _batch},
    "describe": {"POST": _describe},
    "schema": {"GET": _schema},
    "status": {"GET": lambda call: GetStatus(call.database)},
    "settings": {"GET": lambda call: GetSettings(call.database), "PATCH": _change_settings},
    "flush": {"POST": lambda call: Flush(call.database)},
    "promote": {"POST": lambda call: Promote(call.database)},
    "gc": {"POST": lambda call: Collect(call.database, _yes(call.body("dry_run"), "dry_run"))},
    "upkeep": {"POST": _upkeep},
    "migrations": {"GET": lambda call: GetMigrations(call.database)},
    "migrate": {"POST": _migrate},
    "import": {"POST": _import},
    "export": {"GET": _export},
}
OF_THE_NODE: Final[Mapping[str, Mapping[str, Parse]]] = {
    "db": {"GET": lambda call: ListDatabases()},
    "tokens": {"GET": lambda call: ListTokens(), "POST": _create_token},
    "healthz": {"GET": lambda call: GetHealth()},
    "readyz": {"GET": lambda call: GetHealth(ready=True)},
    "metrics": {"GET": lambda call: GetMetrics()},
}
TAKES_REST: Final = frozenset({"schema"})


def has_endless_body(method: str, path: str) -> bool:
    """Whether the body of a request may be of any size, and is given part by part to who performs it."""
    parts = path.split("/")
    return method == "POST" and len(parts) == 4 and parts[1] == "db" and parts[3] == "import"


def parse(request: Request, codec: Codec) -> Operation | Response:
    """What a request asks for; a response if that is an error."""
    try:
        parts = segments(request.path)
        if of_hrana := _of_hrana(parts):
            return hrana.parse(*of_hrana, request, codec)
        found = _found(parts)
        if found is None:
            raise NotFound(f"there is no {request.path}; a database's routes are below /db/NAME/", hint=_HINT)
        methods, database, rest = found
        method = "GET" if request.method == "HEAD" else request.method
        if method not in methods:
            allowed = ", ".join(sorted(methods))
            error = Invalid(f"{request.path} takes {allowed}, not {request.method}")
            return failed(error, codec, status=405).with_headers(("allow", allowed))
        return methods[method](Call(request, codec, database, rest))
    except VirkeError as error:
        return failed(error, codec)


_HINT: Final = "libSQL clients need a slash at the end of their URL: https://node/db/NAME/"


def _of_hrana(parts: list[str]) -> tuple[str, tuple[str, ...]] | None:
    """The database and the route of Hrana's that a path names, if it is one; "" is the default database."""
    name, rest = (parts[1], parts[2:]) if parts[0] == "db" and len(parts) > 2 else ("", parts)
    return (name, tuple(rest)) if hrana.is_route(tuple(rest)) else None


def _found(parts: list[str]) -> tuple[Mapping[str, Parse], str, tuple[str, ...]] | None:
    match parts:
        case ["db", name] if name:
            return OF_A_DATABASE[""], name, ()
        case ["db", name, route] if name and route in OF_A_DATABASE and route:
            return OF_A_DATABASE[route], name, ()
        case ["db", name, route, rest] if name and route in TAKES_REST and rest:
            return OF_A_DATABASE[route], name, (rest,)
        case ["tokens", token] if token:
            return {"DELETE": lambda call: RevokeToken(token)}, "", ()
        case [route] if route in OF_THE_NODE:
            return OF_THE_NODE[route], "", ()
        case _:
            return None


def answer(operation: Operation, outcome: object, codec: Codec) -> Response:
    """The response that says what became of an operation; an error is an outcome too."""
    if isinstance(outcome, VirkeError):
        is_hrana = isinstance(operation, Pipeline | Cursor | Once)
        return complaints.failed(outcome, codec) if is_hrana else failed(outcome, codec)
    if isinstance(outcome, Response):
        return outcome
    match operation, outcome:
        case Run(is_batch=True), list():
            found: object = [native.result_of(one) for one in outcome]
            bookmark = outcome[-1].bookmark if outcome else None
        case Run(), QueryResult():
            found, bookmark = native.result_of(outcome), outcome.bookmark
        case Cursor(), list():
            lines = b"".join(codec.dumps(line) + b"\n" for line in outcome)
            return Response(200, lines, (("content-type", "text/plain"),))
        case Once(), dict() if "result" not in outcome:
            return Response(400, codec.dumps(outcome))
        case ListDatabases(), list():
            found, bookmark = {"databases": [{"name": name} for name in outcome]}, None
        case _:
            found, bookmark = outcome, None
    stale_ms = outcome.stale_ms if isinstance(outcome, QueryResult) else None
    response = Response(201 if isinstance(operation, CreateDatabase) and _is_new(outcome) else 200, codec.dumps(found))
    if stale_ms is not None:
        response = response.with_headers((STALE, str(stale_ms)))
    return response.with_headers((BOOKMARK, bookmark)) if bookmark else response


def _is_new(outcome: object) -> bool:
    return isinstance(outcome, dict) and outcome.get("created") is True

"""The OpenAPI document: every route of the table with its fields, described once.

Knows the table of routes and the schemas; performs nothing.

1. Routes, methods and fields are those of the table; what is said of them is here (`ABOUT`), and a test holds both against
   each other.
2. Hrana's routes are libSQL's, and are not in it (docs/hrana.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import cache
from typing import Final

from virke.api.messages import JSON, NDJSON
from virke.api.schemas import (
    AT,
    COMPONENTS,
    FLAG,
    SETTINGS,
    TEXT,
    TIMEOUT,
    WHOLE,
    Schema,
    component_ref,
    list_schema,
    object_schema,
)
from virke.api.table import OF_A_DATABASE, OF_A_TOKEN, OF_THE_NODE, TAKES_REST, Route
from virke.engine.history import LIMIT_MOST
from virke.lazy_dataclasses import dataclass

VERSION: Final = "3.1.0"
BINARY: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class About:
    """What the document says of one method of one route.

    `answer` is the schema of the JSON, `media` that of other answers by media type; `query` and `body` are the schemas of
    fields, `required` those of the body that must be there; with `raw` the body is bytes.
    """

    summary: str
    answer: Schema = field(default_factory=dict)
    status: int = 200
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: Mapping[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    raw: bool = False


_RUN: Final = ("Virke-Bookmark", "Virke-Consistency", "Idempotency-Key")
_STATEMENT: Final[Schema] = {
    "type": "string",
    "examples": ["SELECT type, name FROM sqlite_schema", "CREATE TABLE t (a)"],
}
_TERMS: Final[Mapping[str, Schema]] = {
    "timeout_ms": TIMEOUT,
    "meta": FLAG,
    "read_only": FLAG,
    "foreign_keys": {"type": ["boolean", "null"]},
}
_SQL: Final[Mapping[str, Schema]] = {
    "sql": _STATEMENT,
    "params": component_ref("Params"),
    "rows": list_schema(component_ref("Params")),
    "script": FLAG,
    "at": {"oneOf": [AT, {"type": "null"}]},
    **_TERMS,
}
_SWITCH: Final[Schema] = {"enum": ["0", "1", "true", "false", ""]}
_HEADERS: Final[Mapping[str, Schema]] = {
    "Virke-Bookmark": {"type": "string", "pattern": "^[!-~]+$"},
    "Virke-Consistency": {"enum": ["strong", "session", "bounded"]},
    "Idempotency-Key": {"type": "string", "minLength": 1, "pattern": "^[!-~]+$"},
}
_STATES: Final = object_schema({"migrations": list_schema(component_ref("MigrationState"))})
_DONE: Final = {
    "oneOf": [
        _STATES,
        *(
            object_schema({key: list_schema(component_ref("Migration")), "version": WHOLE})
            for key in ("applied", "would_apply", "undid")
        ),
    ]
}
_HEALTH: Final = object_schema({"status": TEXT})
_TOKENS: Final = object_schema({"tokens": list_schema(component_ref("Token"))})

ABOUT: Final[Mapping[tuple[str, str], About]] = {
    ("/db", "GET"): About("The databases", object_schema({"databases": list_schema(object_schema({"name": TEXT}))})),
    ("/db/{name}", "PUT"): About(
        "Create a database",
        object_schema({"name": TEXT, "created": FLAG}),
        status=201,
        query={"if_not_exists": _SWITCH},
        body={"page_size": {"enum": [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]}},
    ),
    ("/db/{name}", "DELETE"): About("Delete a database", object_schema({"name": TEXT, "deleted": FLAG})),
    ("/db/{name}/query", "POST"): About(
        "Run one statement", component_ref("Result"), body=_SQL, required=("sql",), media=(NDJSON,), headers=_RUN
    ),
    ("/db/{name}/execute", "POST"): About(
        "Run one statement", component_ref("Result"), body=_SQL, required=("sql",), media=(NDJSON,), headers=_RUN
    ),
    ("/db/{name}/batch", "POST"): About(
        "Run statements, all or nothing",
        list_schema(component_ref("Result")),
        body={"statements": list_schema(component_ref("Statement")), "at": {"oneOf": [AT, {"type": "null"}]}, **_TERMS},
        required=("statements",),
        headers=_RUN,
    ),
    ("/db/{name}/describe", "POST"): About(
        "What SQLite says of a statement", component_ref("Description"), body={"sql": _STATEMENT}, required=("sql",)
    ),
    ("/db/{name}/schema", "GET"): About("The schema", list_schema(component_ref("SchemaEntry"))),
    ("/db/{name}/schema/{table}", "GET"): About("The schema of a table", list_schema(component_ref("SchemaEntry"))),
    ("/db/{name}/status", "GET"): About("The state of a database", component_ref("Status"), query={"brief": _SWITCH}),
    ("/db/{name}/settings", "GET"): About("The settings", component_ref("Settings")),
    ("/db/{name}/settings", "PATCH"): About("Change settings", component_ref("Settings"), body=SETTINGS),
    ("/db/{name}/versions", "GET"): About(
        "The last versions that changed pages, newest first",
        list_schema(component_ref("VersionEntry")),
        query={"limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MOST}},
    ),
    ("/db/{name}/diff", "GET"): About(
        "What differs between two states; without `to`, up to now", component_ref("Diff"), query={"from": AT, "to": AT}
    ),
    ("/db/{name}/restore", "POST"): About(
        "Bring an earlier state back", component_ref("Restored"), body={"at": AT, "dry_run": FLAG}, required=("at",)
    ),
    ("/db/{name}/flush", "POST"): About("Push pending writes", component_ref("Flushed")),
    ("/db/{name}/promote", "POST"): About("Move a database to object storage", component_ref("Status")),
    ("/db/{name}/gc", "POST"): About(
        "Delete what nothing needs",
        component_ref("Collected"),
        body={"dry_run": FLAG, "grace_ms": {"type": ["integer", "null"], "minimum": 0}},
    ),
    ("/db/{name}/upkeep", "POST"): About(
        "Do upkeep", component_ref("Upkept"), body={"all": FLAG, "limit": {"type": ["integer", "null"], "minimum": 1}}
    ),
    ("/db/{name}/migrations", "GET"): About("What was applied", _STATES),
    ("/db/{name}/migrate", "POST"): About(
        "Apply, rehearse, take back or report migrations",
        _DONE,
        body={
            "files": list_schema({**object_schema({"name": TEXT, "sql": TEXT}), "additionalProperties": False}),
            "dry_run": FLAG,
            "undo": {"oneOf": [{"type": "integer", "minimum": 1}, {"type": ["boolean", "null"]}]},
            "status": FLAG,
        },
    ),
    ("/db/{name}/import", "POST"): About(
        "Import a dump, an SQLite file, or CSV or JSON into a table",
        component_ref("Imported"),
        query={
            "kind": {"enum": ["sql", "sqlite", "csv", "ndjson"]},
            "table": TEXT,
            "replace": _SWITCH,
            "name": TEXT,
            "encoding": TEXT,
            "no_header": _SWITCH,
            "types": {"enum": ["infer", "text"]},
        },
        raw=True,
    ),
    ("/db/{name}/export", "GET"): About(
        "Export the database or a table",
        query={
            "format": {"enum": ["sql", "sqlite", "csv", "ndjson"]},
            "table": TEXT,
            "schema_only": _SWITCH,
            "data_only": _SWITCH,
            "at": TEXT,
        },
        media=("application/sql", "application/vnd.sqlite3", "text/csv", NDJSON),
    ),
    ("/tokens", "GET"): About("The tokens, without their text", _TOKENS),
    ("/tokens", "POST"): About(
        "Create a token; its text is in this answer alone",
        component_ref("Token"),
        status=201,
        body={
            "db": {"oneOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]},
            "scope": {"enum": ["read", "write", "schema", "admin"]},
            "expires_s": {"type": ["integer", "null"], "minimum": 1},
            "name": {"type": ["string", "null"], "maxLength": 100},
        },
        required=("db", "scope"),
    ),
    ("/tokens/{id}", "DELETE"): About("Revoke a token", object_schema({"revoked": TEXT, "left": WHOLE})),
    ("/healthz", "GET"): About("The process answers", _HEALTH),
    ("/readyz", "GET"): About("How the last call to the store ended", _HEALTH),
    ("/metrics", "GET"): About("The counters, in Prometheus' text form", media=("text/plain",)),
    ("/openapi.json", "GET"): About("This document", {"type": "object"}),
}
_OPEN: Final = frozenset({"/healthz", "/readyz", "/openapi.json"})


def all_routes() -> Iterator[tuple[str, str, Route]]:
    """Path, method and route of everything in the table."""
    for name, methods in OF_THE_NODE.items():
        yield from ((f"/{name}", method, route) for method, route in methods.items())
    for name, methods in OF_A_DATABASE.items():
        path = f"/db/{{name}}/{name}".rstrip("/")
        yield from ((path, method, route) for method, route in methods.items())
        if name in TAKES_REST:
            yield from ((f"{path}/{{table}}", method, route) for method, route in methods.items())
    yield from (("/tokens/{id}", method, route) for method, route in OF_A_TOKEN.items())


@cache
def openapi_document() -> bytes:
    """The document as JSON."""
    paths: dict[str, dict[str, object]] = {}
    for path, method, _ in all_routes():
        paths.setdefault(path, {})[method.lower()] = _described_operation(path, method, ABOUT[path, method])
    found = {
        "openapi": VERSION,
        "info": {"title": "Virke DB", "version": "1", "description": "SQLite databases whose truth is in a store."},
        "paths": paths,
        "components": {
            "schemas": COMPONENTS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }
    return json.dumps(found, separators=(",", ":")).encode()


def _described_operation(path: str, method: str, about: About) -> dict[str, object]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters: list[object] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in names
    ]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in about.query.items()]
    parameters += [{"name": name, "in": "header", "schema": _HEADERS[name]} for name in about.headers]
    found: dict[str, object] = {
        "operationId": f"{method.lower()}{path.title()}".translate({ord(sign): None for sign in "/{}._"}),
        "summary": about.summary,
        "parameters": parameters,
        "responses": {str(about.status): _answer_response(about), "default": _error_response()}
        | _response_if_exists(about),
    }
    if path in _OPEN:
        found["security"] = []
    if about.raw:
        found["requestBody"] = {"required": True, "content": {BINARY: {"schema": {}}}}
    elif about.body:
        schema = {
            "type": "object",
            "properties": about.body,
            "required": list(about.required),
            "additionalProperties": False,
        }
        found["requestBody"] = {"required": bool(about.required), "content": {JSON: {"schema": schema}}}
    return found


def _answer_response(about: About) -> dict[str, object]:
    content: dict[str, object] = {JSON: {"schema": about.answer}} if about.answer else {}
    return {"description": about.summary, "content": content | {media: {} for media in about.media}}


def _response_if_exists(about: About) -> dict[str, object]:
    """Creating what is there already is not an error where the request says so."""
    return {"200": _answer_response(about)} if "if_not_exists" in about.query else {}


def _error_response() -> dict[str, object]:
    return {"description": "What went wrong", "content": {JSON: {"schema": component_ref("Error")}}}

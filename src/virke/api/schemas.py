"""JSON Schemas of what goes over HTTP: values, results, errors, and the engine's own records.

Knows the engine's dataclasses and the shapes of `native`; knows no route.

1. A record is described by its own fields, so that a new one is described too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from virke.core.settings import BOUNDS, CHOICES, WORDS, Settings
from virke.engine.results import (
    Collected,
    Diff,
    Flushed,
    Meta,
    ObjectDiff,
    RejectedWrite,
    Restored,
    SchemaEntry,
    Status,
    TableDiff,
    Upkept,
    VersionEntry,
)
from virke.engine.sqlite import Column, Description
from virke.transfer import Imported

Schema = Mapping[str, object]
TEXT: Final[Schema] = {"type": "string"}
WHOLE: Final[Schema] = {"type": "integer"}
FLAG: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
ANY: Final[Schema] = {}
_PLAIN: Final[Mapping[str, Schema]] = {
    "int": WHOLE,
    "str": TEXT,
    "bool": FLAG,
    "float": {"type": "number"},
    "str | None": {"type": ["string", "null"]},
    "int | None": {"type": ["integer", "null"]},
    "tuple[str, ...]": {"type": "array", "items": TEXT},
    "tuple[str | None, ...]": {"type": "array", "items": {"type": ["string", "null"]}},
}


AT: Final[Schema] = {
    "description": "A version, a time as ISO 8601 (UTC unless it has an offset), or an age (90s, 15m, 2h, 3d, 1w).",
    "oneOf": [{"type": "integer", "minimum": 0}, {"type": "string", "minLength": 1}],
}


def ref(name: str) -> Schema:
    """The component of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(items: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": items}


def record(properties: Mapping[str, Schema], *optional: str) -> Schema:
    """An object with these fields, all of them but the `optional` ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _of(cls: Any) -> Schema:
    """The schema of a dataclass."""
    return record({field.name: _type(str(field.type)) for field in fields(cls)})


def _type(annotation: str) -> Schema:
    inner = annotation.removeprefix("tuple[").removesuffix(", ...]")
    return listed(ref(inner)) if inner in _NAMED else _PLAIN[annotation]


_NAMED: Final = frozenset({"RejectedWrite", "Column", "ObjectDiff", "TableDiff"})


def _form(name: str, text: str, **more: object) -> Schema:
    return {
        "type": "object",
        "properties": {name: {"type": "string", **more}},
        "required": [name],
        "additionalProperties": False,
        "description": text,
    }


VALUE: Final[Schema] = {
    "description": "A value of SQLite.",
    "oneOf": [
        {"type": "null"},
        {"type": "number"},
        {"type": "string"},
        _form("int64", "An INTEGER beyond 2^53.", pattern="^[+-]?[0-9]{1,18}$"),
        _form("real", "A REAL that JSON has no word for.", enum=["Infinity", "-Infinity"]),
        _form("base64", "A BLOB.", contentEncoding="base64", pattern="^([A-Za-z0-9+/]{4})*$"),
        _form("text_base64", "Text that is not UTF-8.", contentEncoding="base64", pattern="^([A-Za-z0-9+/]{4})*$"),
    ],
}
PARAMS: Final[Schema] = {
    "description": "Parameters by place, or by name without their sign.",
    "oneOf": [listed(ref("Value")), {"type": "object", "additionalProperties": ref("Value")}],
}
TIMEOUT: Final[Schema] = {
    "type": ["integer", "null"],
    "minimum": 1,
    "description": "Less time than the setting query_timeout_ms allows.",
}
STATEMENT: Final[Schema] = {
    "oneOf": [
        TEXT,
        {
            "type": "object",
            "properties": {"sql": TEXT, "params": ref("Params")},
            "required": ["sql"],
            "additionalProperties": False,
        },
    ]
}
RESULT: Final[Schema] = record(
    {
        "columns": listed(TEXT),
        "decltypes": listed({"type": ["string", "null"]}),
        "rows": listed(listed(ref("Value"))),
        "rows_affected": COUNT,
        "last_insert_rowid": ref("Value"),
        "version": COUNT,
        "bookmark": TEXT,
        "meta": ref("Meta"),
    },
    "meta",
)
ERROR: Final[Schema] = record(
    {
        "error": record(
            {
                "code": TEXT,
                "message": TEXT,
                "hint": TEXT,
                "retryable": FLAG,
                "sqlite_code": TEXT,
                "offset": COUNT,
                "file": TEXT,
                "line": {"type": ["integer", "null"]},
                "statement": {"type": "integer", "minimum": 1},
                "applied": listed(TEXT),
                "would_apply": listed(TEXT),
                "undid": listed(TEXT),
            },
            "sqlite_code",
            "offset",
            "file",
            "line",
            "statement",
            "applied",
            "would_apply",
            "undid",
        )
    }
)
MIGRATION: Final[Schema] = record({"number": COUNT, "name": TEXT})
MIGRATION_STATE: Final[Schema] = record(
    {
        "number": COUNT,
        "name": TEXT,
        "applied_at": {"type": ["string", "null"]},
        "undo": {"enum": ["file", "automatic", "none", "unknown"]},
        "checksum": TEXT,
    },
    "checksum",
)
TOKEN: Final[Schema] = record(
    {
        "id": TEXT,
        "name": TEXT,
        "databases": listed(TEXT),
        "scope": {"enum": ["read", "write", "schema", "admin"]},
        "created_ms": COUNT,
        "expires_ms": {"type": ["integer", "null"]},
        "expired": FLAG,
        "token": TEXT,
    },
    "expired",
    "token",
)


def setting(name: str) -> Schema:
    """The schema of one setting."""
    if name in CHOICES:
        return {"enum": list(CHOICES[name])}
    low, high = BOUNDS[name]
    number: Schema = {"type": "integer", "minimum": low, "maximum": high}
    words = WORDS.get(name)
    return {"oneOf": [number, {"enum": list(words)}]} if words else number


SETTINGS: Final[Mapping[str, Schema]] = {name: setting(name) for name in Settings().as_dict()}
COMPONENTS: Final[Mapping[str, Schema]] = {
    "Value": VALUE,
    "Params": PARAMS,
    "Statement": STATEMENT,
    "Result": RESULT,
    "Error": ERROR,
    "Migration": MIGRATION,
    "MigrationState": MIGRATION_STATE,
    "Token": TOKEN,
    "Settings": record(SETTINGS),
    "Column": _of(Column),
    "Description": _of(Description),
    "SchemaEntry": _of(SchemaEntry),
    "RejectedWrite": _of(RejectedWrite),
    "Status": _of(Status),
    "Collected": _of(Collected),
    "Flushed": _of(Flushed),
    "Upkept": _of(Upkept),
    "VersionEntry": _of(VersionEntry),
    "ObjectDiff": _of(ObjectDiff),
    "TableDiff": _of(TableDiff),
    "Diff": _of(Diff),
    "Restored": _of(Restored),
    "Imported": _of(Imported),
    "Meta": _of(Meta),
}

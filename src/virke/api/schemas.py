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


def component_ref(name: str) -> Schema:
    """The component of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def list_schema(items: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": items}


def object_schema(properties: Mapping[str, Schema], *optional: str) -> Schema:
    """An object with these fields, all of them but the `optional` ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _dataclass_schema(cls: Any) -> Schema:
    """The schema of a dataclass."""
    return object_schema({field.name: _field_schema(str(field.type)) for field in fields(cls)})


def _field_schema(annotation: str) -> Schema:
    inner = annotation.removeprefix("tuple[").removesuffix(", ...]")
    return list_schema(component_ref(inner)) if inner in _NAMED else _PLAIN[annotation]


_NAMED: Final = frozenset({"RejectedWrite", "Column", "ObjectDiff", "TableDiff"})


def _form_schema(name: str, text: str, **more: object) -> Schema:
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
        _form_schema("int64", "An INTEGER beyond 2^53.", pattern="^[+-]?[0-9]{1,18}$"),
        _form_schema("real", "A REAL that JSON has no word for.", enum=["Infinity", "-Infinity"]),
        _form_schema("base64", "A BLOB.", contentEncoding="base64", pattern="^([A-Za-z0-9+/]{4})*$"),
        _form_schema(
            "text_base64", "Text that is not UTF-8.", contentEncoding="base64", pattern="^([A-Za-z0-9+/]{4})*$"
        ),
    ],
}
PARAMS: Final[Schema] = {
    "description": "Parameters by place, or by name without their sign.",
    "oneOf": [list_schema(component_ref("Value")), {"type": "object", "additionalProperties": component_ref("Value")}],
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
            "properties": {"sql": TEXT, "params": component_ref("Params")},
            "required": ["sql"],
            "additionalProperties": False,
        },
    ]
}
RESULT: Final[Schema] = object_schema(
    {
        "columns": list_schema(TEXT),
        "decltypes": list_schema({"type": ["string", "null"]}),
        "rows": list_schema(list_schema(component_ref("Value"))),
        "rows_affected": COUNT,
        "last_insert_rowid": component_ref("Value"),
        "version": COUNT,
        "bookmark": TEXT,
        "meta": component_ref("Meta"),
    },
    "meta",
)
ERROR: Final[Schema] = object_schema(
    {
        "error": object_schema(
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
                "applied": list_schema(TEXT),
                "would_apply": list_schema(TEXT),
                "undid": list_schema(TEXT),
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
MIGRATION: Final[Schema] = object_schema({"number": COUNT, "name": TEXT})
MIGRATION_STATE: Final[Schema] = object_schema(
    {
        "number": COUNT,
        "name": TEXT,
        "applied_at": {"type": ["string", "null"]},
        "undo": {"enum": ["file", "automatic", "none", "unknown"]},
        "checksum": TEXT,
    },
    "checksum",
)
TOKEN: Final[Schema] = object_schema(
    {
        "id": TEXT,
        "name": TEXT,
        "databases": list_schema(TEXT),
        "scope": {"enum": ["read", "write", "schema", "admin"]},
        "created_ms": COUNT,
        "expires_ms": {"type": ["integer", "null"]},
        "expired": FLAG,
        "token": TEXT,
    },
    "expired",
    "token",
)


def setting_schema(name: str) -> Schema:
    """The schema of one setting."""
    if name in CHOICES:
        return {"enum": list(CHOICES[name])}
    low, high = BOUNDS[name]
    number: Schema = {"type": "integer", "minimum": low, "maximum": high}
    words = WORDS.get(name)
    return {"oneOf": [number, {"enum": list(words)}]} if words else number


SETTINGS: Final[Mapping[str, Schema]] = {name: setting_schema(name) for name in Settings().as_dict()}
COMPONENTS: Final[Mapping[str, Schema]] = {
    "Value": VALUE,
    "Params": PARAMS,
    "Statement": STATEMENT,
    "Result": RESULT,
    "Error": ERROR,
    "Migration": MIGRATION,
    "MigrationState": MIGRATION_STATE,
    "Token": TOKEN,
    "Settings": object_schema(SETTINGS),
    "Column": _dataclass_schema(Column),
    "Description": _dataclass_schema(Description),
    "SchemaEntry": _dataclass_schema(SchemaEntry),
    "RejectedWrite": _dataclass_schema(RejectedWrite),
    "Status": _dataclass_schema(Status),
    "Collected": _dataclass_schema(Collected),
    "Flushed": _dataclass_schema(Flushed),
    "Upkept": _dataclass_schema(Upkept),
    "VersionEntry": _dataclass_schema(VersionEntry),
    "ObjectDiff": _dataclass_schema(ObjectDiff),
    "TableDiff": _dataclass_schema(TableDiff),
    "Diff": _dataclass_schema(Diff),
    "Restored": _dataclass_schema(Restored),
    "Imported": _dataclass_schema(Imported),
    "Meta": _dataclass_schema(Meta),
}

"""Answers of a node as the values that an embedded database gives.

Pure. Knows the bodies of docs/node.md.

1. A body that is not what the route promises is `Unavailable`: it is not the node that was meant, or a newer one.
2. Fields that are not known are passed over: a newer node may say more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, TypeVar

from virke.client.exchange import Answer, NoAnswer, Stream
from virke.core.settings import Settings, load_settings
from virke.engine.results import (
    Collected,
    Diff,
    Flushed,
    Meta,
    ObjectDiff,
    QueryResult,
    RejectedWrite,
    Restored,
    SchemaEntry,
    Stamp,
    Status,
    TableDiff,
    Upkept,
    VersionEntry,
)
from virke.engine.sqlite import Column, Description, Row
from virke.engine.values import decode_value
from virke.errors import Invalid, Unavailable
from virke.scopes import Scope
from virke.tokens import Token
from virke.transfer import Imported

T = TypeVar("T")
STALE: Final = "virke-stale"
_WRONG: Final = "the node's answer is not understood; is this the URL of `virke serve`, of this version or a newer one?"


def json_of(answer: Answer) -> Any:
    """The body of an answer. Raises `Unavailable`: it is no JSON."""
    return value_in(answer.body)


def value_in(body: bytes) -> Any:
    """A value of JSON. Raises `Unavailable`: it is none."""
    try:
        return json.loads(body)
    except ValueError as error:
        raise Unavailable(_WRONG) from error


def understand_value(read: Callable[[Any], T], found: object) -> T:
    """What `read` makes of a value. Raises `Unavailable`: it is not what the route promises."""
    try:
        return read(found)
    except (KeyError, TypeError, ValueError, AttributeError, Invalid) as error:
        raise Unavailable(_WRONG) from error


def result_of(found: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> QueryResult:
    """A result."""
    names, decltypes = found["columns"], found["decltypes"]
    result = QueryResult(
        list(names),
        rows_of(found["rows"]),
        Stamp(found["version"], found["bookmark"]),
        [Column(name, decltype) for name, decltype in zip(names, decltypes, strict=True)],
        rows_affected=found["rows_affected"],
        last_insert_rowid=decode_value(found["last_insert_rowid"]),  # type: ignore[arg-type]
    )
    if found.get("meta") is not None:
        result.meta = Meta(**_known_fields(Meta, found["meta"]))
    stale_ms = (headers or {}).get(STALE, "")
    result.stale_ms = int(stale_ms) if stale_ms.isdecimal() else None
    return result


def results_of(found: Sequence[Mapping[str, Any]]) -> list[QueryResult]:
    """The results of several statements."""
    return [result_of(one) for one in found]


def rows_of(rows: Sequence[Sequence[Any]]) -> list[Row]:
    """Rows of values; most values are JSON's own."""
    return [tuple([decode_value(one) if type(one) is dict else one for one in row]) for row in rows]


def description_of(found: Mapping[str, Any]) -> Description:
    """What SQLite says of a statement."""
    columns = tuple(Column(**_known_fields(Column, column)) for column in found["columns"])
    names = tuple(found["parameter_names"])
    return Description(**(_known_fields(Description, found) | {"columns": columns, "parameter_names": names}))


def schema_of(found: Sequence[Mapping[str, Any]]) -> list[SchemaEntry]:
    """The schema."""
    return [SchemaEntry(**_known_fields(SchemaEntry, one)) for one in found]


def status_of(found: Mapping[str, Any]) -> Status:
    """The state of a database."""
    rejected = tuple(RejectedWrite(**_known_fields(RejectedWrite, one)) for one in found["rejected_writes"])
    return Status(
        **(_known_fields(Status, found) | {"rejected_writes": rejected, "upkeep_due": tuple(found["upkeep_due"])})
    )


def settings_of(found: Mapping[str, Any]) -> Settings:
    """The settings; those of a newer node are kept as `unknown`."""
    return load_settings({str(name): value for name, value in found.items()})


def flushed_of(found: Mapping[str, Any]) -> Flushed:
    """What was pushed."""
    return Flushed(**_known_fields(Flushed, found))


def collected_of(found: Mapping[str, Any]) -> Collected:
    """What a collection deleted."""
    return Collected(**(_known_fields(Collected, found) | {"deleted": tuple(found["deleted"])}))


def versions_of(found: Sequence[Mapping[str, Any]]) -> list[VersionEntry]:
    """Versions."""
    return [VersionEntry(**_known_fields(VersionEntry, one)) for one in found]


def diff_of(found: Mapping[str, Any]) -> Diff:
    """What differs between two versions."""
    objects = tuple(ObjectDiff(**_known_fields(ObjectDiff, one)) for one in found["objects"])
    tables = tuple(TableDiff(**_known_fields(TableDiff, one)) for one in found["tables"])
    return Diff(**(_known_fields(Diff, found) | {"objects": objects, "tables": tables}))


def restored_of(found: Mapping[str, Any]) -> Restored:
    """What a restore did."""
    return Restored(**_known_fields(Restored, found))


def upkept_of(found: Mapping[str, Any]) -> Upkept:
    """What upkeep did."""
    return Upkept(**(_known_fields(Upkept, found) | {"due": tuple(found["due"])}))


def imported_of(found: Mapping[str, Any]) -> Imported:
    """What an import did."""
    return Imported(**(_known_fields(Imported, found) | {"warnings": tuple(found["warnings"])}))


def numbers_of(found: Mapping[str, Any]) -> list[int]:
    """The numbers of the migrations that were applied, would be, or were taken back."""
    [files] = [found[key] for key in ("applied", "would_apply", "undid") if key in found]
    return [int(file["number"]) for file in files]


def parts_of(stream: Stream) -> Iterator[bytes]:
    """The pieces of a file. Raises `Unavailable`: it was cut off."""
    try:
        while piece := stream.read():
            yield piece
    except NoAnswer as error:
        raise Unavailable(f"the file was cut off: {error}") from error
    finally:
        stream.close()


def names_of(found: Mapping[str, Any]) -> list[str]:
    """The names of databases."""
    return [str(one["name"]) for one in found["databases"]]


def token_of(found: Mapping[str, Any]) -> Token:
    """A token, without the hash of its text."""
    return Token(
        id=found["id"],
        hash=b"",
        databases=tuple(found["databases"]),
        scope=Scope.named(found["scope"]),
        created_ms=found["created_ms"],
        expires_ms=found["expires_ms"],
        name=found["name"],
    )


def tokens_of(found: Mapping[str, Any]) -> tuple[Token, ...]:
    """All tokens."""
    return tuple(token_of(one) for one in found["tokens"])


def _known_fields(kind: Any, found: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in found.items() if name in names}

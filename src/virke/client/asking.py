"""Requests to a node, made of what callers ask for.

Pure. Knows the routes of docs/node.md; sends nothing.

1. What only reads is `SAFE`, and so is a write that carries a key. A statement of which that can't be known by its first
   word (PRAGMA, VACUUM) has no key and is not sent again after a lost answer.
2. Parameters are checked here as an embedded database checks them, as far as that is possible without the statement.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from virke.api.hrana.sql import only_reads, verb_of
from virke.api.messages import NDJSON
from virke.api.table import BOOKMARK, CONSISTENCY, KEY
from virke.client.exchange import Again, Request
from virke.core.moments import Moment, as_iso_utc, read_at
from virke.engine.sqlite import ALONE, check_text, check_value, keyword, plain
from virke.engine.values import Json, encode_value
from virke.errors import Invalid, WrongValue

if TYPE_CHECKING:
    from virke.core.moments import At
    from virke.engine.sqlite import Parameters
    from virke.engine.terms import Terms

LONG_S: Final = 3600.0
"""How long care of a whole database, an import or a migration may take."""


def path_of(database: str, *parts: str) -> str:
    """The path of a database's route."""
    return "/".join(["/db", quote(database, safe=""), *(quote(part, safe="") for part in parts)])


def body_of(value: Mapping[str, object]) -> bytes:
    """A body of JSON. Raises `Invalid`: a text in it is not valid Unicode."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise WrongValue(f"text is not valid Unicode: {error}") from error


def post_request(
    path: str, value: Mapping[str, object], *, again: Again = Again.IF_REFUSED, patience_s: float = 0.0
) -> Request:
    """A request with a body."""
    return Request("POST", path, body_of(value), again=again, patience_s=patience_s)


def reading_post(path: str, value: Mapping[str, object]) -> Request:
    """A request with a body that reads."""
    return Request("POST", path, body_of(value), again=Again.SAFE, is_read=True)


def get_request(path: str) -> Request:
    """A request that reads."""
    return Request("GET", path, again=Again.SAFE, is_read=True)


def statement_json(sql: str, params: Parameters = (), **more: object) -> dict[str, object]:
    """A statement as JSON. Raises `Invalid`: the SQL is not text, or a parameter has no SQL type."""
    check_text(sql)
    found: dict[str, object] = {"sql": sql, **{name: value for name, value in more.items() if value is not None}}
    if given := parameters_json(params):
        found["params"] = given
    return found


def moment_json(at: At | None) -> int | str | None:
    """A version or a time as JSON; an age counts from the node's now. Raises `Invalid`: it is neither."""
    if at is None:
        return None
    found = read_at(at, 0)
    if isinstance(found, Moment):
        return at if isinstance(at, str) else as_iso_utc(found.time_ms)
    return found


def parameters_json(params: Parameters) -> Json:
    """Parameters as JSON. Raises `Invalid`."""
    params = plain(params)
    if isinstance(params, Mapping):
        return {name: _value_json(value) for name, value in params.items()}
    if isinstance(params, str | bytes | bytearray | memoryview) or not isinstance(params, Sequence):
        raise Invalid("parameters must be a list, a tuple or a mapping, not a single value")
    return [_value_json(value) for value in params]


def _value_json(value: object) -> Json:
    check_value(value)
    return encode_value(value)  # type: ignore[arg-type]


def is_reading_sql(sql: str) -> bool:
    """Whether a statement only reads, by its words. Raises `Invalid`: it is not text."""
    check_text(sql)
    return only_reads(verb_of(sql))


def takes_key(sql: str) -> bool:
    """Whether a write can carry a key: what can't be part of a transaction has no table of answers."""
    return keyword(sql) not in ALONE


def run_request(
    path: str,
    body: Mapping[str, object],
    *,
    is_read: bool,
    terms: Terms,
    key: str | None = None,
    streams: bool = False,
) -> Request:
    """A request that runs statements. Raises `Invalid`: a key, a bookmark or a consistency can't be a header."""
    headers = {"Accept": NDJSON} if streams else {}
    for name, value in ((BOOKMARK, terms.bookmark), (CONSISTENCY, terms.consistency), (KEY, key)):
        if value is not None:
            headers[name] = _header_value(name, value)
    if terms.timeout_ms is not None:
        body = {**body, "timeout_ms": terms.timeout_ms}
    return Request(
        "POST",
        path,
        body_of(body),
        headers,
        Again.SAFE if is_read or key is not None else Again.IF_REFUSED,
        is_read=is_read,
        streams=streams,
    )


def _header_value(name: str, value: object) -> str:
    """The value of a header. Raises `Invalid`: it would be another one, or several."""
    if not isinstance(value, str):
        raise Invalid(f"{name} must be text, not {type(value).__name__}")
    if not value or not value.isascii() or not value.isprintable():
        raise Invalid(f"{name} takes printable ASCII on a node, not {value!r}")
    return value


def pipeline_request(database: str, baton: str | None, requests: Sequence[Mapping[str, object]]) -> Request:
    """A request of an interactive transaction."""
    body = {"baton": baton, "requests": list(requests)}
    return post_request(path_of(database, "v3", "pipeline"), body, again=Again.ONCE)


def import_request(database: str, parts: Iterator[bytes], fields: Mapping[str, str | None]) -> Request:
    """A request that imports a file. Its parts are there once, so it is sent once."""
    return Request("POST", queried_path(database, "import", fields), parts, again=Again.ONCE, patience_s=LONG_S)


def export_request(database: str, fields: Mapping[str, str | None]) -> Request:
    """A request for a file."""
    path = queried_path(database, "export", fields)
    return Request("GET", path, again=Again.SAFE, is_read=True, streams=True, patience_s=LONG_S)


def queried_path(database: str, route: str, fields: Mapping[str, str | None]) -> str:
    """The path of a route with the fields that are given."""
    given = urlencode({name: value for name, value in fields.items() if value is not None})
    return path_of(database, route) + (f"?{given}" if given else "")


def migrate_request(database: str, files: Sequence[tuple[str, str]], *, dry_run: bool, undo: int | None) -> Request:
    """A request with migration files. A rehearsal reads."""
    body: dict[str, object] = {"files": [{"name": name, "sql": sql} for name, sql in files], "dry_run": dry_run}
    if undo is not None:
        body["undo"] = undo
    again = Again.SAFE if dry_run else Again.IF_REFUSED
    path = path_of(database, "migrate")
    return Request("POST", path, body_of(body), again=again, is_read=dry_run, patience_s=LONG_S)

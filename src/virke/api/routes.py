"""Routes: what a request asks for, and what an outcome is as a response.

Knows paths, and results as JSON; the fields of requests are in `table`. Performs nothing.

1. A path is decoded once, part by part: no slash, dot or percent sign in a name can lead to another route.
2. A route that exists with another method is 405 and says which; what does not exist is 404.
3. What is wrong with a request is said before anything is performed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from virke.api import native, openapi
from virke.api.codec import Codec
from virke.api.failures import error_response
from virke.api.hrana import complaints
from virke.api.hrana import routes as hrana
from virke.api.hrana.operations import HRANA, Answered, Cursor, Once
from virke.api.messages import NDJSON, Parts, Request, Response, path_segments
from virke.api.operations import CreateDatabase, CreateToken, Export, GetDocument, ListDatabases, Operation, Run
from virke.api.pieces import body_of
from virke.api.table import BOOKMARK, OF_A_DATABASE, OF_A_TOKEN, OF_THE_NODE, TAKES_REST, Route
from virke.engine.results import QueryResult
from virke.errors import Invalid, NotFound, VirkeError

STALE: Final = "virke-stale"
"""The age in milliseconds of a state that is older than allowed, because the store is down."""
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/openapi.json"})
"""What is answered without a token."""
PATHS_KEPT: Final = 1024
PATH_CHARS: Final = 300
"""Shorter paths that were asked for last are remembered with what they mean: the same few come again and again."""
_LINES: Final = (("content-type", NDJSON),)
MEDIA_TYPE_OF: Final = {
    "sql": "application/sql",
    "sqlite": "application/vnd.sqlite3",
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
}


def has_endless_body(method: str, path: str) -> bool:
    """Whether the body of a request may be of any size, and is given part by part to who performs it."""
    parts = path.split("/")
    return method == "POST" and len(parts) == 4 and parts[1] == "db" and parts[3] == "import"


def parse_request(request: Request, codec: Codec) -> Operation | Response:
    """What a request asks for; a response if that is an error."""
    try:
        parts, of_hrana = (
            _parsed_path(request.path) if len(request.path) <= PATH_CHARS else _parsed_path.__wrapped__(request.path)
        )
        if of_hrana:
            return hrana.parse_request(*of_hrana, request, codec)
        found = _find_route(parts)
        if found is None:
            raise NotFound(f"there is no {request.path}; a database's routes are below /db/NAME/", hint=_HINT)
        methods, database, rest = found
        method = "GET" if request.method == "HEAD" else request.method
        if method not in methods:
            allowed = ", ".join(sorted(methods))
            error = Invalid(f"{request.path} takes {allowed}, not {request.method}")
            return error_response(error, codec, status=405).with_headers(("allow", allowed))
        operation = methods[method].parse(request, codec, database, rest=rest)
        return Response(200, openapi.openapi_document()) if isinstance(operation, GetDocument) else operation
    except VirkeError as error:
        return error_response(error, codec)


_HINT: Final = "libSQL clients need a slash at the end of their URL: https://node/db/NAME/"


@lru_cache(PATHS_KEPT)
def _parsed_path(path: str) -> tuple[tuple[str, ...], tuple[str, tuple[str, ...]] | None]:
    """The parts of a path, and what of Hrana's it names. Raises `Invalid`."""
    parts = tuple(path_segments(path))
    return parts, _of_hrana(parts)


def _of_hrana(parts: tuple[str, ...]) -> tuple[str, tuple[str, ...]] | None:
    """The database and the route of Hrana's that a path names, if it is one; "" is the default database."""
    name, rest = (parts[1], parts[2:]) if parts[0] == "db" and len(parts) > 2 else ("", parts)
    return (name, rest) if hrana.is_route(rest) else None


def _find_route(parts: tuple[str, ...]) -> tuple[Mapping[str, Route], str, str | None] | None:
    match parts:
        case ["db", name] if name:
            return OF_A_DATABASE[""], name, None
        case ["db", name, route] if name and route in OF_A_DATABASE and route:
            return OF_A_DATABASE[route], name, None
        case ["db", name, route, rest] if name and route in TAKES_REST and rest:
            return OF_A_DATABASE[route], name, rest
        case ["tokens", token] if token:
            return OF_A_TOKEN, "", token
        case [route] if route in OF_THE_NODE:
            return OF_THE_NODE[route], "", None
        case _:
            return None


def response_to(operation: Operation, outcome: object, codec: Codec) -> Response:
    """The response that says what became of an operation; an error is an outcome too."""
    if isinstance(outcome, VirkeError):
        is_hrana = isinstance(operation, HRANA)
        return complaints.error_response(outcome, codec) if is_hrana else error_response(outcome, codec)
    if isinstance(outcome, Response):
        return outcome
    if isinstance(outcome, Answered):
        return with_state(response_to(operation, outcome.body, codec), None, outcome.stale_ms)
    match operation, outcome:
        case Run(is_batch=True), list():
            found: object = [native.result_of(one) for one in outcome]
            bookmark = outcome[-1].bookmark if outcome else None
        case Run(), native.Streamed():
            response = Response(200, Parts(outcome.lines(codec), outcome.close, outcome.rows.interrupt), _LINES)
            return with_state(response, outcome.rows.bookmark, outcome.stale_ms)
        case Run(streams=True), QueryResult():
            response = Response(200, native.lines_of_result(outcome, codec), _LINES)
            return with_state(response, outcome.bookmark, outcome.stale_ms)
        case Run(), QueryResult():
            found, bookmark = native.result_of(outcome), outcome.bookmark
        case Cursor(), list():
            lines = b"".join(codec.dumps(line) + b"\n" for line in outcome)
            return Response(200, lines, (("content-type", "text/plain"),))
        case Export(), Parts():
            return Response(200, outcome, (("content-type", MEDIA_TYPE_OF[operation.format]),))
        case Once(), dict() if "result" not in outcome:
            return Response(400, body_of(outcome, codec))
        case ListDatabases(), list():
            found, bookmark = {"databases": [{"name": name} for name in outcome]}, None
        case _:
            found, bookmark = outcome, None
    stale_ms = outcome.stale_ms if isinstance(outcome, QueryResult) else None
    is_created = isinstance(operation, CreateToken) or (isinstance(operation, CreateDatabase) and _is_new(outcome))
    response = Response(201 if is_created else 200, body_of(found, codec))
    return with_state(response, bookmark, stale_ms)


def with_state(response: Response, bookmark: str | None, stale_ms: int | None) -> Response:
    """A response that says of which state it is."""
    if stale_ms is not None:
        response = response.with_headers((STALE, str(stale_ms)))
    return response.with_headers((BOOKMARK, bookmark)) if bookmark else response


def _is_new(outcome: object) -> bool:
    return isinstance(outcome, dict) and outcome.get("created") is True

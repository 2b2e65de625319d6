"""Hrana's routes: what a request asks for as an operation, and what is answered to it.

Knows the table of routes; performs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from virke.api.codec import Codec
from virke.api.hrana import complaints, requests
from virke.api.hrana.complaints import Refused
from virke.api.hrana.operations import Cursor, Once, Pipeline
from virke.api.messages import Request, Response, path_segments
from virke.engine.values import Json
from virke.errors import VirkeError

_PLAIN: Final = (("content-type", "text/plain"),)


def _parse_pipeline(database: str, body: Json) -> Pipeline:
    return Pipeline(database, *requests.pipeline_of(body))


def _parse_cursor(database: str, body: Json) -> Cursor:
    return Cursor(database, *requests.cursor_of(body))


def _parse_execute(database: str, body: Json) -> Once:
    return Once(database, requests.Execute(requests.statement_of(requests.object_of(body, "the body").get("stmt"))))


def _parse_batch(database: str, body: Json) -> Once:
    return Once(database, requests.batch_of(requests.object_of(body, "the body").get("batch")))


_POSTS: Final[Mapping[tuple[str, ...], Callable[[str, Json], Pipeline | Cursor | Once]]] = {
    ("v1", "execute"): _parse_execute,
    ("v1", "batch"): _parse_batch,
    ("v2", "pipeline"): _parse_pipeline,
    ("v3", "pipeline"): _parse_pipeline,
    ("v3", "cursor"): _parse_cursor,
}
_GETS: Final[Mapping[tuple[str, ...], str]] = {
    ("v1",): "This is Hrana over HTTP, version 1",
    ("v2",): "This is Hrana over HTTP, version 2",
    ("v3",): "This is Hrana over HTTP, version 3",
    ("health",): "",
}


def is_route(rest: tuple[str, ...]) -> bool:
    """Whether a path below a database is one of Hrana's."""
    return rest in _POSTS or rest in _GETS


def pipeline_in(path: str) -> str | None:
    """The database that a POST of a pipeline to this path names, "" for the default one; None if it is none of these."""
    try:
        parts = tuple(path_segments(path))
    except VirkeError:
        return None
    name, rest = (parts[1], parts[2:]) if parts[0] == "db" and len(parts) > 2 else ("", parts)
    return name if _POSTS.get(rest) is _parse_pipeline else None


def database_of(path: str) -> str:
    """The database that the path of a WebSocket names; "" is the default one. Raises `Refused`: there is no such path."""
    match path_segments(path):
        case ["db", name, ""] | ["db", name] if name:
            return name
        case [""]:
            return ""
        case _:
            raise Refused(f"there is no {path}; a WebSocket is opened at / or /db/NAME/", status=404)


def parse_request(
    database: str, rest: tuple[str, ...], request: Request, codec: Codec
) -> Pipeline | Cursor | Once | Response:
    """What a request on one of these routes asks for; a response if that is known, or an error."""
    allowed = ("POST",) if rest in _POSTS else ("GET", "HEAD")
    if request.method not in allowed:
        error = Refused(f"{request.path} takes {allowed[0]}, not {request.method}", status=405)
        return complaints.error_response(error, codec).with_headers(("allow", ", ".join(allowed)))
    if rest in _GETS:
        return Response(200, _GETS[rest].encode(), _PLAIN)
    try:
        return _POSTS[rest](database, codec.loads(request.body))
    except VirkeError as error:
        return complaints.error_response(error if isinstance(error, Refused) else Refused(error.message), codec)

"""The database's routes at the edge: a request is held against its token, performed by blocking, and answered.

Knows `api` and the databases of this sandbox; knows no host call.

1. What can't be done in one request of a sandbox is `denied` before anything of it is done, and says who can.
2. The tokens and the root of the database that is asked for come in one round (`expect`).
3. Whatever a request does, it is answered: an error that was not foreseen is a 500 without its words, and what was open is
   opened again by the next request.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Final
from urllib.parse import unquote

from virke.api.codec import PlainCodec
from virke.api.failures import error_response
from virke.api.hrana.complaints import Refused
from virke.api.hrana.operations import HRANA, Cursor, Once, Pipeline
from virke.api.messages import Request, Response
from virke.api.operations import (
    Collect,
    CreateToken,
    DeleteDatabase,
    Export,
    GetDiff,
    GetHealth,
    GetMetrics,
    Import,
    ListDatabases,
    Operation,
    Promote,
    Restore,
    RevokeToken,
    Run,
)
from virke.api.performing import perform_operation
from virke.api.routes import OPEN_PATHS, has_endless_body, parse_request, response_to
from virke.core.ids import check_name
from virke.core.pins import root_key
from virke.edge.guest.access import Access
from virke.edge.guest.databases import Databases
from virke.edge.guest.forwarding import Forwarding, is_for_the_node
from virke.edge.guest.http import Arrived
from virke.errors import Denied, Invalid, ReadOnly, TimedOut, TooLarge, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.tokens.record import KEY as TOKENS

BODY_BYTES_MAX: Final = 8 << 20
"""Of a request: the body, what it is parsed into and the statements have to fit a sandbox together."""
CODEC: Final = PlainCodec()
INTERNAL: Final = VirkeError("the service has a fault of its own; its log says which")
DURABILITY: Final = "virke-durability"
UPKEEP_DUE: Final = "virke-upkeep-due"
ELSEWHERE: Final = "use the CLI, or a node with the same stores: virke serve"
_NOT_HERE: Final[Mapping[type, str]] = {
    Import: "imports",
    Export: "exports",
    DeleteDatabase: "deleting a database",
    Collect: "collection",
    Promote: "promotion",
    Restore: "restoring",
    GetDiff: "comparing versions",
    GetMetrics: "metrics",
}


@dataclass(slots=True)
class Served:
    """What a request came to, for what is done after its answer."""

    database: str | None = None
    later: list[Callable[[], object]] = field(default_factory=list)


@dataclass(slots=True)
class _Asked:
    """A request that may ask something."""

    arrived: Arrived
    served: Served
    token: str | None
    body: bytes | None = None
    """What was read of it."""


class Api:
    """The routes, for the databases of one store."""

    def __init__(
        self,
        databases: Databases,
        access: Access,
        expect: Callable[[list[str]], None],
        *,
        default: str | None,
        forwarding: Forwarding | None = None,
    ) -> None:
        """`expect` starts reading registers; `forwarding` is the node that writes are sent to, if there is one."""
        self._databases = databases
        self._access = access
        self._expect = expect
        self._default = default
        self._forwarding = forwarding

    def respond(self, arrived: Arrived, served: Served) -> Response:
        """The response to a request. Never raises an `Exception`."""
        operation: Operation | None = None
        try:
            if arrived.path in OPEN_PATHS:
                return self._answer_open(arrived)
            self._expect_what_is_needed(arrived.path)
            asked = _Asked(arrived, served, self._access.enter(arrived.headers))
            if has_endless_body(arrived.method, arrived.path):
                return self._answer_elsewhere(Import, asked)
            asked.body = arrived.body(BODY_BYTES_MAX)
            parsed = parse_request(
                Request(arrived.method, arrived.path, arrived.query, arrived.headers, asked.body), CODEC
            )
            if isinstance(parsed, Response):
                return parsed
            operation = parsed
            if self._forwarding is not None and is_for_the_node(operation):
                return self._answer_elsewhere(type(operation), asked, self._database_of_unnamed(operation, arrived))
            return self._answer_here(operation, asked)
        except VirkeError as error:
            return error_response(error, CODEC) if operation is None else response_to(operation, error, CODEC)
        except Exception:
            return self.broken()

    def _answer_here(self, operation: Operation, asked: _Asked) -> Response:
        """What an operation is answered that is done here, or tried here. Raises what became of it."""
        if self._forwarding is None or not isinstance(operation, Run):
            return self._with_notes(operation, response_to(operation, self._outcome_here(operation, asked), CODEC))
        reading = replace(operation, read_only=True)
        try:
            return self._with_notes(reading, response_to(reading, self._outcome_here(reading, asked), CODEC))
        except (ReadOnly, TooLarge, TimedOut):
            return self._answer_elsewhere(Run, asked)

    def _answer_elsewhere(self, operation: type, asked: _Asked, database: str | None = None) -> Response:
        """What the node answers. Raises `Denied`: there is none."""
        if self._forwarding is None:
            raise not_here(operation)
        return self._forwarding.send(asked.arrived, asked.body, asked.token, database)

    def _database_of_unnamed(self, operation: Operation, arrived: Arrived) -> str | None:
        """The database of an operation whose path names none."""
        if not isinstance(operation, HRANA) or operation.database:
            return None
        return self._of_a_database(operation, arrived.headers).database

    def broken(self) -> Response:
        """The response to a request that failed for a reason that was not foreseen (rule 3)."""
        traceback.print_exc(file=sys.stderr)
        self._databases.forget_all()
        return error_response(INTERNAL, CODEC)

    def _answer_open(self, arrived: Arrived) -> Response:
        """What needs no token, and asks no store."""
        parsed = parse_request(Request(arrived.method, arrived.path, arrived.query, arrived.headers), CODEC)
        return parsed if isinstance(parsed, Response) else response_to(parsed, {"status": "ok"}, CODEC)

    def _expect_what_is_needed(self, path: str) -> None:
        """Start reading the tokens, if that is due, and the root that comes next (rule 2)."""
        keys = [TOKENS] if self._access.is_due else []
        name = _named_database(path) or self._default
        if name and (keys or self._databases.known(name) is None):
            try:
                keys.append(root_key(check_name(name)))
            except Invalid:
                name = None  # the request gets the error
        if len(keys) > 1:
            self._expect(keys)

    def _outcome_here(self, operation: Operation, asked: _Asked) -> object:
        if type(operation) in _NOT_HERE:
            raise not_here(type(operation))
        if isinstance(operation, GetHealth):
            return {"status": "ok"}
        if isinstance(operation, HRANA):
            operation = self._of_a_database(operation, asked.arrived.headers)
        granted = self._access.check(asked.token, operation.database, operation.scope)
        asked.served.database = operation.database
        try:
            outcome = perform_operation(operation, self._databases, granted.scope)
        finally:
            if isinstance(operation, CreateToken | RevokeToken):
                self._access.renew()
        if isinstance(operation, ListDatabases) and isinstance(outcome, list):
            return [name for name in outcome if granted.may_see(name)]
        return outcome

    def _of_a_database(
        self, operation: Pipeline | Cursor | Once, headers: Mapping[str, str]
    ) -> Pipeline | Cursor | Once:
        """The same, of the database that is meant. Raises `Refused`: none is."""
        name = operation.database or headers.get("x-namespace", "") or self._default
        if not name:
            raise Refused(
                "no database is named: the URL of a libSQL client ends with /db/NAME/", "DATABASE_NOT_NAMED", status=404
            )
        match operation:
            case Pipeline(_, baton, requests):
                return Pipeline(name, baton, requests)
            case Cursor(_, baton, batch):
                return Cursor(name, baton, batch)
            case Once(_, request):
                return Once(name, request)

    def _with_notes(self, operation: Operation, response: Response) -> Response:
        """The response, with what is special here: that nothing was deferred, and that upkeep is due."""
        name = getattr(operation, "database", None) or self._default
        database = self._databases.known(name) if name else None
        if database is None or not isinstance(operation, Run | Pipeline | Cursor | Once):
            return response
        if database.serving.is_deferred:
            response = response.with_headers((DURABILITY, "sync"))
        if due := database.upkeep_due:
            response = response.with_headers((UPKEEP_DUE, ", ".join(due)))
        return response


def not_here(operation: type) -> Denied:
    """The error that says what can't be done at the edge, and where it can."""
    return Denied(f"{_NOT_HERE[operation]} can't be done in a request of the edge; nothing was changed", hint=ELSEWHERE)


def _named_database(path: str) -> str | None:
    """The database that a path seems to name."""
    parts = path.split("/", 3)
    return unquote(parts[2]) if len(parts) > 2 and parts[1] == "db" else None


def is_route(path: str) -> bool:
    """Whether a path is one of a database's or of libSQL's, where a program was built in as well."""
    first = path.split("/", 2)[1] if path.startswith("/") else ""
    return first in ("db", "v1", "v2", "v3", "tokens")

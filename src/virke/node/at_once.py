"""What a node answers at once: where the request was read, before a task is made for it.

Knows `api`, tokens, and the databases that are open; waits for nothing, and holds nothing from one call to the next.

1. The steps are `App`'s own, in its order, as far as they lead without waiting. Where one would have to wait, or anything is
   wrong, there is no answer: `Asked` says what is known by then, and `App` goes on from there.
2. No statement runs here that writes, and none longer than `query_here` lets it. One that writes is put in line, and its answer
   goes out without a task as well.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from virke.api.codec import Codec
from virke.api.hrana.requests import alone_of
from virke.api.hrana.routes import pipeline_in
from virke.api.hrana.sql import is_plain
from virke.api.messages import Request, Response
from virke.api.operations import Operation, Run
from virke.api.routes import OPEN_PATHS, has_endless_body, parse_request, response_to
from virke.engine.database import Database
from virke.engine.here import surely_writes
from virke.engine.programs import Program
from virke.engine.results import QueryResult
from virke.errors import Deleted, NotHere, VirkeError
from virke.node.access import Access
from virke.node.cors import Cors
from virke.node.databases import Databases
from virke.node.hrana import Hrana
from virke.node.leaving import ClientGone, Message
from virke.node.limits import Rooms, Taken
from virke.node.metrics import route_of
from virke.node.naming import Naming
from virke.node.page import is_page
from virke.node.timing import Timing
from virke.node.watching import Watch
from virke.node.workers.crew import Elsewhere
from virke.node.writing import Outcome, Writing
from virke.scopes import Scope

Tell = Callable[[bytes | Response | None], None]
Withdraw = Callable[[], None]


class Head:
    """The head of a request."""

    __slots__ = (
        "client",
        "database",
        "has_endless_body",
        "headers",
        "is_local",
        "is_open",
        "is_page",
        "method",
        "path",
        "pipeline",
        "query",
        "route",
    )

    def __init__(self, scope: Message) -> None:
        self.method: str = scope["method"]
        self.path: str = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        """As it was sent."""
        self.query: str = scope["query_string"].decode("latin-1")
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        client = scope.get("client")
        self.client: str | None = client[0] if client else None
        """The address that it came from."""
        self.is_page = is_page(self.path)
        """Whether it is for a file of the page."""
        self.is_open = self.is_page or self.path in OPEN_PATHS
        """Whether no token is needed."""
        self.has_endless_body = has_endless_body(self.method, self.path)
        """Whether its body is given part by part to who performs it."""
        self.route = route_of(self.path)
        self.is_local = False
        """Whether it is known to be of this machine."""
        self.pipeline = pipeline_in(self.path) if self.method == "POST" else None
        """The database that its path names, "" for the default one, if it is of a pipeline of Hrana's."""
        self.database: str | None = None
        """The database that it means, once that is known to be the same for all requests with this head."""


class Asked:
    """A request, and how far it came."""

    __slots__ = ("body", "head", "is_gone", "not_here", "operation", "response", "scope", "timing", "token", "wrote")

    def __init__(self, scope: Message, head: Head, body: bytes | None = None) -> None:
        self.scope = scope
        self.head = head
        self.timing = Timing()
        self.body = body
        """None: it has to be received."""
        self.token: str | None = None
        self.operation: Operation | None = None
        """What is asked for, once the token was seen; None: that has to be found out."""
        self.not_here: NotHere | None = None
        """Why the statement is not answered from memory, if that was tried."""
        self.response: Response | None = None
        """If all that is left to do is to send it."""
        self.is_gone = False
        """Whether its client is known to have gone."""
        self.wrote = False
        """Whether it may say that something was written."""

    @property
    def headers(self) -> dict[str, str]:
        """Its headers. Where the body is given too, the length is perhaps that of another one."""
        return self.head.headers

    def request(self, body: bytes) -> Request:
        """The request with a whole body."""
        head = self.head
        return Request(head.method, head.path, head.query, head.headers, body)


def asked_again(scope: Message, body: bytes) -> Asked:
    """A request that came whole; of its head what is known of the one before it, if that was the same."""
    kept = scope["extensions"]["virke.kept"]
    head: Head = kept.get("head") or kept.setdefault("head", Head(scope))
    return Asked(scope, head, body)


class AtOnce:
    """Answers from memory, and begins writes."""

    def __init__(
        self,
        databases: Databases,
        hrana: Hrana,
        codec: Codec,
        *,
        access: Access,
        naming: Naming,
        cors: Cors,
        watch: Watch,
        writing: Callable[[], Writing],
        rooms: Callable[[], Rooms],
    ) -> None:
        self._databases = databases
        self._crew = databases.crew
        self._hrana = hrana
        self._codec = codec
        self._access = access
        self._naming = naming
        self._cors = cors
        self._has_cors = cors.is_on
        self._watch = watch
        self._writing = writing
        self._rooms = rooms

    def respond(self, asked: Asked, body: bytes, tell: Tell) -> bytes | Response | Withdraw | None:
        """The response to a request with this body, if it is a read that memory answers; JSON with status 200 is its body alone.

        A write is put in line: then what is returned takes it out again, and `tell` has its response, or None where it was
        not begun and the longer way is to be gone.
        """
        head = asked.head
        if head.is_open or head.has_endless_body:
            return None
        if self._has_cors and self._cors.allows(head.headers):
            return None
        try:
            needs_token = self._access.needs_token_now()
            if needs_token is None:
                return None
            token = None
            if needs_token or not head.is_local:
                token = self._access.enter_now(head.headers, head.client)
                head.is_local = token is None
            if head.pipeline is not None:
                return self._answer_pipeline(asked, token, body, tell)
            operation = parse_request(asked.request(body), self._codec)
            if isinstance(operation, Response):
                return None
            asked.token, asked.operation = token, operation
            self._crew.check_here(operation)
            if isinstance(operation, Run) and operation.is_plain:
                return self._answer_run(asked, operation, tell)
        except (VirkeError, Elsewhere):
            return None  # found out again by `App`, which says it to the client
        return None

    def _answer_pipeline(
        self, asked: Asked, token: str | None, body: bytes, tell: Tell
    ) -> bytes | Response | Withdraw | None:
        alone = alone_of(self._codec.loads(body))
        if alone is None or not is_plain(alone.sql):
            return None
        database = self._meant_database(asked.head)
        if database is None or not (self._crew.reads_here or self._crew.owns(database.name)):
            return None
        scope = Scope.ADMIN  # without tokens
        if token is not None:
            scope = self._access.check(token, database.name, Scope.READ).scope
        if self._databases.has_journals:
            self._databases.check_reads_here(database)
        if not surely_writes(alone.sql):
            database.serving.let_compute()
            try:
                found = self._hrana.here(alone, database)
                if self._databases.has_journals:
                    self._databases.check_reads_here(database)
                return found
            except NotHere as error:
                asked.not_here = error
                if not error.writes:
                    return None
        if not self._crew.owns(database.name):
            return None
        begin = partial(self._hrana.begin, alone, database, scope, tell=tell)
        return self._begin_write(asked, database, begin)

    def _meant_database(self, head: Head) -> Database | None:
        """The database that a pipeline means, if it is open and definitely that one without asking."""
        if head.database is not None:
            return self._databases.known(head.database)
        head.database = self._naming.always(head.pipeline or "", head.headers)
        return self._naming.known(head.pipeline or "", head.headers)

    def _answer_run(self, asked: Asked, operation: Run, tell: Tell) -> Response | Withdraw | None:
        database = self._databases.known(operation.database)
        if database is None or self._watch.sees_all:
            return None
        scope = operation.allowed(self._access.check(asked.token, operation.database, operation.scope).scope)
        asked.timing.is_known = True
        self._databases.check_reads_here(database)
        [(sql, params)] = operation.requests
        database.serving.let_compute()
        try:
            found: QueryResult = database.query_here(sql, params, bookmark=operation.bookmark)
        except NotHere as error:
            asked.not_here = error
            if not error.writes or scope < Scope.WRITE or not self._crew.owns(database.name):
                return None
            begin = partial(self._write_run, asked, operation, database, scope=scope, tell=tell)
            return self._begin_write(asked, database, begin)
        self._watch.statements["read"] += 1
        return response_to(operation, found, self._codec)

    def _write_run(
        self, asked: Asked, operation: Run, database: Database, taken: Taken, *, scope: Scope, tell: Tell
    ) -> Withdraw:
        def done(outcome: Outcome) -> None:
            taken.give_back()
            if isinstance(outcome, ClientGone):
                return
            if isinstance(outcome, Deleted):  # perhaps it was created again
                asked.not_here = None
                tell(None)
            else:
                tell(response_to(operation, outcome if isinstance(outcome, VirkeError) else outcome[0], self._codec))

        with asked.timing.counting():
            return self._writing().begin(database, program_of(operation, database, scope), done, taken.growing())

    def _begin_write(self, asked: Asked, database: Database, begin: Callable[[Taken], Withdraw]) -> Withdraw:
        """Begin a write, with what it holds until it is answered."""
        taken = self._rooms().request()
        taken.take_body(len(asked.body or b""))
        taken.hold(self._databases.hold(database.name))
        try:
            withdraw = begin(taken)
        except BaseException:
            taken.give_back()
            raise
        asked.wrote = True
        return withdraw


def program_of(operation: Run, database: Database, scope: Scope) -> Program:
    """Statements that write, as a program."""
    return database.serving.program(
        operation.steps,
        key=operation.key,
        foreign_keys=operation.foreign_keys,
        timeout_ms=operation.timeout_ms,
        scope=scope,
    )

"""The node as an ASGI application: reads the request, holds it against its token, performs it the cheapest way, answers.

Knows ASGI, `api` and the ways to perform; knows no socket and no process.

1. A read that can be answered from memory is answered on the loop; any other in a bounded pool of threads.
2. A single statement or a batch that writes is put in line; no thread waits for it.
3. A client that went away ends the read that it asked for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import Final

from virke.api.codec import Codec
from virke.api.failures import error_response
from virke.api.hrana import routes as hrana
from virke.api.hrana.operations import HRANA, Cursor, Once, Pipeline
from virke.api.messages import Parts, Response
from virke.api.native import Streamed
from virke.api.operations import CreateToken, Export, GetMetrics, Import, ListDatabases, Operation, RevokeToken, Run
from virke.api.performing import perform_operation
from virke.api.routes import parse_request, response_to
from virke.engine.database import Database
from virke.engine.memory import PROCESS
from virke.engine.results import QueryResult
from virke.engine.sqlite import memory_used
from virke.engine.terms import Cancel
from virke.errors import Deleted, NotHere, ReadOnly, TooLarge, Unavailable, VirkeError
from virke.node import page
from virke.node.access import Access, check_local
from virke.node.at_once import Asked, AtOnce, Head, asked_again, program_of
from virke.node.bodies import JSON_HEADER, Arriving, Send, encoded_headers, send_response
from virke.node.cors import Cors
from virke.node.databases import Databases
from virke.node.hrana import Hrana
from virke.node.http.exchange import Answer, Application, Later, Reply
from virke.node.leaving import ClientGone, Leaving, Message, Receive
from virke.node.limits import SMALL_BYTES, Taken, usual_rooms
from virke.node.metrics import CONTENT_TYPE, GONE, OPEN, Metrics
from virke.node.naming import Naming
from virke.node.socket import Socket
from virke.node.streams import Streams
from virke.node.threads import Threads
from virke.node.transfers import Transfers
from virke.node.watching import Watch
from virke.node.workers.crew import Elsewhere
from virke.node.workers.forwarding import Forwarding, Relayed
from virke.node.workers.tunnel import Carried, carry_messages
from virke.node.writing import Writing
from virke.scopes import Scope
from virke.tokens import TokenTable

log: Final = logging.getLogger("virke.node")
access: Final = logging.getLogger("virke.access")
WAITING: Final = "What waits in line."
HELD: Final = "Bytes of memory."
BODY_MB: Final = 16
INTERNAL: Final = VirkeError("the server has a fault of its own; its log says which")


class App:
    """An ASGI application for the databases of one store."""

    def __init__(
        self,
        databases: Databases,
        codec: Codec,
        *,
        body_mb: int = BODY_MB,
        default: str | None = None,
        cors: Cors | None = None,
        slow_ms: int | None = None,
    ) -> None:
        self.databases = databases
        self.codec = codec
        self._body_bytes = body_mb << 20
        self._rooms = usual_rooms(self._body_bytes)
        self._cors = cors or Cors()
        self._threads = Threads()
        self._transfers = Transfers(databases)
        self._writing: Writing | None = None
        self._watch = Watch(slow_ms)
        self._crew = databases.crew
        self._forwarding = Forwarding(self._crew)
        worker = str(self._crew.index)
        streams = Streams(self._threads, self._writer, databases.hold, self._watch, worker=worker)
        self._hrana = Hrana(streams, self._writer, self._threads, codec, watch=self._watch)
        self.metrics = Metrics(databases, self._watch)
        self._show_gauges()
        self._access = Access(TokenTable(databases.store), self._threads.going_on)
        self._naming = Naming(databases, self._threads, time.monotonic, default=default)
        self._at_once = AtOnce(
            databases,
            self._hrana,
            codec,
            access=self._access,
            naming=self._naming,
            cors=self._cors,
            watch=self._watch,
            writing=self._writer,
            rooms=lambda: self._rooms,
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One connection's request, or the life of the server."""
        match scope["type"]:
            case "http":
                await self._serve_request(Asked(scope, Head(scope)), receive, send)
            case "websocket":
                await self._serve_socket(scope, receive, send)
            case "lifespan":
                await self._run_lifespan(receive, send)
            case _:
                raise NotImplementedError(scope["type"])

    def at_once(self, scope: Message, body: bytes, reply: Reply) -> Answer | Application | Later:
        """What a request is answered that came whole, or what is to be run for it (`http.exchange`)."""
        asked = asked_again(scope, body)
        try:
            found = self._at_once.respond(asked, body, partial(self._reply_with, asked, reply))
        except Exception:
            log.exception("a request failed for a reason of the server's own")
            found = error_response(INTERNAL, self.codec)
        if found is None or isinstance(found, bytes | Response):
            return self._settled_answer(asked, found)
        return Later(partial(self._left, asked, found))

    def _reply_with(self, asked: Asked, reply: Reply, response: bytes | Response | None) -> None:
        if not asked.is_gone:
            reply(self._settled_answer(asked, response))

    def _settled_answer(self, asked: Asked, response: bytes | Response | None) -> Answer | Application:
        """A response as an answer; None: the longer way is to be gone."""
        if isinstance(response, bytes):
            elapsed_s = asked.timing.elapsed_s
            self._note_request(asked, "200", elapsed_s)
            return Answer(200, [JSON_HEADER, *encoded_headers((asked.timing.header(elapsed_s),))], response)
        if response is not None:
            whole = response.body
            if isinstance(whole, bytes) and len(whole) <= SMALL_BYTES:
                self._note_request(asked, str(response.status))
                return Answer(response.status, encoded_headers((*response.headers, asked.timing.header())), whole)
            asked.response = response
        return partial(self._go_on, asked)

    def _left(self, asked: Asked, withdraw: Callable[[], None]) -> None:
        """Its client went away."""
        asked.is_gone = True
        self._note_request(asked, GONE)
        withdraw()

    async def _go_on(self, asked: Asked, _scope: Message, receive: Receive, send: Send) -> None:
        await self._serve_request(asked, receive, send)

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
                continue
            await self._hrana.streams.close()
            self._forwarding.close()
            await asyncio.get_running_loop().run_in_executor(None, self.close)
            await send({"type": "lifespan.shutdown.complete"})
            return

    def close(self) -> None:
        """Finish what was begun, push what is pending, close every database."""
        if self._writing:
            self._writing.close()
        self._transfers.close()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self.databases.close()

    async def _serve_request(self, asked: Asked, receive: Receive, send: Send) -> None:
        status, taken = GONE, self._rooms.request(Leaving(asked.scope, receive))
        try:
            with taken:
                taken.wrote = asked.wrote
                response = await self._response_to(asked, taken, receive, send)
                if isinstance(response, Relayed):
                    status = str(response.status)
                elif response is not None:
                    await send_response(response, send, receive, self._threads, with_body=asked.head.method != "HEAD")
                    status = str(response.status)
        finally:
            if status == GONE and taken.if_lost is not None:
                taken.if_lost()
            self._note_request(asked, status)

    def _note_request(self, asked: Asked, status: str, elapsed_s: float | None = None) -> None:
        seconds = asked.timing.elapsed_s if elapsed_s is None else elapsed_s
        self.metrics.answered(asked.head.method, asked.head.route, status, seconds)
        if access.isEnabledFor(logging.DEBUG):
            fields = {
                "method": asked.head.method,
                "path": asked.head.path,
                "status": status,
                "ms": round(seconds * 1000, 1),
            }
            access.debug("%s %s %s %s ms", *fields.values(), extra={"fields": fields})

    def _show_gauges(self) -> None:
        gauge, rooms = self.metrics.gauge, self._rooms
        gauge("virke_open", "databases", OPEN, lambda: self.databases.open_count)
        gauge("virke_open", "streams", OPEN, lambda: self._hrana.streams.open_count)
        gauge("virke_waiting", "reads", WAITING, lambda: self._threads.waiting)
        gauge("virke_waiting", "writes", WAITING, lambda: self._writing.in_line.total() if self._writing else 0)
        gauge("virke_held_bytes", "bodies", HELD, lambda: rooms.bodies.used)
        gauge("virke_held_bytes", "answers", HELD, lambda: rooms.answers.used)
        gauge("virke_held_bytes", "frames", HELD, lambda: PROCESS.frames.size_bytes)
        gauge("virke_held_bytes", "sqlite", HELD, memory_used)

    async def _response_to(self, asked: Asked, taken: Taken, receive: Receive, send: Send) -> Response | Relayed | None:
        """The response to a request, if no other worker has given it; None if its client is gone."""
        headers, sees = asked.head.headers, False
        try:
            if self._cors.is_on and self._cors.allows(headers):
                sees = await self._access.needs_token()
            response = self._cors.preflight(asked.head.method, headers) if sees else asked.response
            if response is None:
                found = await self._respond_here(asked, taken, receive, send)
                if isinstance(found, Relayed):
                    return found
                response = found
            taken.send(len(response.body) if isinstance(response.body, bytes) else None)
        except ClientGone:
            return None
        except VirkeError as error:
            response = error_response(error, self.codec)
        except Exception:
            log.exception("a request failed for a reason of the server's own")
            response = error_response(INTERNAL, self.codec)
        response = response.with_headers(asked.timing.header())
        return self._cors.seen(response, headers) if sees else response

    async def _serve_socket(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path, client = scope.get("raw_path") or scope["path"].encode(), scope.get("client")

        with ExitStack() as held:

            async def open_database(shown: str | None) -> tuple[Database, Scope]:
                token = await self._access.enter(headers, client[0] if client else None, shown)
                database = await self._held_database(hrana.database_of(path.decode("latin-1")), headers, held.callback)
                granted = self._access.check(token, database.name, Scope.READ)
                self._crew.check_owns(database.name)
                return database, granted.scope

            socket = Socket(self._hrana.streams, self.codec, open_database, send, rooms=self._rooms)
            try:
                await socket.serve(receive, list(scope.get("subprotocols", ())))
            except Elsewhere as away:
                carried = Carried(scope, socket.spoken, socket.hello)
                await carry_messages(self._forwarding, away.worker, carried, receive=receive, send=send)

    async def _respond_here(self, asked: Asked, taken: Taken, receive: Receive, send: Send) -> Response | Relayed:
        operation = asked.operation
        body = asked.body
        if body is not None:
            taken.take_body(len(body))
        if asked.head.is_page:
            return await self._page_response(asked.head)
        if operation is None:
            if not asked.head.is_open:
                asked.token = await self._access.enter(asked.head.headers, asked.head.client)
            if asked.head.has_endless_body:
                parts = Arriving(receive, asyncio.get_running_loop()) if body is None else iter((body,))
                parsed = parse_request(replace(asked.request(b""), parts=parts), self.codec)
            else:
                body = await self._whole_body(asked.head.headers, receive, taken) if body is None else body
                parsed = parse_request(asked.request(body), self.codec)
            if isinstance(parsed, Response):
                return parsed
            operation = parsed
        try:
            if isinstance(operation, GetMetrics):
                self._access.check(asked.token, None, operation.scope)
                text = await self._forwarding.metrics(asked.scope, self.metrics.text())
                return Response(200, text, (("content-type", CONTENT_TYPE),))
            outcome = await self._outcome_of(operation, asked, taken)
        except Elsewhere as away:
            try:
                return await self._forwarding.relay(away.worker, asked.scope, body, receive=receive, send=send)
            except VirkeError as error:
                outcome = error
        return response_to(operation, outcome, self.codec)

    async def _page_response(self, head: Head) -> Response:
        """A file of the page. Raises `NotFound`; `Denied`: without tokens it is for this machine, as all else is."""
        if not await self._access.needs_token():
            check_local(head.headers, head.client)
        return page.respond_with_file(head.method, head.path, head.headers)

    async def _outcome_of(self, operation: Operation, asked: Asked, taken: Taken) -> object:
        """Raises `Elsewhere`: another worker has to do it. `Denied`: its client may not ask that."""
        self._crew.check_here(operation)
        if isinstance(operation, HRANA):
            return await self._perform_hrana(operation, asked, taken)
        if operation.scope is None:
            return self._health_outcome(ready=operation.ready)
        granted = self._access.check(asked.token, operation.database, operation.scope)
        asked.timing.is_known = True
        if operation.database:
            taken.hold(self.databases.hold(operation.database))
        outcome = await self._perform_operation(operation, granted.scope, taken, asked)
        if isinstance(outcome, Deleted) and not isinstance(operation, Import):  # its body is gone
            asked.not_here = None
            outcome = await self._perform_operation(operation, granted.scope, taken, asked)
        if isinstance(operation, CreateToken | RevokeToken):
            await self._access.renew()
        if isinstance(operation, ListDatabases) and isinstance(outcome, list):
            return [name for name in outcome if granted.may_see(name)]
        return outcome

    async def _whole_body(self, headers: dict[str, str], receive: Receive, taken: Taken) -> bytes:
        """The whole body. Raises `TooLarge`, `Busy`, `ClientGone`."""
        if int(headers.get("content-length") or 0) > self._body_bytes:
            raise self._too_large()
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > self._body_bytes:
                raise self._too_large()
            taken.take_body(len(part))
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts) if len(parts) > 1 else part

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._body_bytes >> 20} MiB (--max-body-mb)")

    async def _perform_hrana(self, operation: Pipeline | Cursor | Once, asked: Asked, taken: Taken) -> object:
        try:
            database = await self._held_database(operation.database, asked.head.headers, taken.hold)
            scope = self._access.check(asked.token, database.name, Scope.READ).scope
            has_baton = getattr(operation, "baton", None) is not None  # of a stream of this worker, or wrong
            if not has_baton and not (self._crew.reads_here and self._hrana.is_simple(operation)):
                self._crew.check_owns(database.name)
            self.databases.check_reads_here(database)
            found = await self._hrana.perform(operation, database, scope, taken, not_here=asked.not_here)
            if isinstance(found.body, bytes):
                self.databases.check_reads_here(database)
            return found
        except VirkeError as error:
            return error

    async def _held_database(
        self, name: str, headers: dict[str, str], hold: Callable[[Callable[[], None]], object]
    ) -> Database:
        """The database that a request means, which is not closed until what `hold` was given is called."""
        database = await self._naming.database(name, headers)
        hold(self.databases.hold(database.name))
        return await self._naming.database(database.name, headers)  # the same, unless it was closed a moment ago

    async def _perform_operation(self, operation: Operation, scope: Scope, taken: Taken, asked: Asked) -> object:
        try:
            if operation.database is not None and not self._crew.owns(operation.database):
                self.databases.check_reads_here(await self._naming.database(operation.database, {}))
            writes = False
            if isinstance(operation, Run):
                scope = operation.allowed(scope)
            if isinstance(operation, Run) and (database := self.databases.known(operation.database)):
                writes = operation.is_program and scope >= Scope.WRITE
                if operation.is_plain:
                    [(sql, params)] = operation.requests
                    try:
                        if asked.not_here is not None:
                            raise asked.not_here
                        here = partial(database.query_here, sql, params, bookmark=operation.bookmark)
                        found = self._watch.run(database.name, sql, here) if self._watch.sees_all else here()
                        self._watch.statements["read"] += 1
                        return found
                    except NotHere as error:
                        writes = error.writes and scope >= Scope.WRITE
            with asked.timing.counting():
                if isinstance(operation, Run) and database and writes and not operation.meta:
                    return await self._run_write(operation, database, scope, taken)
                if isinstance(operation, Import | Export):
                    return await self._transfers.perform(operation, scope)
                outcome = await self._in_thread(operation, scope, taken)
            if isinstance(outcome, QueryResult) and (opened := self.databases.known(operation.database or "")):
                self.databases.check_reads_here(opened)  # it may be so since the state that this read saw
            return outcome
        except ReadOnly as error:
            if operation.database and not self._crew.owns(operation.database):
                raise Elsewhere(self._crew.owner_of(operation.database)) from error
            return error
        except VirkeError as error:
            return error

    async def _run_write(self, operation: Run, database: Database, scope: Scope, taken: Taken) -> object:
        taken.wrote = True
        program = program_of(operation, database, scope)
        answers = await self._writer().run(database, program, taken.leaving, taken.growing())
        results = [one for one in answers if isinstance(one, QueryResult)]
        return results if operation.is_batch else results[0]

    def _health_outcome(self, *, ready: bool) -> object:
        failure = self.databases.breaker.failure if ready else None
        return Unavailable(f"the last call to the store failed: {failure}") if failure else {"status": "ok"}

    def _writer(self) -> Writing:
        if self._writing is None:
            self._writing = Writing(asyncio.get_running_loop(), self._watch, self._crew)
        return self._writing

    async def _in_thread(self, operation: Operation, scope: Scope, taken: Taken) -> object:
        """Perform it in a thread; a client that goes away meanwhile ends the read."""
        if isinstance(operation, Run) and operation.requests and not operation.is_unit:
            grew = taken.begin(operation.requests[0][0])
        else:
            grew = taken.growing()
        cancel, taken.wrote = Cancel(grew), True  # as far as is known here
        loop = asyncio.get_running_loop()
        assert taken.leaving is not None, "a request has a client"
        take_back = taken.leaving.then(cancel.cancel)
        run = copy_context().run
        try:
            call = partial(perform_operation, operation, self.databases, scope, cancel)
            if isinstance(operation, Run):
                self._watch.statements["write" if operation.is_unit else "read"] += len(operation.requests)
                sql = "; ".join(sql for sql, _ in operation.requests)
                call = partial(self._watch.run, operation.database, sql, call)
            done = await loop.run_in_executor(self._threads, run, call)
        except VirkeError:
            if cancel.is_cancelled:
                raise ClientGone from None
            raise
        finally:
            take_back()
        if cancel.is_cancelled:
            if isinstance(done, Parts | Streamed):
                await loop.run_in_executor(self._threads.ending, done.close)
            raise ClientGone
        return done

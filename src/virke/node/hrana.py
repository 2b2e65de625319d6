"""Hrana over HTTP on a node: pipelines, cursors, and the single requests of version 1.

Knows streams and how they are answered; knows no ASGI.

1. A pipeline of one statement without a baton needs no stream: a read is answered from memory on the loop, a write is put
   in line (B7 and B8 measure these two).
2. A cursor of one reading statement has its rows one by one, whatever their number; any other is answered whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Final

from virke.api.codec import Codec
from virke.api.hrana import answers, complaints, requests, values
from virke.api.hrana.answers import Done
from virke.api.hrana.effects import check_may_write
from virke.api.hrana.operations import Cursor, Once, Pipeline
from virke.api.hrana.sql import is_plain, verb_of
from virke.api.messages import Parts, Response
from virke.api.pieces import body_of, body_of_lines
from virke.api.routes import with_state
from virke.engine.database import Database
from virke.engine.programs import Answer, Program, Step
from virke.engine.results import QueryResult, Request
from virke.engine.rows import Rows
from virke.engine.terms import Terms
from virke.errors import NotHere, VirkeError
from virke.node.leaving import ClientGone
from virke.node.limits import Taken
from virke.node.streams import Live, Streams
from virke.node.threads import Threads
from virke.node.watching import Watch
from virke.node.writing import Outcome, Writing
from virke.scopes import Scope

ROWS_OF_A_PART: Final = 256
CLOSED: Final = answers.ok_result("close")
_LINES: Final = (("content-type", "text/plain"),)


class Hrana:
    """Carries out Hrana's operations for one event loop."""

    def __init__(
        self, streams: Streams, writing: Callable[[], Writing], threads: Threads, codec: Codec, *, watch: Watch
    ) -> None:
        self.streams = streams
        self._writing = writing
        self._threads = threads
        self._codec = codec
        self._watch = watch

    async def perform(
        self,
        operation: Pipeline | Cursor | Once,
        database: Database,
        scope: Scope,
        taken: Taken,
        *,
        not_here: NotHere | None = None,
    ) -> Response:
        """Do what a request asks. `taken` is what it holds; `not_here` what `here` raised. Raises `Refused`, `Busy`."""
        if isinstance(operation, Pipeline) and self.is_simple(operation):
            statement = _first_statement(operation)
            found = await self._run_simple(statement, database, scope, taken, not_here=not_here)
            response = self._simple_response(found, closes=len(operation.requests) > 1)
        else:
            response = await self._perform_operation(operation, database, scope, taken)
        return _with_age(response, database)

    def here(self, alone: requests.Alone, database: Database) -> bytes | Response:
        """What a pipeline of one statement is answered that reads, from memory: the body, if that is all there is to say.

        Raises `NotHere`, and as the statement does.
        """
        result = database.query_here(alone.sql, alone.params)
        self._watch.statements["read"] += 1
        body = answers.body_of_read(result, self._codec, wants_rows=alone.wants_rows, closes=alone.closes)
        if body is not None and database.serving.stale_ms is None:
            return body
        found = answers.ok_result("execute", result=answers.result_of(Done(result, "SELECT", alone.wants_rows)))
        return _with_age(self._simple_response(found, closes=alone.closes), database)

    def begin(
        self,
        alone: requests.Alone,
        database: Database,
        scope: Scope,
        taken: Taken,
        *,
        tell: Callable[[bytes | Response], None],
    ) -> Callable[[], None]:
        """Put the write of a pipeline of one statement in line; `tell` is called on the loop, unless the client is gone by then.

        What is returned says that it is. Raises as `Writing.begin`, and `Denied`.
        """
        program = self._write_program((alone.sql, alone.params), database, scope, taken)

        def done(outcome: Outcome) -> None:
            taken.give_back()
            if isinstance(outcome, ClientGone):
                return
            try:
                if isinstance(outcome, VirkeError):
                    raise outcome
                done = _done_of_write(alone.sql, outcome, wants_rows=alone.wants_rows)
                body = answers.body_of_write(done, closes=alone.closes)
                if body is not None and database.serving.stale_ms is None:
                    tell(body)
                    return
                found = answers.ok_result("execute", result=answers.result_of(done))
            except VirkeError as error:
                found = answers.error_result(error)
            tell(_with_age(self._simple_response(found, closes=alone.closes), database))

        return self._writing().begin(database, program, done, taken.growing())

    def _simple_response(self, result: dict[str, object], *, closes: bool) -> Response:
        """The response to a simple pipeline."""
        return self._pipeline_response(None, [result, CLOSED] if closes else [result])

    async def _perform_operation(
        self, operation: Pipeline | Cursor | Once, database: Database, scope: Scope, taken: Taken
    ) -> Response:
        match operation:
            case Pipeline(_, baton, asked):
                closes = any(isinstance(one, requests.Close) for one in asked)
                return await self._run_pipeline(self._stream_of(baton, database, scope, closes=closes), asked, taken)
            case Cursor(baton=None, batch=requests.Batch(steps=[requests.BatchStep(statement, None)])) if _is_simple(
                statement
            ):
                return await self._simple_cursor(statement, database, scope, taken)
            case Cursor(_, baton, batch):
                return await self._run_cursor(self._stream_of(baton, database, scope), batch, taken)
            case Once(_, request):
                return await self._once_response(request, database, scope, taken)

    def is_simple(self, operation: Pipeline | Cursor | Once) -> bool:
        """Whether it is one statement that needs nothing of a stream, and that any worker may try."""
        if isinstance(operation, Pipeline):  # not by patterns: each pipeline comes by here
            return operation.baton is None and _is_alone(operation.requests)
        match operation:
            case Cursor(baton=None, batch=requests.Batch(steps=[requests.BatchStep(statement, None)])):
                return _is_simple(statement)
        return False

    def _stream_of(self, baton: str | None, database: Database, scope: Scope, *, closes: bool = False) -> Live:
        if baton is None:
            return self.streams.open(database, scope)
        return self.streams.take(baton, database, scope, closes=closes)

    async def _run_simple(
        self,
        statement: requests.AskedStatement,
        database: Database,
        scope: Scope,
        taken: Taken,
        *,
        not_here: NotHere | None,
    ) -> dict[str, object]:
        """The result of one statement outside of a transaction."""
        try:
            try:
                if not_here is not None:
                    raise not_here
                done = self._read_here(database, statement)
            except NotHere as error:
                if not error.writes:
                    live = self.streams.open(database, scope)
                    live.gone, live.taken, live.not_here = taken.leaving, taken, error
                    return await self._respond_once(live, requests.Execute(statement))
                done = await self._run_write(statement, database, scope, taken)
            return answers.ok_result("execute", result=answers.result_of(done))
        except VirkeError as error:
            return answers.error_result(error)

    def _read_here(self, database: Database, statement: requests.AskedStatement) -> Done:
        """What a reading statement answers from memory. Raises `NotHere`."""
        result = database.query_here(statement.text.sql or "", statement.params)
        self._watch.statements["read"] += 1
        return Done(result, "SELECT", statement.wants_rows)

    async def _run_write(
        self, statement: requests.AskedStatement, database: Database, scope: Scope, taken: Taken
    ) -> Done:
        sql = statement.text.sql or ""
        program = self._write_program((sql, statement.params), database, scope, taken)
        answered = await self._writing().run(database, program, taken.leaving, taken.growing())
        return _done_of_write(sql, answered, wants_rows=statement.wants_rows)

    def _write_program(self, request: Request, database: Database, scope: Scope, taken: Taken) -> Program:
        """A statement that writes, as a program. Raises `Denied`."""
        check_may_write(scope)
        taken.wrote = True
        return database.serving.program((Step(*request),), scope=scope)

    async def _respond_once(self, live: Live, request: requests.StreamRequest) -> dict[str, object]:
        """One request on a stream that ends with it."""
        try:
            return await self.streams.drive(live, live.stream.respond(request))
        finally:
            self.streams.drop(live)

    async def _run_pipeline(self, live: Live, asked: tuple[requests.StreamRequest, ...], taken: Taken) -> Response:
        live.gone, live.taken = taken.leaving, taken
        try:
            results = [await self.streams.drive(live, live.stream.respond(one)) for one in asked]
        except BaseException:
            self.streams.drop(live)
            raise
        taken.if_lost = partial(self.streams.end, live)
        return self._pipeline_response(self.streams.keep(live), results)

    def _pipeline_response(self, baton: str | None, results: list[dict[str, object]]) -> Response:
        return Response(200, body_of({"baton": baton, "base_url": None, "results": results}, self._codec))

    async def _once_response(
        self, request: requests.Execute | requests.Batch, database: Database, scope: Scope, taken: Taken
    ) -> Response:
        live = self.streams.open(database, scope)
        live.gone, live.taken = taken.leaving, taken
        found = answers.once_of(await self._respond_once(live, request))
        return Response(200 if "result" in found else 400, body_of(found, self._codec))

    # Cursors

    async def _run_cursor(self, live: Live, batch: requests.Batch, taken: Taken) -> Response:
        live.gone, live.taken = taken.leaving, taken
        try:
            try:
                answered: Sequence[answers.StepAnswer] | VirkeError
                answered = await self.streams.drive(live, live.stream.batch(batch))
            except VirkeError as error:
                answered = error
        except BaseException:
            self.streams.drop(live)
            raise
        taken.if_lost = partial(self.streams.end, live)
        return self._lines_response(self.streams.keep(live), answered)

    async def _simple_cursor(
        self, statement: requests.AskedStatement, database: Database, scope: Scope, taken: Taken
    ) -> Response:
        try:
            try:
                done = self._read_here(database, statement)
            except NotHere as error:
                if not error.writes and (rows := await self._open_rows(statement, database)) is not None:
                    return Response(200, await self._parts(rows, taken), _LINES)
                done = await self._run_write(statement, database, scope, taken)
            return self._lines_response(None, [done])
        except VirkeError as error:
            return self._lines_response(None, [error])

    async def _open_rows(self, statement: requests.AskedStatement, database: Database) -> Rows | None:
        """The rows of a reading statement; None if it writes."""
        sql, name = statement.text.sql or "", database.name
        opened = partial(database.serving.rows, sql, statement.params, Terms())
        try:
            rows = await asyncio.get_running_loop().run_in_executor(self._threads, self._watch.run, name, sql, opened)
            self._watch.statements["read"] += 1
            return rows
        except NotHere:
            return None

    def _lines_response(self, baton: str | None, answered: Sequence[answers.StepAnswer] | VirkeError) -> Response:
        """Steps that are done as lines; in parts, if they are many."""
        if isinstance(answered, VirkeError):
            entries: Iterator[dict[str, object]] = iter(
                [{"type": "error", "error": complaints.described_error(answered)}]
            )
        else:
            entries = answers.entries_of(answered)
        lines = map(self._encoded_line, chain([{"baton": baton, "base_url": None}], entries))
        return Response(200, body_of_lines(lines), _LINES)

    def _encoded_line(self, value: object) -> bytes:
        return self._codec.dumps(value) + b"\n"

    async def _parts(self, rows: Rows, taken: Taken) -> Parts:
        """The lines of a cursor, the first of which are there; a client that goes away meanwhile ends them."""
        take_back = taken.leaving.then(rows.interrupt) if taken.leaving else None
        making = partial(Parts, self._streamed_lines(rows), rows.close, rows.interrupt)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads.going_on, making)
        finally:
            if take_back is not None:
                take_back()

    def _streamed_lines(self, rows: Rows) -> Iterator[bytes]:
        """The lines of a cursor, some rows at a time; its parts may block."""
        with rows:
            head = {"baton": None, "base_url": None}
            part = [
                self._encoded_line(head),
                self._encoded_line(answers.step_begin(0, answers.columns_of(rows.columns, rows.decltypes))),
            ]
            try:
                for row in rows:
                    part.append(
                        self._encoded_line({"type": "row", "row": [values.encode_value(value) for value in row]})
                    )
                    if len(part) >= ROWS_OF_A_PART:
                        yield b"".join(part)
                        part.clear()
                part.append(self._encoded_line(answers.step_end()))
            except VirkeError as error:
                part.append(self._encoded_line(answers.step_error(0, error)))
            part.append(self._encoded_line(answers.END))
            yield b"".join(part)


def _with_age(response: Response, database: Database) -> Response:
    """A response that says how old its state is, if that is older than allowed."""
    stale_ms = database.serving.stale_ms
    return response if stale_ms is None else with_state(response, None, stale_ms)


def _is_alone(asked: tuple[requests.StreamRequest, ...]) -> bool:
    """Whether it is one statement that needs nothing of a stream, and perhaps the stream's end."""
    count = len(asked)
    if count == 0 or count > 2 or (count == 2 and not isinstance(asked[1], requests.Close)):
        return False
    first = asked[0]
    return isinstance(first, requests.Execute) and _is_simple(first.statement)


def _done_of_write(sql: str, answered: list[Answer], *, wants_rows: bool) -> Done:
    """What a program of one statement answered."""
    [result] = answered
    assert isinstance(result, QueryResult), "an error is raised"
    return Done(result, verb_of(sql), wants_rows, result.last_insert_rowid or 0)


def _first_statement(operation: Pipeline) -> requests.AskedStatement:
    """The statement of a simple pipeline."""
    first = operation.requests[0]
    assert isinstance(first, requests.Execute), "a simple pipeline begins with a statement"
    return first.statement


def _is_simple(statement: requests.AskedStatement) -> bool:
    """Whether a statement needs nothing of a stream."""
    sql = statement.text.sql
    return sql is not None and is_plain(sql)

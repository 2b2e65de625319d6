"""Hrana over HTTP on a node: pipelines, cursors, and the single requests of version 1.

Knows streams and how they are answered; knows no ASGI.

1. A pipeline of one statement without a baton needs no stream: a read is answered from memory on the loop, a write is put
   in line (B7 and B8 measure these two).
2. A cursor of one reading statement has its rows one by one, whatever their number; any other is answered whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from typing import Final

from virke.api.codec import Codec
from virke.api.hrana import answers, complaints, requests, values
from virke.api.hrana.answers import Done
from virke.api.hrana.effects import check_may_write
from virke.api.hrana.operations import Cursor, Once, Pipeline
from virke.api.hrana.sql import is_plain, verb
from virke.api.messages import Parts, Response
from virke.engine.database import Database
from virke.engine.programs import Step
from virke.engine.results import QueryResult
from virke.engine.rows import Rows
from virke.engine.terms import Terms
from virke.errors import NotHere, VirkeError
from virke.node.streams import Live, Streams
from virke.node.writing import Writing
from virke.scopes import Scope

ROWS_OF_A_PART: Final = 256
CLOSED: Final = answers.ok("close")
_LINES: Final = (("content-type", "text/plain"),)
Gone = Callable[[], Awaitable[None]]


class Hrana:
    """Carries out Hrana's operations for one event loop."""

    def __init__(self, streams: Streams, writing: Callable[[], Writing], threads: Executor, codec: Codec) -> None:
        self.streams = streams
        self._writing = writing
        self._threads = threads
        self._codec = codec

    async def perform(
        self, operation: Pipeline | Cursor | Once, database: Database, scope: Scope, gone: Gone
    ) -> Response:
        """Do what a request asks. `gone` waits until its client goes away. Raises `Refused`, `Busy`."""
        match operation:
            case Pipeline(baton=None, requests=[requests.Execute(statement), *rest]) if _is_simple(statement) and (
                not rest or (len(rest) == 1 and isinstance(rest[0], requests.Close))
            ):
                first = await self._simple(statement, database, scope, gone)
                results = [first, CLOSED] if rest else [first]
                return self._pipelined(None, results)
            case Pipeline(_, baton, asked):
                return await self._pipeline(self._stream(baton, database, scope), asked, gone)
            case Cursor(baton=None, batch=requests.Batch(steps=[requests.BatchStep(statement, None)])) if _is_simple(
                statement
            ):
                return await self._simple_cursor(statement, database, scope, gone)
            case Cursor(_, baton, batch):
                return await self._cursor(self._stream(baton, database, scope), batch, gone)
            case Once(_, request):
                return await self._once(request, database, scope, gone)

    def is_simple(self, operation: Pipeline | Cursor | Once) -> bool:
        """Whether it is one statement that needs nothing of a stream, and that any worker may try."""
        match operation:
            case Pipeline(baton=None, requests=[requests.Execute(statement), *rest]):
                return _is_simple(statement) and (not rest or (len(rest) == 1 and isinstance(rest[0], requests.Close)))
            case Cursor(baton=None, batch=requests.Batch(steps=[requests.BatchStep(statement, None)])):
                return _is_simple(statement)
        return False

    def _stream(self, baton: str | None, database: Database, scope: Scope) -> Live:
        return self.streams.open(database, scope) if baton is None else self.streams.take(baton, database, scope)

    async def _simple(
        self, statement: requests.Statement, database: Database, scope: Scope, gone: Gone
    ) -> dict[str, object]:
        """The result of one statement outside of a transaction."""
        sql = statement.text.sql or ""
        try:
            try:
                done = Done(database.query_here(sql, statement.params), "SELECT", statement.wants_rows)
            except NotHere as error:
                if not error.writes:
                    live = self.streams.open(database, scope)
                    live.gone = gone
                    return await self._respond(live, requests.Execute(statement))
                done = await self._write(statement, database, scope)
            return answers.ok("execute", result=answers.result_of(done))
        except VirkeError as error:
            return answers.failed(error)

    async def _write(self, statement: requests.Statement, database: Database, scope: Scope) -> Done:
        sql = statement.text.sql or ""
        check_may_write(scope)
        program = database.serving.program((Step(sql, statement.params),), scope=scope)
        [result] = await self._writing().run(database, program)
        assert isinstance(result, QueryResult), "an error is raised"
        return Done(result, verb(sql), statement.wants_rows, result.last_insert_rowid or 0)

    async def _respond(self, live: Live, request: requests.StreamRequest) -> dict[str, object]:
        """One request on a stream that ends with it."""
        try:
            return await self.streams.drive(live, live.stream.respond(request))
        finally:
            self.streams.drop(live)

    async def _pipeline(self, live: Live, asked: tuple[requests.StreamRequest, ...], gone: Gone) -> Response:
        live.gone = gone
        try:
            results = [await self.streams.drive(live, live.stream.respond(one)) for one in asked]
        except BaseException:
            self.streams.drop(live)
            raise
        return self._pipelined(self.streams.keep(live), results)

    def _pipelined(self, baton: str | None, results: list[dict[str, object]]) -> Response:
        return Response(200, self._codec.dumps({"baton": baton, "base_url": None, "results": results}))

    async def _once(
        self, request: requests.Execute | requests.Batch, database: Database, scope: Scope, gone: Gone
    ) -> Response:
        live = self.streams.open(database, scope)
        live.gone = gone
        found = answers.once_of(await self._respond(live, request))
        return Response(200 if "result" in found else 400, self._codec.dumps(found))

    # Cursors

    async def _cursor(self, live: Live, batch: requests.Batch, gone: Gone) -> Response:
        live.gone = gone
        try:
            try:
                found = await self.streams.drive(live, live.stream.batch(batch))
                entries = list(answers.entries_of(found))
            except VirkeError as error:
                entries = [{"type": "error", "error": complaints.described(error)}]
        except BaseException:
            self.streams.drop(live)
            raise
        return self._lines(self.streams.keep(live), entries)

    async def _simple_cursor(
        self, statement: requests.Statement, database: Database, scope: Scope, gone: Gone
    ) -> Response:
        sql = statement.text.sql or ""
        try:
            try:
                done = Done(database.query_here(sql, statement.params), "SELECT", statement.wants_rows)
            except NotHere as error:
                if not error.writes and (rows := await self._rows(statement, database)) is not None:
                    return Response(200, await self._parts(rows), _LINES)
                done = await self._write(statement, database, scope)
            entries = list(answers.entries_of([done]))
        except VirkeError as error:
            entries = list(answers.entries_of([error]))
        return self._lines(None, entries)

    async def _rows(self, statement: requests.Statement, database: Database) -> Rows | None:
        """The rows of a reading statement; None if it writes."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._threads, database.serving.rows, statement.text.sql or "", statement.params, Terms()
            )
        except NotHere:
            return None

    def _lines(self, baton: str | None, entries: list[dict[str, object]]) -> Response:
        lines = [{"baton": baton, "base_url": None}, *entries]
        return Response(200, b"".join(self._line(line) for line in lines), _LINES)

    def _line(self, value: object) -> bytes:
        return self._codec.dumps(value) + b"\n"

    async def _parts(self, rows: Rows) -> Parts:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, Parts, self._streamed(rows), rows.close, rows.interrupt)

    def _streamed(self, rows: Rows) -> Iterator[bytes]:
        """The lines of a cursor, some rows at a time; its parts may block."""
        with rows:
            head = {"baton": None, "base_url": None}
            part = [
                self._line(head),
                self._line(answers.step_begin(0, answers.columns_of(rows.columns, rows.decltypes))),
            ]
            try:
                for row in rows:
                    part.append(self._line({"type": "row", "row": [values.encode(value) for value in row]}))
                    if len(part) >= ROWS_OF_A_PART:
                        yield b"".join(part)
                        part.clear()
                part.append(self._line(answers.step_end()))
            except VirkeError as error:
                part.append(self._line(answers.step_error(0, error)))
            part.append(self._line(answers.END))
            yield b"".join(part)


def _is_simple(statement: requests.Statement) -> bool:
    """Whether a statement needs nothing of a stream."""
    sql = statement.text.sql
    return sql is not None and is_plain(sql)

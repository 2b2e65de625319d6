"""A stream: a client's connection, as far as a connection has a state. What has to be done for it is asked as effects.

Knows Hrana's requests and the engine's values; knows no server, no thread and no clock.

1. One request at a time. What one answers says nothing of the next: an error is its answer, and the stream goes on.
2. A transaction begins with its first statement, not with BEGIN: a deferred one reads the state that is shown until it
   writes; then it waits for others, and is `Conflict` if it read what is no longer the newest.
3. A batch that can be one program is one (`batches`). Each step answers what it would have answered alone.
4. `PRAGMA foreign_keys` is the stream's own. It begins with the database's setting; below the scope `schema` it can be
   switched on, not off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from virke.api.hrana import answers, interactive, requests, transacting
from virke.api.hrana.answers import Done, StepAnswer
from virke.api.hrana.batches import OneProgram, PlainStep, one_program
from virke.api.hrana.complaints import Refused
from virke.api.hrana.effects import (
    Ask,
    BeginReading,
    BeginWriting,
    Doing,
    End,
    Single,
    Together,
    Within,
    check_foreign_keys,
)
from virke.api.hrana.interactive import Opened
from virke.api.hrana.sql import (
    Begin,
    Commit,
    Control,
    ForeignKeys,
    Rollback,
    Savepoint,
    control_of,
    only_reads,
    takes_own_table,
    verb_of,
)
from virke.engine.programs import Answer, Skipped, Succeeded, condition_holds
from virke.engine.results import QueryResult
from virke.engine.sessions import NotOneProgram
from virke.engine.sqlite import Column, Description, Parameters, keyword, split
from virke.engine.transaction import Transaction
from virke.errors import Conflict, Denied, SqlError, VirkeError
from virke.scopes import Scope

T = TypeVar("T")
STORED_MAX: Final = 128
"""SQL texts that one stream may store: libSQL's clients keep 100."""
STORED_CHARS_MAX: Final = 1 << 20
OWN_TABLE: Final = '{name} is Virke\'s own; nothing was changed. Let your tool pass it over (drizzle.config: tablesFilter: ["!virke_*"])'
_ASKS: Final = frozenset({"PRAGMA", "WITH", "ANALYZE", "REINDEX"})
"""Statements whose first word does not say whether they write."""


class Stream:
    """One stream; `respond` does a request."""

    def __init__(self, empty: Callable[[], QueryResult], *, foreign_keys: bool, scope: Scope) -> None:
        self.empty = empty
        """A result without columns and rows, as of now."""
        self.scope = scope
        self._default_keys = foreign_keys
        self.foreign_keys = foreign_keys
        self._stored: dict[int, str] = {}
        self.opened: Opened | None = None
        """The transaction, if one is open."""
        self._rowid = 0
        self.is_closed = False

    @property
    def is_autocommit(self) -> bool:
        """Whether no transaction is open."""
        return self.opened is None

    @property
    def transaction(self) -> Transaction | None:
        """What is open, for whoever has to end it from outside."""
        return self.opened.transaction if self.opened else None

    @property
    def is_blank(self) -> bool:
        """Whether nothing of it would be missed: a client may go on with a new one."""
        return self.opened is None and not self._stored and self.foreign_keys == self._default_keys

    def respond(self, request: requests.StreamRequest) -> Doing[dict[str, object]]:
        """Do a request; returns its result, an error too."""
        try:
            return (yield from self._respond_to(request))
        except VirkeError as error:
            return answers.error_result(error)

    def _respond_to(self, request: requests.StreamRequest) -> Doing[dict[str, object]]:
        match request:
            case requests.Execute(statement):
                done = yield from self.execute(statement)
                return answers.ok_result("execute", result=answers.result_of(done))
            case requests.Batch():
                found = yield from self.batch(request)
                return answers.ok_result("batch", result=answers.batch_of(found))
            case requests.RunSequence(text):
                yield from self._run_sequence(self._sql_of(text))
                return answers.ok_result("sequence")
            case requests.Describe(text):
                sql = self._sql_of(text)
                described = yield from self._describe_statement(sql)
                return answers.ok_result("describe", result=answers.description_of(sql, described))
            case requests.StoreSql(sql_id, sql):
                self._store_text(sql_id, sql)
                return answers.ok_result("store_sql")
            case requests.CloseSql(sql_id):
                self._stored.pop(sql_id, None)
                return answers.ok_result("close_sql")
            case requests.GetAutocommit():
                return answers.ok_result("get_autocommit", is_autocommit=self.is_autocommit)
            case requests.Close():
                yield from self.close()
                return answers.ok_result("close")
            case _:
                return (yield from transacting.respond_in_transaction(self, request))

    def close(self) -> Doing[None]:
        """End it; what is open is taken back."""
        self.is_closed = True
        opened, self.opened = self.opened, None
        if opened and opened.transaction:
            yield End(opened.transaction, commits=False)

    # Stored SQL

    def _sql_of(self, text: requests.Text) -> str:
        if text.sql is not None:
            return text.sql
        assert text.sql_id is not None, "one of both is given"
        found = self._stored.get(text.sql_id)
        if found is None:
            raise Refused(f"SQL text {text.sql_id} not found", "SQL_NOT_FOUND")
        return found

    def _store_text(self, sql_id: int, sql: str) -> None:
        if sql_id in self._stored:
            raise Refused(f"SQL text {sql_id} already exists", "SQL_EXISTS")
        if len(self._stored) >= STORED_MAX:
            raise Refused(f"the stream stores {STORED_MAX} SQL texts, it can't store more", "SQL_STORE_TOO_MANY")
        if len(sql) > STORED_CHARS_MAX:
            raise Refused("the SQL text is too long to be stored", "SQL_STORE_TOO_LARGE")
        self._stored[sql_id] = sql

    # Statements

    def execute(self, statement: requests.AskedStatement) -> Doing[Done]:
        """One statement."""
        sql = self._sql_of(statement.text)
        result = yield from self._run_statement(sql, statement.params)
        return self._as_done(result, sql, wants_rows=statement.wants_rows)

    def _as_done(self, result: QueryResult, sql: str, *, wants_rows: bool) -> Done:
        if result.last_insert_rowid:
            self._rowid = result.last_insert_rowid
        return Done(result, verb_of(sql), wants_rows, self._rowid)

    def _run_statement(self, sql: str, params: Parameters) -> Doing[QueryResult]:
        found = control_of(sql)
        if found is not None:
            return (yield from self._run_control(found, sql))
        if (name := takes_own_table(sql)) is not None:
            raise Denied(OWN_TABLE.format(name=name))
        if self.opened is None:
            return (yield Single(sql, params, self.foreign_keys))  # type: ignore[no-any-return]
        return (yield from self._run_within(self.opened, sql, params))

    def _run_within(self, opened: Opened, sql: str, params: Parameters = ()) -> Doing[QueryResult]:
        writes = yield from self.needs_writing(opened, sql)
        return (yield from self.inside(opened, lambda found: found.query(sql, params), writes=writes, sql=sql))

    def inside(self, opened: Opened, call: Callable[[Transaction], T], *, writes: bool, sql: str) -> Doing[T]:
        """A call on the open transaction, which is begun for it if need be; `sql` is what the log says of it."""
        transaction = yield from self._begun_transaction(opened, writes=writes)
        opened.has_read = True
        try:
            return (yield Within(transaction, lambda: call(transaction), sql))  # type: ignore[no-any-return]
        finally:
            if transaction.is_over:  # SQLite took it back, or its time was over
                self.opened = None
                yield End(transaction, commits=False)

    def needs_writing(self, opened: Opened, sql: str) -> Doing[bool]:
        """Whether a statement needs a transaction that may write."""
        word = keyword(sql)
        if opened.mode == "write" or only_reads(word) or not word:
            return False
        if word in _ASKS:
            described: Description = yield from self._describe_statement(sql)
            writes = not described.read_only
        else:
            writes = True
        if writes and opened.mode == "read":
            raise SqlError("attempt to write a readonly database", sqlite_code="SQLITE_READONLY")
        return writes

    def _begun_transaction(self, opened: Opened, *, writes: bool) -> Doing[Transaction]:
        """The engine's transaction, begun if it was not; one that reads becomes one that writes."""
        now = opened.transaction
        if now is not None and (not writes or not now.read_only):
            return now
        if not writes and opened.mode != "write":
            opened.transaction = yield BeginReading(self.foreign_keys)
            return opened.transaction
        keys = self.foreign_keys if opened.foreign_keys is None else opened.foreign_keys
        writing: Transaction = yield BeginWriting(keys)
        if now is not None and opened.has_read and not now.begins_as(writing):
            yield End(writing, commits=False)
            raise Conflict("another commit came first, and this transaction has read what it changed; run it again")
        opened.transaction, opened.mode = writing, "write"
        if now is not None:
            yield End(now, commits=False)
        return writing

    def _describe_statement(self, sql: str) -> Doing[Description]:
        if (found := control_of(sql)) is not None:
            columns = (Column("foreign_keys"),) if found == ForeignKeys(None) else ()
            reads = not isinstance(found, ForeignKeys) or found.value is None
            return Description(keyword(sql), columns, 0, (), read_only=reads, is_explain=False)
        if self.opened and self.opened.transaction:
            transaction = self.opened.transaction
            return (yield Within(transaction, partial(transaction.describe, sql)))  # type: ignore[no-any-return]
        return (yield Ask(sql))  # type: ignore[no-any-return]

    # Transaction control

    def _run_control(self, found: Control, sql: str) -> Doing[QueryResult]:
        match found:
            case ForeignKeys(value):
                return self._foreign_keys_pragma(value)
            case Begin(mode):
                return (yield from self._begin_transaction(mode))
            case Commit() | Rollback():
                return (yield from self._end_transaction(commits=isinstance(found, Commit)))
            case Savepoint():
                return (yield from self._run_savepoint(found, sql))

    def _foreign_keys_pragma(self, value: bool | None) -> QueryResult:
        """`PRAGMA foreign_keys`, which has no effect inside of a transaction."""
        if value is None:
            mode = int(self.foreign_keys)
            return _with_rows(self.empty(), ["foreign_keys"], [(mode,)])
        check_foreign_keys(self.scope, value)
        if self.opened is None:
            self.foreign_keys = value
        return self.empty()

    def _begin_transaction(self, mode: interactive.Mode) -> Doing[QueryResult]:
        if self.opened is not None:
            raise SqlError("cannot start a transaction within a transaction")
        opened = Opened(mode)
        if mode == "write":
            opened.transaction = yield BeginWriting(self.foreign_keys)
        self.opened = opened
        return self.empty()

    def _end_transaction(self, *, commits: bool) -> Doing[QueryResult]:
        opened = self.opened
        if opened is None:
            raise SqlError(f"cannot {'commit' if commits else 'rollback'} - no transaction is active")
        if opened.transaction is not None:
            try:
                yield End(opened.transaction, commits=commits and not opened.transaction.read_only)
            finally:
                if opened.transaction.is_over:
                    self.opened = None
        self.opened = None
        return self.empty()

    def _run_savepoint(self, mark: Savepoint, sql: str) -> Doing[QueryResult]:
        opened = self.opened
        if opened is None:
            if mark.word != "SAVEPOINT":
                raise SqlError(f"no such savepoint: {mark.name}")
            return (yield from self._begin_with_savepoint(mark, sql))
        transaction = yield from self._begun_transaction(opened, writes=opened.mode == "deferred")
        result: QueryResult = yield Within(transaction, partial(transaction.query, sql))
        if mark.word == "RELEASE" and opened.savepoint == mark.name.lower():
            return (yield from self._end_transaction(commits=True))
        return result

    def _begin_with_savepoint(self, mark: Savepoint, sql: str) -> Doing[QueryResult]:
        """A savepoint that begins a transaction. If it fails, none is open: the client's next write stands alone."""
        opened = Opened("deferred", savepoint=mark.name.lower())
        transaction = yield from self._begun_transaction(opened, writes=True)
        try:
            result: QueryResult = yield Within(transaction, partial(transaction.query, sql))
        except VirkeError:
            yield End(transaction, commits=False)
            raise
        self.opened = opened
        return result

    # Batches

    def batch(self, batch: requests.Batch) -> Doing[list[StepAnswer]]:
        """Steps under conditions; what each answered."""
        steps = [
            PlainStep(
                self._sql_of(step.statement.text), step.statement.params, step.condition, step.statement.wants_rows
            )
            for step in batch.steps
        ]
        return (yield from self._steps(steps))

    def _run_sequence(self, sql: str) -> Doing[None]:
        """Statement by statement, until one fails. Raises its error."""
        texts = [text for _, text in split(sql)]
        steps = [
            PlainStep(text, (), Succeeded(number - 1) if number else None, wants_rows=False)
            for number, text in enumerate(texts)
        ]
        for answer in (yield from self._steps(steps)):
            if isinstance(answer, VirkeError):
                raise answer

    def _steps(self, steps: Sequence[PlainStep]) -> Doing[list[StepAnswer]]:
        found: list[Answer] = []
        program = None
        if self.opened is None and len(steps) > 1:
            program = one_program(steps, foreign_keys=self.foreign_keys, scope=self.scope)
        if program is not None:
            found = yield from self._as_program(steps, program)
        for step in steps[len(found) :]:
            found.append((yield from self._one_by_one(step, found)))
        return [
            self._as_done(answer, step.sql, wants_rows=step.wants_rows) if isinstance(answer, QueryResult) else answer
            for step, answer in zip(steps, found, strict=True)
        ]

    def _as_program(self, steps: Sequence[PlainStep], program: OneProgram) -> Doing[list[Answer]]:
        """The answers up to the end of the program; none at all if it turns out that it is not one."""
        try:
            core: list[Answer] = yield Together(program.steps, program.foreign_keys)
        except NotOneProgram:
            return []
        self.foreign_keys = program.foreign_keys
        return [*(self.empty() for _ in range(program.begin)), *core]

    def _one_by_one(self, step: PlainStep, found: Sequence[Answer]) -> Doing[Answer]:
        try:
            if step.condition and not condition_holds(step.condition, found, is_autocommit=self.is_autocommit):
                return Skipped()
            return (yield from self._run_statement(step.sql, step.params))
        except VirkeError as error:
            return error


def _with_rows(empty: QueryResult, columns: list[str], rows: list[tuple[int]]) -> QueryResult:
    empty.columns, empty.rows = columns, [tuple(row) for row in rows]
    return empty

"""Carries out Hrana's operations by blocking, where no stream outlives its request: for WSGI, and at the edge.

Knows databases and what streams ask for; knows no HTTP.

1. A stream ends with its request: what it left open is taken back, and its baton is null. That is its last answer then,
   and an error: a client that believes that BEGIN went well would go on without a transaction.
"""

from __future__ import annotations

from typing import Any, TypeVar

from virke.api.hrana import answers, complaints
from virke.api.hrana.complaints import Refused
from virke.api.hrana.effects import (
    Ask,
    BeginReading,
    BeginWriting,
    Doing,
    Effect,
    End,
    Single,
    Together,
    Within,
    check_may_write,
    check_scope,
)
from virke.api.hrana.operations import Cursor, Once, Pipeline
from virke.api.hrana.streams import Stream
from virke.engine.database import Database
from virke.engine.programs import Step
from virke.engine.results import QueryResult
from virke.engine.terms import Terms
from virke.errors import Denied, NotHere, VirkeError
from virke.scopes import Scope

T = TypeVar("T")


def answer_pipeline(operation: Pipeline, database: Database, scope: Scope) -> dict[str, object]:
    """What a pipeline is answered. Raises `Refused`: it has a baton."""
    stream = _new_stream(operation.baton, database, scope)
    try:
        results = [drive_stream(database, scope, stream.respond(one)) for one in operation.requests]
        if _is_left_open(stream):
            results[-1] = answers.error_result(_left_open())
    finally:
        drive_stream(database, scope, stream.close())
    return {"baton": None, "base_url": None, "results": results}


def answer_cursor(operation: Cursor, database: Database, scope: Scope) -> list[dict[str, object]]:
    """The lines of a cursor. Raises `Refused`: it has a baton."""
    stream = _new_stream(operation.baton, database, scope)
    head: dict[str, object] = {"baton": None, "base_url": None}
    try:
        entries = answers.entries_of(drive_stream(database, scope, stream.batch(operation.batch)))
        if _is_left_open(stream):
            raise _left_open()
        return [head, *entries]
    except VirkeError as error:
        return [head, {"type": "error", "error": complaints.described_error(error)}]
    finally:
        drive_stream(database, scope, stream.close())


def answer_once(operation: Once, database: Database, scope: Scope) -> dict[str, object]:
    """The body of an answer of version 1; one without `result` is an error."""
    stream = _new_stream(None, database, scope)
    try:
        found = drive_stream(database, scope, stream.respond(operation.request))
        return answers.once_of(answers.error_result(_left_open()) if _is_left_open(stream) else found)
    finally:
        drive_stream(database, scope, stream.close())


def _is_left_open(stream: Stream) -> bool:
    return not stream.is_closed and not stream.is_autocommit


def _left_open() -> Denied:
    return Denied(
        "a transaction can't stay open from one request to the next here; it was taken back, and nothing was changed. "
        "Send all of it in one request, up to COMMIT, or ask a node (virke serve)"
    )


def _new_stream(baton: str | None, database: Database, scope: Scope) -> Stream:
    if baton is not None:
        raise Refused("The stream has expired due to inactivity", "STREAM_EXPIRED", status=404)
    return Stream(database.serving.empty, foreign_keys=database.serving.foreign_keys, scope=scope)


def drive_stream(database: Database, scope: Scope, doing: Doing[T]) -> T:
    """Do what a stream asks for until it has its answer."""
    try:
        effect = next(doing)
        while True:
            try:
                outcome = _do_effect(database, scope, effect)
            except VirkeError as error:
                effect = doing.throw(error)
            else:
                effect = doing.send(outcome)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _do_effect(database: Database, scope: Scope, effect: Effect) -> Any:
    check_scope(effect, scope)
    serving = database.serving
    match effect:
        case Single(sql, params, foreign_keys):
            try:
                return serving.read(sql, params, Terms())
            except NotHere:
                check_may_write(scope)
                program = serving.program((Step(sql, params),), foreign_keys=foreign_keys, scope=scope)
                [answer] = serving.carry_out(program)
            assert isinstance(answer, QueryResult), "an error is raised"
            return answer
        case Together(steps, foreign_keys):
            return serving.carry_out(
                serving.program(steps, foreign_keys=foreign_keys, keeps_going=True, has_transactions=True, scope=scope)
            )
        case Ask(sql):
            return database.describe(sql)
        case BeginReading(foreign_keys, bookmark):
            return serving.begin_reading(foreign_keys=foreign_keys, scope=scope, bookmark=bookmark)
        case BeginWriting(foreign_keys, key):
            return database.transaction(immediate=True, foreign_keys=foreign_keys, scope=scope, idempotency_key=key)
        case Within(_, call):
            return call()
        case End(transaction, commits):
            return transaction.commit() if commits else transaction.rollback()

"""Virke's own requests, carried out on a stream: the transaction of its client begins, runs statements, and is committed.

Knows streams and what they ask for; knows no server. What the requests are is in `interactive`.

1. An error is the answer of its request; the transaction goes on, unless SQLite or the server took it back.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from virke.api import native
from virke.api.hrana import interactive
from virke.api.hrana.effects import BeginReading, BeginWriting, Doing, End, Within, check_foreign_keys
from virke.api.hrana.interactive import Opened
from virke.engine.programs import Step
from virke.engine.results import QueryResult
from virke.engine.transaction import Transaction
from virke.errors import Invalid, SqlError, VirkeError

if TYPE_CHECKING:
    from virke.api.hrana.streams import Stream


def respond_in_transaction(stream: Stream, request: interactive.Interactive) -> Doing[dict[str, object]]:
    """Do a request; returns its result, an error too."""
    try:
        match request:
            case interactive.BeginTransaction():
                return (yield from _begin_transaction(stream, request))
            case interactive.RunSteps(steps):
                results = yield from _run_steps(stream, steps)
                return interactive.run_result([native.result_of(one) for one in results])
            case interactive.DescribeStep(sql):
                _, transaction = _begun_transaction(stream)
                description = yield Within(transaction, partial(transaction.describe, sql))
                return interactive.describe_result(description)
            case interactive.CommitTransaction():
                version = yield from _commit_transaction(stream)
                return interactive.transaction_result("virke_commit", version, stream.empty().bookmark)
    except VirkeError as error:
        return interactive.error_result(error)


def _begin_transaction(stream: Stream, asked: interactive.BeginTransaction) -> Doing[dict[str, object]]:
    if stream.opened is not None:
        raise SqlError("cannot start a transaction within a transaction")
    mode = stream.foreign_keys if asked.foreign_keys is None else asked.foreign_keys
    if asked.foreign_keys is not None and asked.mode != "read":
        check_foreign_keys(stream.scope, mode)
    begin = BeginWriting(mode, asked.key) if asked.mode == "write" else BeginReading(mode, asked.bookmark)
    transaction: Transaction = yield begin
    stream.opened = Opened(asked.mode, transaction, foreign_keys=mode)
    return interactive.transaction_result("virke_begin", transaction.version, stream.empty().bookmark)


def _begun_transaction(stream: Stream) -> tuple[Opened, Transaction]:
    opened = stream.opened
    if opened is None or opened.transaction is None:
        raise Invalid("the transaction is over")
    return opened, opened.transaction


def _run_steps(stream: Stream, steps: tuple[Step, ...]) -> Doing[list[QueryResult]]:
    opened, _ = _begun_transaction(stream)
    writes = False
    if opened.mode == "deferred":
        for step in steps:
            writes = writes or step.is_script or (yield from stream.needs_writing(opened, step.sql))
    sql = "; ".join(step.sql for step in steps)
    return (yield from stream.inside(opened, lambda found: found.run_steps(steps), writes=writes, sql=sql))


def _commit_transaction(stream: Stream) -> Doing[int]:
    _, transaction = _begun_transaction(stream)
    version: int | None = None
    try:
        version = yield End(transaction, commits=not transaction.read_only)
    finally:
        stream.opened = None
    return transaction.version if version is None else version

"""Running one program on a connection: its time, its instant, its random bytes, and its first answer if it is keyed.

Knows connections and programs; knows no commit.
"""

from __future__ import annotations

from virke.core.root import Root, RootAt
from virke.engine import keyed, sqlite
from virke.engine.answers import SeededBytes, check_answers
from virke.engine.budget import ResultBudget
from virke.engine.connection import Connection
from virke.engine.programs import Answer, Program, run_steps
from virke.engine.queue import Pending
from virke.engine.results import QueryResult
from virke.engine.sessions import run_session
from virke.engine.volume import Volume
from virke.errors import TimedOut
from virke.scopes import Scope


def execute_program(connection: Connection, pending: Pending, base: RootAt, volume: Volume) -> list[Answer]:
    """Run one program on a connection, or find its first answer; not true before the commit."""
    program = pending.program
    deadline = sqlite.NO_DEADLINE
    if not pending.mark:  # one of a journal was answered, and kept within the time: now it takes what it takes
        limit_ms = volume.time_limit_ms(base.root)
        deadline = volume.environment.monotonic() + min(program.timeout_ms or limit_ms, limit_ms) / 1000
    budget = connection.begin_request(
        now_ms=program.time_ms, deadline=deadline, result_bytes=volume.result_bytes(base.root)
    )
    budget.grew = pending.grew
    first_run = pending.first_run
    connection.draw_random_from(SeededBytes(first_run.seed) if first_run else None)
    try:
        if pending.cancel:
            pending.cancel.attach(connection)  # after the deadline, which a cancel replaces
        answers = _run_or_find(connection, program, base.root, budget)
    except TimedOut:
        if pending.cancel and pending.cancel.is_cancelled:
            raise TimedOut("the statement was cancelled; nothing was changed") from None
        raise
    finally:
        if pending.cancel:
            pending.cancel.detach()
        connection.guard.deadline = sqlite.NO_DEADLINE
    check_answers(first_run, answers)
    return answers


def _run_or_find(connection: Connection, program: Program, root: Root, budget: ResultBudget) -> list[Answer]:
    if program.key is None or program.scope < Scope.WRITE:
        return _run_in_scope(connection, program, root, budget)
    fingerprint = program.fingerprint()
    known = keyed.find_answer(connection, program.key, fingerprint, now_ms=program.time_ms, root=root)
    if known is not None:
        return list(known)
    answers = _run_in_scope(connection, program, root, budget)
    results = [answer for answer in answers if isinstance(answer, QueryResult)]
    keyed.keep_answer(connection, program.key, fingerprint, now_ms=program.time_ms, results=results)
    return answers


def _run_in_scope(connection: Connection, program: Program, root: Root, budget: ResultBudget) -> list[Answer]:
    """Run the steps; what the engine does before and after them on this connection has its own scope."""
    before = connection.guard.scope
    connection.guard.allow(program.scope)
    try:
        run = run_session if program.has_transactions else run_steps
        return run(connection, program, root, budget)
    finally:
        connection.guard.scope = before

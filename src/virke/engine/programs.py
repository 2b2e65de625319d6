"""A program: a write that can be run again whole, and what each of its steps answered.

Knows statements and one connection; knows no store, no queue and no commit. A client's batch, a script, a migration
file and a single statement are programs; only an interactive transaction is not (decision 0017).

1. A program is a value: it is run again after a lost race, with the same instant for the clock and the same
   `foreign_keys`, whoever runs it.
2. Its steps form one unit: an error ends the program and leaves nothing of it, unless `keeps_going`. Then each step is
   a unit of its own, and its error is its answer.
3. A step with a condition that does not hold is skipped.
4. No statement does more than `scope` allows, which SQLite is asked when it prepares the statement.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from virke.core.ids import ID_BYTES
from virke.core.root import Root
from virke.engine import sqlite
from virke.engine.results import QueryResult, Request, result_of
from virke.engine.room import NeedsRoom
from virke.engine.units import Unit
from virke.engine.values import Json, encode_value
from virke.errors import Invalid, SqlError, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.scopes import Scope

if TYPE_CHECKING:
    from virke.engine.budget import ResultBudget
    from virke.engine.connection import Connection
    from virke.engine.sqlite import Column, Parameters, Row

_STEP: Final = Unit("step")


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Holds if this step ran without an error."""

    step: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Holds if this step ran and ended in an error."""

    step: int


@dataclass(frozen=True, slots=True)
class Not:
    """Holds if its condition does not."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class AllOf:
    """Holds if every condition does."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds if at least one condition does."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Autocommit:
    """Holds if no step before has left a transaction open (`Program.has_transactions`)."""


Condition = Succeeded | Failed | Not | AllOf | AnyOf | Autocommit


@dataclass(frozen=True, slots=True)
class Skipped:
    """The answer of a step whose condition did not hold."""


Answer = QueryResult | VirkeError | Skipped


@dataclass(frozen=True, slots=True)
class Step:
    """One statement; with `rows` it is run once for each of them, with `is_script` it is many statements."""

    sql: str
    params: Parameters = ()
    rows: tuple[Parameters, ...] | None = None
    is_script: bool = False
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """Steps that form one unit, the instant of their request (Unix milliseconds), and the modes they run with.

    `key` is the hash of an idempotency key (`hash_key`); `timeout_ms` a shorter time than the setting's; `scope` what its
    statements may do.
    """

    steps: tuple[Step, ...]
    time_ms: int
    foreign_keys: bool = False
    key: bytes | None = None
    keeps_going: bool = False
    timeout_ms: int | None = None
    has_transactions: bool = False
    """BEGIN, COMMIT and ROLLBACK among the steps mean what they mean on a connection (`sessions`)."""
    scope: Scope = Scope.ADMIN
    stands_alone: bool = field(init=False)
    """It can't be committed together with others: VACUUM and PRAGMA refuse or ignore a transaction."""

    def __post_init__(self) -> None:
        is_alone = len(self.steps) == 1 and sqlite.keyword(self.steps[0].sql) in sqlite.ALONE
        object.__setattr__(self, "stands_alone", is_alone)

    def fingerprint(self) -> bytes:
        """16 bytes that two programs share only if they ask the same."""
        steps = [
            [
                step.sql,
                _plain_params(step.params),
                step.rows and [_plain_params(row) for row in step.rows],
                step.is_script,
            ]
            for step in self.steps
        ]
        conditions = [repr(step.condition) for step in self.steps if step.condition]
        text = json.dumps([steps, conditions, self.keeps_going, *([True] if self.has_transactions else [])])
        return blake2b(text.encode(errors="surrogatepass"), digest_size=ID_BYTES).digest()


def steps_of(requests: Sequence[Request], *, is_script: bool = False) -> tuple[Step, ...]:
    """A step for each pair of a text and its parameters. Raises `Invalid`: a text is not text, or `sqlite.plain` does."""
    for sql, _ in requests:
        sqlite.check_text(sql)
    return tuple(Step(sql, sqlite.plain(params), is_script=is_script) for sql, params in requests)


def step_of_rows(sql: str, rows: Iterable[Parameters]) -> Step:
    """One statement for each row of parameters. Raises as `steps_of`."""
    sqlite.check_text(sql)
    return Step(sql, rows=sqlite.plain_rows(rows))


def hash_key(key: str) -> bytes:
    """What is kept of an idempotency key: 16 bytes. Raises `Invalid`: it is not text."""
    if not isinstance(key, str):
        raise Invalid(f"an idempotency key must be text, not {type(key).__name__}")
    return blake2b(key.encode(errors="surrogatepass"), digest_size=ID_BYTES).digest()


def run_steps(connection: Connection, program: Program, root: Root, budget: ResultBudget) -> list[Answer]:
    """Run the steps of a program on a connection that is inside a transaction; true only once that is committed.

    Raises:
        VirkeError: what a step said, unless the program keeps going; the caller takes back what was written. Of several
            steps, `statement` of its context is the number of the one that failed.
    """
    answers: list[Answer] = []
    is_clean = not sqlite.has_broken_keys(connection.raw)  # else by another program, which will be tried alone
    for step in program.steps:
        if step.condition is not None and not condition_holds(step.condition, answers):
            answers.append(Skipped())
        elif program.keeps_going:
            answers.append(run_apart(connection, step, root, budget, is_transaction=is_clean))
        else:
            try:
                answers.append(_run_step(connection, step, root, budget))
            except VirkeError as error:
                if len(program.steps) > 1:
                    _say_which(error, len(answers) + 1)
                raise
    return answers


def _say_which(error: VirkeError, number: int) -> None:
    """Let an error of a statement say which one it is, counted from 1."""
    if not error.is_stores:
        error.context.setdefault("statement", number)


def condition_holds(condition: Condition, answers: Sequence[Answer], *, is_autocommit: bool = True) -> bool:
    """Whether a condition holds for the steps that were answered so far. Raises `Invalid`: it names a later step."""
    match condition:
        case Autocommit():
            return is_autocommit
        case Succeeded(step) | Failed(step) if not 0 <= step < len(answers):
            raise Invalid(f"a condition names step {step}, which has not run by then")
        case Succeeded(step):
            return isinstance(answers[step], QueryResult)
        case Failed(step):
            return isinstance(answers[step], VirkeError)
        case Not(inner):
            return not condition_holds(inner, answers, is_autocommit=is_autocommit)
        case AllOf(conditions):
            return all(condition_holds(one, answers, is_autocommit=is_autocommit) for one in conditions)
        case AnyOf(conditions):
            return any(condition_holds(one, answers, is_autocommit=is_autocommit) for one in conditions)


def check_deferred_keys(connection: Connection) -> None:
    """Raise the `SqlError` of a COMMIT if a foreign key is broken: SQLite looks only where the real one ends."""
    if sqlite.has_broken_keys(connection.raw):
        raise SqlError("FOREIGN KEY constraint failed", sqlite_code="SQLITE_CONSTRAINT_FOREIGNKEY")


def run_apart(
    connection: Connection, step: Step, root: Root, budget: ResultBudget, *, is_transaction: bool = True
) -> Answer:
    """One step as a unit of its own; an error that ended SQLite's whole transaction ends the program.

    `is_transaction`: it is a transaction by itself, so that deferred constraints speak up at its end.
    """
    _STEP.begin(connection)
    try:
        answer = _run_step(connection, step, root, budget)
        if is_transaction:
            check_deferred_keys(connection)
    except VirkeError as error:
        if error.is_stores or isinstance(error, NeedsRoom) or not connection.raw.in_transaction:
            raise
        _STEP.undo(connection)
        return error
    _STEP.keep(connection)
    return answer


def _run_step(connection: Connection, step: Step, root: Root, budget: ResultBudget) -> QueryResult:
    if step.rows is not None:
        affected = connection.many(step.sql, step.rows)
        rowid = connection.raw.last_insert_rowid()
        return QueryResult([], [], root, rows_affected=affected, last_insert_rowid=rowid)
    if step.is_script:
        columns, rows, affected = run_script(connection, step.sql, step.params, budget)
    else:
        columns, rows, affected = connection.change(step.sql, step.params, budget)
    return result_of(
        columns,
        rows,
        root,
        rows_affected=affected,
        last_insert_rowid=connection.raw.last_insert_rowid() if affected else None,
    )


def run_script(
    connection: Connection, sql: str, params: Parameters, budget: ResultBudget
) -> tuple[tuple[Column, ...], list[Row], int]:
    """Run every statement of `sql`; returns columns and rows of the last one that has any, and all rows affected.

    `BEGIN` and `COMMIT` around it are passed over: a script is one transaction anyway, begun here before the first
    statement that can stand in one, if it is not yet. Parameters are for its first statement that takes any, and
    must fit it.
    """
    result: tuple[tuple[Column, ...], list[Row]] = ((), [])
    total = 0
    left: Parameters | None = params
    number = 0
    for _, text in sqlite.split(sql):
        word = sqlite.keyword(text)
        number += bool(word)
        if word in ("BEGIN", "COMMIT", "END"):
            continue
        if word not in sqlite.ALONE and not connection.raw.in_transaction:
            connection.control_within("BEGIN IMMEDIATE")
        given: Parameters = ()
        try:
            if left is not None and connection.prepare_single(text).parameter_count:
                given, left = left, None
            columns, rows, affected = connection.change(text, given, budget)
        except VirkeError as error:
            _say_which(error, number)
            raise
        result = (columns, rows) if columns else result
        total += affected
    if left:
        raise Invalid(f"{len(left)} parameters given, but no statement takes any")
    return *result, total


def _plain_params(params: Parameters) -> Json:
    if isinstance(params, Mapping):
        return {name: encode_value(value) for name, value in params.items()}
    return [encode_value(value) for value in params]

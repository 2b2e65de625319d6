"""Programs: steps that form one unit, or one unit each; steps with conditions."""

from __future__ import annotations

import pytest

from tests.engine.world import make
from virke.engine.database import Database
from virke.engine.programs import (
    AllOf,
    AnyOf,
    Condition,
    Failed,
    Not,
    Program,
    Skipped,
    Step,
    Succeeded,
    condition_holds,
)
from virke.engine.queue import Pending
from virke.engine.results import QueryResult
from virke.errors import Invalid, SqlError, TimedOut

GOOD = "INSERT INTO t VALUES (1)"
BAD = "INSERT INTO t VALUES (NULL)"


@pytest.fixture
def table() -> Database:
    db = make()
    db.execute("CREATE TABLE t (n NOT NULL)")
    return db


def run(db: Database, *steps: Step, keeps_going: bool = False) -> Pending:
    pending = Pending(Program(steps, 0, keeps_going=keeps_going))
    db._writer.queue.finish(pending)
    return pending


def kinds(pending: Pending) -> list[type]:
    return [type(answer) for answer in pending.answers or []]


def rows(db: Database) -> list[tuple[object, ...]]:
    return list(db.query("SELECT n FROM t", consistency="strong").rows)


def test_an_error_ends_a_program_and_leaves_nothing_of_it(table: Database) -> None:
    pending = run(table, Step(GOOD), Step(BAD), Step(GOOD))
    assert (type(pending.error), pending.answers) == (SqlError, None)
    assert rows(table) == []


def test_in_a_program_that_keeps_going_each_step_is_a_unit(table: Database) -> None:
    """An error is an answer; what stood before and after it is in history."""
    pending = run(table, Step(GOOD), Step(BAD), Step("SELECT count(*) FROM t"), keeps_going=True)
    assert kinds(pending) == [QueryResult, SqlError, QueryResult]
    assert rows(table) == [(1,)]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Succeeded(0), True),
        (Succeeded(1), False),
        (Succeeded(2), False),
        (Failed(0), False),
        (Failed(1), True),
        (Failed(2), False),
        (Not(Succeeded(1)), True),
        (AllOf((Succeeded(0), Failed(1))), True),
        (AllOf((Succeeded(0), Failed(0))), False),
        (AllOf(()), True),
        (AnyOf((Succeeded(1), Failed(1))), True),
        (AnyOf((Succeeded(1), Failed(0))), False),
        (AnyOf(()), False),
    ],
)
def test_a_step_whose_condition_does_not_hold_is_skipped(table: Database, condition: Condition, expected: bool) -> None:
    """Step 0 succeeds, 1 fails, 2 is skipped: a skipped step neither succeeded nor failed."""
    steps = [Step(GOOD), Step(BAD), Step(GOOD, condition=Failed(0)), Step(GOOD, condition=condition)]
    pending = run(table, *steps, keeps_going=True)
    assert kinds(pending) == [QueryResult, SqlError, Skipped, QueryResult if expected else Skipped]
    assert len(rows(table)) == 1 + expected
    assert condition_holds(condition, (pending.answers or [])[:3]) is expected


def test_a_condition_on_a_step_that_has_not_run_is_invalid(table: Database) -> None:
    """Its own, a later one, one before the first: the whole program is refused."""
    for step in (1, 2, -1):
        pending = run(table, Step(GOOD), Step(GOOD, condition=Succeeded(step)), keeps_going=True)
        assert type(pending.error) is Invalid
    assert rows(table) == []


def test_an_error_that_ends_sqlite_s_transaction_ends_the_program(table: Database) -> None:
    """What stood before it is gone in SQLite, too: none of it is answered as done."""
    table.execute("CREATE TABLE u (n UNIQUE ON CONFLICT ROLLBACK)")
    insert = Step("INSERT INTO u VALUES (1)")
    pending = run(table, Step(GOOD), insert, insert, Step(GOOD), keeps_going=True)
    assert (type(pending.error), pending.answers) == (SqlError, None)
    assert "UNIQUE" in str(pending.error)
    assert rows(table) == []
    assert kinds(run(table, Step(GOOD), keeps_going=True)) == [QueryResult]
    assert rows(table) == [(1,)]


def test_programs_that_ask_something_else_have_other_fingerprints() -> None:
    """Statements, parameters, conditions, and whether it keeps going."""
    programs = [
        Program((Step("SELECT 1"),), 0),
        Program((Step("SELECT 2"),), 0),
        Program((Step("SELECT 1", (1,)),), 0),
        Program((Step("SELECT 1", ("1",)),), 0),
        Program((Step("SELECT 1", rows=((1,),)),), 0),
        Program((Step("SELECT 1", is_script=True),), 0),
        Program((Step("SELECT 1"), Step("SELECT 1")), 0),
        Program((Step("SELECT 1"), Step("SELECT 1", condition=Succeeded(0))), 0),
        Program((Step("SELECT 1"), Step("SELECT 1", condition=Failed(0))), 0),
        Program((Step("SELECT 1"),), 0, keeps_going=True),
    ]
    assert len({program.fingerprint() for program in programs}) == len(programs)
    assert programs[0].fingerprint() == Program((Step("SELECT 1"),), 99).fingerprint()


def test_a_step_that_fails_halfway_leaves_nothing_of_itself_where_the_program_goes_on() -> None:
    """Rows before the one that failed, statements of a script before the one that failed."""
    database = make()
    database.execute("CREATE TABLE t (n UNIQUE)")
    steps = (
        Step("INSERT INTO t VALUES (?)", rows=((1,), (2,), (1,))),
        Step("INSERT INTO t VALUES (3); INSERT INTO t VALUES (3)", is_script=True),
        Step("INSERT INTO t VALUES (4)"),
    )
    pending = Pending(Program(steps, 0, keeps_going=True))
    database._writer.queue.finish(pending)
    assert [isinstance(answer, SqlError) for answer in pending.answers or ()] == [True, True, False]
    assert database.query("SELECT n FROM t").rows == [(4,)]


def test_a_program_that_keeps_going_has_the_time_of_a_request(table: Database) -> None:
    """Each of its steps begins with a savepoint of the engine's own, which has no limit; the step has."""
    table.change_settings({"query_timeout_ms": 50})
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000000) SELECT count(*) FROM n"
    pending = run(table, Step(slow), Step("SELECT 1"), keeps_going=True)
    told = pending.answers if pending.error is None else [pending.error]
    assert isinstance(told and told[0], TimedOut)

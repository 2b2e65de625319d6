"""Which steps of a batch are one program, under which conditions and with which foreign keys: each way in which it may be none."""

from __future__ import annotations

import pytest

from virke.api.hrana.batches import ALWAYS, NEVER, PlainStep, moved_condition, one_program
from virke.engine.programs import AllOf, AnyOf, Autocommit, Condition, Failed, Not, Succeeded
from virke.scopes import Scope

WRITE, READ, OFF, ON = "INSERT INTO t VALUES (1)", "SELECT 1", "PRAGMA foreign_keys = off", "PRAGMA foreign_keys = on"


def found(*sql: str, scope: Scope = Scope.ADMIN, foreign_keys: bool = True) -> tuple[int, int, bool] | None:
    """Where the program begins and ends, and its foreign keys."""
    program = one_program([PlainStep(one) for one in sql], foreign_keys=foreign_keys, scope=scope)
    if program is None:
        return None
    assert [one.sql for one in program.steps] == list(sql[program.begin : program.end])
    return program.begin, program.end, program.foreign_keys


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ([WRITE], (0, 1, True)),
        ([WRITE, READ], (0, 2, True)),
        ([READ, WRITE], (0, 2, True)),
        (["BEGIN", WRITE, "COMMIT"], (0, 3, True)),
        (["BEGIN", WRITE, "ROLLBACK"], (0, 3, True)),
        (["BEGIN IMMEDIATE", READ, "COMMIT"], (0, 3, True)),
        (["BEGIN", "SAVEPOINT a", WRITE, "RELEASE a", "COMMIT"], (0, 5, True)),
        ([OFF, WRITE], (1, 2, False)),
        ([OFF, WRITE, ON], (1, 2, False)),
        ([OFF, ON, WRITE], (2, 3, True)),
        ([OFF, OFF, WRITE, WRITE, ON, "PRAGMA foreign_keys"], (2, 4, False)),
        ([WRITE, OFF], (0, 1, True)),
    ],
)
def test_steps_that_begin_and_end_without_a_transaction_are_one_program(
    sql: list[str], expected: tuple[int, int, bool]
) -> None:
    """What sets foreign keys stands before and behind it."""
    assert found(*sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        [],
        [READ],
        [READ, "VALUES (1)", "EXPLAIN INSERT INTO t VALUES (1)"],
        ["BEGIN", READ, "COMMIT"],
        [OFF, READ],
        [OFF],
        ["BEGIN", WRITE],
        ["BEGIN", WRITE, "COMMIT", "BEGIN"],
        ["BEGIN READONLY", WRITE, "COMMIT"],
        ["SAVEPOINT a", WRITE, "RELEASE a"],
        ["BEGIN", WRITE, "COMMIT", "SAVEPOINT a", "RELEASE a"],
        [WRITE, OFF, WRITE],
        [WRITE, "VACUUM"],
        [WRITE, "ATTACH 'x' AS y"],
        [WRITE, "DETACH y"],
        [WRITE, "DROP TABLE virke_requests"],
        ["PRAGMA foreign_keys", WRITE],
    ],
)
def test_other_steps_are_run_one_by_one(sql: list[str]) -> None:
    """They only read, leave a transaction open, or stand in none."""
    assert found(*sql) is None


@pytest.mark.parametrize(
    ("sql", "scope", "expected"),
    [
        ([OFF, WRITE], Scope.WRITE, None),
        ([ON, WRITE], Scope.WRITE, (1, 2, True)),
        ([OFF, WRITE], Scope.SCHEMA, (1, 2, False)),
    ],
)
def test_foreign_keys_that_a_client_may_not_switch_off_are_a_step_that_is_refused(
    sql: list[str], scope: Scope, expected: tuple[int, int, bool] | None
) -> None:
    assert found(*sql, scope=scope) == expected


@pytest.mark.parametrize("mode", [False, True])
def test_a_program_has_the_foreign_keys_of_its_stream_unless_it_sets_them(mode: bool) -> None:
    assert found(WRITE, foreign_keys=mode) == (0, 1, mode)
    assert found(ON, WRITE, foreign_keys=mode) == (1, 2, True)
    assert found(OFF, WRITE, foreign_keys=mode) == (1, 2, False)


def test_foreign_keys_that_are_set_under_a_condition_make_it_none() -> None:
    steps = [PlainStep(OFF, condition=Autocommit()), PlainStep(WRITE)]
    assert one_program(steps, foreign_keys=True, scope=Scope.ADMIN) is None


def test_a_program_keeps_parameters_and_counts_conditions_from_its_own_first_step() -> None:
    steps = [PlainStep(OFF), PlainStep(WRITE, (1,)), PlainStep(WRITE, (2,), Succeeded(1))]
    program = one_program(steps, foreign_keys=True, scope=Scope.ADMIN)
    assert program is not None
    assert [(one.params, one.condition) for one in program.steps] == [((1,), None), ((2,), Succeeded(0))]


@pytest.mark.parametrize(
    ("condition", "moved"),
    [
        (None, None),
        (Succeeded(2), Succeeded(0)),
        (Succeeded(3), Succeeded(1)),
        (Succeeded(1), ALWAYS),
        (Failed(2), Failed(0)),
        (Failed(1), NEVER),
        (Not(Succeeded(1)), Not(ALWAYS)),
        (AllOf((Succeeded(1), Failed(3))), AllOf((ALWAYS, Failed(1)))),
        (AnyOf((Succeeded(4), Failed(0))), AnyOf((Succeeded(2), NEVER))),
        (Autocommit(), Autocommit()),
    ],
)
def test_of_the_steps_before_a_program_it_is_known_that_they_succeeded(
    condition: Condition | None, moved: Condition | None
) -> None:
    assert moved_condition(condition, 2) == moved

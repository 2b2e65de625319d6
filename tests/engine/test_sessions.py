"""Programs with transactions of their own: answered as a connection would have answered them."""

from __future__ import annotations

import pytest

from tests.engine.world import make
from virke.engine.database import Database
from virke.engine.programs import Answer, Autocommit, Not, Skipped, Step, Succeeded
from virke.engine.results import QueryResult
from virke.engine.sessions import NotOneProgram
from virke.errors import SqlError

GOOD = "INSERT INTO t VALUES (1)"
BAD = "INSERT INTO t VALUES (NULL)"


@pytest.fixture
def table() -> Database:
    db = make()
    db.run_script("CREATE TABLE t (n NOT NULL); CREATE TABLE p (id PRIMARY KEY)")
    db.execute("CREATE TABLE c (p REFERENCES p DEFERRABLE INITIALLY DEFERRED)")
    return db


def run(db: Database, *steps: str | Step, foreign_keys: bool = False) -> list[Answer]:
    found = tuple(Step(step) if isinstance(step, str) else step for step in steps)
    serving = db.serving
    return serving.carry_out(serving.program(found, foreign_keys=foreign_keys, keeps_going=True, has_transactions=True))


def said(answers: list[Answer]) -> list[object]:
    return [
        answer.message
        if isinstance(answer, SqlError)
        else "skipped"
        if isinstance(answer, Skipped)
        else answer.rows
        if isinstance(answer, QueryResult)
        else answer
        for answer in answers
    ]


def count(db: Database) -> int:
    return int(str(db.query("SELECT count(*) FROM t", consistency="strong").rows[0][0]))


def test_a_batch_that_commits_is_in_history_by_one_commit(table: Database) -> None:
    before = table.version
    steps: list[str | Step] = [
        "BEGIN",
        GOOD,
        "SELECT count(*) FROM t",
        "COMMIT",
        Step("ROLLBACK", condition=Not(Succeeded(3))),
    ]
    assert said(run(table, *steps)) == [[], [], [(1,)], [], "skipped"]
    assert (count(table), table.version) == (1, before + 1)


def test_a_batch_that_fails_rolls_back_and_says_where(table: Database) -> None:
    steps: list[str | Step] = [
        "BEGIN",
        GOOD,
        BAD,
        Step("COMMIT", condition=Succeeded(2)),
        Step("ROLLBACK", condition=Not(Succeeded(3))),
    ]
    assert said(run(table, *steps)) == [[], [], "NOT NULL constraint failed: t.n", "skipped", []]
    assert count(table) == 0


def test_what_is_outside_of_the_transaction_stays(table: Database) -> None:
    assert said(run(table, GOOD, "BEGIN", GOOD, "ROLLBACK", GOOD, BAD)) == [
        [], [], [], [], [], "NOT NULL constraint failed: t.n",
    ]  # fmt: skip
    assert count(table) == 2


def test_transaction_control_is_refused_as_sqlite_refuses_it(table: Database) -> None:
    assert said(run(table, "COMMIT", "ROLLBACK", "BEGIN", "BEGIN", "END")) == [
        "cannot commit - no transaction is active",
        "cannot rollback - no transaction is active",
        [],
        "cannot start a transaction within a transaction",
        [],
    ]


def test_conditions_see_whether_a_transaction_is_open(table: Database) -> None:
    inside = Step("SELECT 1", condition=Not(Autocommit()))
    assert said(run(table, inside, "BEGIN", inside, "COMMIT", inside)) == ["skipped", [], [(1,)], [], "skipped"]


def test_savepoints_of_the_client_work_within(table: Database) -> None:
    steps: list[str | Step] = ["BEGIN", "SAVEPOINT a", GOOD, "ROLLBACK TO a", GOOD, "RELEASE a", "RELEASE a", "COMMIT"]
    assert said(run(table, *steps)) == [[], [], [], [], [], [], "no such savepoint: a", []]
    assert count(table) == 1


def test_a_broken_key_keeps_the_transaction_open_at_commit(table: Database) -> None:
    steps: list[str | Step] = [
        "BEGIN",
        "INSERT INTO c VALUES (7)",
        "COMMIT",
        Step("INSERT INTO p VALUES (7)", condition=Not(Autocommit())),
        "COMMIT",
    ]
    broken = "FOREIGN KEY constraint failed"
    assert said(run(table, *steps, foreign_keys=True)) == [[], [], broken, [], []]
    assert table.query("SELECT count(*) FROM c").rows == [(1,)]


def test_a_broken_key_outside_of_a_transaction_is_the_steps_own_error(table: Database) -> None:
    answers = run(table, "INSERT INTO c VALUES (7)", GOOD, foreign_keys=True)
    assert said(answers) == ["FOREIGN KEY constraint failed", []]
    assert (count(table), table.query("SELECT count(*) FROM c").rows) == (1, [(0,)])


@pytest.mark.parametrize(
    "steps",
    [
        ("BEGIN", GOOD),
        ("SAVEPOINT a", GOOD, "RELEASE a"),
        ("BEGIN", GOOD, "INSERT OR ROLLBACK INTO t VALUES (NULL)", "COMMIT"),
    ],
)
def test_what_is_not_one_program_changes_nothing_and_says_so(table: Database, steps: tuple[str, ...]) -> None:
    with pytest.raises(NotOneProgram):
        run(table, *steps)
    assert count(table) == 0
    run(table, GOOD)  # the connection serves the next
    assert count(table) == 1


def test_several_in_one_commit_do_not_see_each_others_transactions(table: Database) -> None:
    """Each is answered for itself, also where one of the group has to be run alone."""
    table.serving.take_over()
    serving = table.serving
    told: list[object] = []
    leads = []
    for steps in (
        ("BEGIN", GOOD, "COMMIT"),
        ("BEGIN", GOOD),
        ("BEGIN", "INSERT INTO c VALUES (9)", "COMMIT", "ROLLBACK"),
    ):
        program = serving.program(tuple(map(Step, steps)), foreign_keys=True, keeps_going=True, has_transactions=True)
        leads.append(
            serving.enqueue(program, lambda pending: told.append(pending.error or said(pending.answers or [])))
        )
    [lead] = [one for one in leads if one]
    lead()
    assert (told[0], type(told[1]), told[2]) == (
        [[], [], []],
        NotOneProgram,
        [[], [], "FOREIGN KEY constraint failed", []],
    )
    assert count(table) == 1

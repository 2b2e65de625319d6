"""A batch that is one program answers what its steps answer one by one, whatever they are."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.world import make
from virke.api.hrana import answers, blocking
from virke.api.hrana.effects import Doing, Together
from virke.api.hrana.requests import AskedStatement, Batch, BatchStep, Text
from virke.api.hrana.streams import Stream
from virke.engine.database import Database
from virke.engine.programs import AllOf, AnyOf, Autocommit, Condition, Not, Succeeded
from virke.engine.sessions import NotOneProgram
from virke.scopes import Scope

SQL = (
    "BEGIN",
    "BEGIN IMMEDIATE",
    "COMMIT",
    "ROLLBACK",
    "INSERT INTO t (b) VALUES ('a')",
    "INSERT INTO t (b) VALUES ('b') RETURNING a, b",
    "INSERT OR IGNORE INTO t (b) VALUES ('a')",
    "INSERT OR ROLLBACK INTO t (b) VALUES ('a')",
    "UPDATE t SET b = b || a",
    "DELETE FROM t WHERE b = 'a'",
    "SELECT a, b FROM t ORDER BY a",
    "SELECT * FROM nope",
    "INSERT INTO c VALUES (3)",
    "CREATE TABLE x (n)",
    "INSERT INTO x VALUES (1)",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "RELEASE s",
    "PRAGMA foreign_keys = off",
    "PRAGMA foreign_keys = on",
    "PRAGMA foreign_keys",
)


def conditions(step: int) -> st.SearchStrategy[Condition | None]:
    plain: st.SearchStrategy[Condition] = st.just(Autocommit())
    if step:
        plain = st.one_of(plain, st.integers(0, step - 1).map(Succeeded))
    nested = st.recursive(
        plain,
        lambda inner: st.one_of(inner.map(Not), st.tuples(inner, inner).map(AllOf), st.tuples(inner, inner).map(AnyOf)),
        max_leaves=3,
    )
    return st.one_of(st.none(), st.none(), nested)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Any steps, or those of a client: BEGIN, …, COMMIT if all went well, else ROLLBACK."""
    if draw(st.booleans()):
        texts = draw(st.lists(st.sampled_from(SQL), min_size=2, max_size=7))
        found = [BatchStep(AskedStatement(Text(sql, None)), draw(conditions(n))) for n, sql in enumerate(texts)]
        return Batch(tuple(found))
    texts = ["BEGIN", *draw(st.lists(st.sampled_from(SQL[4:15]), max_size=5)), "COMMIT"]
    steps = [BatchStep(AskedStatement(Text(sql, None)), Succeeded(n - 1) if n else None) for n, sql in enumerate(texts)]
    return Batch((*steps, BatchStep(AskedStatement(Text("ROLLBACK", None)), Not(Succeeded(len(texts) - 1)))))


def fresh() -> Database:
    db = make()
    db.change_settings({"foreign_keys": "on"})
    db.run_script(
        "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE); INSERT INTO t VALUES (1, 'z');"
        "CREATE TABLE c (t REFERENCES t);"
    )
    return db


def one_by_one(doing: Doing[Any]) -> Doing[Any]:
    """The same, but no batch is a program."""
    outcome: Any = None
    try:
        effect = next(doing)
        while True:
            if isinstance(effect, Together):
                effect = doing.throw(NotOneProgram("not in this test"))
                continue
            try:
                outcome = yield effect
            except Exception as error:
                effect = doing.throw(error)
            else:
                effect = doing.send(outcome)
    except StopIteration as end:
        return end.value


@settings(max_examples=150, deadline=None)
@given(batches())
def test_a_program_answers_what_its_steps_answer_one_by_one(batch: Batch) -> None:
    """And leaves the same rows, the same mode and the same state of the stream."""
    found = []
    for whole in (True, False):
        db = fresh()
        stream = Stream(db.serving.empty, foreign_keys=True, scope=Scope.ADMIN)
        doing = stream.batch(batch)
        said = blocking.drive_stream(db, Scope.ADMIN, doing if whole else one_by_one(doing))
        state = stream.is_autocommit, stream.foreign_keys
        blocking.drive_stream(db, Scope.ADMIN, stream.close())
        tables = [db.query(f"SELECT * FROM {table}", consistency="strong").rows for table in ("t", "c")]
        found.append((answers.batch_of(said), state, tables))
        db.close()
    assert found[0] == found[1]

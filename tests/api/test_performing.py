"""What an operation does to a database, whoever serves it: once, as a whole, and no more than its scope and its own words allow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from virke.api.hrana import requests
from virke.api.hrana.complaints import Refused
from virke.api.hrana.operations import Answered, Cursor, Once, Pipeline
from virke.api.native import Streamed
from virke.api.operations import (
    ChangeSettings,
    CreateDatabase,
    DeleteDatabase,
    Flush,
    GetSettings,
    Operation,
    Restore,
    Run,
)
from virke.api.performing import Place, perform_operation
from virke.engine.catalog import make_database
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.engine.results import QueryResult, Request
from virke.errors import Denied, Invalid, SqlError, VirkeError
from virke.scopes import Scope
from virke.stores.memory import memory_store


class Only:
    """A place with one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.users = 0
        """How many have the database in use."""
        self.asked: list[tuple[object, ...]] = []
        """What it was asked to create and delete."""

    def database(self, name: str) -> Database:
        assert name == "d"
        return self._database

    @contextmanager
    def in_use(self, name: str) -> Iterator[None]:
        assert name == "d"
        self.users += 1
        yield
        self.users -= 1

    def create(self, name: str, *, if_not_exists: bool, page_size: int | None) -> bool:
        self.asked.append(("create", name, if_not_exists, page_size))
        return not if_not_exists

    def delete(self, name: str) -> None:
        self.asked.append(("delete", name))


@pytest.fixture
def db() -> Iterator[Database]:
    """A database with an empty table, and one that refers to it."""
    store = memory_store()
    make_database(store, "d", Environment(), if_not_exists=False, page_size=4096)
    with Database(store, "d") as database:
        database.run_script("CREATE TABLE t (a UNIQUE); CREATE TABLE child (a REFERENCES t (a))")
        database.change_settings({"foreign_keys": "on"})
        yield database


def do(db: Database, operation: Operation, scope: Scope = Scope.ADMIN, *, place: Only | None = None) -> Any:
    return perform_operation(operation, cast("Place", place or Only(db)), scope)


def run(db: Database, *sql: str, scope: Scope = Scope.ADMIN, **how: Any) -> Any:
    """Run statements, given as texts."""
    return do(db, Run("d", tuple((one, ()) for one in sql), **how), scope)


def rows(db: Database) -> list[object]:
    """What is in the table now."""
    return [row[0] for row in db.query("SELECT a FROM t ORDER BY a", consistency="strong").rows]


ONE = "INSERT INTO t VALUES (1)"
TWO = "INSERT INTO t VALUES (2)"
ORPHAN = "INSERT INTO child VALUES (9)"


@pytest.mark.parametrize("how", [{}, {"streams": True}, {"key": "k"}, {"foreign_keys": True}, {"meta": True}])
def test_a_single_write_is_done_once_and_answered_with_its_rows(how: dict[str, Any], db: Database) -> None:
    answer = run(db, ONE, **how)
    assert isinstance(answer, QueryResult)
    assert (answer.rows_affected, rows(db)) == (1, [1])


def test_a_write_with_a_key_is_done_once_however_often_it_comes(db: Database) -> None:
    write = "INSERT INTO t VALUES (random()) RETURNING a"
    first = run(db, write, key="k")
    assert run(db, write, key="k").rows == first.rows
    assert run(db, write, key="k", foreign_keys=True).rows == first.rows
    assert len(rows(db)) == 1
    with pytest.raises(Invalid, match="another request"):
        run(db, ONE, key="k")


@pytest.mark.parametrize("sql", ["INSERT INTO t VALUES (random()) RETURNING a", "SELECT random()"])
def test_a_writers_key_is_good_for_one_answer_too(sql: str, db: Database) -> None:
    first, again = (run(db, sql, key="k", scope=Scope.WRITE).rows for _ in range(2))
    assert first == again
    assert len(rows(db)) == int(sql.startswith("INSERT"))


def test_a_key_is_good_for_one_answer_of_a_read_with_foreign_keys_too(db: Database) -> None:
    first, again = (run(db, "SELECT random()", key="k", foreign_keys=True).rows for _ in range(2))
    assert first == again


@pytest.mark.parametrize("how", [{"is_batch": True}, {"is_batch": True, "key": "k"}])
def test_a_batch_is_all_or_nothing_and_answers_each_of_its_statements(how: dict[str, Any], db: Database) -> None:
    before = db.version
    with pytest.raises(SqlError, match="UNIQUE"):
        run(db, ONE, TWO, ONE, **how)
    assert (rows(db), db.version) == ([], before)
    answers = run(db, ONE, TWO, "SELECT count(*) FROM t", **how)
    assert [one.rows_affected for one in answers] == [1, 1, 0]
    assert answers[2].rows == [(2,)]
    assert (rows(db), db.version) == ([1, 2], before + 1)


def test_a_script_is_all_or_nothing(db: Database) -> None:
    with pytest.raises(SqlError, match="UNIQUE"):
        run(db, f"{ONE}; {ONE}", is_script=True)
    assert rows(db) == []
    assert run(db, f"{ONE}; {TWO}", is_script=True).rows_affected == 2
    assert rows(db) == [1, 2]


def test_a_statement_is_run_for_each_of_its_rows_or_for_none(db: Database) -> None:
    insert: tuple[Request, ...] = (("INSERT INTO t VALUES (?)", ()),)
    with pytest.raises(SqlError, match="UNIQUE"):
        do(db, Run("d", insert, rows=((1,), (1,))))
    assert rows(db) == []
    assert do(db, Run("d", insert, rows=((1,), (2,)))).rows_affected == 2
    assert do(db, Run("d", insert, rows=())).rows_affected == 0
    assert rows(db) == [1, 2]


@pytest.mark.parametrize(
    "how",
    [{}, {"streams": True}, {"is_batch": True}, {"is_script": True}, {"key": "k"}, {"rows": ((),)}, {"meta": True}],
)
@pytest.mark.parametrize(("scope", "read_only"), [(Scope.READ, False), (Scope.READ, True), (Scope.ADMIN, True)])
def test_nothing_is_written_where_only_reading_is_allowed(
    scope: Scope, read_only: bool, how: dict[str, Any], db: Database
) -> None:
    """By the token, or by the request itself."""
    with pytest.raises(VirkeError):
        run(db, ONE, scope=scope, read_only=read_only, **how)
    assert rows(db) == []


@pytest.mark.parametrize("how", [{}, {"streams": True}, {"is_batch": True}, {"is_script": True}, {"key": "k"}])
def test_a_writer_changes_rows_and_no_schema(how: dict[str, Any], db: Database) -> None:
    with pytest.raises(Denied, match="schema"):
        run(db, "CREATE TABLE x (a)", scope=Scope.WRITE, **how)
    run(db, ONE, scope=Scope.WRITE, **(how | ({"key": "other"} if "key" in how else {})))
    assert rows(db) == [1]


@pytest.mark.parametrize("how", [{}, {"is_batch": True}, {"key": "k"}, {"is_script": True}])
def test_foreign_keys_are_as_the_request_says_for_those_who_may_say_so(how: dict[str, Any], db: Database) -> None:
    with pytest.raises(SqlError, match="FOREIGN KEY"):
        run(db, ORPHAN, **how)
    with pytest.raises(SqlError, match="FOREIGN KEY"):
        run(db, ORPHAN, foreign_keys=True, **how)
    with pytest.raises(Denied):
        run(db, ORPHAN, foreign_keys=False, scope=Scope.WRITE, **how)
    run(db, ORPHAN, foreign_keys=False, scope=Scope.SCHEMA, **how)
    assert db.query("SELECT count(*) FROM child").rows == [(1,)]


def test_an_earlier_state_is_read_and_not_written(db: Database) -> None:
    before = db.version
    db.execute(ONE)
    assert run(db, "SELECT count(*) FROM t", at=before).rows == [(0,)]
    assert [one.rows for one in run(db, "SELECT count(*) FROM t", is_batch=True, at=before)] == [[(0,)]]
    hows: list[dict[str, Any]] = [{}, {"is_batch": True}, {"foreign_keys": True}]
    for how in hows:
        with pytest.raises(VirkeError):
            run(db, TWO, at=before, **how)
    assert rows(db) == [1]


def test_rows_that_are_streamed_are_all_there(db: Database) -> None:
    run(db, ONE, TWO, is_batch=True)
    answer = run(db, "SELECT a FROM t ORDER BY a", streams=True)
    assert isinstance(answer, Streamed)
    assert list(answer) == [(1,), (2,)]
    answer.close()


def test_a_database_is_in_use_until_the_last_of_its_rows_was_taken(db: Database) -> None:
    """Else it could be closed, or deleted, in the middle of an answer."""
    place = Only(db)
    answer = do(db, Run("d", (("SELECT 1", ()),), streams=True), place=place)
    assert place.users == 1
    answer.close()
    assert place.users == 0
    do(db, Run("d", ((ONE, ()),), streams=True), place=place)
    assert place.users == 0


def test_rows_that_are_not_wanted_any_more_are_not_read(db: Database) -> None:
    """Their reader is free for others."""
    run(db, ONE, TWO, is_batch=True)
    answer = run(db, "SELECT a FROM t ORDER BY a", streams=True)
    answer.close()
    assert answer.rows.take(1) == []


@pytest.mark.parametrize(
    ("how", "is_plain", "is_program"),
    [
        ({}, True, False),
        ({"key": "k"}, False, True),
        ({"is_batch": True}, False, True),
        ({"is_script": True}, False, True),
        ({"rows": ()}, False, True),
        ({"at": 0}, False, False),
        ({"at": 0, "is_batch": True}, False, False),
        ({"meta": True}, False, False),
        ({"consistency": "strong"}, False, False),
        ({"timeout_ms": 5}, False, False),
        ({"foreign_keys": False}, True, False),
        ({"bookmark": "b"}, True, False),
    ],
)
def test_what_is_put_in_line_and_what_may_be_a_plain_read(
    how: dict[str, Any], is_plain: bool, is_program: bool
) -> None:
    asked = Run("d", ((ONE, ()),), **how)
    assert (asked.is_plain, asked.is_program) == (is_plain, is_program)


@pytest.mark.parametrize("if_not_exists", [False, True])
def test_a_database_is_created_and_deleted_by_its_name_as_it_was_asked(if_not_exists: bool, db: Database) -> None:
    place = Only(db)
    made = do(db, CreateDatabase("d", if_not_exists=if_not_exists, page_size=4096), place=place)
    assert made == {"name": "d", "created": not if_not_exists}
    assert do(db, DeleteDatabase("d"), place=place) == {"name": "d", "deleted": True}
    assert place.asked == [("create", "d", if_not_exists, 4096), ("delete", "d")]


def test_a_restore_that_is_only_tried_out_changes_nothing(db: Database) -> None:
    before = db.version
    db.execute(ONE)
    assert do(db, Restore("d", before, dry_run=True))["pages"] > 0
    assert rows(db) == [1]
    assert do(db, Restore("d", before))["pages"] > 0
    assert rows(db) == []


def test_settings_are_changed_and_answered_as_they_are_then(db: Database) -> None:
    assert do(db, ChangeSettings("d", {"history_days": 3}))["history_days"] == 3
    assert do(db, GetSettings("d"))["history_days"] == 3


def test_pending_writes_are_pushed_and_counted(db: Database) -> None:
    answer = do(db, Flush("d"))
    assert (answer["pushed"], answer["rejected"], answer["version"]) == (0, 0, db.version)


def test_an_operation_that_is_not_known_is_refused(db: Database) -> None:
    with pytest.raises(Invalid, match="does not do that here"):
        do(db, cast("Operation", object()))


# Hrana's, where no stream outlives its request


def asked(*sql: str) -> tuple[requests.Execute, ...]:
    return tuple(requests.Execute(requests.statement_of({"sql": one})) for one in sql)


def test_statements_of_a_pipeline_are_each_answered_and_done_once(db: Database) -> None:
    answer = do(db, Pipeline("d", None, asked(ONE, "SELECT a FROM t")))
    assert isinstance(answer, Answered)
    assert answer.stale_ms is None
    assert [one["type"] for one in answer.body["results"]] == ["ok", "ok"]  # type: ignore[index]
    assert rows(db) == [1]


def test_a_batch_of_a_cursor_is_answered_line_by_line_and_done_once(db: Database) -> None:
    answer = do(db, Cursor("d", None, requests.batch_of({"steps": [{"stmt": {"sql": ONE}}]})))
    assert isinstance(answer, Answered)
    lines: Any = answer.body
    assert [lines[0]["baton"], lines[1]["type"], lines[2]["affected_row_count"]] == [None, "step_begin", 1]
    assert rows(db) == [1]


def test_a_statement_of_version_1_is_answered_and_done_once(db: Database) -> None:
    answer = do(db, Once("d", asked(ONE)[0]))
    assert isinstance(answer, Answered)
    assert answer.body["result"]["affected_row_count"] == 1  # type: ignore[index]
    with pytest.raises(SqlError, match="UNIQUE"):
        db.execute(ONE)


def test_where_no_database_is_named_nothing_is_done(db: Database) -> None:
    class Anything(Only):
        @contextmanager
        def in_use(self, name: str) -> Iterator[None]:
            yield

        def database(self, name: str) -> Database:
            return super().database("d")

    operations = (Pipeline("", None, asked(ONE)), Cursor("", None, requests.Batch(())), Once("", asked(ONE)[0]))
    for operation in operations:
        with pytest.raises(Refused, match="no database is named") as caught:
            do(db, operation, place=Anything(db))
        assert caught.value.status == 404
    assert rows(db) == []

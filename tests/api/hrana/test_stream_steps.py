"""What a stream does to the database, statement by statement, over the requests of one client: what is committed, what is taken back, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from virke.api.hrana import blocking, requests
from virke.api.hrana.streams import Stream
from virke.engine.database import Database
from virke.scopes import Scope


class Client:
    """One stream, and what it answers in short."""

    def __init__(self, db: Database, scope: Scope = Scope.ADMIN, *, foreign_keys: bool = True) -> None:
        self._db, self._scope = db, scope
        self.stream = Stream(db.serving.empty, foreign_keys=foreign_keys, scope=scope)

    def do(self, request: Any) -> dict[str, Any]:
        """What a request is answered."""
        return blocking.drive_stream(self._db, self._scope, self.stream.respond(request))

    def run(self, *sql: str) -> list[Any]:
        """Each statement as a request of its own: the first value of its first row, "ok", or what the error says."""
        found: list[Any] = []
        for one in sql:
            answer = self.do(requests.Execute(requests.statement_of({"sql": one})))
            if answer["type"] == "error":
                found.append(answer["error"]["message"])
                continue
            rows = answer["response"]["result"]["rows"]
            values = [value["value"] for row in (list(rows) if not isinstance(rows, bytes) else []) for value in row]
            found.append(values[0] if values else "ok")
        return found


def rows(db: Database) -> list[object]:
    """What is in the table now."""
    return [row[0] for row in db.query("SELECT a FROM t ORDER BY a", consistency="strong").rows]


ONE, TWO = "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"
NONE_OPEN = "no transaction is active"


@pytest.mark.parametrize(
    ("sql", "left"),
    [
        (["BEGIN", ONE, "COMMIT"], [1]),
        (["BEGIN", ONE, "END TRANSACTION"], [1]),
        (["BEGIN", ONE, "ROLLBACK"], []),
        (["BEGIN", "SELECT 1", ONE, "COMMIT"], [1]),
        (["BEGIN", "SELECT a FROM t", ONE, TWO, "COMMIT"], [1, 2]),
        (["BEGIN", "SELECT a FROM t", "COMMIT"], []),
        (["BEGIN", "COMMIT"], []),
        (["BEGIN IMMEDIATE", "SELECT a FROM t", ONE, "COMMIT"], [1]),
        (["BEGIN IMMEDIATE", "ROLLBACK", ONE], [1]),
        (["BEGIN", "WITH n AS (SELECT 1 AS a) INSERT INTO t SELECT a FROM n", "COMMIT"], [1]),
        (["BEGIN", "SELECT 1", "WITH n AS (SELECT 1 AS a) INSERT INTO t SELECT a FROM n", "COMMIT"], [1]),
        (["SAVEPOINT a", ONE, "RELEASE a"], [1]),
        (["SAVEPOINT a", ONE, "RELEASE A"], [1]),
        (["SAVEPOINT a", "RELEASE a"], []),
        (["SAVEPOINT a", ONE, "ROLLBACK TO a", TWO, "RELEASE a"], [2]),
        (["SAVEPOINT a", ONE, "SAVEPOINT b", TWO, "ROLLBACK TO b", "RELEASE b", "RELEASE a"], [1]),
        (["SAVEPOINT a", ONE, "SAVEPOINT b", TWO, "RELEASE b", "ROLLBACK"], []),
        (["BEGIN", "SAVEPOINT a", ONE, "RELEASE a", "ROLLBACK"], []),
        (["BEGIN", "SAVEPOINT a", ONE, "ROLLBACK TO a", TWO, "COMMIT"], [2]),
        ([ONE, TWO], [1, 2]),
    ],
)
def test_what_was_committed_is_there_and_what_was_taken_back_is_not(
    sql: list[str], left: list[int], db: Database, other: Database
) -> None:
    """And the stream is as it was before its transaction."""
    client = Client(db)
    said = client.run(*sql)
    assert [one for one in said if one not in ("ok", "1")] == []
    assert client.stream.is_autocommit
    assert client.stream.is_blank
    assert rows(other) == left


@pytest.mark.parametrize(
    ("sql", "left"),
    [
        (["BEGIN", ONE], []),
        (["BEGIN IMMEDIATE", ONE], []),
        (["SAVEPOINT a", ONE], []),
        (["SAVEPOINT a", ONE, "SAVEPOINT b", TWO, "RELEASE b"], []),
        (["BEGIN", "SAVEPOINT a", ONE, "RELEASE a"], []),
        (["BEGIN", ONE, "PRAGMA foreign_keys = off"], []),
    ],
)
def test_what_is_not_committed_yet_is_for_nobody_else_and_goes_with_its_stream(
    sql: list[str], left: list[int], db: Database, other: Database
) -> None:
    client = Client(db)
    assert set(client.run(*sql)) == {"ok"}
    assert (client.stream.is_autocommit, client.stream.is_blank) == (False, False)
    assert rows(other) == left
    answer = client.do(requests.Close())
    assert answer["type"] == "ok"
    assert (client.stream.is_autocommit, client.stream.is_closed) == (True, True)
    assert rows(other) == []
    assert Client(db).run(ONE) == ["ok"]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (["COMMIT"], f"cannot commit - {NONE_OPEN}"),
        (["ROLLBACK"], f"cannot rollback - {NONE_OPEN}"),
        (["RELEASE a"], "no such savepoint: a"),
        (["ROLLBACK TO a"], "no such savepoint: a"),
        (["BEGIN", ONE, "COMMIT", "COMMIT"], f"cannot commit - {NONE_OPEN}"),
        (["SAVEPOINT a", ONE, "RELEASE a", "RELEASE a"], "no such savepoint: a"),
    ],
)
def test_an_end_without_a_beginning_is_an_error_and_opens_nothing(sql: list[str], said: str, db: Database) -> None:
    client = Client(db)
    found = client.run(*sql)
    assert said in found[-1]
    assert client.stream.is_autocommit


def test_a_second_begin_is_an_error_and_leaves_the_first_as_it_is(db: Database) -> None:
    client = Client(db)
    assert "within a transaction" in client.run("BEGIN", ONE, "BEGIN")[-1]
    assert client.run("COMMIT") == ["ok"]
    assert rows(db) == [1]


@pytest.mark.parametrize(
    "sql", [ONE, "WITH n AS (SELECT 1 AS a) INSERT INTO t SELECT a FROM n", "CREATE TABLE x (a)", "DELETE FROM t"]
)
def test_a_transaction_that_only_reads_refuses_a_write_and_goes_on(sql: str, db: Database) -> None:
    db.execute(TWO)
    client = Client(db)
    assert "readonly" in client.run("BEGIN READONLY", sql)[-1]
    assert client.run("SELECT a FROM t", "WITH n AS (SELECT 7 AS a) SELECT a FROM n", "COMMIT") == ["2", "7", "ok"]
    assert rows(db) == [2]


def test_a_transaction_that_sqlite_took_back_is_over_and_the_next_statement_stands_alone(
    db: Database, other: Database
) -> None:
    client = Client(db)
    assert "UNIQUE" in client.run("BEGIN", ONE, TWO, "INSERT OR ROLLBACK INTO t VALUES (1)")[-1]
    assert client.stream.is_autocommit
    assert client.run("INSERT INTO t VALUES (3)") == ["ok"]
    assert rows(other) == [3]


def test_a_statement_that_fails_leaves_the_transaction_open(db: Database) -> None:
    client = Client(db)
    assert "UNIQUE" in client.run("BEGIN", ONE, ONE)[-1]
    assert client.run(TWO, "COMMIT") == ["ok", "ok"]
    assert rows(db) == [1, 2]


# Others commit meanwhile


@pytest.mark.parametrize("read", ["SELECT a FROM t", "WITH n AS (SELECT count(*) FROM t) SELECT * FROM n"])
def test_a_write_above_what_was_read_before_another_commit_is_refused(read: str, db: Database, other: Database) -> None:
    """Nothing of the transaction is kept; taken back and run again it sees the other's row."""
    client = Client(db)
    client.run("BEGIN", read)
    other.execute(ONE)
    db.query("SELECT 1", consistency="strong")
    assert "another commit came first" in client.run(TWO)[-1]
    assert not client.stream.is_autocommit
    assert client.run("ROLLBACK", "BEGIN", read, TWO, "COMMIT") == ["ok", "ok", "1", "ok", "ok"]
    assert rows(other) == [1, 2]


def test_a_transaction_that_read_nothing_begins_with_its_first_write_on_the_newest_state(
    db: Database, other: Database
) -> None:
    client = Client(db)
    client.run("BEGIN")
    other.execute(ONE)
    db.query("SELECT 1", consistency="strong")
    assert client.run("INSERT INTO t SELECT a + 1 FROM t", "COMMIT") == ["ok", "ok"]
    assert rows(other) == [1, 2]


@pytest.mark.parametrize("begin", ["BEGIN", "BEGIN IMMEDIATE"])
def test_a_commit_that_lost_the_race_is_an_error_and_ends_the_transaction(
    begin: str, db: Database, other: Database
) -> None:
    client = Client(db)
    assert client.run(begin, TWO) == ["ok", "ok"]
    other.execute(ONE)
    assert client.run("COMMIT")[-1] != "ok"
    assert client.stream.is_autocommit
    assert rows(other) == [1]
    assert client.run(TWO) == ["ok"]
    assert rows(other) == [1, 2]


# Foreign keys

ORPHAN = "INSERT INTO child VALUES (9)"


def test_foreign_keys_are_those_of_the_stream_outside_and_inside_of_transactions(db: Database) -> None:
    client = Client(db)
    assert "FOREIGN KEY" in client.run(ORPHAN)[-1]
    assert client.run("PRAGMA foreign_keys", "PRAGMA foreign_keys = off", "PRAGMA foreign_keys") == ["1", "ok", "0"]
    assert not client.stream.is_blank
    assert client.run(ORPHAN, "BEGIN", ORPHAN, "COMMIT", "BEGIN IMMEDIATE", ORPHAN, "COMMIT") == ["ok"] * 7
    assert "FOREIGN KEY" in Client(db).run(ORPHAN)[-1]
    assert db.query("SELECT count(*) FROM child").rows == [(3,)]


def test_foreign_keys_can_not_be_changed_inside_of_a_transaction(db: Database) -> None:
    client = Client(db)
    client.run("BEGIN", "PRAGMA foreign_keys = off")
    assert "FOREIGN KEY" in client.run(ORPHAN)[-1]
    client.run("ROLLBACK")
    assert client.run("PRAGMA foreign_keys") == ["1"]


@pytest.mark.parametrize(("scope", "is_allowed"), [(Scope.WRITE, False), (Scope.SCHEMA, True)])
def test_foreign_keys_are_switched_off_by_those_who_may_change_the_schema(
    scope: Scope, is_allowed: bool, db: Database
) -> None:
    client = Client(db, scope)
    said = client.run("PRAGMA foreign_keys = off")[0]
    assert (said == "ok", client.stream.foreign_keys) == (is_allowed, not is_allowed)
    assert is_allowed or "nothing was changed" in said
    client = Client(db, scope, foreign_keys=False)
    assert client.run("PRAGMA foreign_keys = on", "PRAGMA foreign_keys") == ["ok", "1"]
    assert "FOREIGN KEY" in client.run(ORPHAN)[-1]


# Scopes


@pytest.mark.parametrize("sql", [[ONE], ["BEGIN", ONE], ["BEGIN IMMEDIATE"], ["SAVEPOINT a"], ["CREATE TABLE x (a)"]])
def test_a_reader_begins_no_write(sql: list[str], db: Database) -> None:
    client = Client(db, Scope.READ)
    assert "may only read" in client.run(*sql)[-1]
    assert rows(db) == []
    assert Client(db, Scope.READ).run("BEGIN", "SELECT count(*) FROM t", "COMMIT") == ["ok", "0", "ok"]


@pytest.mark.parametrize("begin", [[], ["BEGIN"], ["BEGIN IMMEDIATE"]])
def test_a_writer_changes_no_schema(begin: list[str], db: Database) -> None:
    client = Client(db, Scope.WRITE)
    said = client.run(*begin, "CREATE TABLE x (a)")[-1]
    assert "schema" in said
    assert client.run(ONE) == ["ok"]


def test_tables_of_virkes_own_stay(db: Database) -> None:
    client = Client(db)
    assert "nothing was changed" in client.run("DROP TABLE virke_requests")[-1]
    assert "nothing was changed" in client.run("BEGIN", "DROP TABLE virke_requests")[-1]


# Batches and sequences


def batch(client: Client, *steps: str, chained: bool = True) -> list[Any]:
    """Each step after the first only if the one before it went well, if `chained`; "ok", "skipped", or the error."""
    asked: Any = {
        "steps": [
            {"stmt": {"sql": sql}} | ({"condition": {"type": "ok", "step": number - 1}} if chained and number else {})
            for number, sql in enumerate(steps)
        ]
    }
    found = client.do(requests.batch_of(asked))["response"]["result"]
    return [
        "ok" if result else error["message"] if error else "skipped"
        for result, error in zip(found["step_results"], found["step_errors"], strict=True)
    ]


@pytest.mark.parametrize("chained", [True, False])
def test_steps_of_a_batch_run_if_their_condition_holds(chained: bool, db: Database) -> None:
    client = Client(db)
    found = batch(client, ONE, ONE, TWO, chained=chained)
    assert (found[0], "UNIQUE" in found[1], found[2]) == ("ok", True, "skipped" if chained else "ok")
    assert rows(db) == ([1] if chained else [1, 2])


def test_a_batch_inside_of_a_transaction_belongs_to_it(db: Database, other: Database) -> None:
    client = Client(db)
    client.run("BEGIN")
    assert batch(client, ONE, TWO) == ["ok", "ok"]
    assert rows(other) == []
    client.run("ROLLBACK")
    assert rows(other) == []


def test_a_batch_that_sets_foreign_keys_sets_them_for_itself_and_the_stream(db: Database) -> None:
    client = Client(db)
    assert batch(client, "PRAGMA foreign_keys = off", ORPHAN, "BEGIN", ORPHAN, "COMMIT") == ["ok"] * 5
    assert client.run("PRAGMA foreign_keys") == ["0"]
    assert batch(client, ORPHAN, "PRAGMA foreign_keys = on") == ["ok"] * 2
    assert client.run("PRAGMA foreign_keys") == ["1"]


def test_a_sequence_ends_with_its_first_error(db: Database) -> None:
    client = Client(db)
    answer = client.do(requests.RunSequence(requests.Text(f"{ONE}; {ONE}; {TWO}", None)))
    assert answer["type"] == "error"
    assert rows(db) == [1]

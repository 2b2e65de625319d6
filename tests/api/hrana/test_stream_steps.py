"""What a stream does to the database, statement by statement, over the requests of one client: what is committed, what is taken back, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from virke.api.hrana import blocking, effects, requests
from virke.api.hrana.streams import STORED_CHARS_MAX, STORED_MAX, Stream
from virke.engine.database import Database
from virke.engine.transaction import Transaction
from virke.errors import Busy, Unavailable
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
ORPHAN = "INSERT INTO child VALUES (9)"


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


def test_a_transaction_that_read_sees_the_same_state_until_its_end(db: Database, other: Database) -> None:
    client = Client(db)
    assert client.run("BEGIN", "SELECT count(*) FROM t") == ["ok", "0"]
    other.execute(ONE)
    db.query("SELECT 1", consistency="strong")
    assert client.run("SELECT count(*) FROM t", "COMMIT", "SELECT count(*) FROM t") == ["0", "ok", "1"]


@pytest.mark.parametrize(
    ("sql", "commits"),
    [
        (["BEGIN", "SELECT a FROM t", ONE, "COMMIT"], [False, True]),
        (["BEGIN", "SELECT a FROM t", "theirs", TWO, "COMMIT"], [False, False]),
        (["BEGIN", "SELECT a FROM t", "theirs", TWO, "close"], [False, False]),
        (["BEGIN", ONE, "INSERT OR ROLLBACK INTO t VALUES (1)"], [False]),
        (["BEGIN IMMEDIATE", ONE, "close"], [False]),
        (["SAVEPOINT a", ONE, "RELEASE a"], [True]),
        (["SAVEPOINT virke_statement"], [False]),
    ],
)
def test_every_transaction_that_a_stream_began_is_ended_once_and_committed_if_it_was_asked_to(
    sql: list[str], commits: list[bool], db: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is forgotten keeps other writers waiting."""
    begun, ended, do_effect = list[Transaction](), list[tuple[int, bool]](), blocking._do_effect

    def recorded(database: Database, scope: Scope, effect: effects.Effect) -> Any:
        if isinstance(effect, effects.End):
            ended.append((begun.index(effect.transaction), effect.commits))
        outcome = do_effect(database, scope, effect)
        if isinstance(outcome, Transaction):
            begun.append(outcome)
        return outcome

    monkeypatch.setattr(blocking, "_do_effect", recorded)
    client = Client(db)
    for one in sql:
        if one == "theirs":
            other.execute("INSERT INTO t VALUES (9)")
            db.query("SELECT 1", consistency="strong")
        elif one == "close":
            client.do(requests.Close())
        else:
            client.run(one)
    assert sorted(number for number, _ in ended) == list(range(len(begun)))
    assert sorted(commits) == sorted(commit for _, commit in ended)


def test_a_commit_that_could_not_begin_leaves_the_transaction_as_it_is(db: Database) -> None:
    client = Client(db)
    client.run("BEGIN", ONE)
    doing = client.stream.respond(requests.Execute(requests.statement_of({"sql": "COMMIT"})))
    next(doing)
    with pytest.raises(StopIteration) as end:
        doing.throw(Unavailable("busy"))
    assert end.value.value["type"] == "error"
    assert client.run("COMMIT") == ["ok"]
    assert rows(db) == [1]


@pytest.mark.parametrize("name", ["a", "virke_statement"])
def test_p1_a_write_after_a_savepoint_that_could_not_begin_stands_alone(
    name: str, db: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client was told that there is no transaction: in one, the write would be answered and never committed."""
    client = Client(db)

    def busy(**_: object) -> None:
        raise Busy("others write")

    with monkeypatch.context() as patch:
        if name == "a":
            patch.setattr(db, "transaction", busy)
        assert client.run(f"SAVEPOINT {name}") != ["ok"]
    assert client.stream.is_autocommit
    assert client.run(ONE) == ["ok"]
    assert rows(other) == [1]


# What is stored, described and answered


def test_a_stored_text_is_what_its_number_runs_until_it_is_closed(db: Database) -> None:
    client = Client(db)
    assert client.do(requests.StoreSql(1, ONE))["response"] == {"type": "store_sql"}
    assert client.do(requests.StoreSql(1, TWO))["error"]["code"] == "SQL_EXISTS"
    assert not client.stream.is_blank
    sequence = requests.RunSequence(requests.Text(None, 1))
    assert client.do(sequence)["response"] == {"type": "sequence"}
    assert client.do(requests.CloseSql(1))["response"] == {"type": "close_sql"}
    assert client.do(sequence)["error"]["code"] == "SQL_NOT_FOUND"
    assert rows(db) == [1]


def test_only_so_many_texts_are_stored_and_none_too_long(db: Database) -> None:
    client = Client(db)
    long = " " * STORED_CHARS_MAX
    assert client.do(requests.StoreSql(0, long))["type"] == "ok"
    assert client.do(requests.StoreSql(1, long + " "))["error"]["code"] == "SQL_STORE_TOO_LARGE"
    for number in range(1, STORED_MAX):
        assert client.do(requests.StoreSql(number, ONE))["type"] == "ok"
    assert client.do(requests.StoreSql(STORED_MAX, ONE))["error"]["code"] == "SQL_STORE_TOO_MANY"


def open_transaction(client: Client) -> Transaction | None:
    return client.stream.transaction


def test_what_is_open_is_known_to_those_who_have_to_end_it(db: Database) -> None:
    """A server ends the transaction of a stream whose time is over."""
    client = Client(db)
    assert open_transaction(client) is None
    client.run("BEGIN", ONE)
    found = open_transaction(client)
    assert found is not None
    assert not found.is_over
    client.run("COMMIT")
    assert open_transaction(client) is None


@pytest.mark.parametrize(
    ("sql", "columns", "reads"),
    [
        ("PRAGMA foreign_keys", ["foreign_keys"], True),
        ("PRAGMA foreign_keys = off", [], False),
        ("COMMIT", [], True),
        (ONE, [], False),
    ],
)
def test_what_is_the_streams_own_is_described_as_sqlite_would(
    sql: str, columns: list[str], reads: bool, db: Database
) -> None:
    result = Client(db).do(requests.Describe(requests.Text(sql, None)))["response"]["result"]
    assert [column["name"] for column in result["cols"]] == columns
    assert (result["params"], result["is_explain"], result["is_readonly"]) == ([], False, reads)


def test_a_statement_is_described_as_the_open_transaction_sees_it(db: Database) -> None:
    client = Client(db)
    client.run("BEGIN", "CREATE TABLE x (first)")
    answer = client.do(requests.Describe(requests.Text("SELECT * FROM x", None)))
    assert [column["name"] for column in answer["response"]["result"]["cols"]] == ["first"]
    answer = client.do(requests.GetAutocommit())
    assert answer["response"] == {"type": "get_autocommit", "is_autocommit": False}


def test_an_insert_that_was_ignored_is_answered_with_the_rowid_before_it(db: Database) -> None:
    """As SQLite does; a statement that inserts nothing changes it as little."""
    client, found = Client(db), list[object]()
    for sql in (ONE, "DELETE FROM t WHERE a = 9", "INSERT OR IGNORE INTO t VALUES (1)", TWO):
        answer = client.do(requests.Execute(requests.statement_of({"sql": sql})))
        found.append(answer["response"]["result"]["last_insert_rowid"])
    assert found == ["1", found[1], "1", "2"]

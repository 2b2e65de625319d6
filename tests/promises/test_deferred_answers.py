"""What a deferred write was answered is what history gets, or it is rejected with the reason: never silently other."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import TABLE, insert, opened, settled, tokens
from virke.core.ids import PageNo
from virke.engine.database import Database
from virke.engine.entry import merged_patch
from virke.engine.environment import Environment
from virke.engine.layers import Patch
from virke.errors import SqlError, Unavailable
from virke.stores.base import Call, Store
from virke.stores.counted import CountingStore
from virke.stores.faulty import At, FaultyStore, Refuse
from virke.stores.memory import memory_store

KEYED: Final = "CREATE TABLE thing (id INTEGER PRIMARY KEY, v)"


@pytest.fixture
def store(deferred_store: Store) -> Store:
    """A store with a deferred database in it."""
    return deferred_store


def other_commits(store: Store, tmp_path: Path, sql: str = "INSERT INTO entry VALUES ('other', NULL)") -> None:
    """Another machine's commit."""
    with opened(store, tmp_path / "other") as other:
        other.execute(sql)


def things(database: Database) -> list[tuple[object, ...]]:
    """The rows of `thing`, as the store has them."""
    return list(database.query("SELECT * FROM thing ORDER BY id", consistency="strong").rows)


# Randomness


@pytest.mark.parametrize("moved", [False, True], ids=["root-unmoved", "root-moved"])
def test_p4_random_values_that_were_answered_and_read_become_history(moved: bool, store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        database.execute("CREATE TABLE thing (id INTEGER PRIMARY KEY, v, w DEFAULT (hex(randomblob(4))))")
        database.flush()
        [answer] = database.run("INSERT INTO thing (v) VALUES (random()) RETURNING v, w").rows
        database.execute("INSERT INTO thing (v, w) SELECT 'child of ' || v, hex(randomblob(8)) FROM thing")
        before = things(database)
        assert before[0][1:] == answer
        if moved:
            other_commits(store, tmp_path)
        flushed = database.flush()
        assert (flushed.pushed, flushed.rejected) == (2, 0)
        assert things(database) == before


def test_p4_random_values_differ_between_writes_and_between_calls(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        database.execute(KEYED)
        for _ in range(3):
            database.execute("INSERT INTO thing (v) VALUES (random()), (random()), (hex(randomblob(16)))")
        assert database.query("SELECT count(DISTINCT v) FROM thing").rows == [(9,)]


def test_random_functions_answer_as_sqlites_do_whatever_they_are_given(store: Store, tmp_path: Path) -> None:
    """Types and lengths, for the arguments that SQLite takes."""
    asked = ["0", "-3", "NULL", "7", "2.9", "'5 apples'", "' 12'", "x'3233'", "'none'"]
    columns = ", ".join(f"length(randomblob({one})), typeof(randomblob({one}))" for one in asked)
    with closing(sqlite3.connect(":memory:")) as memory:
        [plain] = memory.execute(f"SELECT {columns}, typeof(random())").fetchall()
    with opened(store, tmp_path) as database:
        result = database.run(f"INSERT INTO entry VALUES ('a', NULL) RETURNING {columns}, typeof(random())")
        assert result.rows == [plain]


# Answers that history can't give


def test_p4_a_rowid_that_was_answered_and_is_taken_meanwhile_is_rejected(store: Store, tmp_path: Path) -> None:
    """The program that stored the id would point at another's row."""
    with opened(store, tmp_path) as database:
        database.execute(KEYED)
        database.flush()
        assert database.run("INSERT INTO thing (v) VALUES ('mine')").last_insert_rowid == 1
        other_commits(store, tmp_path, "INSERT INTO thing (v) VALUES ('theirs')")
        flushed = database.flush()
        assert (flushed.pushed, flushed.rejected) == (0, 1)
        assert things(database) == [(1, "theirs")]
        [rejected] = database.status().rejected_writes
        assert "answered with last_insert_rowid 1, now 2" in rejected.reason
        assert rejected.sql == "INSERT INTO thing (v) VALUES ('mine')"


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("INSERT INTO entry SELECT count(*), NULL FROM entry RETURNING token", "rows [('1',)], now [('2',)]"),
        ("UPDATE entry SET filler = 1 WHERE token > 'a'", "rows affected 1, now 2"),
        ("DELETE FROM entry WHERE token > 'a' RETURNING 1", "rows [(1,)], now [(1,), (1,)]"),
    ],
)
def test_p4_a_write_that_would_answer_otherwise_is_rejected_with_both_answers(
    sql: str, reason: str, store: Store, tmp_path: Path
) -> None:
    with opened(store, tmp_path) as database:
        insert(database, "before")
        database.flush()
        database.run(sql)
        other_commits(store, tmp_path)
        assert database.flush().rejected == 1
        assert reason in database.status().rejected_writes[0].reason
        assert tokens(database) == ["before", "other"]


def test_p4_the_caller_that_was_told_a_count_is_held_to_the_count(store: Store, tmp_path: Path) -> None:
    """`execute` answers the rows affected and nothing else, so rows of two machines go into one table."""
    with opened(store, tmp_path) as database:
        insert(database, "mine")
        other_commits(store, tmp_path)
        assert (database.flush().pushed, tokens(database)) == (1, ["other", "mine"])


def test_p4_a_write_that_will_be_rejected_is_no_longer_read(store: Store, tmp_path: Path) -> None:
    """As soon as this node knows the commit that came between."""
    with opened(store, tmp_path) as database:
        database.execute(KEYED)
        database.flush()
        database.run("INSERT INTO thing (v) VALUES ('mine')")
        other_commits(store, tmp_path, "INSERT INTO thing (v) VALUES ('theirs')")
        assert things(database) == [(1, "theirs")]


def test_p1_a_write_too_large_to_keep_its_pages_is_pushed_by_its_statements(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        insert(database, "large", 3 << 20)
        insert(database, "small")
        before = database.query("SELECT token, hex(substr(filler, 1, 9)), length(filler) FROM entry").rows
        database.close(push=False)
    with opened(store, tmp_path) as database:
        assert database.flush().pushed == 2
        after = database.query("SELECT token, hex(substr(filler, 1, 9)), length(filler) FROM entry").rows
    assert after == before
    assert settled(store, tmp_path) == ["large", "small"]


def test_p4_pages_are_pushed_without_running_a_statement(store: Store, tmp_path: Path) -> None:
    """The root has not moved: what was answered is committed as it is, also by the next process, and also in parts."""
    with opened(store, tmp_path) as database:
        database.execute("CREATE TABLE grown (v)")
        database.execute("INSERT INTO grown SELECT hex(randomblob(500)) FROM (VALUES (1), (2), (3)), sqlite_schema")
        database.execute("DELETE FROM grown")
        insert(database, "a", 9000)
        before = database.query("SELECT token, filler FROM entry").rows
        database.close(push=False)
    with opened(store, tmp_path) as database:
        database.run = database.batch = None  # type: ignore[assignment, method-assign]
        database._writer.commit = None  # type: ignore[assignment, method-assign]
        assert (database.flush().pushed, database.flush().pushed) == (4, 0)
        assert database.query("SELECT token, filler FROM entry", consistency="strong").rows == before
    assert settled(store, tmp_path) == ["a"]


def test_p4_a_write_that_changes_nothing_is_answered_and_not_kept(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        assert database.execute("UPDATE entry SET token = 'x' WHERE token = 'none'") == 0
        assert database.status().pending_writes == 0


def test_p6_a_deferred_write_that_failed_leaves_nothing_to_be_kept_with_the_next(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        database.execute("INSERT INTO person VALUES ('Ada')")
        with pytest.raises(SqlError, match="UNIQUE"):
            database.batch(["INSERT INTO entry SELECT 'x', randomblob(9000)", "INSERT INTO person VALUES ('Ada')"])
        assert database.execute("UPDATE entry SET token = 'y'") == 0
        assert database.status().pending_writes == 1
        insert(database, "a")
    assert settled(store, tmp_path) == ["a"]


def test_p7_pages_of_a_database_that_shrinks_and_grows_while_writes_are_pending(tmp_path: Path) -> None:
    """Pages that were cut off never shine through, neither in reads nor in what is pushed."""
    store = memory_store()
    with opened(store, tmp_path, create=True) as database:
        database.run("PRAGMA auto_vacuum = 1")
        database.execute(TABLE)
        for number in range(20):
            insert(database, f"old-{number}", 9000)
        database.change_settings({"durability": "deferred"})
        database.execute("DELETE FROM entry WHERE token > 'old-3'")
        insert(database, "new", 30_000)
        database.execute("DELETE FROM entry WHERE token = 'old-12'")
        insert(database, "newer", 90_000)
        before = database.query("SELECT token, filler FROM entry").rows
        assert database.query("PRAGMA integrity_check").rows == [("ok",)]
        assert database.flush().pushed == 4
        assert database.query("SELECT token, filler FROM entry", consistency="strong").rows == before
    settled(store, tmp_path)


def test_p7_a_patch_over_a_patch_keeps_nothing_beyond_its_floor() -> None:
    def page(number: int) -> bytes:
        return bytes([number]) * 512

    first = Patch({PageNo(2): page(2), PageNo(7): page(7)}, 512, 8, 5)
    second = Patch({PageNo(6): page(6)}, 512, 9, 3)
    assert merged_patch([first, second]) == Patch({PageNo(2): page(2), PageNo(6): page(6)}, 512, 9, 3)
    assert merged_patch([second, first]) == Patch({PageNo(2): page(2), PageNo(7): page(7)}, 512, 8, 3)
    assert merged_patch([]) is None


# The state that a write is run on


def test_p5_a_deferred_write_is_not_run_on_a_state_older_than_promised(store: Store, tmp_path: Path) -> None:
    now = [0.0]
    env = Environment(monotonic=lambda: now[0], sleep=lambda seconds: None)
    with opened(store, tmp_path, env=env) as database:
        other_commits(store, tmp_path, "CREATE TABLE late (v)")
        with pytest.raises(SqlError, match="no such table"):
            database.execute("INSERT INTO late VALUES (1)")
        now[0] += 1.001
        assert database.execute("INSERT INTO late VALUES (1)") == 1


def test_p5_an_error_on_a_state_older_than_promised_is_not_reported(store: Store, tmp_path: Path) -> None:
    """The store is down: a write that works is answered, and held against history later; an error may be out of date."""
    now = [0.0]
    env = Environment(monotonic=lambda: now[0], sleep=lambda seconds: None)
    faulty = FaultyStore(store, [At(n, Refuse(), Call.READ) for n in range(2, 99)])
    database = opened(faulty.store, tmp_path, env=env)
    now[0] += 1.001
    for _ in range(2):
        with pytest.raises(Unavailable):
            database.execute("INSERT INTO late VALUES (1)")
    asked = len(faulty.log)
    for token in "abc":
        insert(database, token)
    assert len(faulty.log) == asked, "a store that is down is not asked for each write"
    database.close(push=False)
    assert settled(store, tmp_path) == []
    with opened(store, tmp_path) as database:
        assert (database.flush().pushed, tokens(database)) == (3, ["a", "b", "c"])


# Modes


def test_p4_each_deferred_write_keeps_the_foreign_keys_that_it_was_run_with(store: Store, tmp_path: Path) -> None:
    """Whoever pushes it, and whatever holds there."""
    with opened(store, tmp_path) as database:
        database.run_script("CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (p REFERENCES parent)")
        database.run("PRAGMA foreign_keys = 0")
        database.execute("INSERT INTO child VALUES (1)")
        database.run("PRAGMA foreign_keys = 1")
        database.execute("INSERT INTO parent VALUES (7)")
        database.execute("INSERT INTO child VALUES (7)")
        database.close(push=False)
    other_commits(store, tmp_path, "DELETE FROM parent WHERE id = 99")
    other_commits(store, tmp_path)
    with opened(store, tmp_path) as database:
        flushed = database.flush()
        assert (flushed.rejected, database.query("SELECT p FROM child").rows) == (0, [(1,), (7,)])


def test_p4_foreign_keys_that_were_set_after_a_failed_write_hold_for_the_next(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        database.run_script("CREATE TABLE parent (id PRIMARY KEY); CREATE TABLE child (p REFERENCES parent)")
        database.execute("INSERT INTO parent VALUES (1)")
        with pytest.raises(SqlError, match="UNIQUE"):
            database.execute("INSERT INTO parent VALUES (1)")
        database.run("PRAGMA foreign_keys = 1")
        with pytest.raises(SqlError, match="FOREIGN KEY"):
            database.execute("INSERT INTO child VALUES (99)")


def test_p9_reads_after_a_deferred_write_keep_their_schema(store: Store, tmp_path: Path) -> None:
    """Layers of one chain are one history: a table made in between is seen, and nothing is asked of the store."""
    counting = CountingStore(store)
    with opened(counting.store, tmp_path) as database:
        insert(database, "warm")
        counting.reset()
        database.execute("CREATE TABLE fresh (v)")
        assert database.query("SELECT count(*) FROM fresh").rows == [(0,)]
        database.execute("ALTER TABLE fresh ADD COLUMN w DEFAULT 5")
        database.execute("INSERT INTO fresh (v) VALUES (1)")
        assert database.query("SELECT * FROM fresh").rows == [(1, 5)]
        assert counting.total.requests == 0

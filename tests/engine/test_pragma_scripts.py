"""Scripts that begin with a PRAGMA, as every dump does: they run outside a transaction first, and are one all the same."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.world import make, reopen, store_of
from virke.core.commit import Committed, Conflicted, TooSoon
from virke.engine.database import Database
from virke.errors import SqlError, Unavailable

FAILING = "PRAGMA foreign_keys=OFF; CREATE TABLE x (a, b); INSERT INTO nowhere VALUES (1)"


@pytest.fixture
def db() -> Database:
    database = make()
    database.execute("CREATE TABLE t (a)")
    return database


def test_what_a_failed_script_created_is_forgotten_by_its_connection(db: Database) -> None:
    """SQLite had the schema in memory; another connection's later schema has the same cookie."""
    with pytest.raises(SqlError, match="nowhere"):
        db.run_script(FAILING)
    with db.transaction() as transaction:
        transaction.execute("CREATE TABLE u (b UNIQUE)")
    with pytest.raises(SqlError, match="no such table: x"):
        db.execute("INSERT INTO x VALUES ('phantom', 1)")
    db.execute("INSERT INTO u VALUES ('real')")
    seen = reopen(store_of(db))
    assert seen.query("SELECT b FROM u").rows == [("real",)]
    assert seen.query("PRAGMA integrity_check").rows == [("ok",)]


def test_two_nodes_that_create_a_table_each_their_way_store_what_they_say(db: Database) -> None:
    """The loser's script is undone, its columns are not remembered in their old order."""
    with pytest.raises(SqlError, match="nowhere"):
        db.run_script(FAILING)
    other = reopen(store_of(db))
    other.execute("CREATE TABLE x (b, a)")
    db.query("SELECT 1", consistency="strong")
    db.execute("INSERT INTO x (a, b) VALUES ('for a', 'for b')")
    assert reopen(store_of(db)).query("SELECT a, b FROM x").rows == [("for a", "for b")]


def test_p2_an_idempotency_key_holds_for_them_too(db: Database) -> None:
    for _ in range(2):
        result = db.run_script("PRAGMA foreign_keys=ON; INSERT INTO t VALUES (1), (2)", idempotency_key="k")
        assert result.rows_affected == 2
    assert db.query("SELECT a FROM t").rows == [(1,), (2,)]


def test_constraints_may_be_deferred_to_the_end(db: Database) -> None:
    """What follows the PRAGMAs is one transaction."""
    db.execute("CREATE TABLE p (a PRIMARY KEY)")
    db.execute("CREATE TABLE c (a REFERENCES p DEFERRABLE INITIALLY DEFERRED)")
    db.run_script("PRAGMA foreign_keys=ON; INSERT INTO c VALUES (1); INSERT INTO p VALUES (1)")
    with pytest.raises(SqlError, match="FOREIGN KEY"):
        db.run_script("PRAGMA foreign_keys=ON; PRAGMA user_version=9; INSERT INTO c VALUES (2)")
    assert db.query("SELECT a FROM c").rows == [(1,)]
    assert db.query("PRAGMA user_version").rows == [(0,)]


def test_a_mode_that_a_failed_script_set_is_taken_back(db: Database) -> None:
    db.run_script("CREATE TABLE p (a PRIMARY KEY); CREATE TABLE c (a REFERENCES p)")
    db.run("PRAGMA foreign_keys=OFF")
    with pytest.raises(SqlError, match="nowhere"):
        db.run_script("PRAGMA foreign_keys=ON; INSERT INTO nowhere VALUES (1)")
    db.execute("INSERT INTO c VALUES (1)")
    assert db.run("PRAGMA foreign_keys").rows == [(0,)]


def test_a_mode_is_taken_over_only_with_the_commit_that_set_it(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first attempt loses the race, the second fails; or the store does."""
    db.run_script("CREATE TABLE p (a PRIMARY KEY); CREATE TABLE c (a REFERENCES p); CREATE TABLE u (a UNIQUE)")
    db.run("PRAGMA foreign_keys=ON")
    other, settle = reopen(store_of(db)), db._writer._settle

    def overtaken(*arguments: Any, **named: Any) -> Committed | Conflicted | TooSoon:
        monkeypatch.setattr(db._writer, "_settle", settle)
        other.execute("INSERT INTO u VALUES (1)")
        return settle(*arguments, **named)

    def down(*arguments: Any, **named: Any) -> Committed | Conflicted:
        monkeypatch.setattr(db._writer, "_settle", settle)
        raise Unavailable("down")

    for meanwhile, error in ((overtaken, SqlError), (down, Unavailable)):
        monkeypatch.setattr(db._writer, "_settle", meanwhile)
        with pytest.raises(error):
            db.run_script("PRAGMA foreign_keys=OFF; INSERT INTO u VALUES (1)")
        assert db.run("PRAGMA foreign_keys").rows == [(1,)]
        with pytest.raises(SqlError, match="FOREIGN KEY"):
            db.execute("INSERT INTO c VALUES (9)")


@pytest.mark.parametrize("first", ["", "PRAGMA user_version;"])
def test_columns_are_those_that_sqlite_rolled_back_to(db: Database, first: str) -> None:
    db.run_script("CREATE TABLE u (a UNIQUE); INSERT INTO u VALUES (1)")
    with pytest.raises(SqlError, match="UNIQUE"):
        db.run_script(f"{first}ALTER TABLE u ADD COLUMN b;SELECT * FROM u;INSERT OR ROLLBACK INTO u (a) VALUES (1)")
    result = db.run("SELECT * FROM u;")
    assert (result.columns, result.rows) == (["a"], [(1,)])


def test_a_vacuum_comes_first_or_not_at_all(db: Database) -> None:
    db.run_script("PRAGMA user_version=3; VACUUM; INSERT INTO t VALUES (1)")
    with pytest.raises(SqlError, match="within a transaction"):
        db.run_script("PRAGMA user_version=4; INSERT INTO t VALUES (2); VACUUM")
    assert db.query("SELECT a FROM t").rows == [(1,)]
    assert db.query("PRAGMA user_version").rows == [(3,)]


def test_columns_are_those_of_the_schema_that_is_there(db: Database) -> None:
    """A statement that a failed script ran after its own ALTER is described anew."""
    db.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(SqlError, match="nowhere"):
        db.run_script("ALTER TABLE t ADD COLUMN more;SELECT * FROM t;INSERT INTO nowhere VALUES (1)")
    result = db.run("SELECT * FROM t;")
    assert (result.columns, result.rows) == (["a"], [(1,)])

"""What changes no page is no conflict: transactions and imports go on over compaction, promotion and settings."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.engine.world import Clock, dump_of, make, reopen, store_of
from virke.core import collect
from virke.core.collect import Marked
from virke.core.effects import Effect, Outcome
from virke.core.merge import Run
from virke.core.root import Root
from virke.engine.database import Database
from virke.errors import Conflict
from virke.stores.memory import memory_store
from virke.transfer import import_file

LARGE = "INSERT INTO t (v) VALUES (randomblob(80000))"
MEANWHILE: dict[str, Callable[[Database], object]] = {
    "settings": lambda other: other.change_settings({"history_days": 3}),
    "promotion": Database.promote,
    "both, twice": lambda other: [other.change_settings({"max_attempts": n}) for n in (3, 4)] + [other.promote()],
}


@pytest.fixture
def db() -> Database:
    """A database of a few segments, as one process sees it."""
    database = make(clock=Clock())
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    for _ in range(3):
        database.execute(LARGE)
    return database


@pytest.mark.parametrize("what", MEANWHILE)
def test_a_transaction_goes_on_over_upkeep(db: Database, what: str) -> None:
    """Of another process; it commits what it saw and wrote, once."""
    other = reopen(store_of(db))
    transaction = db.transaction()
    ((count,),) = transaction.query("SELECT count(*) FROM t").rows
    MEANWHILE[what](other)
    between = other.version
    transaction.execute("INSERT INTO t (v) VALUES (?)", (count,))
    assert transaction.commit() > between
    seen = reopen(store_of(db))
    assert seen.query("SELECT count(*), max(CASE WHEN typeof(v) = 'integer' THEN v END) FROM t").rows == [(4, 3)]
    assert dump_of(seen.snapshot()) == dump_of(db.snapshot())
    assert seen.settings() == other.settings()


def test_a_transaction_that_compaction_overtakes_goes_on(db: Database) -> None:
    """The segments that it began on are not the root's any more."""
    other = reopen(store_of(db))
    with db.transaction() as transaction:
        transaction.execute("UPDATE t SET v = 'x' WHERE id = 1")
        before = other.snapshot().root.segments
        assert other._upkeep.compact(Run(0, len(before)))
        assert other.snapshot().root.segments != before
    assert reopen(store_of(db)).query("SELECT v FROM t WHERE id = 1").rows == [("x",)]


def test_a_change_of_pages_is_still_a_conflict(db: Database) -> None:
    """Also one row behind upkeep, and one that puts back what was there in another place."""
    other = reopen(store_of(db))
    transaction = db.transaction()
    transaction.execute("UPDATE t SET v = 'mine' WHERE id = 1")
    other.change_settings({"history_days": 3})
    other.execute("UPDATE t SET v = 'theirs' WHERE id = 2")
    with pytest.raises(Conflict):
        transaction.commit()
    assert reopen(store_of(db)).query("SELECT count(*) FROM t WHERE v = 'mine'").rows == [(0,)]


def test_an_import_goes_on_over_upkeep(tmp_path: Path) -> None:
    """While the dump ran on its private copy, the database's references moved."""
    from virke.opening import connect

    store = memory_store()
    with connect("db", store, create=True, background=False) as database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        database.execute(LARGE)
        other = reopen_as("db", store)

        class Dump:
            """A dump whose last line comes after the other process has promoted the database."""

            def __init__(self) -> None:
                self._lines = [b"INSERT INTO t (v) VALUES ('one');\n", b"INSERT INTO t (v) VALUES ('two');\n"]

            def read(self, size: int = -1) -> bytes:
                if len(self._lines) == 1:
                    other.promote()
                return self._lines.pop(0) if self._lines else b""

        import_file(database, Dump())  # type: ignore[arg-type]
        assert database.query("SELECT v FROM t WHERE typeof(v) = 'text' ORDER BY 1").rows == [("one",), ("two",)]
        assert database.status().tier == "object"


def test_collection_begins_though_another_process_keeps_writing(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment comes while collection walks: what the walk saw is good for the newer root too."""
    db.change_settings({"history_days": 0})
    assert db._upkeep.compact(Run(0, 3))
    other, walk = reopen(store_of(db)), collect.mark

    def slow_walk(root: Root) -> Generator[Effect, Outcome, Marked]:
        marked = yield from walk(root)
        other.execute(LARGE)
        return marked

    monkeypatch.setattr(collect, "mark", slow_walk)
    db._upkeep.collect_step()
    assert len(db.snapshot().root.segments) == 2
    assert db.snapshot().root.horizon.version > 0


def reopen_as(name: str, store: object) -> Database:
    """The same database as another process sees it."""
    return Database(store, name)  # type: ignore[arg-type]

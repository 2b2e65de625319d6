"""What changes no page is no conflict: transactions and imports go on over compaction, promotion and settings."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.engine.world import Clock, dump_of, make, reopen, store_of
from virke.core import collect
from virke.core.collect import Marked
from virke.core.effects import Effect, Outcome, Tier
from virke.core.merge import Run
from virke.core.root import Root, RootAt
from virke.engine.database import Database
from virke.engine.streaming import PageStream
from virke.errors import Conflict, Denied, Invalid, NotFound
from virke.stores.base import Store
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


@pytest.mark.native
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
    other, walk = reopen(store_of(db)), collect.mark_needed

    def slow_walk(root: Root) -> Generator[Effect, Outcome, Marked]:
        marked = yield from walk(root)
        other.execute(LARGE)
        return marked

    monkeypatch.setattr(collect, "mark_needed", slow_walk)
    db._upkeep.collect_step()
    assert len(db.snapshot().root.segments) == 2
    assert db.snapshot().root.horizon.version > 0


def everything_collected(store: Store, clock: Clock) -> None:
    """Another process merges all and deletes what nothing needs any more."""
    other = reopen(store, clock=clock)
    other.change_settings({"history_days": 0})
    assert other._upkeep.compact(Run(0, len(other.snapshot().root.segments)))
    for _ in range(3):
        other.collect(grace_ms=0)


def test_a_long_transaction_whose_snapshot_was_collected_is_a_conflict() -> None:
    """Also when this process has let go of the indexes of that snapshot; and half a script is never committed."""
    clock = Clock()
    database = make(clock=clock)
    database.execute("CREATE TABLE s (a)")
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    database.executemany("INSERT INTO t (v) VALUES (randomblob(?))", [(3000,)] * 3000)
    reader = reopen(store_of(database), clock=clock)
    transaction = reader.transaction()
    assert transaction.query("SELECT id FROM t LIMIT 1").rows == [(1,)]
    everything_collected(store_of(database), clock)
    reader.query("SELECT 1", consistency="strong")
    reader._volume._indexes.forget()
    with pytest.raises(Conflict, match="collected"):
        transaction.run_script("INSERT INTO s VALUES ('half'); UPDATE t SET v = 1 WHERE id = 2900")
    with pytest.raises(Invalid, match="over"):
        transaction.commit()
    assert reopen(store_of(database)).query("SELECT a FROM s").rows == []


def test_a_process_without_the_object_store_says_so(db: Database) -> None:
    """A promotion by another one was killed after its first commit; settings are changed all the same."""
    db._upkeep._switch_tier(Tier.OBJECT)
    store = store_of(db)
    near = reopen(Store(store.url, store.register, {Tier.KV: store.blobs[Tier.KV]}))
    near.change_settings({"max_attempts": 9})
    assert near.settings().max_attempts == 9
    with pytest.raises(NotFound, match="no object tier"):
        near._upkeep.compact(Run(0, 2))
    with pytest.raises(NotFound, match="no object tier"):
        near.long_write().commit_pages(near.snapshot(), page_size=4096, page_count=1, pages=[])


def test_who_may_not_delete_is_told_of_it_by_collection_alone(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a lost race leaves behind is garbage, and the race is what is told."""
    db.change_settings({"history_days": 0})
    base = db.snapshot()
    other = reopen(store_of(db))
    other.execute(LARGE)
    other.upkeep()

    def refuse(*_: object) -> None:
        raise Denied("you may not delete")

    monkeypatch.setattr(type(store_of(db).blobs[Tier.KV]), "delete", refuse)
    pages = list(base.pages())
    stale = RootAt(base.root, db._volume.branch.latest().generation)
    stream = PageStream(
        db._volume, db._committing, stale, page_size=4096, page_count=1, claimant=db._committing.claim()
    )
    db.query("SELECT 1", consistency="strong")
    with pytest.raises(Conflict):
        stream.commit(pages[:1])
    other._upkeep.compact(Run(0, len(other.snapshot().root.segments)))
    with pytest.raises(Denied):
        other.collect(grace_ms=0)


def reopen_as(name: str, store: object) -> Database:
    """The same database as another process sees it."""
    return Database(store, name)  # type: ignore[arg-type]

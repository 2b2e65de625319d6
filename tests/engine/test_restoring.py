"""Restores: an earlier state comes back as a new version, and nothing that was answered is lost by it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.engine.world import Clock, dump_image, image, make, reopen
from virke.core.collect import DAY_MS
from virke.core.page import page_hash
from virke.engine import restoring
from virke.engine.database import Database
from virke.engine.snapshot import Snapshot
from virke.errors import Conflict, Corrupt, Denied, Invalid, NotFound
from virke.stores.base import Call, Store
from virke.stores.counted import Tally, counting_store
from virke.stores.memory import memory_store

INSERT = "INSERT INTO t (b) VALUES (randomblob(?))"


def filled(rows: int = 10, size: int = 5000, *, clock: Clock | None = None, store: Store | None = None) -> Database:
    database = make(store, clock=clock or Clock(tick_ms=1000))
    database.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    for _ in range(rows):
        database.execute(INSERT, (size,))
    return database


def content(snapshot: Snapshot) -> list[str]:
    """What a whole database holds but for answers to keyed requests; its checksum is that of its pages."""
    total = 0
    for number, data in snapshot.pages():
        total ^= page_hash(number, data)
    assert total == snapshot.head.checksum
    return [
        line
        for line in dump_image(image(snapshot))
        if "virke_requests" not in line and not line.startswith("    id INT")
    ]


def count(database: Database) -> object:
    return database.query("SELECT count(*) FROM t").rows[0][0]


def test_p1_a_restore_is_a_new_version_and_is_undone_by_another() -> None:
    database = filled()
    before, newest = content(database.snapshot()), database.version
    database.execute("DELETE FROM t")
    deleted = content(database.snapshot())
    done = database.restore(newest)
    assert (done.version, done.replaced, done.restored_version) == (newest + 2, newest + 1, newest)
    assert (content(database.snapshot()), database.status().epoch) == (before, 2)
    assert content(database.snapshot(newest + 1)) == deleted, "what was answered is still in history"
    assert database.versions(1)[0].restored_version == newest
    database.restore(done.replaced)
    assert (content(database.snapshot()), database.status().epoch) == (deleted, 3)


def test_a_dry_run_says_what_a_restore_then_does() -> None:
    database = filled()
    database.execute("DELETE FROM t WHERE a = 3")
    version = database.version
    told = database.restore(5, dry_run=True)
    assert (database.version, told.dry_run, told.version) == (version, True, version)
    done = database.restore(5)
    assert (done.pages, done.size_bytes, done.time_ms) == (told.pages, told.size_bytes, told.time_ms)


def test_what_the_database_shows_already_is_not_restored() -> None:
    database = filled()
    version = database.version
    database.change_settings({"max_attempts": 5})
    for at in (version, version + 1, "0s"):
        assert (database.restore(at).pages, database.version) == (0, version + 1)


def test_p2_a_keyed_write_is_not_applied_again_after_a_restore() -> None:
    """Neither one that the restored state has, nor one that was answered later, nor where its table did not exist yet."""
    database = filled(2)
    database.execute(INSERT, (1,), idempotency_key="early")
    version = database.version
    database.execute(INSERT, (2,), idempotency_key="late")
    for at in (version, 3, 1, version + 1, version):
        database.restore(at)
        tables = [name for (name,) in database.query("SELECT name FROM sqlite_schema WHERE name = 't'").rows]
        rows = count(database) if tables else None
        found = [database.run(INSERT, (size,), idempotency_key=key) for key, size in (("early", 1), ("late", 2))]
        assert [(one.rows_affected, one.last_insert_rowid) for one in found] == [(1, 3), (1, 4)]
        assert (count(database) if tables else None) == rows
    with pytest.raises(Invalid, match="another request"):
        database.run("SELECT 1", idempotency_key="late")


def test_p4_p14_other_connections_see_the_old_schema_again_and_no_lost_history() -> None:
    """Every connection that is open reads the schema anew: columns that came later are not there any more."""
    store = memory_store()
    database = filled(3, store=store)
    other, third = reopen(store), reopen(store)
    version = database.version
    database.execute("ALTER TABLE t ADD COLUMN c DEFAULT 7")
    for one in (other, third):
        assert len(one.query("SELECT * FROM t", consistency="strong").columns) == 3
    third.execute("INSERT INTO t (c) VALUES (1)")
    database.restore(version)
    for one in (database, other, third):
        assert one.query("SELECT * FROM t", consistency="strong").columns == ["a", "b"]
        one.execute(INSERT, (10,))
    assert count(database) == 6
    with database.transaction() as transaction:
        assert transaction.query("SELECT count(*) FROM t").rows == [(6,)]


def test_p5_bookmarks_from_before_a_restore_are_satisfied_by_it() -> None:
    store = memory_store()
    database, other = filled(store=store), reopen(store)
    bookmarks = [database.bookmark]
    database.execute("DELETE FROM t")
    bookmarks.append(database.bookmark)
    database.restore(5)
    bookmarks.append(database.bookmark)
    assert bookmarks == sorted(bookmarks)
    for bookmark in bookmarks:
        assert other.query("SELECT count(*) FROM t", bookmark=bookmark).rows == [(3,)]


def test_a_writer_that_commits_meanwhile_is_restored_over_and_stays_in_history() -> None:
    store = memory_store()
    filled(store=store)
    calls: list[Call] = []

    def rival(call: Call, tally: Tally) -> None:
        if call is Call.PUT and not calls:
            calls.append(call)
            reopen(store).execute("INSERT INTO t VALUES (99, 'meanwhile')")

    database = reopen(counting_store(store, rival))
    done = database.restore(5)
    assert calls == [Call.PUT]
    assert (count(database), done.replaced) == (3, 13)
    assert database.query("SELECT b FROM t WHERE a = 99", at=done.replaced).rows == [("meanwhile",)]


def test_a_transaction_that_was_open_loses_against_a_restore() -> None:
    store = memory_store()
    database = filled(store=store)
    transaction = database.transaction()
    transaction.execute("DELETE FROM t")
    reopen(store).restore(5)
    with pytest.raises(Conflict):
        transaction.commit()
    assert count(database) == 3


@pytest.mark.parametrize("seed", range(6))
def test_any_version_of_any_history_comes_back_as_it_was(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Growth, VACUUM to another page size, merges, spills, earlier restores; windows of a few pages."""
    monkeypatch.setattr(restoring, "WINDOW_PAGES", 5)
    draw = random.Random(seed)
    database = make(clock=Clock(tick_ms=1000))
    seen = {1: content(database.snapshot())}
    steps: list[Callable[[], object]] = [
        lambda: database.execute(INSERT, (draw.randrange(1, 30_000),)),
        lambda: database.execute("DELETE FROM t WHERE a % 2 = ?", (draw.randrange(2),)),
        lambda: database.execute("UPDATE t SET b = randomblob(4000) WHERE a % 3 = 0"),
        lambda: database.run_script(f"PRAGMA page_size = {draw.choice((1024, 4096, 8192))}; VACUUM"),
        lambda: database.execute(INSERT, (5,), idempotency_key=str(draw.random())),
        lambda: database.upkeep(None),
        lambda: database.execute(f"CREATE TABLE made_{draw.randrange(1 << 40)} (x)"),
    ]
    database.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    for _ in range(40):
        if draw.random() < 0.25:
            at = draw.choice(list(seen))
            database.restore(at)
            assert content(database.snapshot()) == seen[at], at
            if "CREATE TABLE t " not in " ".join(seen[at]):
                database.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
        else:
            draw.choice(steps)()
        seen[database.version] = content(database.snapshot())
    for version, expected in seen.items():
        assert content(database.snapshot(version)) == expected, version


def test_a_restore_reads_and_writes_the_pages_that_were_written_since() -> None:
    """O(pages that differ), also after everything was merged: a large database is not copied."""
    store, tallies = memory_store(), list[Tally]()
    database = filled(400, 20_000, store=store)
    database.upkeep(None)
    version, size = database.version, database.status().size_bytes
    database.execute("DELETE FROM t WHERE a = 100")
    database.execute("UPDATE t SET b = randomblob(20000) WHERE a = 7")
    for _ in range(4):
        database.execute(INSERT, (90_000,))
    database.upkeep(None)
    cold = reopen(counting_store(store, lambda call, tally: tallies.append(tally)))
    done = cold.restore(version)
    moved = sum(tally.bytes_up + tally.bytes_down for tally in tallies)
    assert done.pages < 40
    assert moved < size / 4, (moved, size)


def test_p8_what_was_collected_is_not_found_and_nothing_changes() -> None:
    clock = Clock(tick_ms=1000)
    database = filled(60, 9000, clock=clock)
    database.upkeep(None)
    clock.pass_s(30 * DAY_MS / 1000)
    database.collect(grace_ms=0)
    database.collect(grace_ms=0)
    version, oldest = database.version, database.status().history_from_version
    for at in (2, "31d", 99_999):
        with pytest.raises(NotFound):
            database.restore(at)
    assert database.version == version
    database.restore(oldest)
    assert count(database) == oldest - 2


def test_p8_a_state_that_is_collected_while_it_is_read_is_not_found() -> None:
    """The sweep comes between the look at history and the pages: an error that says why, and no half of a restore."""
    clock, store = Clock(tick_ms=1000), memory_store()
    owner = filled(60, 9000, clock=clock, store=store)
    owner.upkeep(None)
    calls: list[Call] = []

    def collected(call: Call, tally: Tally) -> None:
        calls.append(call)
        if len(calls) == 4:
            clock.pass_s(30 * DAY_MS / 1000)
            owner.collect(grace_ms=0)
            owner.collect(grace_ms=0)

    database = Database(counting_store(store, collected), "db", environment=clock.environment)
    with pytest.raises(NotFound) as caught:
        database.restore(9)
    assert len(calls) > 4
    assert "history_days" in str(caught.value.context["hint"])
    assert count(reopen(store)) == 60


def test_where_only_reads_are_allowed_nothing_is_restored() -> None:
    store = memory_store()
    filled(store=store)
    database = Database(store, "db", read_only=True)
    assert database.restore(5, dry_run=True).pages > 0
    with pytest.raises(Denied):
        database.restore(5)


def test_a_damaged_page_of_then_is_an_error_and_nothing_changes() -> None:
    """P7: what can't be read is not brought back."""
    store = memory_store()
    database = filled(40, 9000, store=store)
    version = database.version
    database.execute("UPDATE t SET b = randomblob(9000)")
    segments = [ref for ref in database.snapshot(version).root.segments if ref.hi <= version]
    blobs = next(iter(store.blobs.values()))
    blobs.delete([key for ref in segments for key in ref.keys])
    with pytest.raises(Corrupt):
        reopen(store).restore(version)
    version = database.version
    database.settings()
    assert database.version == version

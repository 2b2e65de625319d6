"""A deletion without WHERE at night: every promise holds through its cure, on every store and through a node."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.promises.ledger import LARGE, TABLE, Ledger, check_integrity, check_store, opened
from tests.promises.places import on
from tests.servers.node import node
from virke import connect
from virke.errors import VirkeError
from virke.opening import open_store

EVERYWHERE = on("local", "seaweedfs", slow=("moto", "local+seaweedfs"))


@EVERYWHERE
def test_p1_p2_p5_a_deletion_is_taken_back_and_taken_back_again(place: str) -> None:
    with connect("ledger", place, create=True) as database, connect("ledger", place) as other:
        database.execute(TABLE)
        for number in range(6):
            database.execute("INSERT INTO entry VALUES (?, randomblob(?))", (str(number), LARGE if number % 2 else 10))
        database.execute("INSERT INTO entry VALUES ('once', NULL)", idempotency_key="early")
        before = other.query("SELECT * FROM entry ORDER BY 1", consistency="strong").rows
        newest = database.version
        database.execute("INSERT INTO entry VALUES ('late', NULL)", idempotency_key="late")
        bookmark = database.bookmark
        database.execute("DELETE FROM entry")
        [table] = other.diff(newest).tables
        assert (table.name, table.rows_before, table.rows_after, table.removed) == (
            "entry",
            len(before),
            0,
            len(before),
        )
        done = database.restore(newest)
        assert (database.diff(newest).objects, database.diff(newest).tables) == ((), ())
        for one in (database, other):
            assert one.query("SELECT * FROM entry ORDER BY 1", consistency="strong").rows == before
            assert one.query("SELECT count(*) FROM entry", bookmark=bookmark).rows == [(7,)]
            for key, token in (("early", "once"), ("late", "late")):
                assert one.execute(f"INSERT INTO entry VALUES ('{token}', NULL)", idempotency_key=key) == 1
        assert other.query("SELECT count(*) FROM entry").rows == [(7,)], "nothing was applied again"
        assert other.query("SELECT count(*) FROM entry", at=done.replaced).rows == [(0,)]
        check_integrity(other)
        other.restore(done.replaced)
        assert database.query("SELECT count(*) FROM entry", consistency="strong").rows == [(0,)]
    check_store(open_store(place))


@EVERYWHERE
def test_p1_p3_restores_race_writers_and_collections(place: str) -> None:
    """Each write that was answered is in history, at its version; each restore shows what it says; nothing is doubled."""
    with connect("ledger", place, create=True) as database:
        database.execute(TABLE)
        database.execute("INSERT INTO entry VALUES ('first', NULL)")
        base = database.version
    written: dict[str, int] = {}
    failures: list[BaseException] = []

    def write(name: str) -> None:
        with connect("ledger", place) as mine:
            for number in range(8):
                token = f"{name}-{number}"
                size = LARGE if number % 3 == 0 else 10
                done = mine.run("INSERT INTO entry VALUES (?, randomblob(?))", (token, size))
                written[token] = done.version

    def restore() -> None:
        with connect("ledger", place) as mine:
            for _ in range(3):
                done = mine.restore(base)
                if done.pages:
                    found = mine.query("SELECT token FROM entry", at=done.version).rows
                    assert found == [("first",)], found
                mine.collect()

    def guarded(work: object, *args: str) -> None:
        try:
            work(*args)  # type: ignore[operator]
        except (VirkeError, AssertionError) as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(write, name)) for name in ("a", "b")]
    threads.append(threading.Thread(target=guarded, args=(restore,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(written) == 16
    with connect("ledger", place) as database:
        for token, version in written.items():
            assert database.query("SELECT count(*) FROM entry WHERE token = ?", (token,), at=version).rows == [(1,)]
        check_integrity(database)
    check_store(open_store(place))


def test_p14_nodes_and_their_clients_follow_a_restore(tmp_path: Path) -> None:
    """Two nodes on one store: one restores; the other, and clients with bookmarks of before, go on without an error."""
    with (
        node("local:.virke", tmp_path) as first,
        node("local:.virke", tmp_path) as second,
        connect("app", first.url, create=True) as here,
        connect("app", second.url) as there,
    ):
        here.execute("CREATE TABLE t (a)")
        here.execute("INSERT INTO t VALUES (1), (2)")
        version = here.version
        there.execute("ALTER TABLE t ADD COLUMN b")
        there.execute("DELETE FROM t")
        assert len(here.query("SELECT * FROM t", consistency="strong").columns) == 2
        bookmark = there.bookmark
        compared = here.diff(version)
        assert compared == there.diff(version)
        assert [(one.change, one.name) for one in compared.objects] == [("changed", "t")]
        assert [(one.rows_before, one.rows_after, one.removed) for one in compared.tables] == [(2, 0, 2)]
        told = here.restore(version, dry_run=True)
        done = here.restore(version)
        assert (told.pages, done.restored_version) == (done.pages, version)
        for one in (here, there):
            found = one.query("SELECT * FROM t", bookmark=bookmark)
            assert (found.columns, found.rows) == (["a"], [(1,), (2,)])
        for one in (here, there):
            assert one.execute("INSERT INTO t VALUES (3)") == 1
            assert one.versions(4)[-1].version <= done.version
        assert [one.rows for one in there.batch(["SELECT count(*) FROM t", "SELECT 1"], at=version)] == [
            [(2,)],
            [(1,)],
        ]
        assert there.query("SELECT count(*) FROM t", at="0s").rows == [(4,)]


def test_p13_a_write_that_was_pending_is_pushed_before_and_is_in_history(tmp_path: Path) -> None:
    """Deferred writes of this machine were answered: they come before the restore, not after it."""
    from virke.stores.memory import memory_store

    store, ledger = memory_store(), Ledger()
    with opened(store, tmp_path, create=True) as database:
        database.execute(TABLE)
        ledger.insert(database, "kept")
        version = database.version
        database.change_settings({"durability": "deferred"})
        ledger.insert(database, "pending")
        done = database.restore(version)
        assert database.query("SELECT token FROM entry").rows == [("kept",)]
        assert database.query("SELECT token FROM entry", at=done.replaced).rows == [("kept",), ("pending",)]
        assert database.flush().pushed == 0

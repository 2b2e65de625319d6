"""Deferred writes of several processes with one journal, and what may befall a push: nothing answered is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import NAME, TABLE, insert, opened, settled, tokens
from tests.promises.places import fresh
from tests.servers.s3 import S3Server
from virke.core.effects import Absent, Tier
from virke.engine.database import Database
from virke.engine.entry import Contents, Entry
from virke.errors import Denied, SqlError, TooLarge, Unavailable
from virke.opening import connect, delete
from virke.stores.base import Blobs, Range, Store

ALL: Final = "SELECT token FROM entry"


@pytest.fixture
def store(deferred_store: Store) -> Store:
    """A store with a deferred database in it."""
    return deferred_store


def journalled(database: Database) -> tuple[int, int]:
    """How many writes are pending and how many rejected."""
    status = database.status()
    return status.pending_writes, len(status.rejected_writes)


def test_p4_processes_with_one_journal_see_each_others_pending_writes(store: Store, tmp_path: Path) -> None:
    """So the second is told at once what it could only be told later, when it was answered already."""
    with opened(store, tmp_path) as one, opened(store, tmp_path) as two:
        two.execute("INSERT INTO person VALUES ('Bo')")
        one.execute("INSERT INTO person VALUES ('Ada')")
        for database in (one, two):
            names = database.query("SELECT name FROM person ORDER BY 1", consistency="strong").rows
            assert names == [("Ada",), ("Bo",)]
        with pytest.raises(SqlError, match="UNIQUE"):
            two.execute("INSERT INTO person VALUES ('Ada')")
        assert (two.flush().pushed, journalled(one)) == (2, (0, 0))


def test_p4_a_write_that_another_process_pushes_meanwhile_stays_in_sight(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The push comes between this process's look at the root and at the journal."""
    with opened(store, tmp_path) as database, opened(store, tmp_path) as other, opened(store, tmp_path / "x") as third:
        insert(database, "mine")
        third.execute("INSERT INTO person VALUES ('Cy')")
        third.flush()
        database._volume.branch.refresh()  # the layer has to be built anew
        assert database._deferred is not None
        journal = database._deferred.journal
        read = journal.read

        def pushed_first() -> Contents:
            monkeypatch.setattr(journal, "read", read)
            assert other.flush().pushed
            return read()

        monkeypatch.setattr(journal, "read", pushed_first)
        assert database.execute("UPDATE entry SET token = 'seen' WHERE token = 'mine'") == 1
        assert database.query("SELECT token FROM entry").rows == [("seen",)]


def test_p1_a_write_of_a_deleted_database_takes_no_other_along(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process still has the old database open; a push of the new one's writes failed and left its notes."""
    with opened(store, tmp_path) as old:
        delete(NAME, store)
        with opened(store, tmp_path / "elsewhere", create=True) as creator:
            creator.execute(TABLE)
            creator.change_settings({"durability": "deferred"})
        with opened(store, tmp_path) as new:
            insert(new, "precious")

            def down(*_: object) -> None:
                raise Unavailable("down")

            with monkeypatch.context() as patch:
                patch.setattr(store.register, "swap", down)
                with pytest.raises(Unavailable):
                    new.flush()
            old.execute("INSERT INTO entry VALUES ('late', NULL)")
            flushed = new.flush()
            assert (flushed.pushed, flushed.rejected) == (1, 1)
            assert journalled(new) == (0, 1)
            assert new.status().rejected_writes[0].sql == "INSERT INTO entry VALUES ('late', NULL)"
        old.close(push=False)
    assert settled(store, tmp_path) == ["precious"]


@pytest.mark.parametrize("answered", range(1, 4))
def test_p1_what_the_store_refuses_during_a_push_rejects_no_write(
    answered: int, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages that it needs can't be read, for whatever reason: it stays pending."""
    with opened(store, tmp_path) as database, opened(store, tmp_path / "other") as other:
        for number in range(9):
            insert(database, f"large-{number}", 90_000)
        database.flush()
        assert database.execute("UPDATE entry SET filler = filler || 'x'") == 9
        other.change_settings({"durability": "sync"})
        other.execute("UPDATE entry SET filler = randomblob(90000)")  # the pages are cold here now
        blobs, left = type(store.blobs[Tier.KV]), [None] * answered
        get = blobs.get

        def expired(self: Blobs, ranges: Sequence[Range]) -> list[bytes | Absent]:
            if not left:
                raise Denied("the credentials have expired")
            left.pop()
            return get(self, ranges)

        with monkeypatch.context() as patch:
            patch.setattr(blobs, "get", expired)
            with pytest.raises(Denied):
                database.flush()
        assert journalled(database) == (1, 0)
        assert database.flush().pushed == 1


def test_p6_nothing_of_one_deferred_write_is_seen_by_the_next(store: Store, tmp_path: Path) -> None:
    """What is answered is what the push will do: no temporary table, no mode and no rowid of the one before."""
    with opened(store, tmp_path) as database:
        insert(database, "Abc")
        database.run_script("CREATE TEMP TABLE seen AS SELECT 42 AS v")
        with pytest.raises(SqlError, match="no such table"):
            database.execute("INSERT INTO person SELECT v FROM seen")
        database.run_script("SELECT 1; PRAGMA case_sensitive_like = 1")
        assert database.execute("UPDATE entry SET token = token || '!' WHERE token LIKE 'abc'") == 1
        database.execute("INSERT INTO person VALUES (last_insert_rowid())")
        before = database.query("SELECT name FROM person").rows
        database.flush()
        assert database.query("SELECT name FROM person", consistency="strong").rows == before == [("0",)]
        assert tokens(database) == ["Abc!"]


def test_p1_deferred_writes_are_found_however_the_store_is_written(moto: S3Server, client: Path) -> None:
    """The journal belongs to the place, not to its spelling or to how it is asked."""
    prefix = fresh()
    spellings = [moto.url(prefix), moto.url(f"{prefix}/"), moto.url(prefix, timeout_s="9", region="eu-west-1")]
    for number, url in enumerate(spellings):
        with connect(NAME, url, create=True, background=False) as database:
            if not number:
                database.execute(TABLE)
                database.change_settings({"durability": "deferred"})
            assert database.status().pending_writes == number
            insert(database, f"row-{number}")
            database.close(push=False)
    with connect(NAME, spellings[0], background=False) as database:
        assert database.flush().pushed == 3


def test_p4_what_another_process_appends_meanwhile_is_seen_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between this process's look at the journal's end and at its entries."""
    with opened(store, tmp_path) as database, opened(store, tmp_path) as other:
        insert(database, "0")
        database.flush()
        other._volume.branch.refresh()
        assert database._deferred is not None
        journal = database._deferred.journal
        read = journal.read
        add = "UPDATE entry SET token = token + 1 RETURNING token"

        def appended_first() -> Contents:
            monkeypatch.setattr(journal, "read", read)
            assert other.run(add).rows == [("1",)]
            return read()

        monkeypatch.setattr(journal, "read", appended_first)
        assert database.run(add).rows == [("2",)]
        assert database.query("SELECT token FROM entry").rows == [("2",)]
        database.flush()
        assert tokens(database) == ["2"]


def test_p4_all_of_this_processs_writes_that_another_pushes_stay_in_sight(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other's push took the first, the second is still pending; and a third machine's commit came between."""
    with opened(store, tmp_path) as database, opened(store, tmp_path) as other, opened(store, tmp_path / "x") as third:
        insert(database, "first")
        assert other._deferred is not None
        pushes = other._deferred._pushing
        push = pushes._push_part

        def with_a_second(entries: list[Entry]) -> tuple[int, int]:
            monkeypatch.setattr(pushes, "_push_part", push)
            insert(database, "second")
            third.execute("INSERT INTO person VALUES ('Cy')")
            third.flush()
            database._volume.branch.refresh()
            other._volume.branch.refresh()
            return push(entries)

        monkeypatch.setattr(pushes, "_push_part", with_a_second)
        assert other.flush().pushed == 1
        database._freshness.show()
        assert database.query("SELECT token FROM entry").rows == [("first",), ("second",)]


def test_p1_a_write_is_run_above_all_that_another_process_pushed_meanwhile(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other pushed two of its writes and answered a third, while this process was about to append one."""
    with opened(store, tmp_path) as database, opened(store, tmp_path) as other:
        insert(other, "other-0")
        insert(database, "mine-0")
        assert database._deferred is not None
        journal = database._deferred.journal
        appending = journal.appending

        def pushed_first() -> AbstractContextManager[None]:
            monkeypatch.setattr(journal, "appending", appending)
            insert(other, "other-1")
            assert other.flush().pushed == 3
            insert(other, "other-2")
            return appending()

        monkeypatch.setattr(journal, "appending", pushed_first)
        assert database.execute("UPDATE entry SET filler = 1") == 4
        assert other.flush().pushed == 2
        assert tokens(other) == ["other-0", "mine-0", "other-1", "other-2"]
        assert journalled(other) == (0, 0)


@pytest.mark.parametrize("rebuilt", [False, True])
def test_p4_of_anothers_writes_a_prefix_is_seen_that_only_grows(rebuilt: bool, store: Store, tmp_path: Path) -> None:
    """Some are pushed by now, and the root that this process knows does not have them yet."""
    with opened(store, tmp_path) as database, opened(store, tmp_path) as other:
        insert(other, "first")
        database._freshness.show()
        assert database.query(ALL, consistency="bounded").rows == [("first",)]
        insert(other, "second")
        assert other.flush().pushed == 2
        insert(other, "third")
        if rebuilt:
            assert database._deferred is not None
            database._deferred._layer = None
        database._freshness.show()
        assert database.query(ALL, consistency="bounded").rows == [("first",), ("second",), ("third",)]


def test_p11_a_deferred_value_is_as_long_as_the_settings_say(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        insert(database, "a")
        database.change_settings({"max_result_mb": 1})
        with pytest.raises(TooLarge):
            database.execute("INSERT INTO entry VALUES ('big', zeroblob(3000000))")
        database.change_settings({"max_result_mb": 8})
        database.execute("INSERT INTO entry VALUES ('big', zeroblob(3000000))")
        with database.transaction() as transaction:
            transaction.execute("INSERT INTO entry VALUES ('bigger', zeroblob(4000000))")
        assert journalled(database) == (0, 0)

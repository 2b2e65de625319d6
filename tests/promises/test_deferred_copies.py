"""Journals that were copied, restored or forgotten by the root: nothing is applied twice, and nothing is swallowed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import NAME, insert, opened, settled, tokens
from virke.engine.database import Database
from virke.errors import Unavailable
from virke.stores.base import Call, Store
from virke.stores.faulty import At, Crash, CrashAfter, FaultyStore, Refuse

FILE: Final = f"{NAME}.sqlite"


@pytest.fixture
def store(deferred_store: Store) -> Store:
    """A store with a deferred database in it."""
    return deferred_store


def folder_copied(source: Path, target: Path) -> None:
    """Files of their own: a restored backup, a copied home."""
    shutil.copytree(source, target)


def machine_cloned(source: Path, target: Path) -> None:
    """As an image of the whole disk: the journal can't know that it was copied."""
    shutil.copytree(source, target)
    file = sqlite3.connect(target / FILE)
    file.execute("UPDATE journal SET inode = ?", (os.stat(target / FILE).st_ino,))
    file.commit()
    file.close()


COPIES: Final = [folder_copied, machine_cloned]
Copy = Callable[[Path, Path], None]


def journalled(database: Database) -> tuple[int, int]:
    """How many writes are pending and how many rejected."""
    status = database.status()
    return status.pending_writes, len(status.rejected_writes)


def fill(store: Store, state: Path, *, pushed: int = 1, pending: int = 0) -> None:
    """A journal that has pushed some writes and keeps others."""
    with opened(store, state) as database:
        for number in range(pushed):
            insert(database, f"before-{number}")
        database.flush()
        for number in range(pending):
            insert(database, f"both-{number}")
        database.close(push=False)


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 3), (3, 3)])
def test_p1_both_copies_of_a_journal_get_their_writes_into_history(
    first: int, second: int, copy: Copy, store: Store, tmp_path: Path
) -> None:
    """Each copy answers writes under the same numbers; whichever is pushed first, the other's are not taken for them."""
    fill(store, tmp_path / "a")
    copy(tmp_path / "a", tmp_path / "b")
    with opened(store, tmp_path / "a") as a, opened(store, tmp_path / "b") as b:
        for database, name, count in ((a, "a", first), (b, "b", second)):
            for number in range(count):
                insert(database, f"{name}-{number}")
        assert a.flush().pushed == first
        # Below the last number that both have, the entries of a clone may be those that were pending before it was made.
        unknown = first - 1 if copy is machine_cloned else 0
        open_writes = [f"b-{number}" for number in range(unknown, second)]
        assert tokens(b)[-len(open_writes) :] == open_writes, "its own writes stay in sight"
        flushed = b.flush()
        assert (flushed.pushed, flushed.rejected) == (second - unknown, unknown)
        assert journalled(b) == (0, flushed.rejected)
        insert(b, "b-later")
        insert(a, "a-later")
        assert (b.flush().pushed, a.flush().pushed) == (1, 1)
    found = settled(store, tmp_path)
    assert len(found) == len(set(found)) == 1 + first + flushed.pushed + 2


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("after", [0, 1])
def test_p2_what_two_copies_of_a_journal_both_have_is_applied_once(
    after: int, copy: Copy, store: Store, tmp_path: Path
) -> None:
    """Writes were pending when the copy was made; then both go on, or not, and both push."""
    fill(store, tmp_path / "a", pending=2)
    copy(tmp_path / "a", tmp_path / "b")
    with opened(store, tmp_path / "a") as a, opened(store, tmp_path / "b") as b:
        for number in range(after):
            insert(a, f"a-{number}")
            insert(b, f"b-{number}")
        a.flush()
        b.flush()
        found = tokens(b)
        assert len(set(found)) == len(found), "nothing is there twice"
        assert {"before-0", "both-0", "both-1"} <= set(found)
        assert {f"{name}-{number}" for name in "ab" for number in range(after)} <= set(found)
        # A clone can't know what became of the two: it shows them as unknown.
        pending, rejected = journalled(b)
        assert (pending, rejected) == (0, 2 if copy is machine_cloned else 0)


def test_p2_an_old_journal_that_was_restored_is_not_applied_again(store: Store, tmp_path: Path) -> None:
    """It was pushed, and went on, after the backup was made: what it has is in history, or is shown as unknown."""
    fill(store, tmp_path / "a", pending=2)
    machine_cloned(tmp_path / "a", tmp_path / "backup")
    with opened(store, tmp_path / "a") as database:
        insert(database, "later")
        database.flush()
    shutil.rmtree(tmp_path / "a")
    machine_cloned(tmp_path / "backup", tmp_path / "a")
    with opened(store, tmp_path / "a") as database:
        flushed = database.flush()
        assert (flushed.pushed, flushed.rejected) == (0, 2)
        assert "not known whether" in database.status().rejected_writes[0].reason
        insert(database, "after the restore")
        assert database.flush().pushed == 1
    assert settled(store, tmp_path) == ["before-0", "both-0", "both-1", "later", "after the restore"]


def test_p2_a_journal_restored_to_what_was_pushed_last_is_not_applied_again(store: Store, tmp_path: Path) -> None:
    fill(store, tmp_path / "a", pending=2)
    machine_cloned(tmp_path / "a", tmp_path / "backup")
    with opened(store, tmp_path / "a") as database:
        database.flush()
    shutil.rmtree(tmp_path / "a")
    machine_cloned(tmp_path / "backup", tmp_path / "a")
    with opened(store, tmp_path / "a") as database:
        database.flush()
        assert journalled(database)[0] == 0
    assert settled(store, tmp_path) == ["before-0", "both-0", "both-1"]


def test_p2_two_copies_that_push_at_the_same_moment_apply_nothing_twice(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other's push comes between this one's look at the root and its commit."""
    fill(store, tmp_path / "a", pending=2)
    machine_cloned(tmp_path / "a", tmp_path / "b")
    with opened(store, tmp_path / "a") as a, opened(store, tmp_path / "b") as b:
        insert(b, "b-later")
        assert a._deferred is not None
        pushing = a._deferred._pushing
        push = pushing._push_statements

        def after_the_other(*arguments: object) -> None:
            monkeypatch.setattr(pushing, "_push_statements", push)
            assert b.flush().pushed == 3
            push(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(pushing, "_push_statements", after_the_other)
        with opened(store, tmp_path / "c") as c:
            c.execute("INSERT INTO person VALUES ('moves the root')")
        a.flush()
    found = settled(store, tmp_path)
    assert sorted(map(str, found)) == ["b-later", "before-0", "both-0", "both-1"]


@pytest.fixture
def few_marks(monkeypatch: pytest.MonkeyPatch) -> int:
    """A root that remembers fewer journals than it does, to be quicker to forget one."""
    monkeypatch.setattr("virke.core.change.JOURNALS_MAX", 3)
    return 3


def forget(store: Store, tmp_path: Path, journals: int) -> None:
    """So many other machines push that the root forgets the journals before them."""
    for number in range(journals):
        with opened(store, tmp_path / "others" / str(number)) as database:
            database.execute("INSERT INTO person VALUES (?)", (f"machine {number}",))


def test_p2_a_write_whose_mark_was_dropped_is_not_applied_again(store: Store, tmp_path: Path, few_marks: int) -> None:
    """The push died after its swap; as many other journals as the root remembers pushed before it came back."""
    dying = FaultyStore(store, [At(1, CrashAfter(), Call.SWAP)]).store
    database = opened(dying, tmp_path / "a")
    insert(database, "once")
    with pytest.raises(Crash):
        database.flush()
    database.close(push=False)
    forget(store, tmp_path, few_marks)
    with opened(store, tmp_path / "a") as database:
        flushed = database.flush()
        assert (flushed.pushed, flushed.rejected) == (0, 1)
        [rejected] = database.status().rejected_writes
        assert "not known whether this write is in history" in rejected.reason
        insert(database, "later")
        assert database.flush().pushed == 1
    assert settled(store, tmp_path) == ["once", "later"]


def test_p1_a_write_that_was_never_pushed_is_applied_however_many_others_pushed(
    store: Store, tmp_path: Path, few_marks: int
) -> None:
    """Also one whose push was refused: it is known that it did not happen."""
    refusing = FaultyStore(store, [At(n, Refuse(), Call.SWAP) for n in range(1, 99)]).store
    with opened(refusing, tmp_path / "a") as database:
        insert(database, "a")
        with pytest.raises(Unavailable):
            database.flush()
        database.close(push=False)
    forget(store, tmp_path, few_marks)
    with opened(store, tmp_path / "a") as database:
        assert database.flush().pushed == 1
    assert settled(store, tmp_path) == ["a"]


def test_p2_a_push_that_another_thread_ends_meanwhile_is_not_seen_twice(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends between this thread's look at the journal and at the root: reads, and the next answer, have it once."""
    with opened(store, tmp_path / "a") as database, opened(store, tmp_path / "a") as other:
        for token in "abc":
            insert(database, token)
        other.flush()  # so that the next push is by pages of this root
        for token in "def":
            insert(database, token)
        assert database._deferred is not None
        journal = database._deferred.journal
        read = journal.read

        def pushed_after() -> object:
            monkeypatch.setattr(journal, "read", read)
            contents = read()
            assert other.flush().pushed == 3
            database._volume.branch.refresh()
            return contents

        database._deferred._layer = None
        monkeypatch.setattr(journal, "read", pushed_after)
        assert database.execute("UPDATE entry SET filler = 1") == 6
        assert len(tokens(database)) == 6
    assert settled(store, tmp_path) == [*"abcdef"]

"""What the journal's file says of its entries after each call, without a database around it."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import pytest

from virke.core.ids import PageNo
from virke.engine.entry import NO_ENTRY, Base, Contents, DamagedJournal, EntryGone, UnreachableJournal
from virke.engine.layers import Patch
from virke.engine.programs import Program, Step
from virke.errors import Unavailable
from virke.journal import FileJournal, place
from virke.journal.connection import connect_file
from virke.processes import sync_file
from virke.stores.local.files import System

DATABASE: Final = bytes(16)
FIRST_FORMAT: Final = Path(__file__).parents[2] / "vectors" / "journal-1" / "ledger.sqlite"
VERSION: Final = 7
"""Of the root whose swap an entry is noted for."""


def write(number: int) -> Program:
    return Program((Step(f"INSERT INTO t VALUES ({number})"),), 0)


def entry_id(sequence: int) -> bytes:
    return sequence.to_bytes(16, "big")


def append(journal: FileJournal, count: int = 1) -> None:
    for _ in range(count):
        sequence = journal.newest() + 1
        assert journal.append(write(sequence), DATABASE, entry_id=entry_id(sequence)) == sequence


@pytest.fixture
def journal(tmp_path: Path) -> FileJournal:
    """One with four pending entries."""
    journal = FileJournal(tmp_path / "db.sqlite")
    append(journal, 4)
    return journal


def pending(journal: FileJournal) -> list[int]:
    return [one.sequence for one in journal.read().pending]


def rejected(journal: FileJournal) -> list[tuple[int, str]]:
    return [(one.id, one.reason) for one in journal.rejected()]


def test_p1_only_what_was_noted_leaves_the_journal_or_is_rejected(journal: FileJournal) -> None:
    journal.note([(1, None), (2, "why"), (4, None)], VERSION)
    assert journal.settle(3) == (1, 1)
    contents = journal.read()
    assert pending(journal) == [3, 4]
    assert [one.is_noted for one in contents.pending] == [False, True]
    assert contents.pending[1].noted_at == VERSION
    assert (contents.settled, contents.settled_id, contents.newest) == (3, entry_id(3), 4)
    assert contents.ids == {sequence: entry_id(sequence) for sequence in (2, 3, 4)}
    assert journal.settle(4) == (1, 0), "what was rejected before is not counted again"
    assert (pending(journal), rejected(journal)) == ([3], [(2, "why")])


def test_p2_the_id_of_an_entry_that_is_gone_is_not_made_up(journal: FileJournal) -> None:
    journal.note([(1, None)], VERSION)
    journal.settle(1)
    journal.settle(1)
    assert journal.read().settled_id == NO_ENTRY


def test_p1_what_was_noted_for_a_swap_that_never_came_is_as_before(journal: FileJournal) -> None:
    journal.note([(1, "why"), (2, None), (3, None)], VERSION)
    journal.forget_notes([1, 2])
    assert [one.is_noted for one in journal.read().pending] == [False, False, True, False]
    assert journal.settle(2) == (0, 0)
    assert pending(journal) == [1, 2, 3, 4]


def test_p1_notes_change_nothing_of_what_was_rejected(journal: FileJournal) -> None:
    journal.reject([1], "why")
    journal.note([(1, "another reason"), (2, None)], VERSION)
    journal.forget_notes([1])
    assert rejected(journal) == [(1, "why")]
    assert pending(journal) == [2, 3, 4]


def test_p2_no_number_is_given_away_twice(journal: FileJournal) -> None:
    """Also when nothing is left that has one."""
    journal.drop([4])
    append(journal)
    assert pending(journal) == [1, 2, 3, 5]
    journal.drop([1, 2, 3, 5])
    journal.close()
    append(journal)
    assert pending(journal) == [6]


def test_p2_a_journal_with_another_name_has_no_past(journal: FileJournal) -> None:
    """What roots say of the old name, and what was noted for their swaps, is nothing to it."""
    journal.reject([1], "why")
    journal.note([(2, None), (3, "why")], VERSION)
    journal.settle(2)
    before = journal.read()
    journal.rename()
    contents = journal.read()
    assert contents.journal_id != before.journal_id
    assert (contents.settled, contents.settled_id, contents.copied_at) == (0, NO_ENTRY, 0)
    assert [(one.sequence, one.is_noted) for one in contents.pending] == [(3, False), (4, False)]
    assert rejected(journal) == [(1, "why")]
    assert contents.newest == 4


# Copies


def copied(journal: FileJournal, folder: Path) -> FileJournal:
    """The same file in another folder."""
    journal.close()
    folder.mkdir()
    shutil.copy(journal.path or "", folder / "db.sqlite")
    return FileJournal(folder / "db.sqlite")


def test_p2_a_copy_knows_up_to_which_entry_it_has_the_same(journal: FileJournal, tmp_path: Path) -> None:
    """By its last number, whether or not that entry is still there; what comes later is its own."""
    journal.drop([4])
    copy = copied(journal, tmp_path / "copy")
    assert copy.read().copied_at == 4
    assert copy.read().journal_id == journal.read().journal_id
    assert journal.read().copied_at == 0
    append(copy)
    again = FileJournal(copy.path)
    assert again.read().copied_at == 4
    again.rename()
    assert again.read().copied_at == 0


def test_p2_a_copy_with_nothing_pending_takes_another_name_at_once(journal: FileJournal, tmp_path: Path) -> None:
    journal.note([(number, None) for number in (1, 2, 3, 4)], VERSION)
    journal.settle(4)
    copy = copied(journal, tmp_path / "copy").read()
    assert copy.journal_id != journal.read().journal_id
    assert (copy.settled, copy.settled_id, copy.copied_at) == (0, NO_ENTRY, 0)


def test_p10_two_processes_that_open_a_file_of_the_first_release_at_once_take_it_over_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that has to wait for the lock finds the work done."""
    path = tmp_path / "db.sqlite"
    shutil.copy(FIRST_FORMAT, path)
    found: list[Contents] = []

    class Second(place.Lock):
        def __init__(self, path: Path) -> None:
            monkeypatch.setattr(place, "Lock", place.Lock.__mro__[1])
            found.append(FileJournal(path.with_suffix(".sqlite")).read())
            super().__init__(path)

    monkeypatch.setattr(place, "Lock", Second)
    contents = FileJournal(path).read()
    assert contents.pending
    assert contents.copied_at == 0, "none of them made a copy of it"
    assert found == [contents]


# Reading


def test_p1_the_journal_is_read_as_of_one_moment(tmp_path: Path) -> None:
    """Another process settles an entry between the first question and the last."""
    path = tmp_path / "db.sqlite"
    meanwhile: list[Callable[[], object]] = []

    class Reading(sqlite3.Connection):
        def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
            if sql.startswith("SELECT sequence, coalesce") and meanwhile:
                meanwhile.pop()()
            return super().execute(sql, parameters)  # type: ignore[arg-type]

    def connect(path: str) -> sqlite3.Connection:
        connect_file(path).close()
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Reading)

    journal, other = FileJournal(path, connect=connect), FileJournal(path)
    append(other, 2)
    other.note([(1, None)], VERSION)
    before = journal.read()
    meanwhile.append(lambda: other.settle(1))
    assert journal.read() == before
    assert not meanwhile
    assert journal.read().settled == 1, "the moment is over after each reading"


def test_pages_of_an_entry_that_was_settled_meanwhile_are_gone(journal: FileJournal) -> None:
    patch = Patch({PageNo(1): bytes(512)}, 512, 1, 1)
    journal.append(write(5), DATABASE, base=Base(bytes(16)), patch=patch)
    [*_, last] = journal.read().pending
    assert [one.pages for one in journal.patches([last])] == [patch.pages]
    journal.drop([5])
    with pytest.raises(EntryGone):
        list(journal.patches([last]))


# Locks


def is_locked(path: Path) -> bool:
    """Whether another process would have to wait."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def test_p2_pushing_and_appending_keep_processes_and_threads_waiting_and_not_each_other(journal: FileJournal) -> None:
    assert journal.path is not None
    push, add = journal.path.with_suffix(".lock"), journal.path.with_suffix(".append")
    file = journal._file
    with journal.appending():
        assert (is_locked(push), is_locked(add)) == (False, True)
        assert (file.pushing.locked(), file.appending.locked()) == (False, True)
    assert (is_locked(push), is_locked(add)) == (False, False)
    with journal.pushing():
        assert (is_locked(push), is_locked(add)) == (True, False)
        assert (file.pushing.locked(), file.appending.locked()) == (True, False)
        with journal.appending():
            assert (is_locked(push), is_locked(add)) == (True, True)
            assert file.appending.locked()
    assert (is_locked(push), is_locked(add)) == (False, False)


def test_p1_nothing_is_pushed_and_nothing_appended_while_entries_are_set_aside(
    journal: FileJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came between the list and its copy would be counted among what is discarded."""
    copy, held = place.copy_journal, []

    def copy_journal(system: System, connection: sqlite3.Connection, aside: Path) -> None:
        held.append((journal._file.pushing.locked(), journal._file.appending.locked()))
        copy(system, connection, aside)

    monkeypatch.setattr(place, "copy_journal", copy_journal)
    journal.reject([2], "why")
    aside = journal.discard()
    assert held == [(True, True)]
    assert (pending(journal), rejected(journal)) == ([1, 3, 4], [])
    assert rejected(FileJournal(aside)) == [(2, "why")]
    journal.reject([3], "why")
    second = journal.discard()
    assert second != aside, "what was set aside is never written over"
    assert rejected(FileJournal(aside)) == [(2, "why")]


# Failures


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to see which file is synced")
def test_p1_a_name_that_could_not_be_synced_is_synced_before_the_next_answer(tmp_path: Path) -> None:
    """A failed sync of the folder is no answer, and is not taken for one later."""
    folder, fails = tmp_path / "journals", [True]
    synced: list[Path] = []

    def sync(fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        if path == folder and fails:
            fails.pop()
            raise OSError(5, "the disk does not answer")
        synced.append(path)
        sync_file(fd)

    journal = FileJournal(folder / "db.sqlite", system=System(sync=sync))
    with pytest.raises(UnreachableJournal):
        append(journal)
    assert folder not in synced
    append(journal)
    assert folder in synced


def test_a_change_that_failed_leaves_nothing_and_the_next_goes_on(journal: FileJournal) -> None:
    unfit = Program((Step("INSERT INTO t VALUES (?)", (object(),)),), 0)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        journal.append(unfit, DATABASE)
    append(journal)
    assert pending(journal) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("code", "means"),
    [
        (sqlite3.SQLITE_CORRUPT_INDEX, DamagedJournal),
        (sqlite3.SQLITE_NOTADB, DamagedJournal),
        (sqlite3.SQLITE_IOERR_READ, UnreachableJournal),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, UnreachableJournal),
    ],
)
def test_p7_damage_is_told_from_what_passes_also_by_extended_codes(
    tmp_path: Path, code: int, means: type[Unavailable]
) -> None:
    """After either the file is opened anew."""
    path = tmp_path / "db.sqlite"
    failing: list[int] = []
    opened: list[sqlite3.Connection] = []

    class Failing(sqlite3.Connection):
        def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
            if failing and sql.startswith("SELECT count"):
                error = sqlite3.DatabaseError("it failed")
                error.sqlite_errorcode = failing.pop()
                raise error
            return super().execute(sql, parameters)  # type: ignore[arg-type]

    def connect(path: str) -> sqlite3.Connection:
        connect_file(path).close()
        opened.append(sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Failing))
        return opened[-1]

    journal = FileJournal(path, connect=connect)
    append(journal)
    failing.append(code)
    with pytest.raises(means):
        journal.pending_count()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[-1].execute("SELECT 1")
    assert journal.pending_count() == 1


def test_p1_a_journal_that_can_not_be_looked_at_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its pending writes would be hidden from reads, and a flush would say that all is pushed."""
    journal = FileJournal(tmp_path / "db.sqlite")

    def refuse(path: Path) -> NoReturn:
        raise PermissionError(13, "may not be looked at")

    monkeypatch.setattr(place, "file_identity", refuse)
    for ask in (journal.read, journal.pending_count, journal.newest):
        with pytest.raises(UnreachableJournal):
            ask()


def test_p1_threads_that_append_at_once_all_keep_their_entries(journal: FileJournal) -> None:
    threads = [threading.Thread(target=lambda: journal.append(write(0), DATABASE)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pending(journal) == list(range(1, 13))

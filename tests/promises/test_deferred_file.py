"""The journal's file: durable with one fsync a write, closed to others, of every format, whole after a fork."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from hashlib import sha256, shake_256
from pathlib import Path
from typing import Final, NoReturn

import pytest

from tests.promises.ledger import NAME, SOURCE, TABLE, insert, opened, tokens
from virke.core.ids import PageNo
from virke.engine.answers import Answered, FirstRun
from virke.engine.entry import NO_ENTRY, Base, DamagedJournal, Entry, UnreachableJournal
from virke.engine.layers import Patch
from virke.engine.programs import AllOf, AnyOf, Failed, Not, Program, Step, Succeeded, steps_of
from virke.errors import Unavailable
from virke.journal import FileJournal
from virke.journal.connection import connect_file
from virke.opening import connect, delete
from virke.processes import sync_file
from virke.scopes import Scope
from virke.stores.base import Store
from virke.stores.local.files import System
from virke.stores.local.store import local_store
from virke.stores.memory import memory_store

FILE: Final = f"{NAME}.sqlite"
GOLDEN: Final = Path(__file__).parents[2] / "vectors" / "journal-1" / FILE
DATABASE: Final = bytes(16)


@pytest.fixture
def store(deferred_store: Store) -> Store:
    """A store with a deferred database in it."""
    return deferred_store


def write(number: int) -> Program:
    """A small one."""
    return Program(steps_of([(f"INSERT INTO entry VALUES ('{number}', NULL)", ())]), 1_700_000_000_000 + number)


# Durable


class Watched:
    """The calls of the operating system that a journal makes, and the connections that it opens."""

    def __init__(self) -> None:
        self.synced: list[Path] = []
        self.connections: list[sqlite3.Connection] = []
        self.system = System(sync=self._sync)

    def _sync(self, fd: int) -> None:
        self.synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")))
        sync_file(fd)

    def connect(self, path: str) -> sqlite3.Connection:
        """As a journal does."""
        self.connections.append(connect_file(path))
        return self.connections[-1]


def test_p1_the_journal_is_written_ahead_and_synced_with_each_commit(tmp_path: Path) -> None:
    watched = Watched()
    journal = FileJournal(tmp_path / "j.sqlite", system=watched.system, connect=watched.connect)
    journal.append(write(1), DATABASE)
    connection = watched.connections[-1]
    names = ("journal_mode", "synchronous", "fullfsync", "checkpoint_fullfsync")
    settings = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    assert settings == ["wal", 2, 1, 1]
    journal.append(write(2), DATABASE)
    assert len(watched.connections) == 2, "one to make the file, and one that stays open"
    journal.close()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to see which file is synced")
def test_p1_the_name_of_the_journal_and_every_folder_above_it_are_synced_before_the_first_answer(
    tmp_path: Path,
) -> None:
    watched = Watched()
    folder = tmp_path / "one" / "two" / "journal"
    journal = FileJournal(folder / "j.sqlite", system=watched.system)
    journal.append(write(1), DATABASE)
    assert {tmp_path, tmp_path / "one", tmp_path / "one" / "two", folder} <= set(watched.synced)
    assert watched.synced.index(folder / next(p.name for p in watched.synced if p.name.endswith(".new"))) < (
        len(watched.synced) - watched.synced[::-1].index(folder) - 1
    ), "the folder is synced after the file has its name"
    journal.close()
    other = Watched()
    journal = FileJournal(folder / "j.sqlite", system=other.system)
    journal.append(write(2), DATABASE)
    assert {folder, tmp_path / "one" / "two"} <= set(other.synced), "whoever made it may have died before it was synced"
    other.synced.clear()
    journal.append(write(3), DATABASE)
    assert other.synced == []
    journal.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace to count what SQLite syncs")
def test_p1_a_deferred_write_costs_one_fsync(tmp_path: Path) -> None:
    work = (
        "import os, sys; from virke.opening import connect\n"
        "db = connect('ledger', sys.argv[1], create=True, background=False)\n"
        f"db.execute({TABLE!r}); db.change_settings({{'durability': 'deferred'}})\n"
        "db.execute(\"INSERT INTO entry VALUES ('first', NULL)\"); os.write(2, b'BEGIN')\n"
        "for n in range(20): db.execute('INSERT INTO entry VALUES (?, NULL)', (str(n),))\n"
        "os.write(2, b'END'); os._exit(0)\n"
    )
    calls = tmp_path / "calls"
    command = ["strace", "-f", "-e", "trace=fsync,fdatasync,write", "-o", str(calls)]
    done = subprocess.run(
        [*command, sys.executable, "-c", work, str(tmp_path / "store")],
        env=os.environ | {"PYTHONPATH": SOURCE},
        capture_output=True,
    )
    if done.returncode:
        pytest.skip(f"strace does not work here: {done.stderr.decode()[-200:]}")
    during = calls.read_text().partition("BEGIN")[2].partition("END")[0]
    assert len(re.findall(r"\b(?:fsync|fdatasync)\(", during)) == 20


def test_p1_a_program_comes_back_as_it_was(tmp_path: Path) -> None:
    """Steps, conditions, rows, modes and answers of every kind."""
    steps = (
        Step("SELECT ?, :named", {"named": b"\0"}),
        Step("INSERT INTO t VALUES (?)", rows=((1,), (2.5,), ("\ud800",)), condition=Not(Failed(0))),
        Step("SELECT 1; SELECT 2", (None,), is_script=True, condition=AnyOf((Succeeded(1), AllOf((Failed(1),))))),
    )
    program = Program(steps, 1_700_000_000_000, foreign_keys=True, key=bytes(16), keeps_going=True, scope=Scope.WRITE)
    rows = ((1, None, "a\0", b"\xff", 5e-324),)
    first_run = FirstRun(b"seed", (Answered(rows, b"digest", 3, 7), Answered(None, b"other")), counts_only=True)
    patch = Patch({PageNo(2): bytes(4096), PageNo(9): os.urandom(4096)}, 4096, 9, 3)
    base = Base(b"commit".ljust(16), b"previous".ljust(16))
    journal = FileJournal(tmp_path / FILE)
    journal.append(program, DATABASE, first_run=first_run, entry_id=b"entry".ljust(16), base=base, patch=patch)
    [found] = journal.read().pending
    assert found == Entry(1, program, DATABASE, first_run, b"entry".ljust(16), base)
    assert list(journal.patches([found])) == [patch]
    journal.close()


# Closed to others


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_p12_only_this_user_can_read_a_journal(umask: int, tmp_path: Path) -> None:
    """Its folder in a local store, its files, and its log: whatever the umask."""
    before = os.umask(umask)
    try:
        with connect(NAME, local_store(tmp_path / "store"), create=True, background=False) as database:
            database.execute(TABLE)
            database.change_settings({"durability": "deferred"})
            insert(database, "secret")
            folder = tmp_path / "store" / "journal"
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(before)
    assert FILE in modes
    assert f"{FILE}-wal" in modes
    assert set(modes.values()) == {0o600}


def test_p12_a_journal_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    """One of the first release, in a folder that every user may enter."""
    folder = tmp_path / "journal"
    folder.mkdir(mode=0o755)
    shutil.copy(GOLDEN, folder / FILE)
    (folder / FILE).chmod(0o644)
    journal = FileJournal(folder / FILE, private_folder=True)
    journal.append(write(1), DATABASE)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / FILE)] == [0o700, 0o600]
    journal.close()


def test_p12_a_folder_that_was_given_and_is_there_stays_as_it_is(tmp_path: Path) -> None:
    """It may hold other things than journals."""
    tmp_path.chmod(0o755)
    journal = FileJournal(tmp_path / FILE)
    journal.append(write(1), DATABASE)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path, tmp_path / FILE)] == [0o755, 0o600]
    journal.close()


def test_a_journal_that_may_not_be_read_is_an_error_of_virkes_and_blocks_no_read(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder lost its rights: no PermissionError reaches a caller."""
    with opened(store, tmp_path) as database:
        insert(database, "a")

        def denied(path: object, **_: object) -> NoReturn:
            raise PermissionError(13, "Permission denied", str(path))

        with monkeypatch.context() as patch:
            patch.setattr("virke.journal.place.os.stat", denied)
            for action in (database.flush, lambda: insert(database, "b")):
                with pytest.raises(Unavailable, match=r"journal .*Permission denied"):
                    action()
            database.query("SELECT token FROM entry", consistency="strong")
            assert "Permission denied" in (database.status().journal_error or "")
        assert (database.flush().pushed, database.status().journal_error) == (1, None)


# Sealed


FIELDS: Final = [
    "time_ms = time_ms + 1",
    "database = zeroblob(16)",
    "entry_id = zeroblob(15) || x'01'",
    "write = replace(write, 'INSERT', 'insert')",
    "pages = zeroblob(length(pages))",
    "pages = NULL",
    "seal = zeroblob(16)",
    "write = CAST(x'ff' AS TEXT) || write",
    "sequence = sequence + 1",
]


@pytest.mark.parametrize("change", FIELDS)
def test_p7_no_field_of_an_entry_can_change_unnoticed(change: str, store: Store, tmp_path: Path) -> None:
    """Above all the instant: the statement would run with another clock."""
    with opened(store, tmp_path) as database:
        insert(database, "a")
        database.close(push=False)
    file = sqlite3.connect(tmp_path / FILE)
    file.execute(f"UPDATE entry SET {change}")
    file.commit()
    file.close()
    with opened(store, tmp_path) as database:
        assert "not what was written" in (database.status().journal_error or "")
        with pytest.raises(DamagedJournal):
            database.flush()
        assert tokens(database) == []


@pytest.mark.parametrize("change", ["time_ms = time_ms + 1", "write = replace(write, 'INSERT', 'insert')"])
def test_p7_entries_of_the_first_release_are_sealed_with_their_instant(change: str, tmp_path: Path) -> None:
    path = tmp_path / FILE
    shutil.copy(GOLDEN, path)
    file = sqlite3.connect(path)
    file.execute(f"UPDATE entry SET {change}")
    file.commit()
    file.close()
    journal = FileJournal(path)
    with pytest.raises(DamagedJournal, match="entry 2 is not what was written"):
        journal.read()
    journal.close()


# Of every format


def test_p10_a_journal_of_the_first_release_is_read_and_pushed_by_its_statements(tmp_path: Path) -> None:
    """The golden file: pending writes of every kind, one noted, one rejected, one of another database."""
    assert sha256(GOLDEN.read_bytes()).hexdigest() == (
        "b357e754f8b33211e8a951675ad2a73d1320d314efa81171f7e46f4df306e5ac"
    )
    shutil.copy(GOLDEN, tmp_path / FILE)
    store = memory_store()
    with opened(store, tmp_path / "elsewhere", create=True) as database:
        database.execute(TABLE)
        database.execute("CREATE TABLE person (name TEXT UNIQUE)")
        database.change_settings({"durability": "deferred"})
        mine = database._volume.branch.latest().root.database_id
    file = sqlite3.connect(tmp_path / FILE)  # the golden one names a database of its own; an old seal does not cover it
    file.execute("UPDATE entry SET database = ? WHERE database = ?", (mine, shake_256(b"database").digest(16)))
    file.commit()
    file.close()
    with opened(store, tmp_path) as database:
        assert (database.status().pending_writes, len(database.status().rejected_writes)) == (6, 1)
        before = tokens(database)
        insert(database, "new")
        flushed = database.flush()
        assert (flushed.pushed, flushed.rejected) == (6, 1)
        assert tokens(database) == [*before, "new"]
        assert before == ["a\0é\n", "0", "1", "2", "3", "4", "s1", "1700000004", "b1"]
        assert database.query("SELECT name FROM person").rows == [("Ada",)]
        assert database.query("SELECT filler FROM entry WHERE token IN ('0', '1', '4', 'b1')").rows == [
            (None,), (-(1 << 63),), (float("inf"),), (2,)
        ]  # fmt: skip
        reasons = [one.reason for one in database.status().rejected_writes]
        assert [reason[:20] for reason in reasons] == ["no such table: nowhe", "the database was del"]


def test_p10_an_entry_of_the_first_release_that_was_pushed_is_recognised_by_its_number(tmp_path: Path) -> None:
    """Its journal had no ids: any id at a number that it has given away is its own."""
    shutil.copy(GOLDEN, tmp_path / FILE)
    journal = FileJournal(tmp_path / FILE)
    contents = journal.read()
    assert (contents.settled, contents.settled_id, contents.newest) == (1, NO_ENTRY, 8)
    assert [entry.entry_id for entry in contents.pending] == [NO_ENTRY] * 6
    assert [entry.is_noted for entry in contents.pending] == [True, False, False, False, False, False]
    journal.close()


def test_a_journal_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / FILE)
    journal.append(write(1), DATABASE)
    journal.close()
    file = sqlite3.connect(tmp_path / FILE)
    file.execute("PRAGMA user_version = 99")
    file.close()
    with pytest.raises(UnreachableJournal, match="format 99"):
        FileJournal(tmp_path / FILE).append(write(2), DATABASE)


# The file while it is used


def test_p1_no_connection_lives_through_a_fork(tmp_path: Path) -> None:
    """Parent and child append after the fork; each entry is there once, under a number of its own."""
    journal = FileJournal(tmp_path / FILE)
    journal.append(write(1), DATABASE)
    for number in range(2, 12):
        child = os.fork()
        if not child:
            try:
                journal.append(write(number * 100), DATABASE)
                os._exit(0)
            finally:
                os._exit(1)
        journal.append(write(number), DATABASE)
        assert os.waitpid(child, 0)[1] == 0
    assert [entry.sequence for entry in journal.read().pending] == list(range(1, 22))
    journal.close()


def test_p1_a_journal_that_was_set_aside_is_not_written_to(store: Store, tmp_path: Path) -> None:
    """By another process, while this one has it open: what is answered later is in the new file, and is pushed."""
    with opened(store, tmp_path) as database, opened(store, tmp_path) as other:
        insert(database, "a")
        assert other._deferred is not None
        for path in list(tmp_path.glob(f"{FILE}*")):
            path.rename(path.with_name(f"aside-{path.name}"))
        insert(database, "b")
        assert (tmp_path / FILE).is_file()
        assert database.flush().pushed == 1
        assert tokens(database) == ["b"]


def test_discarding_sets_a_copy_aside_and_keeps_what_is_pending(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        for token in "abc":
            insert(database, token)
        database.close(push=False)
    file = sqlite3.connect(tmp_path / FILE)
    file.execute("UPDATE entry SET time_ms = 0 WHERE sequence = 2")
    file.commit()
    file.close()
    journal = FileJournal(tmp_path / FILE)
    assert [one.state for one in journal.listing()] == ["pending", "damaged", "pending"]
    aside = journal.discard()
    assert aside is not None
    assert journal.discard() is None, "nothing is left to be set aside"
    assert [one.state for one in FileJournal(aside).listing()] == ["pending", "damaged", "pending"]
    journal.close()
    with opened(store, tmp_path) as database:
        assert database.flush().pushed == 2
        assert tokens(database) == ["a", "c"]


def test_p1_a_journal_of_a_deleted_database_is_not_pushed_into_the_next_of_its_name(tmp_path: Path) -> None:
    """By pages neither."""
    store = memory_store()
    for round_ in range(2):
        with opened(store, tmp_path / "elsewhere", create=True) as database:
            database.execute(TABLE)
            database.change_settings({"durability": "deferred"})
        with opened(store, tmp_path) as database:
            assert tokens(database) == []
            if not round_:
                insert(database, "old")
                database.close(push=False)
                delete(NAME, store)
            else:
                assert database.flush().rejected == 1

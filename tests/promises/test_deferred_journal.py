"""The journal of deferred writes as a file: shared, damaged, full, and beside a store that is down."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NoReturn

import pytest

from tests.promises.ledger import NAME, SOURCE, TABLE, Ledger, environment, insert, opened
from virke.engine.branch import Branch
from virke.engine.programs import Program, Step, hash_key
from virke.errors import Corrupt, OutcomeUnknown, Unavailable, UsageError
from virke.journal import FileJournal
from virke.opening import connect, delete
from virke.stores.base import Call, Store
from virke.stores.faulty import At, FaultyStore, LoseRequest, Refuse
from virke.stores.local.store import local_store
from virke.stores.memory import memory_store

EVERY: Final = range(1, 500)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a deferred database in it."""
    store = memory_store()
    with opened(store, tmp_path, create=True) as database:
        database.execute(TABLE)
        database.change_settings({"durability": "deferred"})
    return store


def journal_of(folder: Path) -> Path:
    """The file of the journal."""
    return folder / f"{NAME}.sqlite"


def tokens(store: Store, folder: Path) -> list[object]:
    """What the store holds, seen from a node without a journal."""
    with opened(store, folder / "elsewhere") as database:
        return [token for (token,) in database.query("SELECT token FROM entry ORDER BY rowid").rows]


def test_p9_a_database_that_never_defers_has_no_journal(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        database.change_settings({"durability": "sync"})
        insert(database, "a")
        database.flush()
        database.status()
    assert list(tmp_path.iterdir()) == []


def test_without_a_home_directory_only_deferring_is_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user has no name: everything else works, and the write is kept nowhere."""

    def unknown(uid: int) -> NoReturn:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with connect(NAME, Store("s3://bucket", store.register, store.blobs), background=False) as database:
        with pytest.raises(UsageError, match="set HOME"):
            insert(database, "deferred")
        assert database.query("SELECT token FROM entry").rows == []
        assert (database.flush().pushed, database.status().pending_writes) == (0, 0)
        database.change_settings({"durability": "sync"})
        insert(database, "kept")
        assert database.query("SELECT token FROM entry").rows == [("kept",)]


# A store that is down


def test_p1_writes_are_answered_while_the_store_is_down(store: Store, tmp_path: Path) -> None:
    """Flush says `Unavailable`, in a bounded number of requests; when the store is back, it pushes."""
    faulty = FaultyStore(store, [At(n, Refuse()) for n in range(3, 500)])
    database = opened(faulty.store, tmp_path)
    insert(database, "warm")
    for token in "abc":
        insert(database, token)
    for _ in range(2):
        with pytest.raises(Unavailable):
            database.flush()
    assert len(faulty.log) < 100
    status = database.status()
    assert (status.pending_writes, status.rejected_writes, status.healthy) == (4, (), False)
    database.close(push=False)
    with opened(store, tmp_path) as database:
        assert database.flush().pushed == 4
    assert tokens(store, tmp_path) == ["warm", *"abc"]


def test_p3_a_flush_that_nobody_can_prove_loses_nothing(store: Store, tmp_path: Path) -> None:
    """Every swap is silent and none arrives: unknown; then the same entries are pushed once."""
    faulty = FaultyStore(store, [At(n, LoseRequest(), Call.SWAP) for n in EVERY])
    database = opened(faulty.store, tmp_path)
    insert(database, "a")
    with pytest.raises(OutcomeUnknown):
        database.flush()
    assert database.status().pending_writes == 1
    database.close(push=False)
    with opened(store, tmp_path) as database:
        assert (database.flush().pushed, database.flush().pushed) == (1, 0)
    assert tokens(store, tmp_path) == ["a"]


# Keys


def test_p2_a_key_is_applied_once_while_pending_and_after(store: Store, tmp_path: Path) -> None:
    """Asked again, pending or pushed, on this connection or a new one, it gets the first answer."""
    sql = "INSERT INTO entry SELECT 'x' || (SELECT count(*) FROM entry), NULL FROM (VALUES (1), (2))"
    with opened(store, tmp_path) as database:
        assert [database.execute(sql, idempotency_key="k") for _ in range(3)] == [2, 2, 2]
        assert database.query("SELECT count(*) FROM entry").rows == [(2,)]
        database.close(push=False)
    with opened(store, tmp_path) as database:
        assert database.execute(sql, idempotency_key="k") == 2
        database.flush()
        assert database.execute(sql, idempotency_key="k") == 2
        assert database.query("SELECT count(*) FROM entry", consistency="strong").rows == [(2,)]
    assert tokens(store, tmp_path) == ["x0", "x0"]


def test_p2_a_repeat_of_a_unique_row_is_answered_not_refused(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        database.execute("CREATE UNIQUE INDEX one ON entry (token)")
        for _ in range(2):
            assert database.execute("INSERT INTO entry VALUES ('a', NULL)", idempotency_key="k") == 1
    assert tokens(store, tmp_path) == ["a"]


def test_p11_more_keys_than_a_commit_may_answer_are_pushed_in_several(store: Store) -> None:
    """The root keeps 1024 answers and reads at most 4096 of a commit; a larger push must neither forget nor break."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        state = Path(folder)
        database, root = opened(store, state), Branch(store, NAME, environment()).refresh().root
        journal = FileJournal(journal_of(state))
        for number in range(4100):
            request = ("INSERT INTO entry VALUES (?, NULL)", (str(number),))
            journal.append(Program((Step(*request),), number, key=hash_key(str(number))), root.database_id)
        journal.close()
        assert database.flush().pushed == 4100
        database.close()
        assert len(set(tokens(store, state))) == 4100


# The file


def test_p7_a_damaged_entry_is_never_run(store: Store, tmp_path: Path) -> None:
    """A change in the text of a statement is found, and nothing at all is pushed or answered."""
    with opened(store, tmp_path) as database:
        insert(database, "a")
        insert(database, "b")
        database.close(push=False)
    file = sqlite3.connect(journal_of(tmp_path))
    file.execute("UPDATE entry SET write = replace(write, '\"a\"', '\"z\"') WHERE sequence = 1")
    file.commit()
    file.close()
    with opened(store, tmp_path) as database:
        for action in (database.flush, lambda: insert(database, "c"), database.transaction):
            with pytest.raises(Corrupt, match=r"entry 1 is not what was written.*virke db journal --discard"):
                action()
    assert tokens(store, tmp_path) == []


DAMAGES: Final = [b"", b"no database at all, but long enough to be taken for one" * 40]


@pytest.mark.parametrize("damage", DAMAGES, ids=["empty", "foreign"])
def test_p7_a_damaged_journal_blocks_no_read_and_acknowledges_nothing(
    damage: bytes, store: Store, tmp_path: Path
) -> None:
    """An empty file as well: a journal appears whole, so it is never empty."""
    with opened(store, tmp_path / "elsewhere") as database:
        insert(database, "there")
    journal_of(tmp_path).write_bytes(damage)
    with opened(store, tmp_path) as database:
        assert database.query("SELECT token FROM entry").rows == [("there",)]
        status = database.status()
        assert (status.pending_writes, status.healthy) == (0, True)
        assert str(journal_of(tmp_path)) in (status.journal_error or "")
        with pytest.raises(Corrupt, match=r"journal .*ledger\.sqlite .*virke db journal --discard"):
            insert(database, "a")
    assert journal_of(tmp_path).read_bytes() == damage
    assert tokens(store, tmp_path) == ["there"]


def test_p7_a_journal_cut_short_is_an_error(store: Store, tmp_path: Path) -> None:
    with opened(store, tmp_path) as database:
        for number in range(60):
            database.execute("INSERT INTO entry VALUES (?, ?)", (str(number), bytes(500)))
        database.close(push=False)
    whole = journal_of(tmp_path).read_bytes()
    journal_of(tmp_path).write_bytes(whole[: len(whole) // 2])
    with opened(store, tmp_path) as database, pytest.raises(Corrupt):
        database.flush()
    assert tokens(store, tmp_path) == []


def test_p1_a_journal_that_cannot_be_written_acknowledges_nothing(store: Store, tmp_path: Path) -> None:
    """In place of the folder lies a file: the write is refused, and reads go on."""
    (tmp_path / "state").write_text("in the way")
    with opened(store, tmp_path / "state") as database:
        with pytest.raises(Unavailable, match="journal"):
            insert(database, "a")
        assert database.query("SELECT count(*) FROM entry").rows == [(0,)]
        (tmp_path / "state").unlink()
        insert(database, "b")
        assert database.query("SELECT token FROM entry").rows == [("b",)]
    assert tokens(store, tmp_path) == ["b"]


def test_p7_a_journal_lies_beside_its_store_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "a b%20ü"
    with connect(NAME, local_store(folder), create=True, background=False) as database:
        database.execute(TABLE)
        database.change_settings({"durability": "deferred"})
        insert(database, "a")
        assert (folder / "journal" / f"{NAME}.sqlite").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["a b%20ü"]


def test_p1_a_journal_is_not_pushed_into_another_database_of_the_same_name(store: Store, tmp_path: Path) -> None:
    """The database was deleted and made anew: what was meant for the old one is set aside."""
    with opened(store, tmp_path) as database:
        insert(database, "old")
        database.close(push=False)
    delete(NAME, store)
    with opened(store, tmp_path / "elsewhere", create=True) as database:
        database.execute(TABLE)
        database.change_settings({"durability": "deferred"})
    with opened(store, tmp_path) as database:
        assert database.query("SELECT token FROM entry").rows == []
        insert(database, "new")
        assert (database.flush().rejected, database.flush().rejected) == (1, 0)
        assert "was deleted" in database.status().rejected_writes[0].reason
    assert tokens(store, tmp_path) == ["new"]


def test_p1_two_processes_share_one_journal(tmp_path: Path) -> None:
    """Each appends and pushes; everything is there once, whoever pushed it."""
    folder = tmp_path / "store"
    with connect(NAME, local_store(folder), create=True, background=False) as database:
        database.execute(TABLE)
        database.change_settings({"durability": "deferred", "flush_interval_ms": 5})
    work = (
        "import sys; from virke.opening import connect\n"
        "with connect('ledger', sys.argv[1]) as db:\n"
        "    for n in range(40):\n"
        "        db.execute('INSERT INTO entry VALUES (?, NULL)', (f'{sys.argv[2]}-{n}',))\n"
        "        if n % 10 == 9: db.flush()\n"
    )
    env = os.environ | {"PYTHONPATH": SOURCE}
    workers = [subprocess.Popen([sys.executable, "-c", work, str(folder), name], env=env) for name in "abc"]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0]
    ledger = Ledger({f"{name}-{number}" for name in "abc" for number in range(40)})
    with connect(NAME, local_store(folder), background=False) as database:
        assert database.status().pending_writes == 0
        assert ledger.check(database) == ledger.kept
        assert database.status().rejected_writes == ()


def test_p1_a_journal_survives_its_reader_meanwhile(tmp_path: Path) -> None:
    """`append` in one object while another holds the push: it does not wait (journal.py, rule 4)."""
    path = tmp_path / "j.sqlite"
    pusher, writer = FileJournal(path), FileJournal(path)
    with pusher.pushing():
        assert writer.pending_count() == 0
    pusher.close()
    writer.close()

"""The journal after a signal: Ctrl-C comes between any two steps, and its traceback may be kept for ever (a REPL does)."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from virke.engine.programs import Program, Step
from virke.journal import FileJournal
from virke.journal.connection import connect_file
from virke.stores.local.kv import SelfClosing

DATABASE = bytes(16)
WAIT_S = 10


def journal_with_one(path: Path) -> FileJournal:
    journal = FileJournal(path)
    journal.append(Program((Step("INSERT INTO t VALUES (1)"),), 0), DATABASE)
    return journal


@pytest.mark.parametrize("block", ["reading", "changing"])
def test_a_block_that_a_signal_kept_from_beginning_holds_nothing_from_other_threads(tmp_path: Path, block: str) -> None:
    """The signal comes when the block is entered and not begun: nothing leaves it while its traceback lives."""
    journal = journal_with_one(tmp_path / "db.sqlite")
    entered = getattr(journal._file, block)()
    with journal._file.lock:
        entered.__enter__()
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(journal.pending_count()), daemon=True)
    thread.start()
    thread.join(WAIT_S)
    assert found == [1]
    del entered


class Interrupted(SelfClosing):
    """A connection whose next BEGIN is carried out, and then meets a signal."""

    is_armed = False

    def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
        cursor = super().execute(sql, parameters)  # type: ignore[arg-type]
        if Interrupted.is_armed and sql.startswith("BEGIN"):
            Interrupted.is_armed = False
            raise KeyboardInterrupt
        return cursor


def interrupted(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Interrupted)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    return connection


def test_a_journal_whose_read_was_interrupted_is_not_taken_for_damaged(tmp_path: Path) -> None:
    """`Damaged` says to set it aside, and with it writes that were answered."""
    journal_with_one(tmp_path / "db.sqlite").close()
    journal = FileJournal(tmp_path / "db.sqlite", connect=interrupted)
    assert journal.pending_count() == 1
    Interrupted.is_armed = True
    with pytest.raises(KeyboardInterrupt):
        journal.read()
    assert len(journal.read().pending) == 1


def test_a_change_that_was_interrupted_as_it_began_keeps_no_other_process_waiting(tmp_path: Path) -> None:
    journal_with_one(tmp_path / "db.sqlite").close()
    journal = FileJournal(tmp_path / "db.sqlite", connect=interrupted)
    assert journal.pending_count() == 1
    Interrupted.is_armed = True
    with pytest.raises(KeyboardInterrupt):
        journal.append(Program((Step("INSERT INTO t VALUES (2)"),), 0), DATABASE)
    other = connect_file(str(tmp_path / "db.sqlite"))
    other.execute("PRAGMA busy_timeout = 0")
    other.execute("BEGIN IMMEDIATE")
    other.execute("ROLLBACK")
    other.close()

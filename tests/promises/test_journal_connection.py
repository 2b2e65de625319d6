"""The connection to a journal's file: closed under the lock of changes, whatever happened to its folder, and at a fork."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import pytest

from virke.engine.programs import Program, Step
from virke.journal import FileJournal, place
from virke.journal.connection import JournalFile, connect_file

DATABASE = bytes(16)
WRITE = Program((Step("INSERT INTO t VALUES (1)"),), 0)


class OneLock(place.Lock):
    """Says which lock files are held; one that is taken twice by a process would wait for itself for ever."""

    held: ClassVar[set[Path]] = set()

    def __init__(self, path: Path) -> None:
        assert path not in self.held
        super().__init__(path)
        self._path = path
        self.held.add(path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.held.remove(self._path)
        super().__exit__(kind, error, trace)


class World:
    """A journal with one entry, whose connection is open; what was held when a connection was closed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "db.sqlite"
        self.closed: list[set[str]] = []
        self.connections: list[sqlite3.Connection] = []
        self.journal = FileJournal(self.path, connect=self.connect)
        self.journal.append(WRITE, DATABASE)
        self.closed.clear()

    @property
    def file(self) -> JournalFile:
        return self.journal._file

    def connect(self, path: str) -> sqlite3.Connection:
        connection = connect_file(path)
        world = self

        class Watched(type(connection)):  # type: ignore[misc]
            def close(self) -> None:
                world.closed.append({held.name for held in OneLock.held})
                super().close()

        connection.close()
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Watched)
        self.connections.append(connection)
        return connection

    def is_open(self) -> bool:
        """Whether the last connection is."""
        try:
            self.connections[-1].execute("SELECT 1")
        except sqlite3.ProgrammingError:
            return False
        return True


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    OneLock.held.clear()
    monkeypatch.setattr(place, "Lock", OneLock)
    return World(tmp_path / "journals")


def test_p1_the_file_is_closed_while_no_other_process_changes_it(world: World) -> None:
    """The last to close it makes a checkpoint, which must not meet another process that begins the log anew."""
    world.journal.close()
    assert not world.is_open()
    assert world.closed == [{"db.change"}]
    world.journal.close()
    assert len(world.closed) == 1


def test_p1_a_file_that_is_no_longer_there_is_closed_within_the_change_that_notices_it(world: World) -> None:
    """Its lock is held by then: it is not waited for."""
    for path in list(world.path.parent.glob(f"{world.path.name}*")):
        path.rename(path.with_name(f"aside-{path.name}"))
    assert world.journal.append(WRITE, DATABASE) == 1
    assert world.closed[0] == {"db.change"}
    assert world.journal.pending_count() == 1


def test_a_folder_that_was_removed_is_not_made_again_by_closing(world: World) -> None:
    shutil.rmtree(world.path.parent)
    world.journal.close()
    assert not world.is_open()
    assert not world.path.parent.exists()


def test_a_file_whose_lock_can_not_be_had_is_closed_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder went away after it was looked at."""

    def refuse(path: Path) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(place, "Lock", refuse)
    world.journal.close()
    assert not world.is_open()


def is_free(file: JournalFile) -> bool:
    """Whether another thread could have the lock of a file."""
    found: list[bool] = []

    def ask() -> None:
        found.append(file.lock.acquire(blocking=False))
        if found[0]:
            file.lock.release()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found[0]


def test_p1_a_fork_closes_the_file_and_keeps_its_threads_waiting_until_it_is_over(world: World) -> None:
    assert world.file in place.closed_at_fork
    world.file.before_fork()
    assert not world.is_open()
    assert not is_free(world.file)
    world.file.after_fork_in_parent()
    assert is_free(world.file)
    assert world.journal.pending_count() == 1


def test_p1_the_child_of_a_fork_waits_for_no_thread_of_its_parent(world: World) -> None:
    """Threads that held the locks at the fork are not in it."""
    file = world.file
    assert file.pushing.acquire(blocking=False)
    assert file.appending.acquire(blocking=False)
    file.before_fork()
    file.after_fork_in_child()
    assert is_free(file)
    assert not file.pushing.locked()
    assert not file.appending.locked()
    assert world.journal.append(WRITE, DATABASE) == 2

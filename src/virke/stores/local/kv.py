"""One SQLite file as a key-value store between threads and processes: `kv.sqlite`.

Knows connections, locks, creation and what SQLite's errors mean; knows neither registers nor blobs.
Measured on ext4 (2 KB value, SQLite 3.40): WAL 0.4 ms a commit and 5 µs a read, rollback journal 0.9 ms and 9 µs.
WAL does not work across machines, so the folder must not be shared over a network.

1. The file appears whole: it is made in `tmp/` and linked to its name. What is there and can't be read is damage.
2. Each change is one statement, so it is applied whole or not at all, and answered only after fsync.
3. Changes, and with them all checkpoints, are serialised by `flock` on `kv.lock`. SQLite before 3.51.3 can lose
   a commit when one connection checkpoints while another restarts the log.
4. A connection is used by one thread at a time; all changes of a process go through one. A failure closes it.
5. No connection lives through a fork: SQLite's locks would not hold in the child. The fork waits for calls under way.
6. Reading never creates anything. No file, or no folder, reads as empty; but a log without its file is damage.
7. Before the first change the file's name is synced, whoever made it. A file that is no longer at its path is
   not written to, and not read; a change that was made while the file went away is `Lost`.
8. An error says what is certain: `Unavailable` (nothing was changed), `Lost` (I/O error while writing), `Corrupt`.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from virke.core.effects import Generation, Lost
from virke.errors import Corrupt, Invalid, NotFound, TooLarge, Unavailable, VirkeError
from virke.processes import at_fork, unlock, wait_for_lock
from virke.stores.local.files import TEMPS, System, discard_temp, make_directory, sync_directory, unavailable_error
from virke.stores.local.stamps import Stamps
from virke.stores.waiting import waiting

KV_FILE: Final = "kv.sqlite"
LOCK_FILE: Final = "kv.lock"
APPLICATION_ID: Final = 0x56_52_4B_31
FORMAT_VERSION: Final = 2
"""1: without stamps. A process that changes such a file makes it a 2 first, so that no older Virke changes it without them."""
LOCK_TIMEOUT_S: Final = 30.0
_LOCK_RETRY_S: Final = 0.0002
END_TIMEOUT_S: Final = 1.0
"""How long a read waits for a change of another process to end, whose outcome it may have seen."""
_IDLE_MAX: Final = 8
"""Connections that are kept for the next readers; each has two descriptors and a cache of its own."""

Row = tuple[object, ...]
_FileId = tuple[int, int]
Parameter = str | int | bytes | None
Connect = Callable[[str], sqlite3.Connection]

_SCHEMA: Final = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT_VERSION};
CREATE TABLE register (key TEXT PRIMARY KEY, generation TEXT NOT NULL, data BLOB NOT NULL, filler BLOB);
CREATE TABLE blobs (key TEXT PRIMARY KEY, modified_ms INTEGER NOT NULL, data BLOB NOT NULL);
"""
_DURABLE: Final = """
PRAGMA synchronous = FULL;
PRAGMA fullfsync = 1;
PRAGMA checkpoint_fullfsync = 1;
PRAGMA trusted_schema = 0;
PRAGMA secure_delete = 0;
"""


class SelfClosing(sqlite3.Connection):
    """Closes itself when the garbage collector comes to it before its owner; Python 3.13 warns of others."""

    def __del__(self) -> None:
        with suppress(sqlite3.Error):  # it was never opened
            self.close()


def connect_sqlite(path: str, factory: type[SelfClosing] = SelfClosing) -> sqlite3.Connection:
    """A connection in autocommit mode that any one thread may use. Raises `sqlite3.Error`."""
    return sqlite3.connect(
        f"{Path(path).absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=LOCK_TIMEOUT_S,
        factory=factory,
    )


def _translate_error(error: sqlite3.Error, path: Path) -> VirkeError | Lost:
    """What is certain after an error; one without a code never came to SQLite (a closed connection)."""
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return Corrupt(f"{path} is damaged ({error}); restore it from a copy")
        case sqlite3.SQLITE_ERROR | sqlite3.SQLITE_SCHEMA | sqlite3.SQLITE_FORMAT:
            return Corrupt(f"{path} is not as it was written ({error}); restore it from a copy")
        case sqlite3.SQLITE_TOOBIG:
            return TooLarge(f"a value is too large for {path}")
        case sqlite3.SQLITE_IOERR:
            return Lost(f"{path}: {error}")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return Unavailable(
                f"cannot open {path} for writing ({error}), which reading needs too; nothing was changed"
            )
        case _:
            return Unavailable(f"cannot use {path}: {error}; nothing was changed")


def _error_of_read(answer: VirkeError | Lost) -> VirkeError:
    return Unavailable(f"cannot read {answer.reason}") if isinstance(answer, Lost) else answer


class _Open:
    """What a `KvFile` has open."""

    __slots__ = ("idle", "lock_fd", "writer")

    def __init__(self) -> None:
        self.idle: list[sqlite3.Connection] = []
        self.writer: sqlite3.Connection | None = None
        self.lock_fd: int | None = None

    def close_idle(self) -> None:
        while self.idle:
            self.idle.pop().close()

    def close_writer(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None
        if self.lock_fd is not None:
            os.close(self.lock_fd)
            self.lock_fd = None

    def close(self) -> None:
        self.close_idle()
        self.close_writer()


class KvFile:
    """The key-value file of one folder."""

    def __init__(self, folder: Path, *, create: bool, system: System, connect: Connect = connect_sqlite) -> None:
        self.path = folder / KV_FILE
        self._path = str(self.path)
        self._folder = folder
        self._create = create
        self._system = system
        self._connect = connect
        self._changing = threading.Lock()
        self._gate = threading.Lock()
        self._quiet = threading.Condition(self._gate)
        self._awaited = False
        self._reading = threading.Semaphore(_IDLE_MAX)
        """A closed connection keeps its descriptors for as long as another is open: POSIX locks go with a descriptor."""
        self._open_now = _Open()
        self._idle_id: _FileId | None = None
        self._busy = 0
        self._settled: _FileId | None = None
        self._is_new = False
        self._is_stamped = False
        self._lock_path = folder / LOCK_FILE
        self.stamps = Stamps(folder)
        _opened.add(self)
        # SQLite's connections are in a reference cycle; without this they and their log would wait for the collector. And
        # `__del__` runs while a weak reference still brings the object back: it would close what another thread just opened.
        weakref.finalize(self, self._open_now.close).atexit = False

    def select(self, sql: str, parameters: Sequence[Parameter]) -> list[Row]:
        """All rows of a query; none if the file does not exist.

        Raises:
            Unavailable: the file can't be read now.
            Corrupt: the file is damaged or gone.
        """
        with self._reading:
            return self._select_rows(sql, parameters)

    def _select_rows(self, sql: str, parameters: Sequence[Parameter]) -> list[Row]:
        connection, there = self._take_connection()
        try:
            if connection is None:
                connection = self._open_connection()
            rows = [] if connection is None else connection.execute(sql, parameters).fetchall()
        except BaseException as error:
            if connection is not None:
                connection.close()
            self._give_back(None)
            if isinstance(error, sqlite3.Error):
                raise _error_of_read(_translate_error(error, self.path)) from error
            raise
        self._give_back(connection, there)
        return rows

    def change(
        self,
        sql: str,
        parameters: Sequence[Parameter],
        *,
        key: str | None = None,
        generation: Generation | None = None,
        make: bool = False,
    ) -> int | Lost:
        """How many rows one statement changed, durably; 0 if there is no file and `make` does not ask for one.

        `key` is the register's that the statement changes, `generation` what it makes of it.

        Raises:
            Unavailable: disk full, read-only, locked for too long; nothing was changed.
            NotFound: the folder does not exist and may not be created.
            Corrupt: the file is damaged or gone.
        """
        with self._changing:
            with self._gate:
                self._busy += 1
            try:
                return self._change_row(sql, parameters, key, generation) if self._settle(make=make) else 0
            except BaseException as error:
                self._open_now.close_writer()
                if not isinstance(error, sqlite3.Error):
                    raise
                answer = _translate_error(error, self.path)
                if not isinstance(answer, Lost):
                    raise answer from error
                return answer
            finally:
                self._give_back(None)

    def await_change(self, key: str) -> None:
        """If a change of `key` is under way, wait for its end: what was read may be what it makes, and is not answered yet.

        Where that can't be known, or takes `END_TIMEOUT_S`, what was read is as good as anything.
        """
        if not self.stamps.is_under_way(key):
            return
        with self._changing:  # of this process it is over now
            fd = None
            try:
                fd = os.open(self._lock_path, os.O_RDWR)
                if wait_for_lock(fd, END_TIMEOUT_S, _LOCK_RETRY_S):
                    unlock(fd)
            except OSError:
                return  # where nothing can be locked, nothing is changed
            finally:
                if fd is not None:
                    os.close(fd)

    def _change_row(
        self, sql: str, parameters: Sequence[Parameter], key: str | None, generation: Generation | None
    ) -> int | Lost:
        if self._open_now.writer is None:
            self._is_stamped = False
            self._open_now.writer = self._open_connection()
            if self._open_now.writer is None or self._id_of_file() != self._settled:
                raise Unavailable(f"{self.path} was removed just now; nothing was changed")
        with self._locked_file():
            changed = self._execute_change(self._open_now.writer, sql, parameters, key=key, generation=generation)
        if self._id_of_file() != self._settled:
            return Lost(f"{self.path} was removed at the same time")
        return changed

    # Connections

    def _take_connection(self) -> tuple[sqlite3.Connection | None, _FileId | None]:
        """Which file is at the path, and an idle connection to it, if there is one; until `_give_back` a fork waits."""
        there = self._id_of_file()
        with self._gate:
            self._busy += 1
            if there != self._idle_id:
                self._open_now.close_idle()
                self._idle_id = there
            return (self._open_now.idle.pop() if self._open_now.idle else None), there

    def _give_back(self, connection: sqlite3.Connection | None, of: _FileId | None = None) -> None:
        """The end of a call; `connection`, to the file `of`, is kept for the next one if there is use for it."""
        with self._gate:
            if connection is not None:
                if of == self._idle_id and len(self._open_now.idle) < _IDLE_MAX:
                    self._open_now.idle.append(connection)
                else:
                    connection.close()
            self._busy -= 1
            if self._awaited:
                self._quiet.notify_all()

    def _open_connection(self) -> sqlite3.Connection | None:
        if self._id_of_file() is None:
            self._check_no_log()
            return None
        connection = self._connect(str(self.path))
        try:
            connection.executescript(_DURABLE)
            [[application_id]] = connection.execute("PRAGMA application_id").fetchall()
            [[version]] = connection.execute("PRAGMA user_version").fetchall()
            if application_id != APPLICATION_ID:
                raise Corrupt(f"{self.path} is not a Virke store, or is damaged")
            if not 1 <= version <= FORMAT_VERSION:
                raise Invalid(f"{self.path} has format {version}, this Virke reads {FORMAT_VERSION}; use a newer one")
        except BaseException:
            connection.close()
            raise
        return connection

    # The file

    def _id_of_file(self) -> _FileId | None:
        """Which file is at the path, None if there is none. Raises `Unavailable`."""
        try:
            info = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unavailable_error(error, f"use {self.path}") from error
        return info.st_dev, info.st_ino

    def _settle(self, *, make: bool) -> bool:
        """Before a change: whether there is a file (made if asked for), and if it is new to us, its name is durable."""
        now = self._id_of_file()
        if now is not None and now == self._settled:
            return True
        self._open_now.close_writer()
        with self._gate:
            self._open_now.close_idle()
        try:
            if now is None:
                self._check_no_log()
                if not make:
                    return False
                self._make_file()
                self._is_new = True
            sync_directory(self._system, self._folder)
        except OSError as error:
            raise unavailable_error(error, f"create {self.path}") from error
        self._settled = self._id_of_file()
        return True

    def _check_no_log(self) -> None:
        if os.path.exists(f"{self.path}-wal") and not os.path.exists(self.path):
            raise Corrupt(f"{self.path} is gone, but its log {KV_FILE}-wal is there; restore both from a copy")

    def _make_file(self) -> None:
        if not self._create and not os.path.isdir(self._folder):
            raise NotFound(f"no store at {self._folder}; create it first")
        temp = self._folder / TEMPS / f"{os.urandom(16).hex()}.sqlite"
        make_directory(self._system, temp.parent)
        self._system.close(self._system.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            self._fill_file(temp)
            with suppress(FileExistsError):  # another process was first; its file is as good
                self._system.link(temp, self.path)
        except sqlite3.Error as error:
            raise Unavailable(f"cannot create {self.path}: {error}; nothing was changed") from error
        finally:
            discard_temp(self._system, temp)

    def _fill_file(self, temp: Path) -> None:
        with closing(self._connect(str(temp))) as connection:
            connection.executescript(_DURABLE + "PRAGMA journal_mode = WAL;" + _SCHEMA)
        fd = self._system.open(temp, os.O_RDONLY, 0)
        try:
            self._system.sync(fd)
        finally:
            self._system.close(fd)

    @contextmanager
    def _locked_file(self) -> Iterator[None]:
        """No other process makes a change; a killed one lets go of the lock."""
        try:
            if self._open_now.lock_fd is None:
                self._open_now.lock_fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o666)
            if not wait_for_lock(self._open_now.lock_fd, LOCK_TIMEOUT_S, _LOCK_RETRY_S):
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            self.stamps.prepare(is_new=self._is_new)
            self._is_new = False
        except OSError as error:
            self._unlock_file()
            raise unavailable_error(error, f"lock {self._lock_path}") from error
        try:
            yield
        finally:
            self._unlock_file()

    def _unlock_file(self) -> None:
        if self._open_now.lock_fd is not None:
            unlock(self._open_now.lock_fd)

    def _execute_change(
        self,
        connection: sqlite3.Connection,
        sql: str,
        parameters: Sequence[Parameter],
        *,
        key: str | None,
        generation: Generation | None,
    ) -> int:
        if not self._is_stamped:
            [[version]] = connection.execute("PRAGMA user_version").fetchall()
            if version != FORMAT_VERSION:
                connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            columns = connection.execute("PRAGMA table_info(register)").fetchall()
            if "filler" not in [name for _, name, *_ in columns]:
                connection.execute("ALTER TABLE register ADD COLUMN filler BLOB")  # who does not know it lets it be
            self._is_stamped = True
        if key is None:
            with waiting():
                return connection.execute(sql, parameters).rowcount
        with self.stamps.changing(key, generation), waiting():
            return connection.execute(sql, parameters).rowcount

    # Fork

    def before_fork(self) -> None:
        """Wait for the calls under way, close all connections, and let no call begin."""
        self._gate.acquire()
        self._awaited = True
        self._quiet.wait_for(lambda: not self._busy, timeout=LOCK_TIMEOUT_S)
        self._awaited = False
        self._open_now.close_idle()
        self._open_now.close_writer()

    def after_fork_in_parent(self) -> None:
        """Let calls begin again."""
        self._gate.release()

    def after_fork_in_child(self) -> None:
        """Forget the locks, which threads that no longer exist may hold."""
        self._changing = threading.Lock()
        self._gate = threading.Lock()
        self._quiet = threading.Condition(self._gate)
        self._reading = threading.Semaphore(_IDLE_MAX)
        self._busy = 0


_opened: weakref.WeakSet[KvFile] = weakref.WeakSet()
_held: list[KvFile] = []
_forking = threading.Lock()


def _hold_before_fork() -> None:
    _forking.acquire()
    _held.extend(_opened)
    for file in _held:
        file.before_fork()


def _release_after_fork(*, in_child: bool) -> None:
    while _held:
        file = _held.pop()
        if in_child:
            file.after_fork_in_child()
        else:
            file.after_fork_in_parent()
    _forking.release()


at_fork(
    before=_hold_before_fork,
    in_parent=lambda: _release_after_fork(in_child=False),
    in_child=lambda: _release_after_fork(in_child=True),
)

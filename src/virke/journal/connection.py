"""The file of a journal: an SQLite file that appears whole, its transactions, and the formats that it had.

Knows the file system, connections and what SQLite's errors mean; knows nothing of what a journal keeps.

1. A change is answered after it is on disk: write-ahead log, `synchronous=FULL`, one fsync; and before the first, the
   file's name and every folder above it are synced, whoever made them.
2. Reading creates nothing. The file appears whole; an empty one is damage, not a journal that was never written.
3. Only this user can read it: folders 0700, files 0600, whatever the umask.
4. Changes, and with them all checkpoints, are serialised by a lock file: SQLite before 3.51.3 can lose a commit when one
   connection checkpoints while another restarts the log.
5. No connection lives through a fork. A file that is no longer at its path is not written to.
6. A file that was copied (its inode is not the one that it remembers) is another journal from there on. With nothing
   pending it takes another name at once; else `copied_at` says up to which entry it and the other have the same.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from virke.engine.entry import DamagedJournal, UnreachableJournal
from virke.errors import UsageError
from virke.journal import place
from virke.stores.local.files import System
from virke.stores.local.kv import SelfClosing

JOURNAL_ID_BYTES: Final = 16
BUSY_TIMEOUT_S: Final = 30.0
_DURABLE: Final = """
PRAGMA synchronous = FULL;
PRAGMA fullfsync = 1;
PRAGMA checkpoint_fullfsync = 1;
PRAGMA trusted_schema = 0;
"""
FORMAT: Final = 2
_SCHEMA: Final = f"""
PRAGMA user_version = {FORMAT};
CREATE TABLE journal (
    id BLOB NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0,
    settled_id BLOB,
    inode INTEGER NOT NULL DEFAULT 0,
    copied_at INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE entry (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ms INTEGER NOT NULL,
    database BLOB NOT NULL,
    write TEXT NOT NULL,
    noted INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    rejected INTEGER NOT NULL DEFAULT 0,
    entry_id BLOB,
    pages BLOB,
    seal BLOB,
    noted_at INTEGER NOT NULL DEFAULT 0
);
INSERT INTO journal (id) VALUES (randomblob(16));
"""
_FROM_FIRST_FORMAT: Final = f"""
ALTER TABLE journal ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE journal ADD COLUMN settled_id BLOB;
ALTER TABLE journal ADD COLUMN inode INTEGER NOT NULL DEFAULT 0;
ALTER TABLE journal ADD COLUMN copied_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE entry ADD COLUMN entry_id BLOB;
ALTER TABLE entry ADD COLUMN pages BLOB;
ALTER TABLE entry ADD COLUMN seal BLOB;
ALTER TABLE entry ADD COLUMN noted_at INTEGER NOT NULL DEFAULT 0;
UPDATE journal SET settled = coalesce((SELECT min(sequence) - 1 FROM entry WHERE NOT rejected),
    (SELECT max(seq) FROM sqlite_sequence WHERE name = 'entry'), 0);
PRAGMA user_version = {FORMAT};
"""
NEWEST: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'entry'"
_DAMAGE: Final = frozenset(
    (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_FORMAT)
)
HINT: Final = "nothing of it is run; `virke db journal` shows it, `virke db journal --discard` sets it aside"

Connect = Callable[[str], sqlite3.Connection]


def connect_file(path: str) -> sqlite3.Connection:
    """A connection in autocommit mode to a file that exists. Raises `sqlite3.Error`."""
    connection = sqlite3.connect(
        f"{Path(path).absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_S,
        factory=SelfClosing,
    )
    connection.text_factory = lambda data: data.decode("utf-8", "replace")  # such text does not fit its seal
    return connection


class JournalFile:
    """One file, and this process's connection to it."""

    def __init__(self, path: Path | None, *, private_folder: bool, system: System, connect: Connect) -> None:
        self._path = path
        self._private_folder = private_folder
        self.system = system
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._durable: tuple[int, int] | None = None
        """The file whose name is known to be on disk."""
        self._forget_locks()
        place.closed_at_fork.add(self)

    def _forget_locks(self) -> None:
        self.lock = threading.RLock()
        self.pushing, self.appending = threading.Lock(), threading.Lock()
        """Between the threads of this process, for the lock files of their names."""

    def where(self) -> Path:
        """Where the file is, or would be. Raises `UsageError`: nowhere."""
        if self._path is None:
            raise UsageError(
                "no home directory is known, where deferred writes would be kept: set HOME, or give state_dir"
            )
        return self._path

    def folder(self) -> Path:
        """Its folder, made if it is missing. Raises `OSError`."""
        return place.make_folder(self.system, self.where().parent, private=self._private_folder)

    def close(self, *, is_locked: bool = False) -> None:
        """Close the file; the last to close it makes a checkpoint."""
        with self.lock:
            if self._connection is None:
                return
            connection, self._connection, self._file = self._connection, None, None
            if is_locked or not os.path.isdir(self.where().parent):  # a folder that was removed is not made again
                connection.close()
                return
            try:
                with self._change_lock():
                    connection.close()
            except OSError:  # the folder went away
                connection.close()

    def _change_lock(self) -> place.Lock:
        return place.Lock(self.folder() / self.where().with_suffix(".change").name)

    def before_fork(self) -> None:
        """Wait for the change under way, and close the file."""
        self.lock.acquire()
        self.close()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.lock.release()

    def after_fork_in_child(self) -> None:
        """Forget the locks, which threads that no longer exist may hold."""
        self._forget_locks()

    def unreachable(self, error: OSError) -> UnreachableJournal:
        """What an error of the operating system means to the caller."""
        return UnreachableJournal(f"journal {self._path}: {error.strerror or error}")

    @property
    def is_absent(self) -> bool:
        """Whether there is no file at this moment, and so nothing to read; a caller that is told no reads, and learns what is there."""
        if self._connection is not None:
            return False
        try:
            return self._path is None or place.file_identity(self._path) is None
        except OSError:
            return False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """The connection, or None if there is no file; failures become Virke's errors.

        The caller holds `lock`, by a `with` of its own: a signal that comes before the block of this one begins would
        leave what is held here held for as long as its traceback is kept.
        """
        with self._translated_errors():
            yield self._connection if self._is_current() else self._open_anew()

    @contextmanager
    def changing(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection inside a transaction that no other process's overlaps; the caller holds `lock`."""
        with self._translated_errors(), self._change_lock():
            connection = self._connection if self._is_current() else self._open_anew(is_locked=True)
            if connection is None:
                if not create:
                    raise UnreachableJournal(f"journal {self._path} is gone")
                place.make_file(self.system, self.where(), self._fill_new_file)
                connection = self._open_anew(is_locked=True)
            assert connection is not None, "it has just been made"
            if self._durable != self._file:
                place.sync_name(self.system, self.where())
                self._durable = self._file
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self.close()
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _DAMAGE:
                raise DamagedJournal(f"journal {self._path} is damaged ({error}); {HINT}") from error
            raise UnreachableJournal(f"journal {self._path}: {error}") from error
        except OSError as error:
            self.close()
            raise self.unreachable(error) from error

    def _is_current(self) -> bool:
        return self._connection is not None and self._file == place.file_identity(self.where())

    def _open_anew(self, *, is_locked: bool = False) -> sqlite3.Connection | None:
        """A new connection to the file that is there now; None if there is none."""
        self.close(is_locked=is_locked)
        if self._path is None or (file := place.file_identity(self._path)) is None:
            return None
        if not os.stat(self._path).st_size:
            raise DamagedJournal(f"journal {self._path} is empty, which no journal ever is; {HINT}")
        connection = self._connect(str(self._path))
        try:
            connection.executescript(_DURABLE)
            [[version]] = connection.execute("PRAGMA user_version").fetchall()
            [[inode]] = connection.execute("SELECT inode FROM journal" if version else "SELECT 0").fetchall()
            if version > FORMAT:
                raise UnreachableJournal(f"journal {self._path} has format {version}, which a newer Virke reads")
            if version != FORMAT or inode != file[1]:
                self._take_over(connection, version, file, is_locked=is_locked)
        except BaseException:
            connection.close()
            raise
        self._connection, self._file = connection, file
        return connection

    def _take_over(
        self, connection: sqlite3.Connection, version: int, file: tuple[int, int], *, is_locked: bool
    ) -> None:
        """A file of the first release becomes one of this; a copied one becomes another journal."""
        if not is_locked:
            with self._change_lock():
                self._take_over(connection, version, file, is_locked=True)
            return
        place.close_to_others(self.where())
        connection.execute("BEGIN IMMEDIATE")
        [[version]] = connection.execute("PRAGMA user_version").fetchall()
        if version < FORMAT:
            for statement in filter(None, map(str.strip, _FROM_FIRST_FORMAT.split(";"))):
                connection.execute(statement)
        [[inode]] = connection.execute("SELECT inode FROM journal").fetchall()
        if inode and inode != file[1]:
            [[pending]] = connection.execute("SELECT count(*) FROM entry WHERE NOT rejected").fetchall()
            [[newest]] = connection.execute(NEWEST).fetchall()
            if pending:
                connection.execute("UPDATE journal SET copied_at = ?", (newest,))
            else:
                give_new_identity(connection)
        connection.execute("UPDATE journal SET inode = ?", (file[1],))
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")

    def _fill_new_file(self, path: Path) -> None:
        """Make an empty journal of a new, empty file."""
        connection = self._connect(str(path))
        try:
            connection.executescript(f"{_DURABLE} PRAGMA journal_mode = WAL; BEGIN; {_SCHEMA} COMMIT;")
            connection.execute("UPDATE journal SET inode = ?", (os.stat(path).st_ino,))
        finally:
            connection.close()


def give_new_identity(connection: sqlite3.Connection) -> None:
    """Make a journal another one, of which no root says anything."""
    connection.execute(
        "UPDATE journal SET id = ?, settled = 0, settled_id = NULL, copied_at = 0", (os.urandom(JOURNAL_ID_BYTES),)
    )
    connection.execute("UPDATE entry SET noted = 0, reason = NULL WHERE NOT rejected")

"""Where a journal is: its folder and files, closed to other users, and the locks between processes.

Knows the file system; knows nothing of what a journal keeps.

1. Folders that are made here are 0700 and files 0600, whatever the umask; a folder that was there is closed only if it
   is Virke's own.
2. A name is on disk before anything is answered that rests on it: every folder above it was synced.
3. Nothing is ever deleted: what is set aside gets a name that is free.
"""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

from virke.processes import at_fork, unlock, wait_for_lock
from virke.stores.local.files import System, discard_temp, make_directory, sync_directory

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
SET_ASIDE: Final = "discarded"


def file_identity(path: Path) -> tuple[int, int] | None:
    """Which file is at a path (device and inode); None if there is none. Raises `OSError`."""
    try:
        info = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return info.st_dev, info.st_ino


def make_folder(system: System, folder: Path, *, private: bool) -> Path:
    """The folder, made if it is missing. Raises `OSError`."""
    is_new = not os.path.isdir(folder)
    if is_new:
        make_directory(system, folder)
    if (is_new or private) and os.stat(folder).st_mode & 0o777 != FOLDER_MODE:
        os.chmod(folder, FOLDER_MODE)
    return folder


def sync_name(system: System, path: Path) -> None:
    """Bring the name of a file, and of each folder above it that may be new, to disk. Raises `OSError`."""
    sync_directory(system, path.parent)
    make_directory(system, path.parent)


def close_to_others(path: Path) -> None:
    """Let only this user read a file, and its log. Raises `OSError`."""
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        with suppress(FileNotFoundError):
            os.chmod(name, FILE_MODE)


def make_file(system: System, path: Path, fill: Callable[[Path], None]) -> None:
    """Make a file whole or not at all: filled under another name, synced, then linked. Raises `OSError`."""
    temp = path.with_name(f"{path.name}.{os.urandom(8).hex()}.new")
    fd = system.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    system.close(fd)
    try:
        close_to_others(temp)
        fill(temp)
        fd = system.open(temp, os.O_RDONLY, 0)
        try:
            system.sync(fd)
        finally:
            system.close(fd)
        with suppress(FileExistsError):  # another process was first; its file is as good
            system.link(temp, path)
    finally:
        discard_temp(system, temp)


def free_name(path: Path) -> Path:
    """A free name in the folder of `path`."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.{SET_ASIDE}-{number}")):
        number += 1
    return aside


def copy_journal(system: System, connection: sqlite3.Connection, aside: Path) -> None:
    """Copy all that a connection sees into a new file. Raises `OSError`, `sqlite3.Error`."""
    system.close(system.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE))
    close_to_others(aside)
    with closing(sqlite3.connect(aside)) as target:
        connection.backup(target)
    fd = system.open(aside, os.O_RDONLY, 0)
    try:
        system.sync(fd)
    finally:
        system.close(fd)
    sync_directory(system, aside.parent)


def set_aside(system: System, path: Path) -> Path:
    """Give a file, and its log, another name. Raises `OSError`."""
    aside = free_name(path)
    for suffix in ("-wal", "-shm", "-journal", ""):
        with suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    sync_directory(system, path.parent)
    return aside


class Lock:
    """The lock of a file between processes, held by one descriptor. Raises `OSError`."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE)
        try:
            if os.fstat(self._fd).st_mode & 0o777 != FILE_MODE:
                os.chmod(path, FILE_MODE)
            wait_for_lock(self._fd)
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        unlock(self._fd)
        os.close(self._fd)


class ClosedAtFork(Protocol):
    """What must not be open in two processes."""

    def before_fork(self) -> None:
        """Wait for calls under way, close, and let no call begin."""

    def after_fork_in_parent(self) -> None:
        """Let calls begin again."""

    def after_fork_in_child(self) -> None:
        """Forget the locks."""


closed_at_fork: weakref.WeakSet[ClosedAtFork] = weakref.WeakSet()


def _before_fork() -> None:
    _held.extend(closed_at_fork)
    for one in _held:
        one.before_fork()


def _in_parent() -> None:
    while _held:
        _held.pop().after_fork_in_parent()


def _in_child() -> None:
    while _held:
        _held.pop().after_fork_in_child()


_held: Final[list[ClosedAtFork]] = []
at_fork(before=_before_fork, in_parent=_in_parent, in_child=_in_child)

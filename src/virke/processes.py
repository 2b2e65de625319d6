"""Where processes of one machine meet: locks on files, forks, what brings a file to the medium, how many may be open.

Knows what differs between systems (the only importer of `fcntl`, `msvcrt` and `resource`); knows nothing of what is locked.

1. Importing this fails on no system. POSIX has `flock`, Windows `msvcrt.locking`; where there is neither (WebAssembly)
   one process is alone, and the locks exclude its threads from each other.
2. A lock belongs to the descriptor that took it, not to the process: two descriptors of one file exclude each other.
3. The death of the process releases its locks. A living one calls `unlock` before it closes the descriptor: a child
   that was forked meanwhile has the descriptor too.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

RETRY_S: Final = 0.0005
PLAIN_FILE: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
"""Flags with which `os.open` follows no link and waits for no FIFO, where the system has them."""
_FILES_USUAL: Final = 512
"""Where the system does not say: what Windows' C library opens."""
_FILES_ENDLESS: Final = 1 << 20
_WINDOWS_BYTE: Final = 0x7FFF_0000
"""Which byte of a file is locked on Windows, where no process can read or write a locked one: far beyond the end."""


class ThreadLocks:
    """Locks on files between the threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[tuple[int, int], int] = {}

    def try_lock(self, fd: int) -> bool:
        """Take the lock if no other descriptor has it."""
        with self._lock:
            return self._holders.setdefault(_file_id(fd), fd) == fd

    def unlock(self, fd: int) -> None:
        """Let go of the lock if `fd` has it."""
        with self._lock:
            if self._holders.get(_file_id(fd)) == fd:
                del self._holders[_file_id(fd)]


def _file_id(fd: int) -> tuple[int, int]:
    info = os.fstat(fd)
    return info.st_dev, info.st_ino


def _system_locks() -> tuple[Callable[[int], bool], Callable[[int], None], Callable[[int], None]]:
    """How this system takes a lock without waiting, lets go of it, and syncs a file."""
    try:
        import fcntl
    except ImportError:
        return *_windows_locks(), os.fsync

    def try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)

    def sync(fd: int) -> None:
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # type: ignore[attr-defined, unused-ignore]

    return try_lock, unlock, sync if sys.platform == "darwin" else os.fsync  # plain fsync stops at the drive's cache


def _windows_locks() -> tuple[Callable[[int], bool], Callable[[int], None]]:
    try:
        from msvcrt import LK_NBLCK, LK_UNLCK, locking  # type: ignore[attr-defined, unused-ignore]
    except ImportError:
        alone = ThreadLocks()
        return alone.try_lock, alone.unlock

    def try_lock(fd: int) -> bool:
        os.lseek(fd, _WINDOWS_BYTE, os.SEEK_SET)
        try:
            locking(fd, LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def unlock(fd: int) -> None:
        os.lseek(fd, _WINDOWS_BYTE, os.SEEK_SET)
        locking(fd, LK_UNLCK, 1)

    return try_lock, unlock


try_lock, unlock, sync_file = _system_locks()
"""`try_lock(fd)`: take the lock of a file, or say that another has it. `unlock(fd)`: let go of it.
`sync_file(fd)`: bring a file or directory to the medium. All raise `OSError`."""


def wait_for_lock(fd: int, timeout_s: float | None = None, retry_s: float = RETRY_S) -> bool:
    """Wait for the lock of a file, at most `timeout_s`; whether it was got. Raises `OSError`.

    It looks every `retry_s`, and ever more rarely, up to ten times that.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    pause_s = retry_s
    while not try_lock(fd):
        if deadline is not None and time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.1, 10 * retry_s)
    return True


@contextmanager
def holding_lock(fd: int) -> Iterator[None]:
    """The lock of a file, waited for as long as it takes. Raises `OSError`."""
    wait_for_lock(fd)
    try:
        yield
    finally:
        unlock(fd)


def at_fork(
    *,
    before: Callable[[], object] | None = None,
    in_parent: Callable[[], object] | None = None,
    in_child: Callable[[], object] | None = None,
) -> None:
    """Run these at each fork of this process, on systems that have forks."""
    if hasattr(os, "register_at_fork"):
        given = {"before": before, "after_in_parent": in_parent, "after_in_child": in_child}
        os.register_at_fork(**{when: function for when, function in given.items() if function is not None})


def files_max() -> int:
    """How many files and sockets this process may have open, once it has asked the system for all that it may have."""
    try:
        import resource
    except ImportError:
        return _FILES_USUAL
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return _FILES_ENDLESS if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS names a hard limit that it does not grant
        return _FILES_ENDLESS if soft == resource.RLIM_INFINITY else soft
    return files_max()

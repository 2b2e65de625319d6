"""Scratch folders whose process was killed: the next import or export removes them.

Knows the folder for temporary files and the names of what scratch folders hold; knows nothing of what is in those files.

1. A process holds a lock on a file in its scratch folder; its death releases it (`virke.processes`).
2. A folder is removed if it has the name and the mode of a scratch folder, is this user's, is older than `GRACE_S` (it may
   not be locked yet) and its lock is free. Only files that scratch folders have are removed: a folder with another one stays.
3. What can't be removed is left; that is not an error of the import that comes by.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from virke.processes import try_lock, unlock

PREFIX: Final = "virke-scratch-"
GRACE_S: Final = 3600
_LOCK: Final = "lock"
_FILES: Final = ("input", "scratch.sqlite", "scratch.sqlite-wal", "scratch.sqlite-shm", "scratch.sqlite-journal", _LOCK)
_LOCKING: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Hold the lock of a scratch folder that this process has just made, where its file system has locks. Raises `OSError`."""
    fd = os.open(folder / _LOCK, _LOCKING, 0o600)
    try:
        with suppress(OSError):
            try_lock(fd)
        yield
    finally:
        with suppress(OSError):
            unlock(fd)
        os.close(fd)


def remove_leftovers(top: Path, now_s: float | None = None) -> None:
    """Remove what killed processes of this user left in `top` (rule 2)."""
    latest_s = (time.time() if now_s is None else now_s) - GRACE_S
    with suppress(OSError), os.scandir(top) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and _is_old_and_ours(entry, latest_s):
                _remove_unless_in_use(Path(entry.path))


def _is_old_and_ours(entry: os.DirEntry[str], latest_s: float) -> bool:
    try:
        info = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    is_ours = not hasattr(os, "geteuid") or (info.st_uid == os.geteuid() and stat.S_IMODE(info.st_mode) == 0o700)
    return is_ours and stat.S_ISDIR(info.st_mode) and info.st_mtime < latest_s


def _remove_unless_in_use(folder: Path) -> None:
    with suppress(OSError):
        fd = os.open(folder / _LOCK, _LOCKING, 0o600)
        try:
            if try_lock(fd):
                for name in _FILES:
                    (folder / name).unlink(missing_ok=True)
                folder.rmdir()
        finally:
            unlock(fd)
            os.close(fd)

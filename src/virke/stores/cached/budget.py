"""The budget of a cache's folder: how many bytes its files may take, whoever writes them, also in processes that end soon.

Knows sizes, times and names of files and nothing of what is in them.

The account is a file in the folder that grows by one byte for each block of `BLOCK_BYTES` that anybody is about to
write, so that its size says how much was written since all files were last looked at. There is one for each budget:
who comes with another budget looks once.

1. A writer charges before it writes. While the account stays within a tenth of the budget, that is all it does.
2. A process that charges beyond that, or finds no account, looks at all files, removes those that were used longest ago until
   four fifths of the budget are left (less, if the new file needs more room), and begins a new account with its own
   charge. One does so at a time; meanwhile the others write nothing, and none waits.
3. So files that were written by processes of one budget never exceed it, except for those that a process charged for
   before such a look and put in place after it: at most one file for each *other* thread that was writing at that
   moment, until the next look. A file counts in whole blocks; folders and the account itself (a byte for each 40 KiB of
   the budget) don't. Where processes have several budgets, the largest counts.
4. Everything may be deleted at any time: without an account the next process looks. Errors of the disk are `OSError`. An account
   that is not a regular file counts as none.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from virke.processes import PLAIN_FILE, try_lock, unlock
from virke.stores.cached.private import FILE_MODE, make_folder, tighten_file

BLOCK_BYTES: Final = 4096
_LOOK_SHARE: Final = 10
_LEFT_SHARE: Final = 0.8
_APPENDING: Final = os.O_WRONLY | os.O_APPEND | PLAIN_FILE


class CacheBudget:
    """What may be written into `folder`."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self._folder = str(folder)
        self._blocks_max = max(0, bytes_max) // BLOCK_BYTES
        self._unseen_max = self._blocks_max // _LOOK_SHARE
        self._account = os.path.join(self._folder, f"account-{bytes_max}")

    def admit(self, size_bytes: int) -> bool:
        """Whether a file of `size_bytes` may be written now; room for it has been made. Raises `OSError`."""
        blocks = blocks_of(size_bytes)
        if blocks > self._blocks_max:
            return False
        if self._charge_blocks(blocks):
            return True
        make_folder(self._folder)
        with _alone_in(self._folder) as alone:
            if not alone:
                return False
            if not self._charge_blocks(blocks):  # no other process has looked meanwhile
                left = min(int(self._blocks_max * _LEFT_SHARE), self._blocks_max - blocks)
                _remove_oldest(self._folder, self._account, left)
                _remove_unless_regular(self._account)
                self._append_blocks(blocks, os.O_CREAT | os.O_TRUNC)
        return True

    def _charge_blocks(self, blocks: int) -> bool:
        """Enter `blocks`; whether the account is there and stays within its limit."""
        try:
            return self._append_blocks(blocks) <= self._unseen_max
        except FileNotFoundError:
            return False
        except OSError:
            if _is_regular(self._account):
                raise
            return False

    def _append_blocks(self, blocks: int, flags: int = 0) -> int:
        """Enter `blocks`; how many there are then."""
        fd = os.open(self._account, _APPENDING | flags, FILE_MODE)
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise FileNotFoundError(self._account)
            tighten_file(fd, info.st_mode)
            os.write(fd, bytes(blocks))
            return os.fstat(fd).st_size
        finally:
            os.close(fd)


def blocks_of(size_bytes: int) -> int:
    """How many blocks a file of `size_bytes` takes; an empty one takes one too."""
    return max(1, -(-size_bytes // BLOCK_BYTES))


def _is_regular(path: str) -> bool:
    """Whether there is a regular file at `path`. Raises `OSError`."""
    return stat.S_ISREG(os.lstat(path).st_mode)


def _remove_unless_regular(path: str) -> None:
    """Remove what stands at `path` in the place of a file: a FIFO, a link, a device. Raises `OSError`."""
    with suppress(FileNotFoundError):
        if not _is_regular(path):
            os.unlink(path)


@contextmanager
def _alone_in(folder: str) -> Iterator[bool]:
    """Whether no other process looks at the files of `folder`; none begins before this ends."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        if not try_lock(fd):
            yield False
            return
        try:
            yield True
        finally:
            unlock(fd)  # a child that was forked meanwhile has the descriptor too
    finally:
        os.close(fd)


def _remove_oldest(folder: str, account: str, left: int) -> None:
    """Remove files below `folder`, but not `account`, until they take at most `left` blocks, and folders left empty."""
    files = sorted(file for file in _files_below(folder) if file[2] != account)
    total = sum(blocks for _, blocks, _ in files)
    emptied = set()
    for _, blocks, path in files:
        if total <= left:
            break
        with suppress(FileNotFoundError):
            os.unlink(path)
        total -= blocks
        emptied.add(os.path.dirname(path))
    for path in emptied:
        _remove_empty(path, folder)


def _remove_empty(path: str, top: str) -> None:
    """Remove the folder at `path` if it is empty, and those above it below `top`."""
    with suppress(OSError):  # not empty, or gone
        while path != top:
            os.rmdir(path)
            path = os.path.dirname(path)


def _files_below(folder: str) -> Iterator[tuple[int, int, str]]:
    """Time of last use, blocks and path of every file below `folder`."""
    waiting = [folder]
    while waiting:
        with suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    with suppress(FileNotFoundError):
                        info = entry.stat(follow_symlinks=False)
                        yield info.st_mtime_ns, blocks_of(info.st_size), entry.path

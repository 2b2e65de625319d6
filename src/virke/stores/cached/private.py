"""Folders and files that only their owner may read: a cache holds pages of private databases.

Knows modes and paths; knows nothing of what is kept in them.

1. What is made here is 0700 (folders) or 0600 (files), whatever the umask is.
2. What was made with wider modes, by an earlier version, is tightened when it is opened; a folder that can't be, as it is
   another user's, is an `OSError`: nothing is read from it and nothing is written to it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
_OTHERS: Final = 0o077


def make_folder(path: str) -> None:
    """Make the folder at `path`, and those above it that are missing. Raises `OSError`."""
    with suppress(FileExistsError):
        try:
            os.mkdir(path, FOLDER_MODE)
        except FileNotFoundError:
            make_folder(os.path.dirname(path))
            os.mkdir(path, FOLDER_MODE)


def tighten_folder(path: str) -> None:
    """Take all other users' rights from the folder at `path`, if it is there. Raises `OSError` if it is not ours."""
    with suppress(FileNotFoundError):
        if os.stat(path).st_mode & _OTHERS:
            os.chmod(path, FOLDER_MODE)


def tighten_file(fd: int, mode: int) -> None:
    """Take all other users' rights from an open file whose mode is `mode`; another user's file is left as it is."""
    if mode & _OTHERS:
        with suppress(PermissionError):
            os.fchmod(fd, FILE_MODE)

"""The line of all threads and processes that write to one local store.

    folder/line/HASH.0               locked by whoever is first in the line of one key
    folder/line/HASH.1 … HASH.4      locked by whoever is that far behind

Knows keys and files; decision 0016 says why.

1. The threads of a process queue first (`ThreadLine`); one of them at a time stands here for its process.
2. Whoever waits for a place holds the one behind it, and lets go of that when the next is had. So five processes are
   served in the order in which they came, and one that comes back at once stands behind the others. More than five
   wait for the last place, where chance decides.
3. Waiting is to look again after a pause, which grows with the time waited: little is lost when the line moves, and a
   long wait costs next to nothing.
4. The system takes locks from the dead. A forked child closes the descriptors of its parent, which keeps its place.
5. Without the folder, or where files can't be made, there is no line: the answer is no, at once.
6. The files of the last key stay open: no others, however many databases one process has.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

from virke.processes import at_fork, try_lock, unlock
from virke.stores.line import ThreadLine

FOLDER: Final = "line"
PLACES: Final = 5
_PAUSE_S: Final = 0.0002
_PAUSE_MAX_S: Final = 0.005
_PAUSE_SHARE: Final = 0.1
"""How much longer than it took already a wait may take because no process looked."""


class FileLine:
    """The lines of one store's folder, one for each key."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.path.join(folder, FOLDER)
        self._threads = ThreadLine()
        self._kept: _Places | None = None

    @contextmanager
    def __call__(self, key: str, timeout_s: float) -> Iterator[bool]:
        """Wait at most `timeout_s` to be first for `key`; whether one is. Not for a thread that is first already."""
        deadline = time.monotonic() + timeout_s
        with self._threads(key, timeout_s) as is_first:
            places = self._places_of_key(key) if is_first else None
            try:
                yield places is not None and places.stand(deadline)
            finally:
                if places is not None:
                    places.leave()
                    self._kept = places

    def _places_of_key(self, key: str) -> _Places | None:
        path = os.path.join(self._folder, blake2b(key.encode(), digest_size=8).hexdigest())
        kept, self._kept = self._kept, None  # a thread that asks for another key may see it too, and passes it by
        if kept is not None and kept.path == path and kept.are_there():
            return kept
        with suppress(OSError):
            return _Places(path)
        return None


class _Places:
    """The open files of one key, for one thread at a time."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fds: list[int] = []
        self._held: int | None = None
        with _opening:
            _opened.add(self)
            for place in range(PLACES):
                self._fds.append(_open_place(f"{path}.{place}"))

    def __del__(self) -> None:
        self.close()

    def are_there(self) -> bool:
        """Whether the files are still the ones at their paths."""
        with suppress(OSError, IndexError):
            return os.path.samestat(os.fstat(self._fds[0]), os.stat(f"{self.path}.0"))
        return False

    def stand(self, deadline: float) -> bool:
        """Come to the front; whether that was reached before the deadline."""
        try:
            return all(self._step_forward(fd, place, deadline) for place, fd in reversed([*enumerate(self._fds)]))
        except OSError:
            return False

    def _step_forward(self, fd: int, place: int, deadline: float) -> bool:
        began = now = time.monotonic()
        while not try_lock(fd):
            if now >= deadline:
                return False
            pause_s = max(_PAUSE_S * (1 + place), (now - began) * _PAUSE_SHARE)
            time.sleep(min(pause_s, _PAUSE_MAX_S, max(0.0, deadline - now)))
            now = time.monotonic()
        self.leave()
        self._held = fd
        return True

    def leave(self) -> None:
        """Let go of the place that is held, if any."""
        held, self._held = self._held, None
        if held is not None:
            unlock(held)

    def close(self) -> None:
        """Close the files. The place of a parent stays its own: closing a copy takes no lock from it."""
        fds, self._fds, self._held = self._fds, [], None
        for fd in fds:
            os.close(fd)


def _open_place(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(os.path.dirname(path))
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


_opened: weakref.WeakSet[_Places] = weakref.WeakSet()
_opening = threading.Lock()


def _close_in_child() -> None:
    """Drop what the parent has open: a copy would keep its place when it dies."""
    for places in list(_opened):
        places.close()
    _opening.release()


at_fork(before=_opening.acquire, in_parent=_opening.release, in_child=_close_in_child)

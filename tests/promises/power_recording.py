"""Writes down what the local store and the journal ask of the operating system, in order, while it is done.

The calls of their own come through `System`; those of SQLite through a file system (VFS) of apsw's, as Python's own
module takes none: `connect` gives a connection of apsw with the methods of `sqlite3` that they use. SQLite syncs a
folder inside its own file system: that is seen where it opens the folder.
"""

from __future__ import annotations

import ctypes
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, cast

import apsw

from tests.promises.power_disk import ROOT, Enter, Mark, Operation, Remove, Sync, Truncate, Write
from virke.stores.local.files import System

CHECKPOINT_PAGES: Final = 24
"""SQLite's own 1000 would take megabytes to the first checkpoint."""
_SYSTEM_CALL: Final = "openDirectory"
_OPEN_FOLDER: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int))


class Recording:
    """The operations below one folder, which is there already."""

    def __init__(self, base: Path) -> None:
        self.operations: list[Operation] = []
        self._base = base
        self._inodes: dict[Path, int] = {base: ROOT}
        self._open: dict[int, int] = {}
        self._count = ROOT

    def mark(self, word: str, *tokens: str) -> None:
        """What a caller began, or was answered."""
        self.operations.append(Mark(word, tokens))

    def inode(self, path: str | Path) -> int | None:
        """The number of what has this name now; None if it is not watched."""
        return self._inodes.get(Path(path))

    def enter(self, path: Path, inode: int | None = None, *, is_folder: bool = False) -> int:
        """A name appeared."""
        if inode is None:
            self._count += 1
            inode = self._count
        self._inodes[path] = inode
        self.operations.append(Enter(self._inodes[path.parent], path.name, inode, is_folder))
        return inode

    def remove(self, path: Path) -> None:
        """A name went away."""
        del self._inodes[path]
        self.operations.append(Remove(self._inodes[path.parent], path.name))

    def system(self) -> System:
        """The calls of the operating system, written down once they are done."""
        return System(
            open=self._opened,
            write=self._written,
            sync=self._synced,
            close=self._closed,
            link=self._linked,
            unlink=self._unlinked,
            mkdir=self._made,
        )

    def _opened(self, path: Path, flags: int, mode: int) -> int:
        fd = os.open(path, flags, mode)
        if path.is_relative_to(self._base):
            self._open[fd] = self._inodes[path] if path in self._inodes else self.enter(path)
        return fd

    def _written(self, fd: int, data: memoryview) -> int:
        offset = os.lseek(fd, 0, os.SEEK_CUR)
        count = os.write(fd, data)
        self.operations.append(Write(self._open[fd], offset, bytes(data[:count])))
        return count

    def _synced(self, fd: int) -> None:  # not really: the disk that forgets is the recorded one
        if fd in self._open:
            self.operations.append(Sync(self._open[fd]))

    def _closed(self, fd: int) -> None:
        os.close(fd)
        self._open.pop(fd, None)

    def _linked(self, old: Path, new: Path) -> None:
        os.link(old, new)
        self.enter(new, self._inodes[old])

    def _unlinked(self, path: Path) -> None:
        os.unlink(path)
        self.remove(path)

    def _made(self, path: Path) -> None:
        os.mkdir(path)
        self.enter(path, is_folder=True)


class _Files(apsw.VFS):
    def __init__(self, name: str, recording: Recording) -> None:
        self._recording = recording
        self.registered = name
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        assert name is not None, "nothing is kept in nameless files: they would not be watched"
        path = Path(name if isinstance(name, str) else name.filename())
        file = _File(name, flags, self._recording)
        file.inode = self._recording.inode(path) or self._recording.enter(path)
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self._recording.remove(Path(filename))


class _File(apsw.VFSFile):
    inode = ROOT

    def __init__(self, name: str | apsw.URIFilename, flags: list[int], recording: Recording) -> None:
        self._recording = recording
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._recording.operations.append(Write(self.inode, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self._recording.operations.append(Truncate(self.inode, newsize))

    def xSync(self, flags: int) -> None:
        self._recording.operations.append(Sync(self.inode))
        super().xSync(flags)  # which may sync its folder after it


class _Rows:
    """What a statement answered."""

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())


class _Connection:
    """A connection of apsw with the methods of `sqlite3.Connection` that stores and journals use."""

    def __init__(self, inner: apsw.Connection) -> None:
        self._inner = inner

    @property
    def in_transaction(self) -> bool:
        return self._inner.in_transaction

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> _Rows:
        return _Rows(list(self._inner.execute(sql, parameters)), self._inner.changes())

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        self._inner.executemany(sql, parameters)

    def executescript(self, sql: str) -> None:
        for _ in self._inner.execute(sql):
            continue

    def rollback(self) -> None:
        if self.in_transaction:
            self._inner.execute("ROLLBACK")

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> _Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


Connect = Callable[[str], sqlite3.Connection]


@contextmanager
def recorded(base: Path) -> Iterator[tuple[Recording, Connect]]:
    """What happens below `base` while the block runs, and how SQLite is connected there."""
    recording = Recording(base)
    files = _Files(f"recording {id(recording)}", recording)
    before = files.xGetSystemCall(_SYSTEM_CALL)
    assert before is not None, "SQLite syncs folders"
    open_folder = _OPEN_FOLDER(before)

    def open_and_note(name: bytes, fd: Any) -> int:
        folder = recording.inode(Path(os.fsdecode(name)).parent)
        if folder is not None:
            recording.operations.append(Sync(folder))
        return int(open_folder(name, fd))

    def connect(path: str) -> sqlite3.Connection:
        inner = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=files.registered)
        inner.set_busy_timeout(30_000)
        inner.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        return cast(sqlite3.Connection, _Connection(inner))

    opened_folder = _OPEN_FOLDER(open_and_note)
    address = ctypes.cast(opened_folder, ctypes.c_void_p).value
    assert address is not None
    assert files.xSetSystemCall(_SYSTEM_CALL, address)
    try:
        yield recording, connect
    finally:
        files.xSetSystemCall(_SYSTEM_CALL, before)
        files.unregister()

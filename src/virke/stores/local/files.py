"""Immutable objects as files below one folder: how a name appears there whole, durable, or not at all.

Knows the file system, and nothing of registers. POSIX only: it needs hard links and fsync of directories.

1. An object is written to a temporary file, synced, then linked to its name. `link` never overwrites,
   so two writers of one key can't replace each other, and no reader sees a part of an object.
2. `Stored` is answered after the directory, and each directory above it up to the store's folder, was synced.
3. Temporary files are in `tmp/`, next to `objects/`; nothing there is ever listed or read. A temporary file
   that was removed under its writer makes the put fail, so removing old ones needs no lock. It is done at the first
   put of a process, and by `tidy`.
4. A key's file name is made of characters that mean the same on every file system: a capital is `%xx`
   (some systems ignore case), a part beyond 200 characters goes on in a subfolder that starts with `+`
   (names end at 255), and a file ends in `~` (so that `a` and `a/b` are both possible keys).
5. `System` holds each call of the operating system that durability rests on, so that tests can watch and fail it.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from virke.core.effects import Absent, Lost, PutOutcome, Stored
from virke.errors import Corrupt, Exists, Invalid, NotFound, Unavailable
from virke.lazy_dataclasses import dataclass
from virke.processes import sync_file
from virke.stores.base import Consistency, Listed, Range, byte_bounds, check_key, check_size, put_each

OBJECTS: Final = "objects"
TEMPS: Final = "tmp"
TEMP_AGE_MS: Final = 24 * 3_600_000
"""A temporary file that was not written to for so long has no writer any more."""
_NAME_CHARS_MAX: Final = 200
_NAMES_KEPT: Final = 1024
_SYNCED_MAX: Final = 4096
_UNCLEAR: Final = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT})
"""After these the call may have been carried out all the same."""


@dataclass(frozen=True, slots=True)
class System:
    """The operating system's calls that a durable write is made of."""

    open: Callable[[Path, int, int], int] = os.open
    write: Callable[[int, memoryview], int] = os.write
    sync: Callable[[int], None] = sync_file
    close: Callable[[int], None] = os.close
    link: Callable[[Path, Path], None] = os.link
    unlink: Callable[[Path], None] = os.unlink
    mkdir: Callable[[Path], None] = os.mkdir


def unavailable_error(error: OSError, doing: str) -> Unavailable:
    """`error` in Virke's words; what was to be done was not done."""
    return Unavailable(f"cannot {doing}: {error.strerror or error}; nothing was changed", errno=error.errno)


def sync_directory(system: System, directory: Path) -> None:
    """Make the entries of `directory` durable. Raises `OSError`."""
    fd = system.open(directory, os.O_RDONLY, 0)
    try:
        system.sync(fd)
    finally:
        system.close(fd)


def make_directory(system: System, directory: Path) -> None:
    """Make `directory` and all above it that are missing, durably. Raises `OSError`."""
    missing = [directory]
    while not os.path.isdir(missing[-1].parent) and missing[-1].parent != missing[-1]:
        missing.append(missing[-1].parent)
    for path in reversed(missing):
        with suppress(FileExistsError):
            system.mkdir(path)
        sync_directory(system, path.parent)
    if not os.path.isdir(directory):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))


def write_temp(system: System, folder: Path, data: bytes) -> Path:
    """A new file in `tmp/` with `data`, synced. Raises `OSError`; then no file is left."""
    path = folder / TEMPS / os.urandom(16).hex()
    fd = system.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[system.write(fd, rest) :]
        system.sync(fd)
    except BaseException:
        system.close(fd)
        discard_temp(system, path)
        raise
    system.close(fd)
    return path


def discard_temp(system: System, temp: Path) -> None:
    """Remove a temporary file; one that stays behind is found by its age."""
    with suppress(OSError):
        system.unlink(temp)


def remove_stale_temps(folder: Path, *, before_ms: int) -> int:
    """Remove temporary files last changed before `before_ms` (Unix time), that is of writers killed; answers how many.

    A writer that is slower than that loses its put, with `Unavailable`, and nothing else.

    Raises:
        Unavailable: the folder can't be read or changed.
    """
    removed = 0
    try:
        with os.scandir(folder / TEMPS) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.stat(follow_symlinks=False).st_mtime_ns < before_ms * 1_000_000:
                        os.unlink(entry.path)
                        removed += 1
    except FileNotFoundError:
        return removed
    except OSError as error:
        raise unavailable_error(error, f"clean {folder / TEMPS}") from error
    return removed


def _directory_names(parts: Sequence[str]) -> Iterator[str]:
    for part in parts:
        quoted = re.sub("[A-Z]", lambda capital: f"%{ord(capital[0]):02x}", part)
        pieces = [quoted[at : at + _NAME_CHARS_MAX] for at in range(0, len(quoted), _NAME_CHARS_MAX)]
        yield "/+".join(pieces)


def name_of(key: str) -> str:
    """The path of a key's file below `objects/` (invariant 4)."""
    return "/".join(_directory_names(key.split("/"))) + "~"


@lru_cache(_NAMES_KEPT)
def _checked_name_of(key: str) -> str:
    return name_of(check_key(key))


def key_of(name: str) -> str:
    """The key whose file `name` is: the inverse of `name_of`."""
    return unquote(name.removesuffix("~").replace("/+", ""))


class FileBlobs:
    """Objects of the object tier in `folder/objects/` (B1–B8)."""

    def __init__(self, folder: Path, *, create: bool, part_bytes_max: int, system: System) -> None:
        self._folder = folder
        self._objects = folder / OBJECTS
        self._create = create
        self._part_bytes_max = part_bytes_max
        self._system = system
        self._synced: set[Path] = set()
        self._is_tidy = False

    @property
    def consistency(self) -> Consistency:
        """Linearizable: one folder of one machine."""
        return Consistency.LINEARIZABLE

    @property
    def has_ranges(self) -> bool:
        """Files can be read from anywhere."""
        return True

    @property
    def part_bytes_max(self) -> int:
        """Largest object that `put_new` takes, in bytes."""
        return self._part_bytes_max

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        """Write one object.

        Raises:
            Unavailable: the disk is full, read-only or closed to us; nothing was stored.
            NotFound: the store's folder does not exist and may not be created.
            Exists, TooLarge, Invalid: see B2, B8, B7.
        """
        check_size(check_key(key), len(data), self._part_bytes_max)
        if not self._create and not os.path.isdir(self._folder):
            raise NotFound(f"no store at {self._folder}; create it first")
        path = self._objects / name_of(key)
        try:
            self._prepare_directory(path.parent)
            temp = write_temp(self._system, self._folder, data)
        except OSError as error:
            self._synced.clear()
            raise unavailable_error(error, f"write {path}") from error
        try:
            return self._publish_object(temp, path, data)
        finally:
            discard_temp(self._system, temp)

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        """Write many objects. Raises as `put_new`; then some may be there."""
        return put_each(self, objects)

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        """Every range in the order asked. Raises `Unavailable`, `Corrupt`, `Invalid`."""
        answers: list[bytes | Absent] = []
        for key, asked in groupby(ranges, key=lambda one: one.key):
            answers += self._cut_ranges(f"{self._objects}/{_checked_name_of(key)}", list(asked))
        return answers

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; missing ones are fine. Raises `Unavailable`: some may be gone, repeat the call."""
        for path in [self._objects / name_of(check_key(key)) for key in keys]:
            try:
                self._system.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise unavailable_error(error, f"delete {path}") from error

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object under `prefix`. Raises `Unavailable`."""
        parent, slash, _ = prefix.rpartition("/")
        try:
            parts = check_key(parent).split("/") if slash else []
        except Invalid:
            return  # no key starts like that, and `../` must not lead out of the folder
        for found in self._walk_directory("/".join(_directory_names(parts))):
            if found.key.startswith(prefix):
                yield found

    def tidy(self) -> int:
        """Remove the temporary files of writers that were killed (L3). Raises `Unavailable`."""
        return remove_stale_temps(self._folder, before_ms=time.time_ns() // 1_000_000 - TEMP_AGE_MS)

    def _prepare_directory(self, directory: Path) -> None:
        """Make `tmp/` and the object's directory; once per process and directory, sync the whole way down.

        A directory that is there may be another process's that has not synced it yet.
        """
        if directory in self._synced:
            return
        if not self._is_tidy:
            self._is_tidy = True
            with suppress(Unavailable):  # nothing depends on it
                self.tidy()
        if not os.path.isdir(self._folder):
            make_directory(self._system, self._folder)
        with suppress(FileExistsError):
            self._system.mkdir(self._folder / TEMPS)
        way = [directory, *directory.parents]
        for path in reversed(way[: way.index(self._folder)]):
            with suppress(FileExistsError):
                self._system.mkdir(path)
            sync_directory(self._system, path.parent)
        if len(self._synced) >= _SYNCED_MAX:
            self._synced.clear()
        self._synced.add(directory)

    def _publish_object(self, temp: Path, path: Path, data: bytes) -> PutOutcome:
        try:
            while not self._try_link(temp, path):
                [there] = self._cut_ranges(path, [Range(path.name)])
                if there == data:
                    break
                if there != Absent():  # absent: deleted since, so the name is free again
                    raise Exists(f"object {path} exists with other bytes")
        except OSError as error:
            self._synced.clear()
            if error.errno in _UNCLEAR:
                return Lost(f"link of {path}: {error.strerror}")
            raise unavailable_error(error, f"write {path}") from error
        try:
            sync_directory(self._system, path.parent)
        except OSError as error:
            return Lost(f"fsync of {path.parent}: {error.strerror}")
        return Stored()

    def _try_link(self, temp: Path, path: Path) -> bool:
        try:
            self._system.link(temp, path)
        except FileExistsError:
            return False
        return True

    def _cut_ranges(self, path: str | Path, ranges: Sequence[Range]) -> Sequence[bytes | Absent]:
        try:
            fd = os.open(path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            return [Absent() for _ in ranges]
        except OSError as error:
            raise unavailable_error(error, f"read {path}") from error
        try:
            size_bytes = os.fstat(fd).st_size
            spans = [byte_bounds(asked, size_bytes) for asked in ranges]
            answers = [os.pread(fd, end - start, start) for start, end in spans]
        except OSError as error:
            raise unavailable_error(error, f"read {path}") from error
        finally:
            os.close(fd)
        if any(len(answer) != end - start for answer, (start, end) in zip(answers, spans, strict=True)):
            raise Corrupt(f"{path} became shorter while it was read")
        return answers

    def _walk_directory(self, directory: str) -> Iterator[Listed]:
        try:
            with os.scandir(self._objects / directory) as entries:
                found = list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise unavailable_error(error, f"list {self._objects / directory}") from error
        for entry in found:
            name = f"{directory}/{entry.name}" if directory else entry.name
            if not entry.name.endswith("~"):
                yield from self._walk_directory(name)
                continue
            with suppress(FileNotFoundError):
                info = entry.stat(follow_symlinks=False)
                yield Listed(key_of(name), info.st_size, info.st_mtime_ns // 1_000_000)

"""The embedded default: one folder, no server.

    folder/kv.sqlite   the register and the objects of the kv tier (`kv`)
    folder/objects/    the objects of the object tier, one file each (`files`)
    folder/tmp/        what is being written
    folder/kv.lock     held while something in kv.sqlite changes
    folder/kv.stamps   which keys changed, for who has read them (`stamps`)
    folder/line/       the queue of those who write (`line`)

Knows which statement means which call; `kv` knows how a statement becomes durable.

1. Each change of the register is one statement with the base generation in its WHERE clause.
2. A generation is 128 random bits, so it repeats neither for a key that was deleted and made again,
   nor in a folder that was restored from a copy.
3. Opening with `create=False`, and reading, leave no trace on the disk.
4. What is opened twice in one process (`shared_local_store`) has one set of open files, which are closed when the last
   one who uses them is gone; `kv` and `line` see to forks and threads.
"""

from __future__ import annotations

import json
import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, cast

from virke.core.effects import (
    Absent,
    Generation,
    Lost,
    Mismatch,
    PutOutcome,
    ReadOutcome,
    Record,
    Stored,
    SwapOutcome,
    Swapped,
    Tier,
    Unchanged,
)
from virke.errors import Corrupt, Exists, Unavailable, UsageError
from virke.processes import at_fork
from virke.stores.base import (
    Blobs,
    Consistency,
    Listed,
    Range,
    Store,
    Watch,
    byte_bounds,
    check_key,
    check_size,
    put_each,
)
from virke.stores.local.files import FileBlobs, System, make_directory, unavailable_error
from virke.stores.local.kv import Connect, KvFile, connect_sqlite
from virke.stores.local.line import FileLine
from virke.stores.local.room import filler_bytes, pages_for
from virke.stores.local.stamps import stamp_of

KV_BYTES_MAX: Final = 1 << 20
OBJECT_BYTES_MAX: Final = 16 << 20
PAGES_KNOWN_MAX: Final = 1024
_AFTER_EVERY_KEY: Final = "\x7f"
_LENGTH_MAX: Final = (1 << 31) - 1  # SQLite's substr() reads 32 bits
_UPDATE: Final = """UPDATE register SET generation = ?, data = ?,
    filler = CASE WHEN length({end}) >= ? THEN substr({end}, 1 + length({end}) - ?) ELSE zeroblob(?) END
    WHERE key = ? AND generation = ?"""
_INTO_FILLER: Final = _UPDATE.format(end="filler")
_INTO_ROW: Final = _UPDATE.format(end="CAST(data || filler AS BLOB)")
"""What becomes longer leaves less of the filler; what becomes shorter leaves its own last bytes in it (`room`, rule 1)."""
_SYSTEM: Final = System()


class LocalRegister:
    """The register in `kv.sqlite` (R1–R11)."""

    def __init__(self, kv: KvFile) -> None:
        self._kv = kv
        self._pages: dict[str, int] = {}
        """How many further pages the rows have that were changed here last."""
        self._fillers: dict[str, int] = {}
        """How many bytes their fillers have."""

    @property
    def consistency(self) -> Consistency:
        """Linearizable: SQLite's locks hold between processes of one machine."""
        return Consistency.LINEARIZABLE

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        """The record of `key`, or `Unchanged` while its generation is `known`. Raises `Unavailable`, `Corrupt`."""
        check_key(key)
        if known is not None and [(known,)] == self._kv.select("SELECT generation FROM register WHERE key = ?", (key,)):
            return Unchanged()
        match self._kv.select("SELECT generation, data FROM register WHERE key = ?", (key,)):
            case [(str(generation), bytes(data))]:
                self._kv.await_change(key)
                return Record(data, Generation(generation))
            case []:
                return Absent()
            case _:
                raise Corrupt(f"register {key!r} is not bytes", key=key)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        """Replace `key` if its generation is `base` (None: create it).

        Raises:
            Unavailable: disk full, read-only or locked; nothing was changed.
            NotFound: the folder does not exist and may not be created.
            Corrupt: `kv.sqlite` is damaged.
        """
        check_key(key)
        generation = Generation(os.urandom(16).hex())
        if base is None:
            insert = "INSERT INTO register (key, generation, data) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
            changed = self._kv.change(insert, (key, generation, bytes(data)), key=key, generation=generation, make=True)
        else:
            pages = pages_for(key, len(data), self._pages.get(key))
            length = filler_bytes(key, len(data), pages)
            update = _INTO_FILLER if length <= self._fillers.get(key, 0) else _INTO_ROW
            values = (generation, bytes(data), length, length, length, key, base)
            changed = self._kv.change(update, values, key=key, generation=generation)
            if len(self._pages) >= PAGES_KNOWN_MAX:
                self._pages.clear()
                self._fillers.clear()
            self._pages[key], self._fillers[key] = pages, length
        return _outcome_of_change(changed, generation)

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        """Delete `key` if its generation is `base`. Raises as `swap` does."""
        delete = "DELETE FROM register WHERE key = ? AND generation = ?"
        changed = self._kv.change(delete, (check_key(key), base), key=key)
        return _outcome_of_change(changed, None)

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that start with `prefix`, sorted. Raises `Unavailable`, `Corrupt`."""
        below = "SELECT key FROM register WHERE key >= ? AND key < ? ORDER BY key"
        return (cast(str, key) for (key,) in self._kv.select(below, (prefix, prefix + _AFTER_EVERY_KEY)))

    def watch(self, key: str) -> Watch:
        """The stamp of `key` (L2)."""
        return self._kv.stamps.watch(check_key(key))

    def watch_ended(self, key: str) -> Watch:
        """The stamp that the last change of `key` left that has ended (L2)."""
        return self._kv.stamps.watch_ended(check_key(key))


def _outcome_of_change(changed: int | Lost, generation: Generation | None) -> SwapOutcome:
    match changed:
        case Lost():
            return changed
        case 1:
            return Swapped(generation)
        case _:
            return Mismatch()


class KvBlobs:
    """Objects of the kv tier in `kv.sqlite` (B1–B8)."""

    def __init__(self, kv: KvFile, part_bytes_max: int) -> None:
        self._kv = kv
        self._part_bytes_max = part_bytes_max

    @property
    def consistency(self) -> Consistency:
        """Linearizable, as the register."""
        return Consistency.LINEARIZABLE

    @property
    def has_ranges(self) -> bool:
        """SQLite's `substr`."""
        return True

    @property
    def part_bytes_max(self) -> int:
        """Largest object that `put_new` takes, in bytes."""
        return self._part_bytes_max

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        """Write one object.

        Raises:
            Unavailable: disk full, read-only or locked; nothing was changed.
            NotFound, Corrupt: see `LocalRegister.swap`.
            Exists, TooLarge, Invalid: see B2, B8, B7.
        """
        check_size(check_key(key), len(data), self._part_bytes_max)
        data = bytes(data)
        insert = "INSERT INTO blobs (key, modified_ms, data) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        while True:
            match self._kv.change(insert, (key, time.time_ns() // 1_000_000, data), make=True):
                case Lost() as lost:
                    return lost
                case 1:
                    return Stored()
            match self._kv.select("SELECT data = ? FROM blobs WHERE key = ?", (data, key)):
                case [(1,)]:
                    return Stored()
                case [_]:
                    raise Exists(f"object {key!r} exists with other bytes", key=key)

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        """Write many objects. Raises as `put_new`; then some may be there."""
        return put_each(self, objects)

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        """Every range in the order asked. Raises `Unavailable`, `Corrupt`, `Invalid`."""
        return [self._cut_range(asked) for asked in ranges]

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; missing ones are fine. Raises `Unavailable`: they may be gone, repeat the call."""
        wanted = json.dumps([check_key(key) for key in keys])
        changed = self._kv.change("DELETE FROM blobs WHERE key IN (SELECT value FROM json_each(?))", (wanted,))
        if isinstance(changed, Lost):
            raise Unavailable(f"no answer to a delete: {changed.reason}; repeat it")

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object under `prefix`. Raises `Unavailable`, `Corrupt`."""
        below = "SELECT key, length(data), modified_ms FROM blobs WHERE key >= ? AND key < ? ORDER BY key"
        for row in self._kv.select(below, (prefix, prefix + _AFTER_EVERY_KEY)):
            key, size_bytes, modified_ms = cast(tuple[str, int, int], row)
            yield Listed(key, size_bytes, modified_ms)

    def _cut_range(self, asked: Range) -> bytes | Absent:
        part = "SELECT length(data), ifnull(substr(data, ?, ?), x'') FROM blobs WHERE key = ?"
        length = _LENGTH_MAX if asked.length is None else min(asked.length, _LENGTH_MAX)
        match self._kv.select(part, (asked.offset + 1, length, check_key(asked.key))):
            case [(int(size_bytes), bytes(data))]:
                start, end = byte_bounds(asked, size_bytes)
                if len(data) != end - start:
                    raise Corrupt(f"object {asked.key!r} gave {len(data)} bytes of {end - start}", key=asked.key)
                return data
            case []:
                return Absent()
            case _:
                raise Corrupt(f"object {asked.key!r} is not bytes", key=asked.key)


def shared_local_store(folder: Path, *, create: bool = True) -> Store:
    """The store in `folder`, as `local_store` opens it; all who open it in this process share its files (invariant 4).

    Raises:
        UsageError, Unavailable: see `local_store`.
    """
    folder = _checked_folder(folder, create=create, system=_SYSTEM)
    with _sharing:
        kv = _kv_files.get((folder, create))
        if kv is None:
            kv = _kv_files[folder, create] = KvFile(folder, create=create, system=_SYSTEM)
        line = _lines.get(folder)
        if line is None:
            line = _lines[folder] = FileLine(folder)
    files = FileBlobs(folder, create=create, part_bytes_max=OBJECT_BYTES_MAX, system=_SYSTEM)
    return _assembled_store(folder, LocalRegister(kv), KvBlobs(kv, KV_BYTES_MAX), files, line=line)


_kv_files: Final[weakref.WeakValueDictionary[tuple[Path, bool], KvFile]] = weakref.WeakValueDictionary()
_lines: Final[weakref.WeakValueDictionary[Path, FileLine]] = weakref.WeakValueDictionary()
_sharing: Final = threading.Lock()
at_fork(before=_sharing.acquire, in_parent=_sharing.release, in_child=_sharing.release)


def local_store(
    folder: Path,
    *,
    create: bool = True,
    kv_bytes_max: int = KV_BYTES_MAX,
    object_bytes_max: int = OBJECT_BYTES_MAX,
    system: System = _SYSTEM,
    connect: Connect = connect_sqlite,
) -> Store:
    """The store in `folder`, which is made unless `create` is false, with files of its own.

    Without it a folder that is not there reads as an empty store, and writing raises `NotFound`.

    Raises:
        UsageError: it is a file, or would be below one.
        Unavailable: the folder can't be made.
    """
    folder = _checked_folder(folder, create=create, system=system)
    kv = KvFile(folder, create=create, system=system, connect=connect)
    files = FileBlobs(folder, create=create, part_bytes_max=object_bytes_max, system=system)
    return _assembled_store(folder, LocalRegister(kv), KvBlobs(kv, kv_bytes_max), files, line=FileLine(folder))


def _assembled_store(folder: Path, register: LocalRegister, kv: KvBlobs, files: FileBlobs, *, line: FileLine) -> Store:
    blobs: dict[Tier, Blobs] = {Tier.KV: kv, Tier.OBJECT: files}
    return Store(
        folder.as_uri(),
        register,
        blobs,
        line=line,
        watch=register.watch,
        watch_ended=register.watch_ended,
        stamp_of=stamp_of,
        says_waits=True,
        plain=frozenset({Tier.OBJECT}),
        tidy=files.tidy,
    )


def _checked_folder(folder: Path, *, create: bool, system: System) -> Path:
    """The absolute path of a store's folder, which is made if `create` asks for it."""
    folder = Path(folder).absolute()
    there = next((path for path in (folder, *folder.parents) if os.path.exists(path)), folder)
    if os.path.isfile(there):
        raise UsageError(f"{there} is a file, and a local store is a folder")
    if create:
        try:
            make_directory(system, folder)
        except OSError as error:
            raise unavailable_error(error, f"create {folder}") from error
    return folder

"""What each key's last change left in shared memory: whether a register changed is seen without asking it.

    folder/kv.stamps   a header, then slots of 16 bytes: whether a change is under way, and 15 bytes: a hash of the
                       generation that the change made, else random ones

Knows keys and when they change, and nothing of what is in them. It costs a reader a slice of mapped memory (0.2 µs,
`python -m bench B6`), where a `stat` costs ten times and a read of `kv.sqlite` fifty times as much.

1. Before a change the slot of its key says "under way"; when the change is durable, and before it is answered, the
   slot gets new bytes. A change that failed, or whose process died, leaves "under way" until the next one: it
   may show later. So equal stamps mean that nothing was changed in between, answered or not.
   A change that failed, or that follows one which did not end, gives the slot other bytes at once: for the process that
   makes the change which is under way, equal bytes mean that none was answered in between.
2. Keys share slots by chance. That makes a stamp change too often, never too rarely.
3. Whoever changes `kv.sqlite` holds `kv.lock`, and first maps the file that is at the path now; without it nothing is
   changed. A file that had to be made again for an old `kv.sqlite` is waited for, until every reader has noticed.
4. Readers look every `CHECK_S` whether their file is still the one at the path: after that they notice that a
   folder was removed and made again.
5. The file holds nothing that must survive the machine, so it is never synced. It is written in full when it is
   made: a hole could find the disk full at the moment of a change.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

from virke.core.effects import Generation
from virke.lazy_dataclasses import dataclass
from virke.stores.base import Watch
from virke.stores.local.files import TEMPS

STAMPS_FILE: Final = "kv.stamps"
CHECK_S: Final = 0.1
SLOTS: Final = 1024
_SLOT_BYTES: Final = 16
_MAGIC: Final = b"virke stamps v1\n"
_FILE_BYTES: Final = (1 + SLOTS) * _SLOT_BYTES
assert len(_MAGIC) == _SLOT_BYTES


@dataclass(frozen=True, slots=True)
class _Mapped:
    file: tuple[int, int]
    memory: mmap.mmap


class Stamps:
    """The stamps of one folder; one thread at a time prepares and changes."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / STAMPS_FILE)
        self._folder = folder
        self._writing: _Mapped | None = None
        self._reading: _Mapped | None = None
        self._memory: mmap.mmap | None = None  # that of `_reading`
        self._check_at = 0.0

    def prepare(self, *, is_new: bool) -> None:
        """Map the file at the path, making it if need be; `is_new`: so is the store, and no process reads it yet.

        Raises:
            OSError: it can't be mapped for writing; then nothing may be changed.
        """
        if self._writing is not None and self._writing.file == _file_at(self._path):
            return
        self._writing = None
        mapped = _map_file(self._path, mmap.ACCESS_WRITE)
        if mapped is None:
            self._make_file()
            if not is_new:
                time.sleep(1.5 * CHECK_S)
            mapped = _map_file(self._path, mmap.ACCESS_WRITE)
        if mapped is None:
            raise FileNotFoundError(f"{self._path} went away")
        self._writing = mapped
        self._use_mapped(mapped)

    @contextmanager
    def changing(self, key: str, generation: Generation | None = None) -> Iterator[None]:
        """The block changes `key`, durably (invariant 1), and gives it this generation."""
        assert self._writing is not None, "it was prepared"
        memory, slot = self._writing.memory, _slot_of_key(key)
        if memory[slot.start]:  # one before it failed, or its process died: it may be there
            self.change(key)
        memory[slot.start] = 1
        try:
            yield
        except BaseException:
            self.change(key)
            raise
        left = stamp_of(generation) if generation else os.urandom(_SLOT_BYTES)
        memory[slot.start + 1 : slot.stop] = left[1:]
        memory[slot.start] = 0

    def change(self, key: str) -> None:
        """Give `key` another stamp."""
        assert self._writing is not None, "it was prepared"
        slot = _slot_of_key(key)
        self._writing.memory[slot.start + 1 : slot.stop] = os.urandom(_SLOT_BYTES - 1)

    def watch(self, key: str) -> Watch:
        """The stamp of `key` at each call; None while it is not known whether that is the last."""
        slot, now = _slot_of_key(key), time.monotonic

        def stamp() -> bytes | None:
            if now() >= self._check_at:
                self._check_file()
            memory = self._memory
            if memory is None:
                return None
            found: bytes = memory[slot]
            return None if found[0] else found

        return stamp

    def watch_ended(self, key: str) -> Watch:
        """The stamp that the last change of `key` left that has ended, also while another is under way; None: unknown."""
        slot = _slot_of_key(key)
        left = slice(slot.start + 1, slot.stop)

        def stamp() -> bytes | None:
            if time.monotonic() >= self._check_at:
                self._check_file()
            memory = self._memory
            return None if memory is None else b"\0" + memory[left]

        return stamp

    def is_under_way(self, key: str) -> bool:
        """Whether a change of `key` is under way, or failed, or its process died."""
        if time.monotonic() >= self._check_at:
            self._check_file()
        memory = self._memory
        return memory is not None and bool(memory[_slot_of_key(key).start])

    def _check_file(self) -> None:
        """Look which file is at the path now."""
        began = time.monotonic()
        there = _file_at(self._path)
        if self._reading is None or self._reading.file != there:
            self._reading = self._memory = None
            with suppress(OSError):
                self._use_mapped(_map_file(self._path, mmap.ACCESS_READ))
        self._check_at = began + CHECK_S

    def _use_mapped(self, mapped: _Mapped | None) -> None:
        self._reading = mapped
        self._memory = mapped.memory if mapped else None

    def _make_file(self) -> None:
        slots = b"".join(b"\0" + os.urandom(_SLOT_BYTES - 1) for _ in range(SLOTS))
        temp = self._folder / TEMPS / os.urandom(16).hex()
        with suppress(FileExistsError):
            temp.parent.mkdir()
        try:
            with open(temp, "xb") as file:
                file.write(_MAGIC + slots)
            os.replace(temp, self._path)
        except BaseException:
            with suppress(OSError):
                temp.unlink()
            raise


def stamp_of(generation: Generation) -> bytes:
    """The stamp that the change leaves which makes this generation of a key."""
    return b"\0" + blake2b(generation.encode(), digest_size=_SLOT_BYTES - 1).digest()


def _slot_of_key(key: str) -> slice:
    number = 1 + int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) % SLOTS
    return slice(number * _SLOT_BYTES, (number + 1) * _SLOT_BYTES)


def _file_at(path: str) -> tuple[int, int] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _map_file(path: str, access: int) -> _Mapped | None:
    """The file at `path`; None if there is none, or not a whole one."""
    try:
        fd = os.open(path, os.O_RDWR if access == mmap.ACCESS_WRITE else os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        info = os.fstat(fd)
        if info.st_size != _FILE_BYTES:
            return None
        memory = mmap.mmap(fd, _FILE_BYTES, access=access)
    finally:
        os.close(fd)
    return _Mapped((info.st_dev, info.st_ino), memory) if memory[:_SLOT_BYTES] == _MAGIC else None

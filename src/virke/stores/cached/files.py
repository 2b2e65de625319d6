"""The files of a cache: extents of immutable objects in a folder that any number of processes share.

Knows extents and files; knows no store and no memory. Nothing here is waited for to reach the medium.

1. A file is trusted only after its magic, its length and a digest over all that it claims (key, span, bytes) were
   checked. One that fails is removed and raises `BadFile`; so does what is not a regular file of exactly the length that
   its name claims, and at most `file_bytes`: it is never read, so that nothing in the folder (a FIFO, a link to a
   device, a file that grew) can block a read or take memory.
2. Files appear whole, by rename, and never change. Anybody may delete any of them, and any folder, at any time.
3. An extent is one file of at most `file_bytes` of data and a header; a larger one is written as several. It is at
   `hh/hash/cell/start-length` (and `-last` if it reaches the object's end) with the hash of its key, and the MiB of its
   object that it begins in: so no folder is long, and a name says where to look but is not believed.
4. What is written is what no file holds yet, and files inside a new one go. Processes that write at once may hold
   bytes twice, until one of them writes there again or the budget removes them.
5. The budget is `CacheBudget`'s. Reading a file makes it the one that was used last.
6. Only the user who owns the folder may read it (`private`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from virke.processes import PLAIN_FILE
from virke.stores.base import Range
from virke.stores.cached.budget import CacheBudget
from virke.stores.cached.disk import BadFile
from virke.stores.cached.extents import BEYOND, Extent, Extents, Span, fit_span, pruned_spans, spans_holding
from virke.stores.cached.private import FILE_MODE, make_folder, tighten_file, tighten_folder

_HEADER: Final = struct.Struct(">4sQ16s")
assert struct.calcsize(">4sQ16s") == 28
"""magic `VKC2` | length of the data | blake2b-128 over the key, the span and the data"""
_MAGIC: Final = b"VKC2"
_CELL_BYTES: Final = 1 << 20
_READING: Final = os.O_RDONLY | PLAIN_FILE
_WRITING: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_NAMES: Final = re.compile(r"(?<![^/])([0-9]+)-([0-9]+)(-last)?(?![^/])")
"""Names of extents among others, with `/` between them, which no name has."""


class CacheFiles:
    """Extents in files below `folder`, within a budget of bytes; every method may raise `OSError`."""

    def __init__(self, folder: Path, *, bytes_max: int, file_bytes: int) -> None:
        self._folder = str(folder)
        self._file_bytes = file_bytes
        self._budget = CacheBudget(folder, bytes_max)
        self._is_private = False

    def object(self, key: str) -> ObjectFiles:
        """The files of one object, for one look at them."""
        if not self._is_private:
            tighten_folder(self._folder)
            self._is_private = True
        return ObjectFiles(self._path(key), key, self._file_bytes)

    def keep(self, key: str, extents: Iterable[Extent]) -> None:
        """Write what is not here yet of extents of one object, as far as the budget lets."""
        files = self.object(key)
        for extent in extents:
            for piece in extent.cut(self._file_bytes):
                span, superfluous = files.fit(piece.span)
                if span is None or not self._budget.admit(_HEADER.size + span.end - span.start):
                    continue
                files.write(piece.part(span))
                for one in superfluous:
                    files.remove(one)

    def forget(self, key: str) -> None:
        """Remove all files of one object."""
        path = self._path(key)
        for cell in _cells_in(path):
            folder = os.path.join(path, str(cell))
            for name in _names_in(folder):
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, name))
            with suppress(OSError):
                os.rmdir(folder)

    def _path(self, key: str) -> str:
        name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        return os.path.join(self._folder, name[:2], name)


class ObjectFiles:
    """The files of one object, their names read once: for one call and one thread."""

    def __init__(self, path: str, key: str, file_bytes: int) -> None:
        self._path = path
        self._key = key
        self._file_bytes = file_bytes
        self._cells: dict[int, list[Span] | None] | None = None  # None: not looked at yet
        self._read = Extents()

    def find(self, asked: Range) -> list[Extent] | None:
        """Verified extents that answer `asked` together, None if the files don't.

        Raises:
            BadFile: a file was damaged, or another's; it is gone. OSError: the disk failed.
        """
        held = self._read.holding(asked)
        if held is not None:
            return list(held)
        if asked.length and asked.length <= self._file_bytes:
            extent = self._load_extent(Span(asked.offset, asked.offset + asked.length))
            if extent is not None:
                return [extent]
        spans = pruned_spans(
            self._spans_near(asked.offset, BEYOND if asked.length is None else asked.offset + asked.length)
        )
        found = spans_holding(spans, asked)
        if found is None:
            return None
        for span in spans[slice(*found)]:
            if self._load_extent(span) is None:
                return None
        held = self._read.holding(asked)
        return None if held is None else list(held)

    def fit(self, new: Span) -> tuple[Span | None, list[Span]]:
        """What of `new` no file holds yet, and which files it makes superfluous."""
        near = self._spans_near(new.start, new.end)
        spans = pruned_spans(near)
        span, superfluous = fit_span(spans, new)
        return span, [*spans[superfluous], *set(near).difference(spans)]

    def write(self, extent: Extent) -> None:
        """Put an extent in place as a file."""
        path, beside = self._file(extent.span), self._in_cell(_cell_of_span(extent.span))
        temp = os.path.join(os.path.dirname(path), secrets.token_hex(16))
        try:
            with _create_file(temp) as file:
                file.write(_header_of_extent(extent.key, extent.span, extent.data))
                file.write(extent.data)
            os.replace(temp, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temp)
            raise
        beside.append(extent.span)

    def remove(self, span: Span) -> None:
        """Remove the file of a span."""
        with suppress(FileNotFoundError):
            os.unlink(self._file(span))
        self._in_cell(_cell_of_span(span)).remove(span)

    def _load_extent(self, span: Span) -> Extent | None:
        """The extent of a file, None if it is not there."""
        path = self._file(span)
        size = span.end - span.start
        try:
            content = _content_of_file(path, _HEADER.size + size) if size <= self._file_bytes else b""
        except FileNotFoundError:
            return None
        header, data = content[: _HEADER.size], content[_HEADER.size :]
        if len(data) != size or header != _header_of_extent(self._key, span, data):
            with suppress(FileNotFoundError):
                os.unlink(path)
            raise BadFile(f"bad cache file {path}")
        with suppress(OSError):  # gone, or another user's
            os.utime(path)
        extent = Extent(self._key, span, data)
        self._read.add(extent)
        return extent

    def _file(self, span: Span) -> str:
        name = f"{span.start}-{span.end - span.start}{'-last' if span.last else ''}"
        return os.path.join(self._path, str(_cell_of_span(span)), name)

    def _spans_near(self, start: int, stop: int) -> list[Span]:
        """The spans of the files that may hold something from `start` to `stop`."""
        if self._cells is None:
            self._cells = dict.fromkeys(_cells_in(self._path))
        first, last = (start - self._file_bytes) // _CELL_BYTES, stop // _CELL_BYTES
        return [span for cell in tuple(self._cells) if first <= cell <= last for span in self._in_cell(cell)]

    def _in_cell(self, cell: int) -> list[Span]:
        assert self._cells is not None, "what is near was looked at before"
        spans = self._cells.get(cell)
        if spans is None:
            names = _names_in(os.path.join(self._path, str(cell)))
            spans = self._cells[cell] = _spans_of_names(names)
        return spans


def _header_of_extent(key: str, span: Span, data: bytes) -> bytes:
    digest = hashlib.blake2b(f"{key}\n{span.start}\n{span.end}\n{span.last:d}\n".encode(), digest_size=16)
    digest.update(data)
    return _HEADER.pack(_MAGIC, len(data), digest.digest())


def _cell_of_span(span: Span) -> int:
    return span.start // _CELL_BYTES


def _spans_of_names(names: Iterable[str]) -> list[Span]:
    """The spans that files' names claim; names that are no extent's are passed over."""
    claims = _NAMES.findall("/".join(names))
    return [Span(at := int(start), at + int(length), bool(last)) for start, length, last in claims]


def _cells_in(path: str) -> list[int]:
    return [int(name) for name in _names_in(path) if name.isdecimal()]


def _names_in(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def _content_of_file(path: str, size: int) -> bytes:
    """What a regular file of `size` bytes holds; nothing if it is anything else. Raises `OSError`."""
    try:
        fd = os.open(path, _READING)
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link, wherever it leads
            return b""
        raise
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size != size:
            return b""
        tighten_file(fd, info.st_mode)
        return os.read(fd, size)  # a signal may cut it short: then it is a damaged copy
    finally:
        os.close(fd)


def _create_file(path: str) -> BinaryIO:
    """A new file, in a folder that is made if it is missing (it may be removed at any time)."""
    try:
        fd = os.open(path, _WRITING, FILE_MODE)
    except FileNotFoundError:
        make_folder(os.path.dirname(path))
        fd = os.open(path, _WRITING, FILE_MODE)
    return os.fdopen(fd, "wb")

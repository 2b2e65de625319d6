"""Pages that a transaction wrote: in memory up to a limit, the rest in a file.

Knows pages and one file; knows no SQL and no snapshot.

1. Memory holds at most `held_bytes_max` of pages, and one byte for each page of the database.
2. A page is in the file at its own place, as in an SQLite file: what was never written takes no room where the file system
   has holes.
3. The file needs no durability: it is a part of memory, and goes with the folder that it is in, or with the process if it has
   no name.
4. A file that can't be written or read is `Unavailable`: nothing was changed.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from errno import EIO
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import BinaryIO, Final, cast

from virke.core.ids import PageNo
from virke.errors import Unavailable

HELD_BYTES_MAX: Final = 64 << 20


class SpilledPages(MutableMapping[PageNo, bytes]):
    """Pages of one size by number."""

    def __init__(self, path: Path | None = None, *, held_bytes_max: int = HELD_BYTES_MAX) -> None:
        """`path` is where they spill; None: into a file without a name."""
        self._path = path
        self._held_bytes_max = held_bytes_max
        self._held: dict[PageNo, bytes] = {}
        self._page_size = self._length = 0
        self._in_file = bytearray()
        self._file: BinaryIO | None = None
        self.failure: Unavailable | None = None
        """What the file failed with."""

    @property
    def held_bytes(self) -> int:
        """What memory holds of them."""
        return len(self._held) * self._page_size

    def __getitem__(self, number: PageNo) -> bytes:
        if (page := self.get(number)) is None:
            raise KeyError(number)
        return page

    def get(self, number: PageNo, default: bytes | None = None) -> bytes | None:  # type: ignore[override]
        """The page, or `default`. Raises `Unavailable`."""
        page = self._held.get(number)
        if page is None and self._is_in_file(number):
            page = self._read_page(number)
        return default if page is None else page

    def __setitem__(self, number: PageNo, page: bytes) -> None:
        if number not in self._held:
            self._length += not self._is_in_file(number)
            if self.held_bytes >= self._held_bytes_max:
                self._spill_pages()
        self._page_size = len(page)
        self._held[number] = page

    def __delitem__(self, number: PageNo) -> None:
        if number not in self:
            raise KeyError(number)
        self._held.pop(number, None)
        if self._is_in_file(number):
            self._in_file[number] = 0
        self._length -= 1

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and (number in self._held or self._is_in_file(number))

    def __iter__(self) -> Iterator[PageNo]:
        yield from list(self._held)
        for number, is_in_file in enumerate(self._in_file):
            if is_in_file and number not in self._held:
                yield PageNo(number)

    def __len__(self) -> int:
        return self._length

    def _is_in_file(self, number: int) -> bool:
        return number < len(self._in_file) and self._in_file[number] != 0

    def _read_page(self, number: PageNo) -> bytes:
        assert self._file is not None, "a page was written to it"
        try:
            self._file.seek((number - 1) * self._page_size)
            page = self._file.read(self._page_size)
            if len(page) == self._page_size:
                return page
            raise OSError(EIO, "a file was cut short by another program")
        except OSError as error:
            raise self._failed(error) from error

    def _spill_pages(self) -> None:
        """Write all that memory holds. Raises `Unavailable`."""
        try:
            self._write_held()
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> Unavailable:
        where = f"{self._path or gettempdir()}; nothing was changed (TMPDIR names the folder for scratch files)"
        self.failure = Unavailable(f"{error.strerror or error}: {where}")
        return self.failure

    def _write_held(self) -> None:
        if self._file is None:
            self._file = self._path.open("w+b", buffering=0) if self._path else _nameless_file()
        last = max(self._held)
        if last >= len(self._in_file):
            self._in_file.extend(bytes(last + 1 - len(self._in_file)))
        for number, page in sorted(self._held.items()):
            self._file.seek((number - 1) * self._page_size)
            self._file.write(page)
            self._in_file[number] = 1
        self._held.clear()

    def close(self) -> None:
        """Close the file; harmless when closed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        self.close()


def _nameless_file() -> BinaryIO:
    return cast(BinaryIO, TemporaryFile(buffering=0))

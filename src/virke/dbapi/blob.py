"""One value as a file: `sqlite3.Blob` by statements, so that it works in a transaction and over a node too.

Knows a session and one cell. A read takes the part that it needs; a write is an UPDATE of the whole value.

1. Its length never changes; a cell that changed its length, or went, is `OperationalError`, as with an expired blob of SQLite.
"""

from __future__ import annotations

import operator
from os import SEEK_CUR, SEEK_END, SEEK_SET
from typing import TYPE_CHECKING, Self, SupportsIndex

from virke.dbapi.errors import OperationalError, ProgrammingError, with_code

if TYPE_CHECKING:
    from virke.dbapi.connection import Connection
    from virke.engine.sqlite import Value

_INT_MAX = (1 << 31) - 1


class Blob:
    """See `sqlite3.Blob`; made by `Connection.blobopen`."""

    __iter__: None = None

    def __init__(self, connection: Connection, cell: tuple[str, str, str, int], *, readonly: bool) -> None:
        schema, table, column, self._rowid = cell
        self._column, of = (f"`{name.replace('`', '``')}`" for name in (column, table))
        self._of = f"`{schema.replace('`', '``')}`.{of}"
        self._connection, self._is_readonly, self._is_closed = connection, readonly, False
        self._at = 0
        kind, size = self._select_value(f"typeof({self._column}), length(CAST({self._column} AS BLOB))")
        if kind not in ("blob", "text"):
            raise OperationalError(f"cannot open value of type {kind!s}")
        self._size = int(size or 0)

    def _select_value(self, what: str) -> tuple[Value, ...]:
        sql = f"SELECT {what} FROM {self._of} WHERE rowid = ?"
        row = next(self._connection.session.run("SELECT", sql, (self._rowid,)).rows, None)
        if row is None:
            raise OperationalError(f"no such rowid: {self._rowid}")
        return row

    def _check_open(self) -> None:
        self._connection.check()
        if self._is_closed:
            raise ProgrammingError("Cannot operate on a closed blob.")

    def _get_bytes(self, start: int, stop: int) -> bytes:
        value = f"CAST({self._column} AS BLOB)"
        part, size = self._select_value(f"substr({value}, {start + 1}, {max(0, stop - start)}), length({value})")
        if size != self._size:
            raise with_code(OperationalError, "the value was changed since the blob was opened", "SQLITE_ABORT")
        return part if isinstance(part, bytes) else b""

    def _put_bytes(self, start: int, data: bytes) -> None:
        if self._is_readonly:
            raise with_code(OperationalError, "attempt to write a readonly database", "SQLITE_READONLY")
        whole = self._get_bytes(0, self._size)
        changed = whole[:start] + data + whole[start + len(data) :]
        sql = f"UPDATE {self._of} SET {self._column} = ? WHERE rowid = ?"
        self._connection.session.run("UPDATE", sql, (changed, self._rowid))

    def read(self, length: int = -1, /) -> bytes:
        """The next bytes, at most so many; all that are left if it is below 0."""
        self._check_open()
        stop = self._size if length < 0 else min(self._size, self._at + length)
        data = self._get_bytes(self._at, stop)
        self._at = stop
        return data

    def write(self, data: bytes, /) -> None:
        """Put bytes in the place of those that are there."""
        self._check_open()
        given = bytes(data)
        if self._at + len(given) > self._size:
            raise ValueError("data longer than blob length")
        self._put_bytes(self._at, given)
        self._at += len(given)

    def seek(self, offset: int, origin: int = SEEK_SET, /) -> None:
        """Go on from there."""
        self._check_open()
        if origin not in (SEEK_SET, SEEK_CUR, SEEK_END):
            raise ValueError("'origin' should be os.SEEK_SET, os.SEEK_CUR, or os.SEEK_END")
        start = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._size}[origin]
        if start and offset > _INT_MAX - start:
            raise OverflowError("seek offset results in overflow")
        if not 0 <= start + offset <= self._size:
            raise ValueError("offset out of blob range")
        self._at = start + offset

    def tell(self) -> int:
        """Where it goes on."""
        self._check_open()
        return self._at

    def __len__(self) -> int:
        self._check_open()
        return self._size

    def _places_of(self, index: SupportsIndex | slice) -> range:
        """The bytes that an index means."""
        self._check_open()
        if isinstance(index, slice):
            try:
                return range(self._size)[index]
            except TypeError:
                raise TypeError("Blob indices must be integers") from None
        if not hasattr(index, "__index__"):
            raise TypeError("Blob indices must be integers")
        at = operator.index(index)
        if not -self._size <= at < self._size:
            is_index = -(1 << 63) <= at < 1 << 63
            raise IndexError("Blob index out of range" if is_index else "cannot fit 'int' into an index-sized integer")
        return range(at % self._size, at % self._size + 1)

    def __getitem__(self, index: SupportsIndex | slice) -> int | bytes:
        places = self._places_of(index)
        low, high = (min(places), max(places) + 1) if places else (0, 0)
        part = self._get_bytes(low, high)
        found = bytes(part[at - low] for at in places)
        return found if isinstance(index, slice) else found[0]

    def __setitem__(self, index: SupportsIndex | slice, value: SupportsIndex | bytes) -> None:
        places = self._places_of(index)
        if isinstance(index, slice):
            view = memoryview(value)  # type: ignore[arg-type]
            if not view.c_contiguous:
                raise BufferError("underlying buffer is not C-contiguous")
            given = bytes(view)
        else:
            number = operator.index(value)  # type: ignore[arg-type]
            if not 0 <= number <= 255:
                raise ValueError("byte must be in range(0, 256)")
            given = bytes([number])
        if len(given) != len(places):
            raise IndexError("Blob slice assignment is wrong size")
        if places:
            low, high = min(places), max(places) + 1
            part = bytearray(self._get_bytes(low, high))
            for at, byte in zip(places, given, strict=True):
                part[at - low] = byte
            self._put_bytes(low, bytes(part))

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        raise TypeError("Blob object doesn't support item deletion")

    def close(self) -> None:
        """It is of no use after it."""
        self._connection.check()
        self._is_closed = True

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *ending: object) -> None:
        self._check_open()
        self.close()

"""Imports and exports, done by blocking: bytes come and go part by part, and none of it is held in memory.

Knows databases and transfers, and needs a disk as they do; knows no HTTP.

1. What goes out is what `virke db export` writes, what is answered to an import what `virke db import --json` prints.
2. A body that ends before its announced length is an error, and nothing was changed.
3. The database is in use (`Place.in_use`) until the last part is out.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

from virke.api.messages import Parts
from virke.api.operations import Export, Import
from virke.engine.database import Database
from virke.errors import Invalid
from virke.stores.base import Store
from virke.transfer import export_parts, import_file

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

NAME: Final = "the body"
"""What messages call the file that is imported, if the request gives it no name."""


class Place(Protocol):
    """What has the databases of one store, by name."""

    store: Store

    def database(self, name: str) -> Database:
        """An open database. Raises `NotFound`, `Unavailable`."""

    def in_use(self, name: str) -> AbstractContextManager[None]:
        """Meanwhile the database of this name stays open."""


def take_in(operation: Import, place: Place) -> object:
    """Import what comes as the body, as one commit. Raises as `import_file`, and what taking the next part raises."""
    database = place.database(operation.database)
    stream = cast(BinaryIO, _Stream(_checked_parts(operation.parts, operation.length)))
    done = import_file(
        database,
        stream,
        table=operation.table,
        replace=operation.replace,
        kind=operation.kind,
        name=operation.name or NAME,
        encoding=operation.encoding,
        header=not operation.no_header,
        types=operation.types,
    )
    return asdict(done) | {"warnings": list(done.warnings)}


def give_out(operation: Export, place: Place) -> Parts:
    """The bytes of an export; its first part is made already. Raises as `export_parts`."""
    with ExitStack() as stack:
        stack.enter_context(place.in_use(operation.database))
        database = place.database(operation.database)
        parts = export_parts(
            database,
            format=operation.format,
            table=operation.table,
            schema_only=operation.schema_only,
            data_only=operation.data_only,
            at=operation.at,
        )
        stack.callback(parts.close)
        return Parts(parts, stack.pop_all().close)


def _checked_parts(parts: Iterator[bytes], length: int | None) -> Iterator[bytes]:
    """The parts of a body of this length, if one was announced (invariant 2)."""
    come = 0
    for part in parts:
        come += len(part)
        yield part
    if length is not None and come != length:
        raise Invalid(f"the body was cut off: {come:,} bytes of {length:,} came; nothing was changed")


class _Stream(io.RawIOBase):
    """Parts as a stream that can be read once."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        super().__init__()
        self._parts = parts
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: WriteableBuffer, /) -> int:
        while not self._held:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._held = memoryview(part)
        wanted = memoryview(target).cast("B")
        taken = self._held[: len(wanted)]
        wanted[: len(taken)] = taken
        self._held = self._held[len(taken) :]
        return len(taken)

"""One reading connection: pinned to a snapshot, with what it knows of statements. Lent to one call at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virke.engine.connection import Connection
from virke.engine.layers import Pages

if TYPE_CHECKING:
    from virke.engine.sqlite import Column

Known = tuple[list[str], int, "tuple[Column, ...]", int]
"""Of a statement: names of its columns, how many rows to fetch at once, its columns, and `Readers._pages_here`."""


class Reader:
    """A connection on a pinned snapshot, and what it knows of statements; the key says of which schema."""

    __slots__ = ("connection", "execute", "foreign_keys", "guard", "known", "schema", "vfs")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.execute, self.guard, self.vfs = connection.raw.execute, connection.guard, connection.vfs
        self.known: dict[str, Known] = {}
        """Of statements that may be given to SQLite as they are."""
        self.schema: object = None
        self.foreign_keys: bool | None = None

    def pin(self, view: Pages, *, foreign_keys: bool) -> None:
        """Show `view`; forget the statements of another schema."""
        connection = self.connection
        if foreign_keys != self.foreign_keys:  # what `PRAGMA foreign_keys` reports; reads check nothing
            connection.unpin()
            connection.raw.pragma("foreign_keys", foreign_keys)
            self.foreign_keys = foreign_keys
        connection.pin(view)
        schema = view.lineage, connection.schema_cookie()
        if schema != self.schema:
            self.known.clear()
            self.schema = schema

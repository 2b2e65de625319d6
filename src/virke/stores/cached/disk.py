"""The disk half of a cache, as its memory half sees it: where there is no disk (the edge) there is none.

Knows extents; knows no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from virke.stores.base import Range
from virke.stores.cached.extents import Extent


class BadFile(Exception):
    """A file that was not what its name says; it has been removed."""


class DiskObject(Protocol):
    """What a disk has of one object, for one look at it."""

    def find(self, asked: Range) -> Sequence[Extent] | None:
        """Verified extents that answer `asked` together, None if it has them not. Raises `BadFile`, `OSError`."""


class Disk(Protocol):
    """Extents of objects on a disk, within a budget of its own; every method may raise `OSError`."""

    def object(self, key: str) -> DiskObject:
        """What it has of one object."""

    def keep(self, key: str, extents: Iterable[Extent]) -> None:
        """Write what is not there yet of extents of one object, as far as the budget lets."""

    def forget(self, key: str) -> None:
        """Remove all of one object."""

"""The states of a database, the newest and earlier ones: the part of its facade that lists, compares and restores them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from virke.engine.results import Diff, Restored, VersionEntry, bookmark_of
from virke.engine.snapshot import Snapshot
from virke.engine.verifying import Verified

if TYPE_CHECKING:
    from virke.core.moments import At
    from virke.engine.assembly import Parts


class States:
    """What `Database` answers of its states; the work is done where it delegates."""

    _parts: Parts

    @property
    def version(self) -> int:
        """The newest version that this process knows."""
        return self._parts.branch.latest().root.head.version

    @property
    def bookmark(self) -> str:
        """The bookmark of `version`."""
        return bookmark_of(self._parts.branch.latest().root)

    def snapshot(self, at: At | None = None) -> Snapshot:
        """The whole database as of now, confirmed by the store, or as of an earlier version or time. Raises `NotFound`."""
        return self._parts.snapshot(at)

    def versions(self, limit: int = 20) -> list[VersionEntry]:
        """The last versions that changed pages, newest first. Raises `Invalid`, `Unavailable`."""
        return self._parts.versions(limit)

    def restore(self, at: At, *, dry_run: bool = False) -> Restored:
        """Make an earlier state, by version or time, the newest one: a commit that is undone in the same way.

        Nothing leaves history, and answers of keyed requests stay. With `dry_run` it only says what would change.

        Raises:
            Invalid, NotFound: there is no such state (the hint says which there are). Conflict, Unavailable: nothing was changed.
        """
        return self._parts.restore(at, dry_run=dry_run)

    def diff(self, a: At, b: At | None = None) -> Diff:
        """What differs between two states, each by version or time, in schema and rows; `b` None: the newest.

        Raises:
            Invalid, NotFound: there is no such state. Unavailable. TooLarge: a value is longer than `result_bytes_max`.
        """
        return self._parts.diff(a, b)

    def verify(self, progress: Callable[[int, int], None] | None = None) -> Verified:
        """Read every stored byte of the database past all caches, check each checksum and run SQLite's `integrity_check`.

        Nothing is changed; what is damaged is named in the result, and the newest version that is whole. `progress` is
        called with bytes read and in total.

        Raises:
            Corrupt: the root itself can't be read. Unavailable. Invalid: the database is a node's.
        """
        return self._parts.verify(progress)

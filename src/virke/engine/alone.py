"""A database as its store has it, without being opened: also where its newest version can't be read.

Knows the root and the pages under it; has no connection, no writer and no journal of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from virke.core.settings import Settings
from virke.engine.branch import Branch
from virke.engine.environment import Environment
from virke.engine.history import History
from virke.engine.snapshot import Snapshot
from virke.engine.verifying import Progress, Verified, verify_database
from virke.engine.volume import Volume
from virke.stores.base import Store

if TYPE_CHECKING:
    from virke.core.moments import At


class Alone:
    """Opening a `Database` reads the indexes of its newest version; this reads the root and what it is asked for."""

    def __init__(self, store: Store, name: str, environment: Environment) -> None:
        self.name = name
        self._branch = Branch(store, name, environment)
        self._branch.refresh()
        self._volume = Volume(self._branch)

    def verify(self, progress: Progress | None = None) -> Verified:
        """See `Database.verify`."""
        return verify_database(self._volume, progress=progress)

    def snapshot(self, at: At | None = None) -> Snapshot:
        """One version as the store has it; pending writes of a journal are not in it. Raises `NotFound`, `Invalid`, `Corrupt`."""
        self._branch.refresh()
        return self._volume.snapshot() if at is None else self._volume.snapshot_at(History(self._volume).version_of(at))

    def settings(self) -> Settings:
        """The settings as the store has them now."""
        return self._branch.refresh().root.settings

    def close(self) -> None:
        """Release what is held."""
        self._volume.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        self.close()

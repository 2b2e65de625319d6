"""The operating system's files with a clock that stands still: one instant for everything that runs on them.

Knows SQLite's VFS names; knows no snapshot and no store. `virke.transfer` runs a dump on such files.

1. `datetime('now')`, `CURRENT_TIMESTAMP` and their like give `now_ms` on every connection of this VFS.
2. Everything but the clock is the default VFS of the operating system.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from virke.engine.sqlite import VFS

UNIX_EPOCH_JULIAN_MS: Final = 210_866_760_000_000
DAY_MS: Final = 86_400_000


class ClockVFS(VFS):
    """A VFS, registered under `name`, whose clock shows `now_ms` (Unix milliseconds) for ever."""

    def __init__(self, now_ms: int) -> None:
        self.name = f"virke-clock-{os.urandom(8).hex()}"
        self._julian_ms = UNIX_EPOCH_JULIAN_MS + now_ms
        super().__init__(self.name, base="")

    def xCurrentTimeInt64(self) -> int:
        """The instant in Julian milliseconds."""
        return self._julian_ms

    def xCurrentTime(self) -> float:
        """The instant as a Julian day."""
        return self._julian_ms / DAY_MS


@contextmanager
def clock_vfs(now_ms: int) -> Iterator[ClockVFS]:
    """A `ClockVFS` that is registered inside the `with` block; close its connections before the block ends."""
    vfs = ClockVFS(now_ms)
    try:
        yield vfs
    finally:
        vfs.unregister()

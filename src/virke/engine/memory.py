"""The memory of one process: a budget for frames and SQLite's page caches, and which idle connections are kept.

Knows sizes and who holds connections; knows no page, no SQL, and not how much memory the machine has (`opening` does).

1. Frames of all databases and SQLite's heap share `bytes_max`. Page caches grow as they need to until SQLite's heap has
   its share; then each makes room among its own pages. Frames have the rest, and never less than theirs.
2. Where the heap is full, the page caches of idle connections give way to a connection that is shown another state, those
   of the database that was read least recently first.
3. Above `CONNECTIONS_KEPT` connections, a database that opens one closes those of other databases that are idle.
4. What a request needs besides is not in the budget: it has a limit of its own (`sqlite.guard`).
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol

from virke.engine import sqlite
from virke.engine.allowance import Allowance
from virke.engine.frames import FrameCache, NearFrames

if TYPE_CHECKING:
    from virke.engine.connection import Connection

DEFAULT_BYTES: Final = 256 << 20
"""Of a process that does not say how much it has."""
FRAMES_SHARE: Final = 4
"""One part in so many is for frames in any case."""
CONNECTIONS_KEPT: Final = 40
_FULL: Final = 15 / 16
_RELIEVED: Final = 3 / 4


class Holder(Protocol):
    """What keeps connections while they are idle."""

    def close_idle(self) -> None:
        """Close the connections that no call uses at this moment."""

    def shrink_idle(self) -> None:
        """Empty the page caches of the connections that no call uses at this moment."""


class Memory:
    """What one process may hold in memory, for all of its databases."""

    def __init__(self, bytes_max: int = DEFAULT_BYTES, *, frames_bytes: int | None = None) -> None:
        """`frames_bytes`: frames have so much of it, never more, and SQLite the rest."""
        self.bytes_max = bytes_max
        self._frames_bytes = frames_bytes
        self.is_sized = False
        """Whether it is more than a guess."""
        room = self._left_for_frames if frames_bytes is None else None
        self.frames = FrameCache(frames_bytes or bytes_max // FRAMES_SHARE, room)
        self.near = NearFrames()
        self._owners = itertools.count(1)
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._holders: OrderedDict[int, list[weakref.ref[Holder]]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def heap_bytes_max(self) -> int:
        """SQLite's share."""
        return self.bytes_max - (self._frames_bytes or self.bytes_max // FRAMES_SHARE)

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def resize(self, bytes_max: int) -> None:
        """Have another budget from now on."""
        self.bytes_max, self.is_sized = bytes_max, True
        self.frames.bytes_min = bytes_max // FRAMES_SHARE
        self.frames.keep({})
        self.apply()

    def apply(self) -> None:
        """Let SQLite know its share (rule 1)."""
        sqlite.limit_caches(self.heap_bytes_max)

    def _left_for_frames(self) -> int:
        return self.bytes_max - sqlite.memory_used()

    def new_owner(self) -> int:
        """A number that distinguishes what one open database holds from what all others hold."""
        return next(self._owners)

    # Connections

    def hold(self, owner: int, holder: Holder) -> None:
        """From now on `holder` keeps connections of this owner, for as long as it lives."""
        with self._lock:
            self._holders.setdefault(owner, []).append(weakref.ref(holder))

    def opened(self, owner: int, connection: Connection) -> None:
        """A connection was opened; if it is one too many, idle ones are closed (rule 3)."""
        with self._lock:
            self._connections.add(connection)
            self._move_to_end(owner)
        for other, holder in self._least_recent_first():
            if len(self._connections) <= CONNECTIONS_KEPT:
                return
            if other != owner:
                holder.close_idle()

    def closed(self, connection: Connection) -> None:
        """A connection was closed."""
        with self._lock:
            self._connections.discard(connection)

    def shown(self, owner: int) -> None:
        """A connection of `owner` shows another state, and will fill its page cache (rule 2)."""
        with self._lock:
            self._move_to_end(owner)
        if sqlite.memory_used() > self.heap_bytes_max * _FULL:
            for other, holder in self._least_recent_first():
                if other != owner:
                    holder.shrink_idle()
                    if sqlite.memory_used() < self.heap_bytes_max * _RELIEVED:
                        return

    def _move_to_end(self, owner: int) -> None:
        if owner in self._holders:
            self._holders.move_to_end(owner)

    def _least_recent_first(self) -> Iterator[tuple[int, Holder]]:
        with self._lock:
            known = list(self._holders.items())
        for owner, references in known:
            holders = [holder for reference in references if (holder := reference()) is not None]
            if not holders:
                with self._lock:
                    self._holders.pop(owner, None)
            for holder in holders:
                yield owner, holder


PROCESS: Final = Memory()
"""The memory of this process."""
_memories: Final[weakref.WeakKeyDictionary[Allowance, Memory]] = weakref.WeakKeyDictionary()


def memory_of(allowance: Allowance | None) -> Memory:
    """The memory of all databases that share an allowance, by its limits; without one, that of the process."""
    if allowance is None:
        return PROCESS
    if (memory := _memories.get(allowance)) is None:
        limits = allowance.limits
        memory = Memory(limits.frames_bytes + limits.caches_bytes, frames_bytes=limits.frames_bytes)
        memory = _memories.setdefault(allowance, memory)
    return memory

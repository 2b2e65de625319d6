"""What the requests of a node may hold at the same time, all together.

Knows numbers and the event loop; knows no request.

1. Nothing here waits for ever, and nothing grows with the number of clients: what finds no room is `Busy` at once, or
   waits in a line of bounded length.
2. What was taken is given back when its `with` ends, however it ends.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

from virke.errors import Busy
from virke.machine import default_budget_bytes

BODIES_SHARE: Final = 4
"""One part in so many of what a process may use is for bodies of requests."""


class Room:
    """Bytes that all requests of a node may hold of one thing."""

    def __init__(self, what: str, bytes_max: int) -> None:
        self.what = what
        self.bytes_max = bytes_max
        self.used = 0

    def account(self) -> Account:
        """What one request takes of it."""
        return Account(self)


class Account:
    """What one request has taken of a room; given back at the end of its `with`."""

    __slots__ = ("_room", "_taken")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken = 0

    def take(self, count: int) -> None:
        """Hold so many bytes more. Raises `Busy`: they are not there."""
        room = self._room
        if room.used + count > room.bytes_max:
            raise Busy(f"{room.what} hold {room.used >> 20} MiB here already; send this again in a moment")
        room.used += count
        self._taken += count

    def __enter__(self) -> Account:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.used -= self._taken
        self._taken = 0


def room_for_bodies(body_bytes: int, workers: int = 1) -> Room:
    """The usual room for bodies of requests: a share of the memory, among so many workers; enough for two of the largest."""
    return Room("bodies of requests", max(2 * body_bytes, default_budget_bytes() // BODIES_SHARE // workers))

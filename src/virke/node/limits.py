"""What the requests of a node may hold at the same time, all together: bodies that came, answers that are built or sent.

Knows numbers and locks; knows no request.

1. Nothing here waits, and nothing grows with the number of clients: what finds no room is `Busy` at once.
2. A request that is alone always finds room: what it may hold has a limit of its own.
3. What a request took is given back when its `with` ends, however it ends, and the databases that it held are let go.
4. What says that something was written is counted, and never refused. Small answers are neither: clients that hold large
   ones, and do not read them, take nothing from the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final

from virke.config import memory_mb_of
from virke.errors import Busy
from virke.machine import default_budget_bytes
from virke.node.leaving import Leaving

BODIES_SHARE: Final = 4
ANSWERS_SHARE: Final = 2
"""Of what a process may use, one part in so many."""
ANSWERS_BYTES_MIN: Final = 128 << 20
"""Twice the usual `max_result_mb`."""
FULL_BYTES: Final = 2 << 20
"""With less than that left, no read is begun whose answer was large before: it would be stopped after two MiB."""
PARTS_BYTES: Final = 1 << 20
"""What rows hold that were not counted, because they are less than that."""
LARGE_MAX: Final = 1000
SMALL_BYTES: Final = 64 << 10
"""An answer of at most so many bytes is not counted: its connection holds no more than that."""


class Room:
    """Bytes that all requests of a node may hold of one thing."""

    def __init__(self, what: str, bytes_max: int) -> None:
        self.what = what
        self.bytes_max = bytes_max
        self.used = 0
        self._lock = threading.Lock()

    def take(self, count: int, own: int) -> None:
        """Hold so many bytes more for a request that has `own` of them. Raises `Busy`: they are not there."""
        with self._lock:
            if self.used > own and self.used + count > self.bytes_max:
                raise self.full()
            self.used += count

    def add(self, count: int) -> None:
        """Hold so many bytes more, or fewer, whether there is room or not."""
        with self._lock:
            self.used += count

    def full(self) -> Busy:
        """What a request is answered for which there is no room."""
        return Busy(f"{self.what} hold {self.used >> 20} MiB here already; send this again in a moment")


class Rooms:
    """The rooms of a node."""

    def __init__(self, bodies_bytes: int, answers_bytes: int) -> None:
        self.bodies = Room("bodies of requests", bodies_bytes)
        self.answers = Room("answers", answers_bytes)
        self.large: dict[int, None] = {}
        """Texts of reads that had large answers, by their hashes; the newest last."""

    def request(self, leaving: Leaving | None = None) -> Taken:
        """What one request takes of them."""
        return Taken(self, leaving)


class Taken:
    """What one request holds, until the end of its `with`, and its client; used by one thread at a time."""

    __slots__ = ("_answer", "_body", "_held", "_rooms", "if_lost", "leaving", "wrote")

    def __init__(self, rooms: Rooms, leaving: Leaving | None) -> None:
        self._rooms = rooms
        self.leaving = leaving
        """Says when the client goes; None: what the request came by says so."""
        self.wrote = False
        """Whether its answer may say that something was written."""
        self.if_lost: Callable[[], None] | None = None
        """To be called if its client did not get the answer."""
        self._body = self._answer = 0
        self._held: list[Callable[[], None]] = []

    def take_body(self, count: int) -> None:
        """So many bytes of its body came. Raises `Busy`."""
        self._rooms.bodies.take(count, self._body)
        self._body += count

    def begin(self, sql: str) -> Callable[[int], None]:
        """As `growing`, for a read. Raises `Busy`: its answer was large before, and there is no room."""
        room, large = self._rooms.answers, self._rooms.large
        key = hash(sql)
        if key in large and room.used > self._answer and room.used + FULL_BYTES > room.bytes_max:
            raise room.full()
        grew = self.growing()

        def grew_large(size: int) -> None:
            large[key] = None
            if len(large) > LARGE_MAX:
                large.pop(next(iter(large)), None)
            grew(size)

        return grew_large

    def growing(self) -> Callable[[int], None]:
        """For one result: to be called with how many bytes it has so far. A statement that is run again begins from nothing.

        What is returned raises `Busy`.
        """
        most = 0

        def grew(size: int) -> None:
            nonlocal most
            if size > most:
                self._rooms.answers.take(size - most, self._answer)
                self._answer += size - most
                most = size

        return grew

    def send(self, count: int | None) -> None:
        """Its answer, of so many bytes, is to be sent; None: it comes in parts, which are counted as `PARTS_BYTES`.

        Raises `Busy`: there is no room for it, and nothing was written.
        """
        parts = count is None
        if count is None:
            count = max(0, PARTS_BYTES - self._answer)
        elif count <= SMALL_BYTES:
            return
        if self.wrote or parts:
            self._rooms.answers.add(count)
        else:
            self._rooms.answers.take(count, self._answer)
        self._answer += count

    def hold(self, let_go: Callable[[], None]) -> None:
        """Call this when it ends."""
        self._held.append(let_go)

    def __enter__(self) -> Taken:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()

    def give_back(self) -> None:
        """It holds nothing any more; harmless when done."""
        if self._body:
            self._rooms.bodies.add(-self._body)
        if self._answer:
            self._rooms.answers.add(-self._answer)
        self._body = self._answer = 0
        while self._held:
            self._held.pop()()


def usual_rooms(body_bytes: int) -> Rooms:
    """Shares of the process's memory, and enough for two of the largest bodies."""
    budget = (memory_mb_of(None) or 0) << 20 or default_budget_bytes()
    return Rooms(max(2 * body_bytes, budget // BODIES_SHARE), max(ANSWERS_BYTES_MIN, budget // ANSWERS_SHARE))

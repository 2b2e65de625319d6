"""The connections of one writer: the usual one, and that of a program which needs room beyond memory.

Knows connections and what they wrote; knows no program and no file.

1. The usual connection stays open, and its page cache warm. Its memory is bounded; what outgrows it is `NeedsRoom` where
   the place lends room.
2. A connection in room is opened for one program and closed when that is answered. What is written there is stored as a
   stream (`streaming`): memory does not grow with it.
3. Closing one in room raises nothing: it comes after the swap, when the answer is known (P13).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from virke.core.commit import Verdict
from virke.core.ids import Version
from virke.core.root import JournalMark, RootAt
from virke.engine.committing import Committing
from virke.engine.connection import Connection
from virke.engine.room import HELD_BYTES_MAX
from virke.engine.sqlite import FAILURES
from virke.engine.streaming import PageStream, Written
from virke.engine.taking_turns import Claimant
from virke.engine.vfs import Dirty
from virke.engine.volume import Volume
from virke.errors import Invalid

Connect = Callable[[], Connection]


class WriterConnections:
    """Used by who leads alone."""

    def __init__(
        self, volume: Volume, committing: Committing, connect: Connect, connect_in_room: Connect | None
    ) -> None:
        self._volume, self._committing = volume, committing
        self._connect, self._connect_in_room = connect, connect_in_room
        self.usual: Connection | None = None
        self.held_bytes_max = HELD_BYTES_MAX
        """What the usual one may change, where there is room beyond it."""
        self._in_room: Connection | None = None
        self._foreign_keys: bool | None = None  # as the usual one has them
        self._is_closed = False

    def on(self, base: RootAt, *, foreign_keys: bool) -> Connection:
        """The connection that the next program runs on, showing `base`. Raises `Invalid`: they are closed."""
        self._volume.driver.blobs(base.root.tier)  # or the error that says which store is missing
        if self._is_closed:
            raise Invalid(f"database {self._volume.name!r} is closed")
        connection = self._in_room or self.usual or self._open_usual()
        connection.move(self._volume.snapshot_of(base.root))
        if self._in_room:
            connection.raw.pragma("foreign_keys", foreign_keys)
        elif self._foreign_keys is not foreign_keys:
            connection.raw.pragma("foreign_keys", foreign_keys)
            self._foreign_keys = foreign_keys
        return connection

    def _open_usual(self) -> Connection:
        self.usual = connection = self._connect()
        if self._connect_in_room:
            connection.outgrow(self.held_bytes_max)
        self._foreign_keys = None
        return connection

    def forget_foreign_keys(self) -> None:
        """What runs next may set them."""
        self._foreign_keys = None

    def enter_room(self) -> None:
        """From now on the program that is tried runs in room. Raises as opening a connection does."""
        assert self._connect_in_room, "a connection says so only where there is room"
        self.leave_room()
        self.close_usual()  # it holds what it wrote until then
        self._in_room = self._connect_in_room()

    def leave_room(self) -> None:
        """The program is answered, or failed; harmless when none was in room."""
        connection, self._in_room = self._in_room, None
        if connection is not None:
            with suppress(OSError, *FAILURES):  # rule 3
                connection.close()

    def changed(self, connection: Connection, base: RootAt) -> Dirty | Written | None:
        """What was written on a connection; None if nothing was."""
        if connection is self._in_room:
            return Written(connection.file) if connection.file.is_dirty else None
        return connection.file.change(Version(base.root.head.version + 1))

    def commit(self, base: RootAt, written: Written, claimant: Claimant, marks: tuple[JournalMark, ...]) -> Verdict:
        """Store what was written in room, and swap; the caller leads. Raises as `PageStream.verdict`."""
        if self._in_room:
            self._in_room.shrink()  # its cache has no part in what follows, the parts on their way take as much
        size, count = written.page_size, written.page_count
        stream = PageStream(
            self._volume, self._committing, base, page_size=size, page_count=count, claimant=claimant, marks=marks
        )
        return stream.verdict(written.pages())

    def close_usual(self) -> None:
        """Close the usual one; the next program opens another."""
        connection, self.usual = self.usual, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close both; no more are opened."""
        self._is_closed = True
        self.close_usual()

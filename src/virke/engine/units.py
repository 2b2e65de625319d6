"""Units within an open transaction: what one does can be undone, and the rest of the transaction stays; and the transaction.

Knows one connection; knows nothing of what a unit does.

1. A unit may be begun inside of another, also of the same name: SQLite ends the innermost.
2. The time limit of the request neither holds for these statements nor is changed by them.
3. SQLite keeps what every unit, and every transaction, needs prepared, and with them that they are allowed. So their text has a secret:
   no request can send the same.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from virke.engine import sqlite

if TYPE_CHECKING:
    from virke.engine.connection import Connection

_SECRET: Final = os.urandom(8).hex()


_BEGIN: Final = f"BEGIN IMMEDIATE -- {_SECRET}"
_COMMIT: Final = f"COMMIT -- {_SECRET}"


def begin_write(connection: Connection) -> None:
    """Begin a transaction that writes."""
    connection.lengths.full()
    _run_control(connection, _BEGIN)


def commit_write(connection: Connection) -> None:
    """End it. Raises `SqlError`, `TooLarge`: SQLite may write only now, and looks at deferred constraints."""
    connection.lengths.full()
    _run_control(connection, _COMMIT)


class Unit:
    """A savepoint of our own, by a name that requests may not use."""

    def __init__(self, name: str) -> None:
        full_name = f"{sqlite.RESERVED_PREFIX}{name}"
        self._begin = f"SAVEPOINT {full_name} -- {_SECRET}"
        self._keep = f"RELEASE {full_name} -- {_SECRET}"
        self._undo = f"ROLLBACK TO {full_name}; RELEASE {full_name}"

    def begin(self, connection: Connection) -> None:
        """What follows belongs to it."""
        _run_control(connection, self._begin)

    def keep(self, connection: Connection) -> None:
        """End it; what it did belongs to what it was begun in."""
        _run_control(connection, self._keep)

    def undo(self, connection: Connection) -> None:
        """End it; it leaves nothing."""
        connection.control_within(self._undo)


def _run_control(connection: Connection, sql: str) -> None:
    """As `Connection.control`, at a third of its price: it is run twice for each row that is written."""
    guard = connection.guard
    deadline, allowed = guard.deadline, guard.allow_transactions
    guard.deadline, guard.allow_transactions = sqlite.NO_DEADLINE, True
    try:
        connection.raw.execute(sql)  # which has no rows: it is done by then
    except sqlite.FAILURES as error:
        raise connection.failed(error) from error
    finally:
        guard.deadline, guard.allow_transactions = deadline, allowed

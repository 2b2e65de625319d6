"""What one connection may do right now: SQLite's authorizer, and the deadline of the current request.

1. A guarded connection reaches no other database, no file and no extension (ATTACH, DETACH, VACUUM INTO,
   `load_extension`, `fts3_tokenizer`, and every PRAGMA that is not in a list of `pragmas` are `Denied`).
2. A PRAGMA of `QUIET` that would change how SQLite stores pages has no effect and is no error, because
   dumps and clients send them; its reading form works.
3. A statement past its deadline is interrupted at the next of every `PROGRESS_STEPS` steps: `TimedOut`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import apsw

from virke.engine.sqlite.pragmas import ALLOWED, DENIED_FUNCTIONS, MODES, QUIET, READ_ONLY, WITH_ARGUMENT

PROGRESS_STEPS: Final = 4000
NO_DEADLINE: Final = float("inf")
RESERVED_PREFIX: Final = "virke_"
_SCHEMA_TABLES: Final = frozenset({"sqlite_master", "sqlite_temp_master"})


class Guard:
    """What one connection may do right now: the authorizer and the deadline of its current statement."""

    __slots__ = (
        "_monotonic",
        "allow_schema_writes",
        "allow_transactions",
        "allow_vacuum",
        "deadline",
        "denied",
        "left_behind",
    )

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.deadline = NO_DEADLINE
        self.left_behind = False
        self.allow_transactions = True
        self.allow_vacuum = False
        self.allow_schema_writes = False
        self.denied: str | None = None

    def authorize(self, operation: int, first: str | None, second: str | None, *where: str | None) -> int:
        """SQLite's authorizer callback; remembers why it refused in `denied`, and what will have to be forgotten."""
        reason = self._refusal(operation, first, second)
        if operation == apsw.SQLITE_INSERT and where[0] == "temp" and first in _SCHEMA_TABLES:
            self.left_behind = True
        if reason is None:
            return apsw.SQLITE_OK
        if reason == "":
            return apsw.SQLITE_IGNORE
        self.denied = reason
        return apsw.SQLITE_DENY

    def _refusal(self, operation: int, first: str | None, second: str | None) -> str | None:
        """None to allow, "" to ignore quietly, else the reason to deny."""
        if operation == apsw.SQLITE_PRAGMA:
            return self._refuse_pragma((first or "").lower(), second)
        if operation == apsw.SQLITE_FUNCTION:
            name = (second or "").lower()
            return f"function {name}() is not available" if name in DENIED_FUNCTIONS else None
        if operation == apsw.SQLITE_ATTACH:
            return None if self.allow_vacuum and first == "" else "ATTACH is not allowed: SQL stays inside its database"
        if operation == apsw.SQLITE_DETACH:
            return None if self.allow_vacuum else "DETACH is not allowed: SQL stays inside its database"
        if operation == apsw.SQLITE_SAVEPOINT and not self.allow_transactions and is_reserved(second or ""):
            return f"savepoint names that start with {RESERVED_PREFIX} are not allowed"
        if operation == apsw.SQLITE_TRANSACTION and not self.allow_transactions:
            return f"{first} is not allowed here: a call is one transaction by itself (use batch() or transaction())"
        return None

    def _refuse_pragma(self, name: str, argument: str | None) -> str | None:
        if name in ALLOWED or (name == "writable_schema" and self.allow_schema_writes):
            self.left_behind = self.left_behind or (argument is not None and name in MODES)
            return None
        if name in QUIET:
            return None if argument is None else ""
        if name in READ_ONLY:
            if argument is None or name in WITH_ARGUMENT:
                return None
            return f"PRAGMA {name} can only be read"
        return f"PRAGMA {name} is not allowed (docs/sql.md lists those that are)"

    def expired(self) -> bool:
        """SQLite's progress callback: True interrupts the statement."""
        return self._monotonic() > self.deadline


def is_reserved(name: str) -> bool:
    """True for names of savepoints that only Virke itself may use."""
    return name.lower().startswith(RESERVED_PREFIX)

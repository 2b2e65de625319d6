"""The exceptions of PEP 249: each is the one of `sqlite3` too, and carries what Virke's error says.

Knows both trees of errors; knows no connection.

1. A program that catches `sqlite3.IntegrityError` catches `virke.dbapi.IntegrityError`.
2. `kind`, `retryable`, `hint` and `context` are those of the `VirkeError` that is the cause (`__cause__`); `sqlite_errorname` and
   `sqlite_errorcode` are SQLite's, and where SQLite has no word for it, those of what a caller does about it.
3. A transaction that lost a race is what a locked database is to a program of SQLite: `OperationalError` with SQLITE_BUSY_SNAPSHOT
   and "database is locked" in its message. Running the transaction again is right in both.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

from virke.errors import (
    Busy,
    Conflict,
    Corrupt,
    Denied,
    Invalid,
    NotFound,
    ReadOnly,
    SqlError,
    TimedOut,
    TooLarge,
    VirkeError,
)


class Error(sqlite3.Error):
    """Base of all errors of this module."""

    sqlite_errorcode: int = 1
    sqlite_errorname: str = "SQLITE_ERROR"
    kind: str = "error"
    retryable: bool = False
    hint: str | None = None
    context: Mapping[str, object] = {}


class InterfaceError(Error, sqlite3.InterfaceError):
    """The interface was misused, not the database."""


class DatabaseError(Error, sqlite3.DatabaseError):
    """The database said so."""


class DataError(DatabaseError, sqlite3.DataError):
    """A value, a statement or a result is too large."""


class OperationalError(DatabaseError, sqlite3.OperationalError):
    """The statement can't be run, or not now: what it names, the store, a lost race."""


class IntegrityError(DatabaseError, sqlite3.IntegrityError):
    """A constraint of the schema does not hold."""


class InternalError(DatabaseError, sqlite3.InternalError):
    """SQLite found itself in a state that it does not know."""


class ProgrammingError(DatabaseError, sqlite3.ProgrammingError):
    """The call is wrong."""


class NotSupportedError(DatabaseError, sqlite3.NotSupportedError):
    """Virke does not have it; the message says why."""


Warning = sqlite3.Warning
_BY_PRIMARY_CODE: Final[Mapping[int, type[Error]]] = {
    **dict.fromkeys((2, 12), InternalError),
    **dict.fromkeys((1, 3, 4, 5, 6, 8, 9, 10, 13, 14, 15, 16, 17), OperationalError),
    18: DataError,
    **dict.fromkeys((19, 20), IntegrityError),
    **dict.fromkeys((21, 25), InterfaceError),
}
"""SQLite's primary result codes, as `sqlite3` sorts them; what is not here is `DatabaseError`."""
_BY_CLASS: Final[tuple[tuple[type[VirkeError], str, type[Error]], ...]] = (
    (Conflict, "SQLITE_BUSY_SNAPSHOT", OperationalError),
    (Busy, "SQLITE_BUSY", OperationalError),
    (NotFound, "SQLITE_CANTOPEN", OperationalError),
    (ReadOnly, "SQLITE_READONLY", OperationalError),
    (Denied, "SQLITE_AUTH", NotSupportedError),
    (TimedOut, "SQLITE_INTERRUPT", OperationalError),
    (TooLarge, "SQLITE_TOOBIG", DataError),
    (Corrupt, "SQLITE_CORRUPT", DatabaseError),
    (Invalid, "SQLITE_MISUSE", ProgrammingError),
)
"""The first row that fits an error which SQLite did not raise; what fits none is the store's: SQLITE_IOERR."""
_PREFIXES: Final[Mapping[type[VirkeError], str]] = {
    Conflict: "database is locked: ",
    Busy: "database is locked: ",
    NotFound: "unable to open database file: ",
}


def translated_error(error: VirkeError) -> Error:
    """The exception of this module for an error of Virke."""
    if isinstance(error, SqlError):
        code = getattr(sqlite3, error.sqlite_code, 1)
        made = with_code(_BY_PRIMARY_CODE.get(code & 0xFF, DatabaseError), str(error), error.sqlite_code)
    else:
        fitting = ((name, made) for kind, name, made in _BY_CLASS if isinstance(error, kind))
        name, made_of = next(fitting, ("SQLITE_IOERR", OperationalError))
        prefix = next((text for sort, text in _PREFIXES.items() if isinstance(error, sort)), "")
        made = with_code(made_of, prefix + str(error), name)
    made.kind, made.retryable, made.context = error.kind, error.retryable, error.context
    if hint := error.context.get("hint"):
        made.hint = str(hint)
        made.add_note(f"hint: {hint}")
    return made


def with_code(made: type[Error], message: str, name: str) -> Error:
    """An exception with one of SQLite's result codes."""
    error = made(message)
    error.sqlite_errorname, error.sqlite_errorcode = name, getattr(sqlite3, name, 1)
    return error


class Translating:
    """What Virke raises meanwhile leaves as an exception of this module; what a callback raised (`failed`) as `sqlite3` has it."""

    failed: BaseException | None = None

    def __enter__(self) -> None:
        self.failed = None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, VirkeError):
            return
        match self.failed:
            case None:
                raise translated_error(error) from error
            case MemoryError() as failed:
                raise failed from None
            case OverflowError() as failed:
                raise with_code(DataError, "string or blob too big", "SQLITE_TOOBIG") from failed
            case failed:
                raise with_code(OperationalError, str(error), "SQLITE_ERROR") from failed

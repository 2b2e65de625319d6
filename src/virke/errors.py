"""Every error that Virke raises, grouped by what the caller does about it.

Knows nothing else of Virke. Vendor errors are translated into these once, at the boundary
where the vendor is called.

1. `kind` is stable: programs may compare it. Messages may change.
2. An error says what the caller may conclude (see each class) and names the next step.
3. `EXIT_CODES` is the only place where an error becomes an exit code.
"""

from __future__ import annotations

from typing import ClassVar, Final


class VirkeError(Exception):
    """Base of all errors; `kind` names the class in JSON, `retryable` says if the same call may work later.

    `is_stores`: it says something of the store, and nothing of the statement that met it.
    """

    kind: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    is_stores: bool = False

    def __init__(self, message: str, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.context = context
        if hint := context.get("hint"):
            self.add_note(f"hint: {hint}")  # so that a traceback has it too


class Conflict(VirkeError):
    """The transaction lost a race: it is not, and never will be, in history. Run it again."""

    kind = "conflict"
    retryable = True


class OutcomeUnknown(VirkeError):
    """It is not known whether the commit happened. Ask the data, do not retry blindly."""

    kind = "outcome_unknown"


class Unavailable(VirkeError):
    """The store did not answer; nothing was changed. Back off and repeat the call.

    `retry_after_s` is what the store itself says, None if it says nothing.
    """

    kind = "unavailable"
    retryable = True
    is_stores = True

    def __init__(self, message: str, *, retry_after_s: float | None = None, **context: object) -> None:
        super().__init__(message, **context)
        self.retry_after_s = retry_after_s


class RateLimited(Unavailable):
    """The store takes only so many requests of this kind a second; nothing was changed."""


class StoreDown(Unavailable):
    """The store did not answer a moment ago, so nothing was sent: it is of no use to repeat the call at once."""


class NotFound(VirkeError):
    """The named database, table or version does not exist."""

    kind = "not_found"


class Deleted(NotFound):
    """The database was deleted, and perhaps created again, since it was opened here; nothing was changed. Open it again."""


class Exists(VirkeError):
    """The name is taken already."""

    kind = "exists"


class Invalid(VirkeError):
    """The call itself is wrong (name, setting, parameter count, file format); fix it."""

    kind = "invalid"


class WrongValue(Invalid):
    """A parameter is not a value that SQLite can store: most often it came from outside of the program like that."""


class SqlError(Invalid):
    """SQLite refused the statement; nothing was changed. `sqlite_code` names SQLite's extended result code.

    `offset` is the byte of the statement's text at which the error is, None where SQLite does not say.
    """

    kind = "sql_error"

    def __init__(
        self, message: str, *, sqlite_code: str = "SQLITE_ERROR", offset: int | None = None, **context: object
    ) -> None:
        super().__init__(message, **context)
        self.sqlite_code = sqlite_code
        self.offset = offset


class Denied(VirkeError):
    """The statement or caller may not do this here (ATTACH, extensions, files, unsafe PRAGMA, no token)."""

    kind = "denied"


class ReadOnly(Denied):
    """The call writes where only reads are allowed (a read-only connection, `read_only=True`); nothing was changed."""


class TimedOut(VirkeError):
    """The statement ran longer than `query_timeout_ms` and was interrupted; nothing was changed."""

    kind = "timed_out"


class NotHere(VirkeError):
    """`query_here` can't answer without waiting, or not fast enough; `query` can. `writes`: because the statement writes."""

    kind = "not_here"
    retryable = True

    def __init__(self, message: str, *, writes: bool = False, **context: object) -> None:
        super().__init__(message, **context)
        self.writes = writes


class Busy(VirkeError):
    """Too many requests wait already; nothing was changed. Send it again in a moment."""

    kind = "busy"
    retryable = True


class TooLarge(VirkeError):
    """A bound was reached (result, transaction, value, object); ask for less or raise the setting."""

    kind = "too_large"


class Corrupt(VirkeError):
    """Stored bytes are not what was written. Stop, and restore from a copy; nothing was invented."""

    kind = "corrupt"
    is_stores = True


class UsageError(VirkeError):
    """The command line or configuration file is wrong; nothing was started."""

    kind = "usage"


EXIT_CODES: Final[dict[str, int]] = {
    "error": 1,
    "conflict": 1,
    "not_found": 1,
    "exists": 1,
    "invalid": 1,
    "sql_error": 1,
    "denied": 1,
    "timed_out": 1,
    "not_here": 1,
    "busy": 3,
    "too_large": 1,
    "usage": 2,
    "unavailable": 3,
    "outcome_unknown": 4,
    "corrupt": 5,
}
"""`kind` → process exit code: 1 cannot be done, 2 wrong usage, 3 store unavailable, 4 unknown, 5 corruption."""


def exit_code(error: VirkeError) -> int:
    """The process exit code for `error` (see `EXIT_CODES`)."""
    return EXIT_CODES[error.kind]

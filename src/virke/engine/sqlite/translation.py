"""Every error of apsw leaves the engine as one of `virke.errors`, with SQLite's extended code."""

from __future__ import annotations

from typing import Final

import apsw

from virke.engine.allowance import OR_RAISE
from virke.engine.sqlite.guard import Guard
from virke.errors import Corrupt, Denied, Invalid, SqlError, TimedOut, TooLarge, Unavailable, VirkeError, WrongValue

BusyError = apsw.BusyError
Error = apsw.Error
ReadOnlyError = apsw.ReadOnlyError
TooBigError = apsw.TooBigError
MEMORY_ERRORS: Final = (apsw.NoMemError, MemoryError)
FAILURES: Final = (apsw.Error, ValueError, TypeError, KeyError, OverflowError, MemoryError, VirkeError)
"""What running a statement may raise, before it is translated."""


def translate(error: Exception, guard: Guard | None = None, sql: str = "") -> VirkeError:
    """The Virke error that `error`, raised while SQLite ran `sql`, means to the caller."""
    allowance = guard.allowance if guard else None
    found = _meaning_of_error(error, guard, sql)
    return found if allowance is None else allowance.explain(found)


def _meaning_of_error(error: Exception, guard: Guard | None, sql: str) -> VirkeError:
    denied, is_greedy, is_spent = (guard.denied, guard.is_greedy, guard.is_spent) if guard else (None, False, False)
    if guard:
        guard.denied, guard.is_greedy, guard.is_spent = None, False, False
    match error:
        case VirkeError():
            return error
        case apsw.InterruptError() if is_spent and guard and guard.allowance:
            return guard.allowance.timed_out()
        case apsw.InterruptError() if is_greedy:
            return TooLarge(
                "the request needs more memory than it may take for sorting, grouping and temporary tables; "
                f"add an index or a LIMIT,{OR_RAISE}"
            )
        case apsw.InterruptError():
            return TimedOut("the statement ran longer than query_timeout_ms and was interrupted; nothing was changed")
        case apsw.AuthError():
            return Denied(denied or "this statement is not allowed")
        case apsw.BindingsError() | apsw.RangeError():
            return Invalid(f"wrong parameters: {error}")
        case apsw.TooBigError():
            return TooLarge(f"{error}: a value or statement is larger than the limit")
        case apsw.NoMemError() | MemoryError():
            return TooLarge("the request needs more memory than it may take; ask for fewer or shorter values at once")
        case apsw.SQLError() if "pattern too complex" in str(error):
            return TooLarge(f"{error}: the pattern is longer than the limit (docs/sql.md)")
        case apsw.CorruptError() | apsw.NotADBError():
            return Corrupt(f"{error}")
        case apsw.IOError() | apsw.CantOpenError() | apsw.FullError() | apsw.BusyError():
            return Unavailable(f"{error}")
        case apsw.Error():
            if denied:
                return Denied(denied)
            code = apsw.mapping_extended_result_codes.get(getattr(error, "extendedresult", 1))
            offset = getattr(error, "error_offset", -1)
            name = str(code or _result_name(error))
            return SqlError(
                f"{error}{_line_of_error(sql, offset)}", sqlite_code=name, offset=offset if offset >= 0 else None
            )
        case UnicodeDecodeError():
            return Invalid(
                "there is text that is not valid Unicode, which can be given back by a SELECT, or as CAST(… AS BLOB) alone"
            )
        case UnicodeError():
            return WrongValue(f"text is not valid Unicode: {error}")
        case _:
            return Invalid(f"{error}")


def _result_name(error: apsw.Error) -> object:
    """The name of a code that is not an extended one."""
    return apsw.mapping_result_codes.get(getattr(error, "result", 1), "SQLITE_ERROR")


def _line_of_error(sql: str, offset: int) -> str:
    """Where in a text of several lines the error is."""
    if offset < 0 or "\n" not in sql.strip():
        return ""
    before = sql.encode()[:offset].decode(errors="replace")
    return f" (line {before.count(chr(10)) + 1})"

"""Errors as Hrana says them: a message in sqld's words, and a code that clients know.

1. `code` is SQLite's primary code, as sqld has it (`SQLITE_CONSTRAINT`), `extended_code` the one that says more.
2. What a client would do again by itself is `SQLITE_BUSY`: a lost race changed nothing.
3. What is wrong with a request itself is `Refused`: it has a status of HTTP, and nothing of the request was done.
"""

from __future__ import annotations

from typing import Final

from virke.api.codec import Codec
from virke.api.failures import STATUS_OF, describe_error
from virke.api.messages import Response
from virke.errors import Invalid, SqlError, VirkeError

_CODES: Final = {
    "conflict": "SQLITE_BUSY",
    "busy": "SQLITE_BUSY",
    "timed_out": "SQLITE_INTERRUPT",
    "denied": "BLOCKED",
    "unavailable": "SQLITE_IOERR",
    "corrupt": "SQLITE_CORRUPT",
    "too_large": "RESPONSE_TOO_LARGE",
}
_SYNTAX: Final = ("near ", "incomplete input", "unrecognized token")


class Refused(Invalid):
    """The request breaks the protocol, or its stream is gone; nothing of it was done."""

    def __init__(self, message: str, code: str = "HRANA_PROTO_ERROR", *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def described_error(error: VirkeError) -> dict[str, object]:
    """An error as a value: `message`, `code`, and for some `extended_code`."""
    match error:
        case Refused():
            return {"message": error.message, "code": error.code}
        case SqlError():
            return _of_sqlite(error)
        case Invalid():
            return _of_call(error)
        case _ if error.kind == "denied":
            return {"message": f"Operation was blocked: {error.message}", "code": "BLOCKED"}
        case _:
            code = _CODES.get(error.kind, error.kind.upper())
            if "too big" in error.message:
                code = "SQLITE_TOOBIG"
            return {"message": f"{'SQLite error: ' if code.startswith('SQLITE') else ''}{error.message}", "code": code}


def _of_sqlite(error: SqlError) -> dict[str, object]:
    if error.message.startswith(_SYNTAX):
        return {"message": f"SQL string could not be parsed: {error.message}", "code": "SQL_PARSE_ERROR"}
    if error.offset is not None and error.sqlite_code == "SQLITE_ERROR":
        return {"message": f"SQL input error: {error.message} (at offset {error.offset})", "code": "SQL_INPUT_ERROR"}
    primary = "_".join(error.sqlite_code.split("_")[:2])
    found: dict[str, object] = {
        "message": f"SQLite error: {error.message}",
        "code": "SQLITE_UNKNOWN" if primary == "SQLITE_ERROR" else primary,
    }
    if primary != error.sqlite_code:
        found["extended_code"] = error.sqlite_code
    return found


def _of_call(error: Invalid) -> dict[str, object]:
    if error.message.startswith("more than one statement"):
        return {"message": "SQL string contains more than one statement", "code": "SQL_MANY_STATEMENTS"}
    if error.message.startswith("there is no SQL statement"):
        return {"message": "SQL string does not contain any statement", "code": "SQL_NO_STATEMENT"}
    if "parameter" in error.message:
        return {"message": f"Arguments do not match SQL parameters: {error.message}", "code": "ARGS_INVALID"}
    return {"message": error.message, "code": "SQL_INPUT_ERROR"}


def in_both_languages(error: VirkeError) -> dict[str, object]:
    """An error with Virke's own words below `virke`, for its own client."""
    return described_error(error) | {"virke": describe_error(error)}


def error_response(error: VirkeError, codec: Codec) -> Response:
    """A response for a request that was not carried out; clients look for any of its three fields."""
    found = in_both_languages(error)
    status = error.status if isinstance(error, Refused) else STATUS_OF.get(error.kind, 500)
    return Response(status, codec.dumps({"error": found["message"], **found}))

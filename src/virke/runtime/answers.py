"""What a visitor is answered when the database fails a request and the program does not catch it.

Pure. Statuses are the API's (`api.failures`); which errors are answered at all is the same in `@virke/runtime`.

1. Answered is what a visitor's data can cause, or what sending it again mends. All else is the program's or its
   operator's to mend: it goes on as an exception, so that the framework logs it and answers 500.
2. For faults of the data a visitor reads SQLite's words, for those of the store none of the store's.
"""

from __future__ import annotations

import re
from typing import Final

from virke.api.codec import PlainCodec
from virke.api.failures import RETRY_AFTER_S, STATUS_OF
from virke.errors import NotFound, RateLimited, SqlError, VirkeError, WrongValue
from virke.lazy_dataclasses import dataclass

VISITORS: Final = frozenset({"conflict", "busy", "unavailable", "timed_out", "outcome_unknown"})
VISITORS_DATA: Final = re.compile(r"SQLITE_(CONSTRAINT|MISMATCH|TOOBIG)")
SAID: Final = {
    "busy": "the database is busy; try again in a moment",
    "unavailable": "the database does not answer; try again in a moment",
    "timed_out": "the database took too long",
    "outcome_unknown": "it may have been done or not; look before you send it again",
}
ANSWERS_LATER: Final = (429, 503)
REASONS: Final = {
    400: "Bad Request",
    404: "Not Found",
    409: "Conflict",
    429: "Too Many Requests",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class NoTenant(NotFound):
    """The database that a request chose does not exist: the visitor asked for what is not there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of HTTP."""

    status: int
    said: dict[str, str]
    """What the body says below `error`."""
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def line(self) -> str:
        """The status as WSGI has it."""
        return f"{self.status} {REASONS[self.status]}"


def answer_to(error: VirkeError) -> Answer | None:
    """What a visitor is answered; None where only the program or its operator can mend it."""
    if not _is_visitors(error):
        return None
    status = STATUS_OF[error.kind]
    said = {"code": error.kind, "message": SAID.get(error.kind, error.message)}
    if isinstance(error, SqlError):
        said["sqlite_code"] = error.sqlite_code
    body = PlainCodec().dumps({"error": said})
    headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
    if status in ANSWERS_LATER:
        wait_s = error.retry_after_s if isinstance(error, RateLimited) and error.retry_after_s else RETRY_AFTER_S
        headers.append(("retry-after", str(max(1, round(wait_s)))))
    return Answer(status, said, tuple(headers), body)


def _is_visitors(error: VirkeError) -> bool:
    if isinstance(error, SqlError):
        return VISITORS_DATA.match(error.sqlite_code) is not None
    return error.kind in VISITORS or isinstance(error, WrongValue | NoTenant)

"""Litestar: it answers errors before a middleware sees them, so that errors have to be its own.

Imported by the first request of a Litestar app; the only file that imports it.

1. An error stays what it is (`except Conflict` holds), and is an `HTTPException` besides, which Litestar answers with its
   status; the app's own exception handlers come first.
"""

from __future__ import annotations

from typing import Final

from litestar.exceptions import HTTPException

from virke.errors import VirkeError
from virke.runtime.answers import answer_to

_ITS_OWN: Final = ("content-type", "content-length")
_BOTH: Final[dict[type[VirkeError], type[VirkeError]]] = {}


def translate_error(error: VirkeError) -> VirkeError:
    """The error as Litestar answers it; the same one where no visitor is answered."""
    answer = answer_to(error)
    if answer is None or isinstance(error, HTTPException):
        return error
    kind = _BOTH.get(type(error)) or _BOTH.setdefault(type(error), _both_kinds(type(error)))
    found = kind.__new__(kind)
    found.__dict__.update(error.__dict__)
    headers = {name: value for name, value in answer.headers if name not in _ITS_OWN}
    HTTPException.__init__(
        found,  # type: ignore[arg-type]
        detail=answer.said["message"],
        status_code=answer.status,
        headers=headers,
        extra=answer.said,
    )
    return found


def _both_kinds(kind: type[VirkeError]) -> type[VirkeError]:
    return type(kind.__name__, (kind, HTTPException), {"__module__": kind.__module__})

"""What a node's error is here: the same class, with the same words, as an embedded database raises.

Pure. Knows the bodies that `api.failures` writes.

1. A hint that is a server's general one for its kind is left out: an embedded database has none there.
2. What something else answered (a proxy, another program at that port) is named as such, and quoted only in part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from virke.api.failures import HINT_OF
from virke.errors import (
    Busy,
    Conflict,
    Corrupt,
    Denied,
    Exists,
    Invalid,
    NotFound,
    OutcomeUnknown,
    SqlError,
    TimedOut,
    TooLarge,
    Unavailable,
    UsageError,
    VirkeError,
)

_CLASSES: Final[Mapping[str, type[VirkeError]]] = {
    found.kind: found
    for found in (
        VirkeError,
        Conflict,
        OutcomeUnknown,
        Unavailable,
        NotFound,
        Exists,
        Invalid,
        Denied,
        TimedOut,
        Busy,
        TooLarge,
        Corrupt,
        UsageError,
    )
}
_OF_STATUS: Final[Mapping[int, type[VirkeError]]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    413: TooLarge,
    429: Busy,
    503: Unavailable,
}
_PLACES: Final = ("file", "line", "statement", "applied", "would_apply", "undid")
"""What an error of several files says besides."""
_STREAM_GONE: Final = frozenset({"STREAM_EXPIRED", "BATON_INVALID", "BATON_REUSED"})
GONE: Final = (
    "the node ended this transaction, and nothing of it is in history: it was idle for too long, wrote for too long, or "
    "the node was restarted; run it again"
)
_SECONDS: Final = re.compile(r"[0-9]{1,6}")


def is_of_node(body: bytes) -> bool:
    """Whether the body of an error is a node's."""
    return _described_error(body) is not None


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> VirkeError:
    """The error that an answer says; its context has `retry_after_s` if the answer says when."""
    found = _described_error(body)
    if found is None:
        kind = _OF_STATUS.get(status, VirkeError)
        error = kind(f"the answer is not one of a Virke node: HTTP {status}", hint="is this the URL of `virke serve`?")
    else:
        error = error_in(found)
    if _SECONDS.fullmatch(headers.get("retry-after", "")):
        error.context["retry_after_s"] = int(headers["retry-after"])
    return error


def error_in(found: Mapping[str, object]) -> VirkeError:
    """The error that a value below `error` says."""
    kind, message = str(found.get("code", "error")), str(found.get("message", ""))
    context = {name: found[name] for name in _PLACES if name in found}
    hint = found.get("hint")
    if hint and hint != HINT_OF.get(kind):
        context["hint"] = str(hint)
    if kind == SqlError.kind:
        offset = found.get("offset")
        return SqlError(
            message,
            sqlite_code=str(found.get("sqlite_code", "SQLITE_ERROR")),
            offset=offset if isinstance(offset, int) else None,
            **context,
        )
    return _CLASSES.get(kind, VirkeError)(message, **context)


def _described_error(body: bytes) -> Mapping[str, object] | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    match found:
        case {"error": dict(described)} if "code" in described:
            return described
        case dict():
            return in_both_languages(found)
        case _:
            return None


def in_both_languages(found: Mapping[str, object]) -> Mapping[str, object] | None:
    """An error of libSQL's protocol in Virke's words; None if it has none."""
    match found:
        case {"code": str(code), "virke": dict()} if code in _STREAM_GONE:
            return {"code": Conflict.kind, "message": GONE}
        case {"virke": dict(described)} if "code" in described:
            return described
        case _:
            return None

"""What an error is over HTTP: its status, and the body that says it.

1. `code` is the error's `kind`; programs may compare it. A missing or wrong token is 401, one that may not do this 403.
2. A body never has more than the error's own words: no traceback, no path of the server's.
"""

from __future__ import annotations

from typing import Final

from virke.api.codec import Codec
from virke.api.messages import Response
from virke.errors import Denied, RateLimited, SqlError, VirkeError

STATUS_OF: Final = {
    "invalid": 400,
    "sql_error": 400,
    "usage": 400,
    "denied": 403,
    "not_found": 404,
    "conflict": 409,
    "exists": 409,
    "too_large": 413,
    "busy": 429,
    "error": 500,
    "corrupt": 500,
    "unavailable": 503,
    "timed_out": 504,
    "outcome_unknown": 504,
}
HINT_OF: Final = {
    "sql_error": "nothing was changed; mend the statement",
    "invalid": "nothing was changed; mend the request",
    "denied": "ask for a token that may do this, or send another statement",
    "not_found": "create it first: PUT /db/NAME, or `virke db create NAME`",
    "conflict": "nothing was changed; send the same request again",
    "exists": "?if_not_exists=1 makes this no error",
    "too_large": "ask for less, stream the rows (Accept: application/x-ndjson), or raise the setting",
    "busy": "nothing was changed; wait as long as Retry-After says and send it again",
    "corrupt": "stop writing, run `virke doctor`, and restore from a copy",
    "unavailable": "nothing was changed; send the same request again in a moment",
    "timed_out": "nothing was changed; raise query_timeout_ms, or ask for less",
    "outcome_unknown": "it may have been done: look at the data, or repeat it with the same Idempotency-Key",
}
RETRY_AFTER_S: Final = 1
PLACES: Final = ("file", "line", "statement", "applied", "would_apply", "undid")
"""What an error of several files says besides: which one it is in, and which were done before it."""


def describe_error(error: VirkeError) -> dict[str, object]:
    """An error as the value that stands below `error`."""
    found: dict[str, object] = {
        "code": error.kind,
        "message": error.message,
        "hint": str(error.context.get("hint") or HINT_OF.get(error.kind, "")),
        "retryable": error.retryable,
    }
    if isinstance(error, SqlError):
        found["sqlite_code"] = error.sqlite_code
        if error.offset is not None:
            found["offset"] = error.offset
    return found | {name: error.context[name] for name in PLACES if error.context.get(name) is not None}


def error_response(error: VirkeError, codec: Codec, *, status: int | None = None) -> Response:
    """The response that says an error."""
    no_token = isinstance(error, Denied) and error.context.get("needs_token") is True
    status = status or (401 if no_token else STATUS_OF.get(error.kind, 500))
    response = Response(status, codec.dumps({"error": describe_error(error)}))
    if no_token:
        response = response.with_headers(("www-authenticate", "Bearer"))
    if status in (429, 503):
        wait_s = error.retry_after_s if isinstance(error, RateLimited) and error.retry_after_s else RETRY_AFTER_S
        response = response.with_headers(("retry-after", str(max(1, round(wait_s)))))
    return response

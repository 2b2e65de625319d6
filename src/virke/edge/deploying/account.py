"""An account at Fastly, by its REST API: reading, changing, and what its answers mean.

Knows HTTP statuses and when a request is repeated; does not know services or stores.

1. A read is repeated when it was refused, failed or stayed without an answer. A change is repeated after a 429 and if it never
   left, for then it was not applied; one that does the same when it is done twice is repeated after any other failure, too.
2. A change without an answer is an error that says so. Whoever runs the whole again finds what became of it, because everything
   is looked up by name before it is made.
3. In a rehearsal no change is sent: it is noted, and answered by what its caller says would come. What would be made has an id
   in braces, and nothing under such an id is asked for.
4. The token is in one header and nowhere else; a secret is in one body and nowhere else, and a `Call` shows neither.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Final, cast
from urllib.parse import quote, urlencode

from virke.edge.deploying.patience import Patience
from virke.errors import Denied, Exists, Invalid, NotFound, Unavailable, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.stores.fastly_kv.api import said_by
from virke.stores.fastly_kv.http import Answer, HttpClient, NoAnswer, NotSent

API: Final = "https://api.fastly.com"
API_VARIABLE: Final = "FASTLY_API_ENDPOINT"
"""Where the API is, if it is elsewhere: the vendor's own command reads the same."""
TIMEOUT_S: Final = 120.0
AGAIN: Final = "run the same command again: it goes on where this one stopped"
_SAID_MAX: Final = 300
_FORM: Final = "application/x-www-form-urlencoded"
Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Call:
    """One request that changes something: `does` says what, `shown` what it says, without secrets."""

    method: str
    path: str
    does: str
    shown: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path}{' ' if self.shown else ''}{self.shown}"


@dataclass(frozen=True, slots=True)
class Body:
    """What a request says; `shown`: the same for people."""

    kind: str = ""
    data: bytes | None = field(default=None, repr=False)
    shown: str = ""


def form_body(**fields: str | int | bool) -> Body:
    """Fields as the older half of the API takes them."""
    texts = {name: str(int(value)) if isinstance(value, bool) else str(value) for name, value in fields.items()}
    return Body(_FORM, urlencode(texts).encode(), " ".join(f"{name}={value}" for name, value in texts.items()))


def json_body(fields: Mapping[str, str], *, hidden: str = "") -> Body:
    """Fields as JSON; the one named `hidden` is a secret."""
    shown = {name: "…" if name == hidden else value for name, value in fields.items()}
    return Body("application/json", json.dumps(fields).encode(), json.dumps(shown, ensure_ascii=False))


class Account:
    """What a token gives access to; `report` hears of each change: of one that was made, or would be."""

    def __init__(
        self,
        token: str,
        report: Callable[[Call], None],
        *,
        api: str = API,
        patience: Patience | None = None,
        is_rehearsal: bool = False,
    ) -> None:
        """An empty token is for rehearsals alone: nothing at all is asked then."""
        self._http = HttpClient(api, timeout_s=TIMEOUT_S)
        self._token = token
        self._report = report
        self.patience = patience or Patience()
        self.is_rehearsal = is_rehearsal

    @property
    def has_token(self) -> bool:
        """Whether anything can be asked."""
        return bool(self._token)

    def read(self, path: str, **query: str) -> object | None:
        """What is at a path; None if there is nothing. Raises `Denied`, `Unavailable`."""
        if self.is_rehearsal and (not self._token or "{" in path):
            return None
        whole = path + (f"?{urlencode(query)}" if query else "")
        answer = self._send_patiently("GET", whole, Body(), is_safe=True)
        return None if answer.status == 404 else _decoded_json(answer, "GET", path)

    def rows(self, path: str, **query: str) -> list[Json]:
        """The rows of a list, of all its pages; none if there is no list. Raises `Denied`, `Unavailable`."""
        found = self.read(path, **query)
        rows: list[Json] = []
        while isinstance(found, dict):
            rows += _checked_rows(found.get("data"), path)
            meta = found.get("meta")
            cursor = meta.get("next_cursor") if isinstance(meta, dict) else None
            if not cursor or cursor == query.get("cursor"):
                return rows
            query["cursor"] = str(cursor)
            found = self.read(path, **query)
        return rows if found is None else _checked_rows(found, path)

    def change(
        self, method: str, path: str, body: Body, does: str, *, made: Json | None = None, is_safe: bool | None = None
    ) -> Json:
        """Change something; `made` is what a rehearsal is answered. `is_safe`: done twice it does the same (else as PUT and DELETE).

        Raises:
            Denied: the token may not. Exists: a name is taken. Invalid: Fastly does not take it. NotFound: what is changed is gone.
            Unavailable: there was no answer, or only failures; it may have been done.
        """
        call = Call(method, path, does, body.shown)
        if self.is_rehearsal:
            self._report(call)
            return dict(made or {})
        safe = method in ("PUT", "DELETE") if is_safe is None else is_safe
        answer = self._send_patiently(method, path, body, is_safe=safe)
        if answer.status == 404 and method != "DELETE":
            raise NotFound(
                f"{call}: it is not there any more ({said_by(answer, self._token, chars_max=_SAID_MAX)})", hint=AGAIN
            )
        self._report(call)
        found = _decoded_json(answer, method, path) if answer.body and answer.status != 404 else {}
        return found if isinstance(found, dict) else {}

    def _send_patiently(self, method: str, path: str, body: Body, *, is_safe: bool) -> Answer:
        """An answer of a status below 400, or 404."""
        problem: VirkeError | None = None
        for attempt in self.patience.attempts():
            try:
                answer = self._send_once(method, path, body)
            except NotSent as error:
                problem = Unavailable(f"{method} {path}: Fastly's API can't be reached: {error}", hint=AGAIN)
                continue
            except NoAnswer as error:
                problem = Unavailable(f"{method} {path}: no answer, so it may have been done: {error}", hint=AGAIN)
                if is_safe:
                    continue
                raise problem from error
            if answer.status < 400 or answer.status == 404:
                return answer
            problem = self._refusal_error(method, path, answer)
            if answer.status == 429:
                attempt.retry_after_s = _again_s(answer)
            elif answer.status < 500 or not is_safe:
                break
        raise problem or Unavailable(f"{method} {path}: not tried", hint=AGAIN)

    def _send_once(self, method: str, path: str, body: Body) -> Answer:
        headers = {"Fastly-Key": self._token, "Accept": "application/json"}
        if body.kind:
            headers["Content-Type"] = body.kind
        data = body.data if body.data is not None or method == "GET" else b""
        return self._http.request(method, path, headers, data)

    def _refusal_error(self, method: str, path: str, answer: Answer) -> VirkeError:
        text = f"{method} {path}: {said_by(answer, self._token, chars_max=_SAID_MAX)}"
        match answer.status:
            case 401:
                return Denied(f"Fastly does not accept the token ({text})", hint=TOKEN_HINT)
            case 403:
                return Denied(f"the token may not do this ({text})", hint=TOKEN_HINT)
            case 409:
                return Exists(f"Fastly has something of this name, or it was changed meanwhile ({text})", hint=AGAIN)
            case 429:
                return Unavailable(
                    f"too many requests: Fastly takes no more for {_again_s(answer):.0f} s ({text})", hint=AGAIN
                )
            case status if status >= 500:
                return Unavailable(f"Fastly failed, so it may have been done ({text})", hint=AGAIN)
            case _:
                return Invalid(f"Fastly does not take this ({text})")


TOKEN_HINT: Final = "set FASTLY_API_TOKEN to an API token of the account, with the scope `global`"


def path_segment(text: str) -> str:
    """A name as a part of a path."""
    return quote(text, safe="")


def text_of(row: Mapping[str, object], name: str) -> str:
    """A field that is text; "" if it has none."""
    found = row.get(name)
    return "" if found is None else str(found)


def _again_s(answer: Answer) -> float:
    """In how many seconds Fastly takes the next request: what it says, else one."""
    seconds = answer.headers.get("retry-after", "")
    if seconds.isdecimal():
        return float(seconds)
    reset = answer.headers.get("fastly-ratelimit-reset", "")
    return max(0.0, float(reset) - time.time()) if reset.isdecimal() else 1.0


def _decoded_json(answer: Answer, method: str, path: str) -> object:
    try:
        return cast(object, json.loads(answer.body))
    except ValueError as error:
        raise Unavailable(f"{method} {path}: the answer is not JSON; is this Fastly's API?", hint=AGAIN) from error


def _checked_rows(found: object, path: str) -> list[Json]:
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise Unavailable(f"GET {path}: the list is not understood; is this Fastly's API?", hint=AGAIN)
    return found

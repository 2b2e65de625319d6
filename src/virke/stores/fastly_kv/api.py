"""Fastly's KV Store over REST: reading, writing, deleting and listing items, each with one request.

Knows the vendor's paths, headers and statuses; does not know registers, blobs or prefixes.

1. No request is ever sent twice from here: the engine repeats (decision 0052).
2. A write that was definitely not applied, because it never left (`NotSent`) or was refused (4xx), raises. Any other
   trouble is `Lost`: whoever sent it must first look what happened.
3. What the server says of when to come back (`Retry-After`) is in the error, and in `Lost`.
4. A status that the API does not promise is never taken for success: 200, 201 and 204 are, no others.
5. The token is in one request header and nowhere else: what the server says is quoted only without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote, urlencode

from virke.core.effects import Generation, Lost, Mismatch, SwapOutcome, Swapped
from virke.errors import Denied, Invalid, NotFound, RateLimited, TooLarge, Unavailable, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.stores.fastly_kv.http import Answer, HttpClient, NoAnswer, NotSent
from virke.stores.fastly_kv.layout import modified_ms

LIST_PAGE: Final = 1000
_APPLIED: Final = (200, 201, 204)
_GENERATION: Final = re.compile(r"[1-9][0-9]{0,19}")
_CONTENT_RANGE: Final = re.compile(r"bytes 0-0/([0-9]+)")
_SAID_MAX: Final = 200
_SECONDS: Final = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class Item:
    """What a key holds; `generation` is None if the answer carried none that is a number."""

    data: bytes
    generation: Generation | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of an item without its bytes; `modified_ms` is None if no answer had it."""

    size_bytes: int
    modified_ms: int | None


class FastlyApi:
    """The items of one KV store."""

    def __init__(self, http: HttpClient, store_id: str, token: str) -> None:
        self._http = http
        self._store_id = store_id
        self._token = token
        self._path = f"/resources/stores/kv/{quote(store_id, safe='')}/keys"

    # Reading

    def get(self, key: str) -> Item | None:
        """The item at `key`; None if there is none, or none is shown yet. Raises `Unavailable`, `Denied`."""
        answer = self._send_read(self._item_path(key), {})
        if answer is None:
            return None
        if answer.status != 200:
            raise self._unexpected_answer("GET", answer)
        found = answer.headers.get("generation", "")
        return Item(answer.body, Generation(found) if _GENERATION.fullmatch(found) else None)

    def look(self, key: str) -> Seen | None:
        """Size and time of the item at `key`, for which one byte of it is asked. Raises `Unavailable`, `Denied`.

        HTTP lets a server ignore that only one byte is wanted; then all of it comes, and the answer is the same.
        """
        answer = self._send_read(self._item_path(key), {"Range": "bytes=0-0"})
        if answer is not None and answer.status == 416:  # an empty item has no first byte
            answer = self._send_read(self._item_path(key), {})
        if answer is None:
            return None
        if answer.status == 200:
            return Seen(len(answer.body), _modified_ms(answer.headers))
        whole = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if answer.status != 206 or whole is None:
            raise self._unexpected_answer("GET", answer)
        return Seen(int(whole[1]), _modified_ms(answer.headers))

    def keys(self, prefix: str) -> Iterator[list[str]]:
        """The keys that start with `prefix`, a page at a time. Raises `Unavailable`, `Denied`, `NotFound`."""
        asked = {"consistency": "strong", "limit": str(LIST_PAGE), "prefix": prefix}
        cursor = ""
        while True:
            query = urlencode({**asked, "cursor": cursor} if cursor else asked)
            answer = self._send_read(f"{self._path}?{query}", {})
            if answer is None:
                raise self._no_store()
            if answer.status != 200:
                raise self._unexpected_answer("list", answer)
            keys, following = _page_of_keys(answer.body)
            yield keys
            if not following:
                return
            if following == cursor:
                raise Unavailable("the list of keys does not go on: its cursor repeats")
            cursor = following

    # Writing

    def put(self, key: str, data: bytes, base: Generation | None, metadata: str) -> SwapOutcome:
        """Write `key` if its generation is `base` (None: create it). Raises `Unavailable` only if definitely not applied.

        `Denied`, `NotFound`, `TooLarge` and `Invalid` say the same: the server refused.
        """
        headers = {"Metadata": metadata, "Content-Type": "application/octet-stream"}
        path = self._item_path(key)
        if base is None:
            path += "?add=true"
        elif _GENERATION.fullmatch(base):
            headers["if-generation-match"] = base
        else:
            return Mismatch()  # nothing here ever had it
        answer = self._send_write("PUT", path, headers, data)
        if isinstance(answer, Lost):
            return answer
        if answer.status == 404:
            if base is None:
                raise self._no_store()
            return Mismatch()  # no such key, so not with that generation
        return self._outcome_of_write("PUT", answer)

    def delete(self, key: str, base: Generation | None = None) -> SwapOutcome:
        """Delete `key` if its generation is `base` (None: whatever it is); no such key is a `Mismatch`. As `put`."""
        headers = {}
        if base is not None:
            if not _GENERATION.fullmatch(base):
                return Mismatch()
            headers["if-generation-match"] = base
        answer = self._send_write("DELETE", self._item_path(key), headers, None)
        if isinstance(answer, Lost):
            return answer
        return Mismatch() if answer.status == 404 else self._outcome_of_write("DELETE", answer)

    # One request

    def _item_path(self, key: str) -> str:
        return f"{self._path}/{quote(key, safe='')}"

    def _send_request(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        return self._http.request(method, path, {**headers, "Fastly-Key": self._token}, body)

    def _send_read(self, path: str, headers: Mapping[str, str]) -> Answer | None:
        """The answer to a GET, of a status below 400 or 416; None for 404."""
        try:
            answer = self._send_request("GET", path, headers)
        except (NotSent, NoAnswer) as error:
            raise Unavailable(f"Fastly KV does not answer: {error}") from error
        if answer.status == 404:
            return None
        if answer.status < 400 or answer.status == 416:
            return answer
        raise self._refusal_error("GET", answer)

    def _send_write(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer | Lost:
        """The answer to a write, whatever it is."""
        try:
            return self._send_request(method, path, headers, body)
        except NotSent as error:
            raise Unavailable(f"Fastly KV did not get a {method}, nothing was changed: {error}") from error
        except NoAnswer as error:
            return Lost(f"no answer to a {method}: {error}")

    # What an answer means

    def _outcome_of_write(self, method: str, answer: Answer) -> SwapOutcome:
        status = answer.status
        if status in _APPLIED:
            return Swapped(None)
        if status == 412:
            return Mismatch()
        if 400 <= status < 500 and status != 408:
            raise self._refusal_error(method, answer)
        return Lost(self._described_answer(method, answer), _retry_after_s(answer))

    def _refusal_error(self, method: str, answer: Answer) -> VirkeError:
        text = self._described_answer(method, answer)
        match answer.status:
            case 401:
                return Denied(f"Fastly does not accept the token; set FASTLY_API_TOKEN to a valid one ({text})")
            case 403:
                return Denied(f"the token may not do this in KV store {self._store_id!r} ({text})")
            case 413:
                return TooLarge(f"the value is larger than Fastly takes; write smaller parts ({text})")
            case 400 | 422:
                return Invalid(f"Fastly does not accept the request ({text})")
            case 429:
                again = answer.headers.get("fastly-ratelimit-reset") or answer.headers.get("retry-after")
                hint = f"; Fastly says when again: {again[:20]}" if again else ""
                if answer.headers.get("fastly-ratelimit-remaining") == "0":  # of the account's, not of this key's
                    return Unavailable(f"too many requests{hint} ({text})", retry_after_s=_retry_after_s(answer))
                return RateLimited(f"too many requests{hint} ({text})", retry_after_s=_retry_after_s(answer))
            case _:
                return Unavailable(f"Fastly KV does not answer: {text}", retry_after_s=_retry_after_s(answer))

    def _unexpected_answer(self, method: str, answer: Answer) -> Unavailable:
        return Unavailable(
            f"Fastly KV gave an answer that is not understood ({self._described_answer(method, answer)})"
        )

    def _no_store(self) -> NotFound:
        return NotFound(f"KV store {self._store_id!r} does not exist, or the token may not see it; check the store URL")

    def _described_answer(self, method: str, answer: Answer) -> str:
        """Method, status and what the server says about it."""
        return f"{method}: {said_by(answer, self._token, chars_max=_SAID_MAX)}"


def said_by(answer: Answer, token: str, *, chars_max: int) -> str:
    """The status of an answer of Fastly's, and the beginning of what the server says about it, without the token."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    parts = [found.get(name) for name in ("title", "msg", "detail")] if isinstance(found, dict) else []
    said = " – ".join(part for part in parts if isinstance(part, str) and part)
    said = (said.replace(token, "…") if token else said)[:chars_max]
    return f"HTTP {answer.status}{': ' if said else ''}{said}"


def _retry_after_s(answer: Answer) -> float | None:
    """When the server wants to be asked again, if it says so in seconds."""
    seconds = answer.headers.get("retry-after", "")
    return float(seconds) if _SECONDS.fullmatch(seconds) else None


def _page_of_keys(body: bytes) -> tuple[list[str], str]:
    """Keys and the cursor of the page that follows ("" after the last)."""
    try:
        found = json.loads(body)
        keys, following = found["data"], found.get("meta", {}).get("next_cursor") or ""
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable("the list of keys is not understood") from error
    if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys) and isinstance(following, str)):
        raise Unavailable("the list of keys is not understood")
    return keys, following


def _modified_ms(headers: Mapping[str, str]) -> int | None:
    """The later of what the writer noted and what the server says, for clocks differ and age is what is asked for."""
    known = []
    if (noted := modified_ms(headers.get("metadata", ""))) is not None:
        known.append(noted)
    with suppress(KeyError, ValueError):  # this header is not promised
        known.append(int(parsedate_to_datetime(headers["last-modified"]).timestamp() * 1000))
    return max(known, default=None)

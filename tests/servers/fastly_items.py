"""The items of a model of Fastly's KV Store: what they do to requests, and how they let a client down on demand.

Knows no sockets: `KvItems.answer` is told a request and says the reply. Behaves as the vendor's documentation and the
recorded answers in its Go client do; where both are silent there is a switch, and tests try both sides.

1. Requests are carried out one after the other, under one lock; the condition and the write are one step.
2. A write changes what is true at once. Reads of a key may be made stale: `stale` for a number of reads, `staleness`
   for a number of requests after each write. They show what the key held before, never anything else.
3. A trouble is planned per store and used up by requests of its methods, in the order of planning.
"""

from __future__ import annotations

import base64
import binascii
import json
import random
import re
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from time import time
from typing import Final

KEY_BYTES_MAX: Final = 1024
VALUE_BYTES_MAX: Final = 25_000_000
METADATA_BYTES_MAX: Final = 2000
PAGE_MAX: Final = 1000
REMEMBERED: Final = 32
"""States of a key that a stale read can show."""
ALL_METHODS: Final = frozenset({"GET", "PUT", "DELETE"})
_KEY_REFUSED: Final = re.compile(r"[#;?^|\r\n]|(?:^|/)\.\.?$|\./|^\.well-known/acme-challenge")
_RANGE: Final = re.compile(r"bytes=([0-9]+)-([0-9]+)")


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers and body; `cut` ends the body early, `status` None closes the connection instead."""

    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """What befalls a request: another status, or no answer (None); before or after it is carried out.

    `cut`: its own answer begins, but ends early.
    """

    status: int | None = None
    applied: bool = False
    cut: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """A request for one store: `key` is None for the list, `""` for a batch."""

    method: str
    key: str | None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class _Item:
    data: bytes
    metadata: str
    generation: int
    written_s: float


@dataclass(slots=True)
class _History:
    """The last states of a key, None where it was absent, each with the request from which on reads show it."""

    states: deque[tuple[int, _Item | None]] = field(default_factory=lambda: deque([(0, None)], REMEMBERED))
    stale_reads: int = 0
    back: int = 1

    @property
    def now(self) -> _Item | None:
        return self.states[-1][1]

    def shown(self, request: int) -> _Item | None:
        visible = [state for since, state in self.states if since <= request]
        return visible[-1] if visible else self.states[0][1]

    def read(self, request: int) -> _Item | None:
        if self.stale_reads:
            self.stale_reads -= 1
            states = [state for _, state in self.states]
            return states[-1 - self.back] if self.back < len(states) else None
        return self.shown(request)


class KvItems:
    """One KV store: its items, its switches, its troubles, and the requests that it got."""

    def __init__(self) -> None:
        self.staleness = 0
        """For so many requests to this store a write is not shown by reads."""
        self.missing_fails_with = 412
        """What a generation on a missing key is answered with; production may say 404."""
        self.equal_writes_change_generation = True
        self.has_ranges = True
        self.page_max = PAGE_MAX
        self.meeting: threading.Barrier | None = None
        """Where requests wait for each other before they are carried out."""
        self.asked: list[Request] = []
        self._requests = 0
        self._histories: dict[str, _History] = {}
        self._generations = {0}
        self._troubles: list[tuple[Trouble, frozenset[str], list[None]]] = []
        self._random = random.Random()
        self._lock = threading.Lock()

    # For tests

    def plan(self, trouble: Trouble, count: int = 1, methods: frozenset[str] = ALL_METHODS) -> None:
        """Let `trouble` befall the next `count` requests of `methods`."""
        with self._lock:
            self._troubles.append((trouble, methods, [None] * count))

    def calm(self) -> None:
        """No trouble that was planned befalls any request from now on."""
        with self._lock:
            self._troubles = []

    def stale(self, key: str, reads: int, back: int = 1) -> None:
        """Let the next `reads` of `key` show what it held `back` writes ago, or nothing if there were not so many."""
        with self._lock:
            history = self._histories.setdefault(key, _History())
            history.stale_reads, history.back = reads, back

    def counts(self) -> Counter[str]:
        """Requests by method, the troubled ones included."""
        with self._lock:
            return Counter(request.method for request in self.asked)

    def forget_requests(self) -> None:
        """Count from nothing again."""
        with self._lock:
            self.asked = []

    def held(self) -> dict[str, tuple[bytes, str]]:
        """What is really there: data and metadata by key."""
        with self._lock:
            return {key: (item.data, item.metadata) for key, one in self._histories.items() if (item := one.now)}

    # For the server

    def answer(self, request: Request) -> Reply:
        """Carry out one request, with the trouble that is due."""
        if self.meeting is not None:
            self.meeting.wait()
        with self._lock:
            self._requests += 1
            self.asked.append(replace(request, body=b""))
            trouble = self._due(request.method)
            if trouble is None:
                return self._carry_out(request)
            reply = self._carry_out(request) if trouble.applied or trouble.cut else Reply(None)
            if trouble.cut:
                return Reply(reply.status, reply.headers, reply.body, cut=True)
            if trouble.status is None:
                return Reply(None)
            return failure(trouble.status, "trouble", trouble.headers)

    def _due(self, method: str) -> Trouble | None:
        for trouble, methods, left in self._troubles:
            if left and method in methods:
                left.pop()
                return trouble
        return None

    def _carry_out(self, request: Request) -> Reply:
        if request.key is None:
            return self._list(request.query)
        if request.key == "":
            return self._batch(request.body)
        if len(request.key.encode()) > KEY_BYTES_MAX or _KEY_REFUSED.search(request.key):
            return failure(400, "invalid key")
        match request.method:
            case "GET":
                return self._get(request)
            case "PUT":
                return self._put(request)
            case _:
                return self._delete(request)

    def _get(self, request: Request) -> Reply:
        item = self._histories.get(request.key or "", _History()).read(self._requests)
        if item is None:
            return failure(404, "key not found")
        headers = {
            "Content-Type": "application/octet-stream",
            "Accept-Ranges": "bytes",
            "Generation": str(item.generation),
            "Metadata": item.metadata,
            "Last-Modified": formatdate(item.written_s, usegmt=True),
            "Stored-Content-Length": str(len(item.data)),
        }
        asked = _RANGE.fullmatch(request.headers.get("range", "")) if self.has_ranges else None
        if asked is None:
            return Reply(200, headers, item.data)
        size, first, last = len(item.data), int(asked[1]), int(asked[2])
        if first >= size:
            return Reply(416, {"Content-Range": f"bytes */{size}"})
        part = item.data[first : last + 1]
        return Reply(206, headers | {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{size}"}, part)

    def _put(self, request: Request) -> Reply:
        assert request.key
        modes = {mode for mode in ("add", "append", "prepend") if request.query.get(mode, "").lower() == "true"}
        if len(modes) > 1:
            return failure(400, "add, append and prepend exclude each other")
        metadata = request.headers.get("metadata", "")
        if len(metadata.encode()) > METADATA_BYTES_MAX:
            return failure(400, "metadata is too long")
        now = self._histories.get(request.key, _History()).now
        if failed := self._condition(request, now):
            return failed
        if "add" in modes and now is not None:
            return Reply(412)
        before = now.data if now else b""
        data = request.body
        if "append" in modes:
            data = before + data
        elif "prepend" in modes:
            data = data + before
        if len(data) > VALUE_BYTES_MAX:
            return failure(413, "value is too large")
        self._write(request.key, data, metadata)
        return Reply(200)

    def _delete(self, request: Request) -> Reply:
        assert request.key
        history = self._histories.setdefault(request.key, _History())
        if failed := self._condition(request, history.now):
            return failed
        if history.now is None and request.query.get("force", "").lower() != "true":
            return failure(404, "key not found")
        self._change(request.key, None)
        return Reply(204)

    def _condition(self, request: Request, now: _Item | None) -> Reply | None:
        """Why the condition of a request fails; None if it holds or there is none."""
        wanted = request.headers.get("if-generation-match")
        if wanted is None:
            return None
        if not wanted.isdecimal() or int(wanted) >= 1 << 64:
            return failure(400, "a generation is a 64-bit number")
        if now is None:
            missing = self.missing_fails_with
            return None if int(wanted) == 0 else Reply(412) if missing == 412 else failure(missing, "key not found")
        return None if int(wanted) == now.generation else Reply(412)

    def _write(self, key: str, data: bytes, metadata: str) -> None:
        now = self._histories.get(key, _History()).now
        equal = now is not None and (now.data, now.metadata) == (data, metadata)
        if now is not None and equal and not self.equal_writes_change_generation:
            generation = now.generation
        else:
            generation = 0
            while generation in self._generations:
                generation = self._random.getrandbits(64)
            self._generations.add(generation)
        self._change(key, _Item(data, metadata, generation, time()))

    def _change(self, key: str, item: _Item | None) -> None:
        history = self._histories.setdefault(key, _History())
        history.states.append((self._requests + self.staleness, item))

    def _list(self, query: Mapping[str, str]) -> Reply:
        consistency, prefix = query.get("consistency", "strong"), query.get("prefix", "")
        limit = query.get("limit", str(PAGE_MAX))
        if consistency not in ("strong", "eventual") or not limit.isdecimal() or int(limit) < 1:
            return failure(400, "invalid list")
        try:
            after = base64.b64decode(query.get("cursor", ""), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return failure(400, "invalid cursor")
        strong = consistency == "strong"
        found = sorted(
            key
            for key, history in self._histories.items()
            if key.startswith(prefix) and key > after and (history.now if strong else history.shown(self._requests))
        )
        size = min(int(limit), self.page_max)
        meta: dict[str, object] = {"limit": size} | ({} if strong else {"consistency": consistency})
        if len(found) > size:
            meta["next_cursor"] = base64.b64encode(found[size - 1].encode()).decode()
        return _json(200, {"data": found[:size], "meta": meta})

    def _batch(self, body: bytes) -> Reply:
        errors = []
        for index, line in enumerate(body.splitlines()):
            try:
                one = json.loads(line)
                value = base64.b64decode(one["value"], validate=True)
                self._write(one["key"], value, one.get("metadata", ""))
            except (ValueError, KeyError, TypeError) as error:
                errors.append({"index": index, "code": "invalid", "reason": str(error)})
        return _json(400 if errors else 200, {"type": "", "title": "errors" if errors else "success", "errors": errors})


def failure(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An error as JSON."""
    plain = _json(status, {"title": f"HTTP {status}", "detail": detail})
    return Reply(status, {**plain.headers, **(headers or {})}, plain.body)


def _json(status: int, content: object) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(content).encode())

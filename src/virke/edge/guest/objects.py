"""Object storage behind a backend of the service: the objects of the object tier, never a root.

Knows requests to one bucket; which objects there are is the engine's.

1. Objects never change, so reads go through the cache of the POP: a copy there is as good as the object. What it answers
   besides (that there is none, that a key may not) may be of an earlier time and is asked for again, past it. What is asked
   for `fresh`, and every write, goes past it at once.
2. All requests of a call are in flight together, each awaited exactly once. Ranges of one object that are close together
   are one request: a sandbox has 32 of them.
3. A PUT is sent once, with `If-None-Match: *`; what refuses it is compared. One that failed without an answer is `Lost`.
4. A range that was answered with more or fewer bytes than it has is `Corrupt`; a server without ranges is cut here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NoReturn

from wit_world.imports import http_body, http_req
from wit_world.imports.async_io import Pollable
from wit_world.imports.backend import Backend

from virke.core.effects import Absent, Lost, PutOutcome, Stored
from virke.edge.guest.calls import Failed, body_of, reason_of, whole_body
from virke.edge.guest.configuration import Objects
from virke.edge.guest.signing import path_of, signed_headers
from virke.errors import Corrupt, Denied, Exists, RateLimited, Unavailable
from virke.lazy_dataclasses import dataclass
from virke.stores.base import Consistency, Listed, Range, byte_bounds, check_key, check_size

OBJECT_BYTES_MAX: Final = 16 << 20
"""As the REST client has it (`stores.object`)."""
CACHED_S: Final = 30 * 24 * 3600
GAP_BYTES: Final = 8 << 10
_TAKEN: Final = (409, 412)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes


class EdgeObjects:
    """Objects of the object tier (B1–B4, B7–B10)."""

    def __init__(self, place: Objects, now_ms: Callable[[], int]) -> None:
        self._place = place
        self._now_ms = now_ms
        self._opened: Backend | None = None

    @property
    def consistency(self) -> Consistency:
        """Eventual: nothing promises that an object is shown at once, and the POP's cache may remember that there was none."""
        return Consistency.EVENTUAL

    @property
    def has_ranges(self) -> bool:
        """True."""
        return True

    @property
    def part_bytes_max(self) -> int:
        """Largest object that `put_new` takes, in bytes."""
        return OBJECT_BYTES_MAX

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        """Write one object. Raises `Unavailable` (definitely not applied), `Exists`, `Denied`, `TooLarge`, `Invalid`."""
        return self.put_all([(key, data)])

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        """Write many objects side by side. Raises as `put_new`; then some may be there."""
        for key, data in objects:
            check_size(key, len(data), OBJECT_BYTES_MAX)
        headers = {"if-none-match": "*", "content-type": "application/octet-stream"}
        started = [self._sent_request("PUT", key, headers, body=bytes(data), cached=False) for key, data in objects]
        outcomes = [
            self._outcome_of_put(key, data, handle) for (key, data), handle in zip(objects, started, strict=True)
        ]
        for outcome in outcomes:
            if isinstance(outcome, Unavailable | Denied):
                raise outcome
        there = [one for one, outcome in zip(objects, outcomes, strict=True) if outcome is None]
        lost = next((outcome for outcome in outcomes if isinstance(outcome, Lost)), None)
        return lost or (self._compare_objects(there) if there else Stored())

    def _outcome_of_put(
        self, key: str, data: bytes, handle: Pollable | Failed[object]
    ) -> PutOutcome | Unavailable | Denied | None:
        """What became of it; None: there is an object of this key."""
        if isinstance(handle, Failed):
            return Unavailable(f"object storage was not sent {key!r}: {reason_of(handle)}")
        try:
            answer = _awaited_answer(handle)
        except (Failed, EOFError) as error:
            return Lost(f"object storage did not answer the PUT of {key!r}: {_why_failed(error)}")
        if answer.status in (200, 201, 204):
            return Stored()
        if answer.status in _TAKEN:
            return None
        if answer.status >= 500 and answer.status != 503:
            return Lost(f"object storage answered the PUT of {key!r} with {answer.status}")
        refusal = _refusal_error(answer, f"the PUT of {key!r}, {len(data)} bytes")
        assert isinstance(refusal, Unavailable | Denied), "these two are all there are"
        return refusal

    def _compare_objects(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        try:
            found = self.get([Range(key, fresh=True) for key, _ in objects])
        except Unavailable as error:
            return Lost(f"objects exist already, but can't be compared: {error.message}")
        for (key, data), there in zip(objects, found, strict=True):
            if isinstance(there, Absent):
                return Lost(f"object {key!r} exists, but is not shown yet")
            if there != data:
                raise Exists(f"object {key!r} exists with other bytes", key=key)
        return Stored()

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        """Every range in the order asked, as few requests as they take, all side by side.

        Raises:
            Unavailable, Denied: the server does not answer, or refuses. Corrupt: a range reaches beyond its object.
        """
        pieces = list(_coalesced_ranges(ranges))
        came = self._answers_for([piece for piece, _ in pieces])
        again = {n: replace(piece, fresh=True) for n, (piece, _) in enumerate(pieces) if _may_be_old(piece, came[n])}
        for n, answer in zip(again, self._answers_for(list(again.values())), strict=True):
            came[n] = answer
        answers: dict[int, bytes | Absent] = {}
        for (piece, places), answer in zip(pieces, came, strict=True):
            data = _bytes_of_piece(piece, answer)
            for n in places:
                answers[n] = data if isinstance(data, Absent) else _cut_range(ranges[n], piece, data)
        return [answers[n] for n in range(len(ranges))]

    def _answers_for(self, pieces: Sequence[Range]) -> list[_Answer]:
        """What the server, or the cache, answers. Raises `Unavailable`."""
        started = [self._sent_read(piece) for piece in pieces]
        came: list[_Answer] = []
        failed: BaseException | None = None
        for handle in started:
            try:
                came.append(_read_answer(handle))
            except (Failed, EOFError) as error:
                failed = failed or error
        if failed is not None:
            _raise_unavailable(failed)
        return came

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; missing ones are fine. Raises `Unavailable`, `Denied`: repeat the call."""
        started = [self._sent_request("DELETE", key, {}, cached=False) for key in keys]
        failed: BaseException | None = None
        for key, handle in zip(keys, started, strict=True):
            try:
                answer = _read_answer(handle)
                if answer.status not in (200, 204, 404):
                    failed = failed or _refusal_error(answer, f"the deletion of {key!r}")
            except (Failed, EOFError) as error:
                failed = failed or error
        if failed is not None:
            _raise_unavailable(failed)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Never done here. Raises `Denied`."""
        raise Denied(f"the edge lists no objects ({prefix!r})", hint="use the CLI or a node with the same stores")

    def _sent_read(self, piece: Range) -> Pollable | Failed[object]:
        if piece.length == 0:
            piece = Range(piece.key, piece.offset, 1, fresh=piece.fresh)
        is_whole = not piece.offset and piece.length is None
        end = "" if piece.length is None else str(piece.offset + piece.length - 1)
        headers = {} if is_whole else {"range": f"bytes={piece.offset}-{end}"}
        return self._sent_request("GET", piece.key, headers, cached=not piece.fresh)

    def _sent_request(
        self, method: str, key: str, headers: Mapping[str, str], *, body: bytes = b"", cached: bool
    ) -> Pollable | Failed[object]:
        place = self._place
        path = path_of(place.bucket, place.prefix, check_key(key))
        every = signed_headers(
            method,
            place.host,
            path,
            headers=headers,
            region=place.region,
            key_id=place.key_id,
            secret=place.secret,
            now_s=self._now_ms() / 1000,
        )
        try:
            request = http_req.Request.new()
            request.set_method(method)
            request.set_uri(f"https://{place.host}{path}")
            for name, value in every.items():
                request.insert_header(name, value.encode())
            if not cached:
                return http_req.send_async_uncached(request, body_of(body), self._opened_backend())
            request.set_cache_override(_AS_LONG_AS_CAN_BE)
            return http_req.send_async(request, http_body.new(), self._opened_backend())
        except Failed as error:
            return error

    def _opened_backend(self) -> Backend:
        if self._opened is None:
            self._opened = Backend.open(self._place.backend)
        return self._opened


_AS_LONG_AS_CAN_BE: Final = http_req.CacheOverride_Override(
    http_req.CacheOverrideDetails(ttl=CACHED_S, stale_while_revalidate=None, pci=False, surrogate_key=None, extra=None)
)


def _read_answer(handle: Pollable | Failed[object]) -> _Answer:
    if isinstance(handle, Failed):
        raise handle
    return _awaited_answer(handle)


def _awaited_answer(handle: Pollable) -> _Answer:
    response, body = http_req.await_response(handle)
    with response:
        return _Answer(response.get_status(), whole_body(body))


def _may_be_old(piece: Range, answer: _Answer) -> bool:
    """Whether the cache may have answered with what was once so, and is not an object (rule 1)."""
    return not piece.fresh and answer.status not in (200, 206)


def _why_failed(error: BaseException) -> str:
    """The reason of a failed send: what the interface calls the detail, where it has one."""
    value = getattr(error, "value", error)
    detail = getattr(value, "detail", None) or getattr(value, "error", None)
    return type(detail).__name__ if detail is not None else reason_of(error)


def _raise_unavailable(error: BaseException) -> NoReturn:
    if isinstance(error, Unavailable | Denied | Corrupt):
        raise error
    raise Unavailable(f"object storage does not answer: {_why_failed(error)}") from error


def _refusal_error(answer: _Answer, what: str) -> Unavailable | Denied:
    match answer.status:
        case 401 | 403:
            return Denied(f"object storage refuses {what}: its key may not do that")
        case 429 | 503:
            return RateLimited(f"object storage refuses {what} for now ({answer.status})")
        case status:
            return Unavailable(f"object storage answered {what} with {status}", is_answer=True)


def _bytes_of_piece(piece: Range, answer: _Answer) -> bytes | Absent:
    """The bytes of what was asked for. Raises `Corrupt`, `Unavailable`, `Denied`."""
    match answer.status:
        case 404:
            return Absent()
        case 200:
            start, end = byte_bounds(piece, len(answer.body))
            return answer.body[start:end]
        case 206 if piece.length in (None, len(answer.body)):
            return answer.body
        case 206 if not piece.length:
            return b""
        case 206 | 416:
            raise Corrupt(f"object {piece.key!r} is shorter than what was asked of it", key=piece.key)
        case _:
            raise _refusal_error(answer, f"the GET of {piece.key!r}")


def _cut_range(asked: Range, piece: Range, data: bytes) -> bytes:
    """The bytes of one range. Raises `Corrupt`: they go beyond the object, of which an open piece shows the end."""
    start, end = byte_bounds(asked, piece.offset + len(data))
    return data[start - piece.offset : end - piece.offset]


def _coalesced_ranges(ranges: Sequence[Range]) -> Iterator[tuple[Range, list[int]]]:
    """What is asked for, and the places of the ranges in it."""
    for asked in ranges:
        check_key(asked.key)
        if asked.offset < 0 or (asked.length or 0) < 0:
            byte_bounds(asked, 0)  # refuses it
    order = sorted(range(len(ranges)), key=lambda n: (ranges[n].key, ranges[n].fresh, ranges[n].offset))
    piece: Range | None = None
    places: list[int] = []
    for n in order:
        asked = ranges[n]
        if piece is not None and _is_near(piece, asked):
            piece = Range(piece.key, piece.offset, _joint_length(piece, asked), fresh=piece.fresh)
            places.append(n)
            continue
        if piece is not None:
            yield piece, places
        piece, places = asked, [n]
    if piece is not None:
        yield piece, places


def _is_near(piece: Range, asked: Range) -> bool:
    if (piece.key, piece.fresh) != (asked.key, asked.fresh):
        return False
    return piece.length is None or asked.offset <= piece.offset + piece.length + GAP_BYTES


def _joint_length(piece: Range, asked: Range) -> int | None:
    if piece.length is None or asked.length is None:
        return None
    return max(piece.offset + piece.length, asked.offset + asked.length) - piece.offset

"""One request to a node and what becomes of it: sent again only where that is safe.

Pure: a generator that asks for what it needs done (`Send`, `Pause`) and returns an `Answer`, or raises what the caller gets.
Knows statuses, headers and errors; knows no socket, no clock and no SQL.

1. A request that never left (`NotSent`, unless something has to be mended first), or that the node itself says it did not carry out (429, 503), is sent again, a
   few times. So is one whose answer was lost (`NoAnswer`), but only if it is `SAFE`: a read, or a write with a key.
2. A lost answer to any other request is `OutcomeUnknown`, at once. To a read it is never that: nothing was changed.
   What was waited for to the end of its time is not sent again: it would take as long.
3. Once the answer to a write with a key was lost, the end is its answer, a refusal that is final, or `OutcomeUnknown`.
4. A request of a transaction is `ONCE`: what was sent stands, or the transaction is over.
5. `Retry-After` is waited for, up to `PAUSE_S_MAX`.
6. An answer that is not a node's (a proxy's page) says nothing of what the node did: it counts as lost, unless its status
   says that the request was refused.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import field
from enum import Enum
from typing import Final, Protocol

from virke.client.failures import error_of, is_of_node
from virke.errors import OutcomeUnknown, Unavailable, VirkeError
from virke.lazy_dataclasses import dataclass

TRIES: Final = 4
FIRST_PAUSE_S: Final = 0.1
PAUSE_S_MAX: Final = 5.0
_REFUSED: Final = (429, 503)
_LOST: Final = (500, 502, 503, 504)
"""Statuses with which something between here and the node says that it got no answer."""


class Again(Enum):
    """When a request may be sent again."""

    SAFE = "whatever happened"
    IF_REFUSED = "if it was not carried out"
    ONCE = "never"


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent.

    `path` is below the node's URL, encoded; `is_read`: it changes nothing. `streams`: the body of a good answer is read by
    the caller. `patience_s`: how long the node may be silent, where that is longer than usual.
    """

    method: str
    path: str
    body: bytes | Iterator[bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    again: Again = Again.IF_REFUSED
    is_read: bool = False
    streams: bool = False
    patience_s: float = 0.0


class Stream(Protocol):
    """The body of an answer that is not read yet."""

    def read(self) -> bytes:
        """The next piece; empty at its end. Raises `NoAnswer`: it was cut off."""

    def close(self) -> None:
        """Give the connection back, or up; harmless when done."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the whole body, or a stream of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    stream: Stream | None = None


class NotSent(Exception):
    """The request never left: the node has not carried it out. `hint` says what has to be mended first, if anything."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class NoAnswer(Exception):
    """The request went out, wholly or in part, and no whole answer came: it may have been carried out.

    `is_late`: it was waited for as long as it may take.
    """

    def __init__(self, message: str, *, is_late: bool = False) -> None:
        super().__init__(message)
        self.is_late = is_late


@dataclass(frozen=True, slots=True)
class Send:
    """Send it once → `Answer`. Throw `NotSent` or `NoAnswer` in."""

    request: Request


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds, or somewhat more → None."""

    seconds: float


Doing = Generator[Send | Pause, Answer | None, Answer]


def exchange_request(request: Request) -> Doing:
    """Send a request, again where that is safe; returns an answer of status 2xx.

    Raises:
        VirkeError: what the node said, `Unavailable` (nothing was changed), or `OutcomeUnknown`.
    """
    is_lost = False
    failure: VirkeError = Unavailable("the request was not sent")
    for number in range(1 if request.again is Again.ONCE else TRIES):
        if number:
            yield Pause(_pause_s(failure, number))
        try:
            answer = yield Send(request)
        except NotSent as error:
            if error.hint:
                failure = Unavailable(f"the node can't be asked: {error}", hint=error.hint)
                break
            failure = Unavailable(f"the node does not answer: {error}")
            continue
        except NoAnswer as error:
            failure = _error_of_lost(request, str(error))
            if error.is_late:
                raise failure from error
        else:
            assert answer is not None, "what is sent is answered, or fails"
            if answer.status < 300:
                return answer
            failure = _error_of_answer(request, answer)
            if answer.status in _REFUSED and is_of_node(answer.body):
                continue
            if not isinstance(failure, OutcomeUnknown) and not (request.is_read and _is_lost(answer)):
                raise failure
        is_lost = True
        if request.again is not Again.SAFE:
            raise failure
    if is_lost and not request.is_read and not isinstance(failure, OutcomeUnknown):
        raise OutcomeUnknown(f"an answer was lost, and then the node said: {failure.message}") from failure
    raise failure


def _error_of_lost(request: Request, reason: str) -> VirkeError:
    if request.is_read:
        return Unavailable(f"the node's answer was lost: {reason}")
    return OutcomeUnknown(f"the node's answer was lost, so it may have been done: {reason}")


def _is_lost(answer: Answer) -> bool:
    return answer.status in _LOST and not is_of_node(answer.body)


def _error_of_answer(request: Request, answer: Answer) -> VirkeError:
    if _is_lost(answer):
        return _error_of_lost(request, f"HTTP {answer.status} from something before the node")
    return error_of(answer.status, answer.headers, answer.body)


def _pause_s(failure: VirkeError, number: int) -> float:
    wanted = failure.context.get("retry_after_s")
    wanted_s = float(wanted) if isinstance(wanted, int | float) else 0.0
    usual_s: float = FIRST_PAUSE_S * 2 ** (number - 1)
    return min(PAUSE_S_MAX, max(wanted_s, usual_s))

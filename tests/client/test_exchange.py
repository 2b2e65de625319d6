"""What is sent again is what is safe to send again (P1, P2): every kind of request against every sequence of outcomes."""

from __future__ import annotations

import itertools
import json

import pytest

from virke.client.exchange import (
    PAUSE_S_MAX,
    TRIES,
    Again,
    Answer,
    NoAnswer,
    NotSent,
    Pause,
    Request,
    Send,
    exchange_request,
)
from virke.errors import Denied, Invalid, OutcomeUnknown, Unavailable, VirkeError

Outcome = Answer | Exception
OK = Answer(200, {}, b"{}")


def said(status: int, code: str, **headers: str) -> Answer:
    """An error of a node."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, json.dumps({"error": {"code": code, "message": "said so"}}).encode())


READ = Request("GET", "/", again=Again.SAFE, is_read=True)
KEYED = Request("POST", "/", again=Again.SAFE)
PLAIN = Request("POST", "/")
ONCE = Request("POST", "/", again=Again.ONCE)
REQUESTS = {"read": READ, "keyed": KEYED, "plain": PLAIN, "once": ONCE}
GONE, LOST = NotSent("refused"), NoAnswer("reset")
DOWN, BUSY, UNKNOWN = said(503, "unavailable"), said(429, "busy"), said(504, "outcome_unknown")
WRONG = said(400, "invalid")
PAGE = Answer(502, {}, b"<html>Bad Gateway</html>")
OUTCOMES: dict[str, Outcome] = {
    "ok": OK,
    "gone": GONE,
    "lost": LOST,
    "down": DOWN,
    "busy": BUSY,
    "unknown": UNKNOWN,
    "wrong": WRONG,
    "page": PAGE,
}
APPLIED_PERHAPS = ("lost", "unknown", "page")


def played(request: Request, outcomes: list[Outcome]) -> tuple[Answer | VirkeError, int, list[float]]:
    """The end of an exchange, how many requests it sent, and how long it waited between them."""
    doing, sent, pauses = exchange_request(request), 0, []
    left = iter(outcomes)
    try:
        effect = next(doing)
        while True:
            if isinstance(effect, Pause):
                pauses.append(effect.seconds)
                effect = doing.send(None)
                continue
            assert isinstance(effect, Send)
            sent += 1
            outcome = next(left, OK)
            effect = doing.throw(outcome) if isinstance(outcome, Exception) else doing.send(outcome)
    except StopIteration as end:
        return end.value, sent, pauses
    except VirkeError as error:
        return error, sent, pauses


@pytest.mark.parametrize("kind", REQUESTS)
def test_every_sequence_of_outcomes_is_told_honestly(kind: str) -> None:
    """A write without a key is never sent after it may have been done, and the end says what may be concluded."""
    for names in itertools.product(OUTCOMES, repeat=TRIES):
        end, sent, _ = played(REQUESTS[kind], [OUTCOMES[name] for name in names])
        check(kind, names[:sent], end)


def check(kind: str, tried: tuple[str, ...], end: Answer | VirkeError) -> None:
    """What must be true of an end, after these outcomes."""
    may_be_done = [name in APPLIED_PERHAPS for name in tried]
    assert 1 <= len(tried) <= (1 if kind == "once" else TRIES)
    if kind in ("plain", "once"):
        assert not any(may_be_done[:-1])
    if isinstance(end, Answer):
        assert tried[-1] == "ok"
    elif tried[-1] == "wrong":
        assert type(end) is Invalid
    elif kind != "read":
        assert isinstance(end, OutcomeUnknown) == any(may_be_done)
    else:
        assert isinstance(end, OutcomeUnknown) == (tried[-1] == "unknown")


@pytest.mark.parametrize("outcome", [GONE, DOWN, BUSY])
@pytest.mark.parametrize("kind", ["read", "keyed", "plain"])
def test_what_was_not_carried_out_is_sent_again(kind: str, outcome: Outcome) -> None:
    assert played(REQUESTS[kind], [outcome, outcome])[:2] == (OK, 3)


@pytest.mark.parametrize("outcome", [LOST, PAGE])
def test_a_lost_answer_is_asked_for_again_only_where_that_is_safe(outcome: Outcome) -> None:
    assert played(READ, [outcome])[:2] == (OK, 2)
    assert played(KEYED, [outcome])[:2] == (OK, 2)
    for request in (PLAIN, ONCE):
        end, sent, _ = played(request, [outcome])
        assert (type(end), sent) == (OutcomeUnknown, 1)


def test_a_refusal_is_final() -> None:
    for answer, error in ((WRONG, Invalid), (said(403, "denied"), Denied), (said(401, "denied"), Denied)):
        end, sent, _ = played(KEYED, [answer])
        assert (type(end), sent) == (error, 1)


def test_what_has_to_be_mended_first_is_not_tried_again() -> None:
    """And a write of which an earlier answer was lost is still not known."""
    mend = NotSent("self-signed certificate", hint="mend it")
    end, sent, _ = played(READ, [mend])
    assert isinstance(end, Unavailable)
    assert (end.context["hint"], sent) == ("mend it", 1)
    assert type(played(KEYED, [LOST, mend])[0]) is OutcomeUnknown


def test_what_took_all_of_its_time_is_not_sent_again() -> None:
    late = NoAnswer("timed out", is_late=True)
    assert [(type(end), sent) for end, sent, _ in (played(READ, [late]), played(KEYED, [late]))] == [
        (Unavailable, 1),
        (OutcomeUnknown, 1),
    ]


def test_retry_after_is_waited_for_up_to_a_bound() -> None:
    """And without it each pause is twice as long as the one before."""
    assert played(READ, [said(503, "unavailable", retry_after="2")])[2] == [2.0]
    assert played(READ, [said(429, "busy", retry_after="3600")])[2] == [PAUSE_S_MAX]
    pauses = played(READ, [GONE] * TRIES)[2]
    assert [later / sooner for sooner, later in itertools.pairwise(pauses)] == [2.0] * (TRIES - 2)

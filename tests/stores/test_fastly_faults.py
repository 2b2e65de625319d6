"""What the Fastly KV store makes of refusals, failures and silence: reads are repeated, writes are never sent twice."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable

import pytest

from tests.servers.fastly_items import Trouble
from tests.servers.fastly_kv import READER_TOKEN, TOKEN, KvServer
from tests.servers.running import HOST, free_ports
from tests.servers.scripted import scripted
from tests.stores.conformance import generation_of
from tests.stores.fastly import BUSY, CALLS, LOST, ONCE, PUTS, Place, Waits, every_call
from virke.core.effects import Absent, Lost, Mismatch, Record, Stored, Swapped, Tier
from virke.errors import Denied, Invalid, NotFound, RateLimited, Unavailable, VirkeError
from virke.stores.base import Range
from virke.stores.fastly_kv.api import Patience
from virke.stores.fastly_kv.store import fastly_kv_store

FAILURES = [Trouble(500), Trouble(502), Trouble(503), Trouble(504), Trouble(408), Trouble(None)]
REPEATED = [name for name in CALLS if name != "PUT swap"]
"""Calls that the store repeats when they come too fast; a swap is its caller's matter."""
AMBIGUOUS = [*FAILURES, *(Trouble(one.status, applied=True) for one in FAILURES)]


@pytest.fixture
def place(fastly_kv_server: KvServer) -> Place:
    return Place(fastly_kv_server)


# Too many requests


@pytest.mark.parametrize("name", REPEATED)
def test_a_refused_request_is_repeated_with_growing_jittered_waits(place: Place, name: str) -> None:
    """Three times 429 cost three waits, each twice the one before times its jitter; then the call goes on."""
    waits = Waits(0.5, 1.0, 1.5)
    store = place.opened(waits.patience())
    place.items.plan(BUSY, 3)
    every_call(store)[name]()
    assert waits.slept == pytest.approx([0.1 * 0.5, 0.2 * 1.0, 0.4 * 1.5])
    method = name.split()[0]
    assert place.items.counts()[method] == 4


@pytest.mark.parametrize("name", REPEATED)
def test_a_request_that_is_refused_again_and_again_is_unavailable(place: Place, name: str) -> None:
    """After the last try it is given up, and for a write that means: surely not applied."""
    waits = Waits()
    place.items.plan(BUSY, 100)
    before = place.items.held()
    with pytest.raises(Unavailable, match="too many requests"):
        every_call(place.opened(waits.patience(tries=4)))[name]()
    assert (len(place.items.asked), len(waits.slept)) == (4, 3)
    assert place.items.held() == before


def test_the_time_of_all_tries_is_bounded(place: Place) -> None:
    """A wait that would end too late is not begun, and no wait is longer than the longest allowed."""
    place.items.plan(BUSY, 100)
    waits = Waits()
    with pytest.raises(Unavailable):
        place.opened(waits.patience(tries=100, total_s=10)).register.swap("k", b"1", None)
    assert waits.slept == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0])
    assert len(place.items.asked) == 8


def test_the_usual_jitter_is_around_one() -> None:
    """Half to one and a half of the wait, and not always the same: clients that were refused together part."""
    factors = {Patience().jitter() for _ in range(200)}
    assert len(factors) > 100
    assert all(0.5 <= factor < 1.5 for factor in factors)


def test_a_creation_that_was_refused_is_applied_once(place: Place) -> None:
    """The repeat carries the same condition, so it is the creation that was asked for."""
    store = place.opened(Waits().patience())
    place.items.plan(BUSY, 2, PUTS)
    assert store.register.swap("k", b"2", None) == Swapped(None)
    assert len(place.items.asked) == 3
    assert store.register.swap("k", b"3", None) == Mismatch()


def test_a_swap_that_comes_too_soon_is_sent_once(place: Place) -> None:
    """Its caller keeps the pace of the key, and is told at once; when again, if the server says so."""
    waits = Waits()
    store = place.opened(waits.patience())
    place.register.swap("k", b"1", None)
    base = generation_of(place.register, "k")
    for headers, retry_after_s in (({}, None), ({"Retry-After": "2"}, 2.0), ({"Retry-After": "soon"}, None)):
        place.items.forget_requests()
        place.items.plan(Trouble(429, headers=headers))
        with pytest.raises(RateLimited) as raised:
            store.register.swap("k", b"2", base)
        assert raised.value.retry_after_s == retry_after_s
        assert (len(place.items.asked), waits.slept) == (1, [])
    assert store.register.swap("k", b"2", base) == Swapped(None)


def test_the_limit_of_an_account_is_not_the_pace_of_a_key(place: Place) -> None:
    """When it is used up, the hour has to pass: no gap between swaps would help."""
    place.register.swap("k", b"1", None)
    base = generation_of(place.register, "k")
    place.items.plan(Trouble(429, headers={"Fastly-RateLimit-Remaining": "0"}), 100)
    with pytest.raises(Unavailable) as raised:
        place.opened(Waits().patience()).register.swap("k", b"2", base)
    assert not isinstance(raised.value, RateLimited)


def test_the_server_tells_when_to_come_back(place: Place) -> None:
    """What it says is in the error, for a limit of an hour is not waited for."""
    place.items.plan(Trouble(429, headers={"Fastly-RateLimit-Reset": "1800000000"}))
    with pytest.raises(Unavailable, match="when again: 1800000000"):
        place.register.swap("k", b"1", None)
    place.items.plan(Trouble(429, headers={"Retry-After": "60"}))
    with pytest.raises(Unavailable, match="when again: 60"):
        place.register.read("k")


# Failures and silence


@pytest.mark.parametrize("trouble", AMBIGUOUS, ids=str)
def test_a_swap_that_may_have_been_applied_is_lost_and_sent_once(place: Place, trouble: Trouble) -> None:
    """Nobody but the caller may send it again, who first has to look what happened."""
    waits = Waits()
    store = place.opened(waits.patience())
    place.register.swap("k", b"1", None)
    base = generation_of(place.register, "k")
    place.items.forget_requests()
    place.items.plan(trouble)
    assert isinstance(store.register.swap("k", b"2", base), Lost)
    place.items.plan(trouble)
    assert isinstance(store.register.swap("new", b"2", None), Lost)
    held = {key: data for key, (data, _) in place.items.held().items()}
    applied = {"place/register/k": b"2", "place/register/new": b"2"}
    assert held == (applied if trouble.applied else {"place/register/k": b"1"})
    assert place.items.counts() == {"PUT": 2}
    assert waits.slept == []


@pytest.mark.parametrize("trouble", AMBIGUOUS, ids=str)
def test_a_removal_that_may_have_been_applied_is_lost_and_sent_once(place: Place, trouble: Trouble) -> None:
    """As for a swap; a delete of objects says that it may be repeated."""
    waits = Waits()
    store = place.opened(waits.patience())
    place.register.swap("k", b"1", None)
    place.blobs.put_new("k", b"1")
    base = generation_of(place.register, "k")
    place.items.forget_requests()
    place.items.plan(trouble)
    assert isinstance(store.register.remove("k", base), Lost)
    place.items.plan(trouble)
    with pytest.raises(Unavailable, match="repeat the delete"):
        store.blobs[Tier.KV].delete(["k"])
    assert place.items.counts() == {"DELETE": 2}
    assert len(place.items.held()) == (0 if trouble.applied else 2)
    store.blobs[Tier.KV].delete(["k"])
    assert waits.slept == []


@pytest.mark.parametrize("trouble", AMBIGUOUS, ids=str)
def test_a_put_that_may_have_been_applied_is_lost_and_a_repeat_is_stored(place: Place, trouble: Trouble) -> None:
    """It is sent once; the caller's repeat finds its own bytes, or puts them."""
    place.items.plan(trouble)
    assert isinstance(place.blobs.put_new("k", b"1"), Lost)
    assert place.items.counts() == {"PUT": 1}
    assert place.blobs.put_new("k", b"1") == Stored()
    place.items.plan(trouble)
    assert isinstance(place.blobs.put_all([("a", b"1"), ("b", b"2"), ("k", b"1")]), Lost)
    assert place.blobs.put_all([("a", b"1"), ("b", b"2"), ("k", b"1")]) == Stored()


@pytest.mark.parametrize("trouble", FAILURES, ids=str)
def test_a_put_whose_comparison_fails_is_lost(place: Place, trouble: Trouble) -> None:
    """That something is there is known, but not what."""
    place.blobs.put_new("k", b"1")
    place.items.plan(trouble, 1, frozenset({"GET"}))
    outcome = place.blobs.put_new("k", b"1")
    assert isinstance(outcome, Lost)
    assert "can't be compared" in outcome.reason


@pytest.mark.parametrize("trouble", [*FAILURES, Trouble(cut=True)], ids=str)
def test_a_read_that_failed_is_repeated(place: Place, trouble: Trouble) -> None:
    """After a failure, a closed connection or half an answer it is asked again, and answers whole."""
    place.register.swap("k", b"register", None)
    place.blobs.put_new("k", b"object")
    waits = Waits()
    store = place.opened(waits.patience())
    reads: list[Callable[[], bool]] = [
        lambda: isinstance(store.register.read("k"), Record),
        lambda: list(store.register.keys("")) == ["k"],
        lambda: store.blobs[Tier.KV].get([Range("k")]) == [b"object"],
        lambda: [one.size_bytes for one in store.blobs[Tier.KV].list("")] == [6],
    ]
    for n, read in enumerate(reads):
        place.items.plan(trouble, 2)
        assert read()
        assert len(waits.slept) == 2 * (n + 1)


def test_a_read_without_an_answer_ends(place: Place) -> None:
    """After so many tries it is `Unavailable`, and the error says why."""
    waits = Waits()
    place.items.plan(LOST, 100)
    with pytest.raises(Unavailable, match="Remote end closed"):
        place.opened(waits.patience(tries=3)).register.read("k")
    assert len(place.items.asked) == 3


@pytest.mark.parametrize("name", CALLS)
def test_a_server_that_is_not_there_is_unavailable(name: str) -> None:
    """The request never left, so it is tried again, and nothing was applied."""
    [port] = free_ports(1)
    waits = Waits()
    url = f"fastly-kv://id?api=http://{HOST}:{port}"
    with pytest.raises(Unavailable, match="refused"):
        every_call(fastly_kv_store(url, token=TOKEN, patience=waits.patience(tries=3)))[name]()
    assert len(waits.slept) == 2


@pytest.mark.parametrize("status", [405, 409, 410, 421])
@pytest.mark.parametrize("name", CALLS)
def test_another_refusal_is_unavailable_at_once(place: Place, name: str, status: int) -> None:
    """The server said no: nothing was applied, and asking again brings nothing."""
    place.items.plan(Trouble(status))
    with pytest.raises(Unavailable, match=f"HTTP {status}"):
        every_call(place.opened(Waits().patience()))[name]()
    assert len(place.items.asked) == 1


@pytest.mark.parametrize("name", CALLS)
def test_a_request_that_is_wrong_is_invalid(place: Place, name: str) -> None:
    """A 400 is the call's own fault, and what the server says is in the message."""
    place.items.plan(Trouble(400))
    with pytest.raises(Invalid, match="trouble"):
        every_call(place.store)[name]()


# Who may do what


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_token_is_denied_at_once(place: Place, name: str) -> None:
    """401 is no matter of patience."""
    waits = Waits()
    with pytest.raises(Denied, match="does not accept the token"):
        every_call(place.opened(waits.patience(), token="wrong"))[name]()
    assert waits.slept == []


@pytest.mark.parametrize("name", CALLS)
def test_a_token_that_may_only_read_is_denied_to_write(place: Place, name: str) -> None:
    """403 says so at the first write, and reads work."""
    call = every_call(place.opened(token=READER_TOKEN))[name]
    if name.startswith("GET"):
        call()
    else:
        with pytest.raises(Denied, match="may not do this"):
            call()


@pytest.mark.parametrize("name", ["PUT create", "PUT put_new", "GET keys", "GET list"])
def test_a_kv_store_that_does_not_exist_is_not_found(place: Place, name: str) -> None:
    """Creating and listing say so."""
    store = fastly_kv_store(place.server.url("nosuchstore"), token=TOKEN, patience=ONCE)
    with pytest.raises(NotFound, match="'nosuchstore' does not exist"):
        every_call(store)[name]()


def test_a_kv_store_that_does_not_exist_reads_as_an_empty_one(place: Place) -> None:
    """The answer for a key is the same 404, and its change is a `Mismatch`: the key has no such generation."""
    store = fastly_kv_store(place.server.url("nosuchstore"), token=TOKEN, patience=ONCE)
    calls = every_call(store)
    assert (calls["GET read"](), calls["GET get"]()) == (Absent(), [Absent()])
    assert (calls["PUT swap"](), calls["DELETE remove"]()) == (Mismatch(), Mismatch())
    calls["DELETE delete"]()


# The token


@pytest.mark.parametrize("status", [400, 401, 403, 409, 413, 429, 500])
@pytest.mark.parametrize("name", CALLS)
def test_the_token_is_in_no_error(name: str, status: int) -> None:
    """Not even if the server says it: not in the message, the context, the traceback or a `Lost`."""
    said = json.dumps({"msg": f"bad header Fastly-Key: {TOKEN}", "detail": TOKEN, "title": 7}).encode()
    with scripted([b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%s" % (status, len(said), said)]) as server:
        store = fastly_kv_store(f"fastly-kv://id?api={server.url}", token=TOKEN, patience=ONCE)
        try:
            text = repr(every_call(store)[name]())
        except VirkeError as error:
            text = "".join(traceback.format_exception(error)) + repr(error) + repr(error.context)
        assert f"Fastly-Key: {TOKEN}".encode() in server.requests[0]
    assert TOKEN not in text
    assert "bad header" in text


@pytest.mark.parametrize("name", CALLS)
def test_the_token_is_in_no_error_of_the_connection(place: Place, name: str) -> None:
    """Nor in what is raised when no answer comes."""
    store = place.opened(lossy=True)
    try:
        text = repr(every_call(store)[name]())
    except VirkeError as error:
        text = "".join(traceback.format_exception(error)) + repr(error) + repr(error.context)
    assert TOKEN not in text + repr(store) + store.url + repr(vars(store.register))

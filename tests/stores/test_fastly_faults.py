"""What the Fastly KV store makes of refusals, failures and silence: each request is sent once, and says what is certain."""

from __future__ import annotations

import json
import traceback

import pytest

from tests.servers.fastly_items import Trouble
from tests.servers.fastly_kv import READER_TOKEN, TOKEN, KvServer
from tests.servers.running import HOST, free_ports
from tests.servers.scripted import scripted
from tests.stores.conformance import generation_of
from tests.stores.fastly import CALLS, Place, every_call
from virke.core.effects import Absent, Lost, Mismatch, Stored, Tier
from virke.errors import Denied, Invalid, NotFound, RateLimited, Unavailable, VirkeError
from virke.stores.fastly_kv.store import fastly_kv_store

FAILURES = [Trouble(500), Trouble(502), Trouble(503), Trouble(504), Trouble(408), Trouble(None)]
AMBIGUOUS = [*FAILURES, *(Trouble(one.status, applied=True) for one in FAILURES)]


@pytest.fixture
def place(fastly_kv_server: KvServer) -> Place:
    return Place(fastly_kv_server)


# Too many requests


@pytest.mark.parametrize("name", CALLS)
def test_a_refused_request_is_sent_once_and_says_when_again(place: Place, name: str) -> None:
    """Whoever called repeats it (decision 0052); for a write it means: surely not applied."""
    before = place.items.held()
    for headers, retry_after_s in (({}, None), ({"Retry-After": "2"}, 2.0), ({"Retry-After": "soon"}, None)):
        place.items.forget_requests()
        place.items.plan(Trouble(429, headers=headers))
        with pytest.raises(RateLimited, match="too many requests") as raised:
            every_call(place.store)[name]()
        assert (raised.value.retry_after_s, len(place.items.asked)) == (retry_after_s, 1)
    assert place.items.held() == before


@pytest.mark.parametrize("name", CALLS)
def test_a_failing_server_says_when_again(place: Place, name: str) -> None:
    """A 503 with `Retry-After` has it in the error, and in `Lost`."""
    place.items.plan(Trouble(503, headers={"Retry-After": "3"}))
    try:
        answer = every_call(place.store)[name]()
        assert isinstance(answer, Lost)
        said = answer.retry_after_s
    except Unavailable as error:
        said = error.retry_after_s
    assert (said, len(place.items.asked)) == (3.0, 1)


def test_the_limit_of_an_account_is_not_the_pace_of_a_key(place: Place) -> None:
    """When it is used up, the hour has to pass: no gap between swaps would help."""
    place.register.swap("k", b"1", None)
    base = generation_of(place.register, "k")
    place.items.plan(Trouble(429, headers={"Fastly-RateLimit-Remaining": "0"}), 100)
    with pytest.raises(Unavailable) as raised:
        place.store.register.swap("k", b"2", base)
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
    store = place.store
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


@pytest.mark.parametrize("trouble", AMBIGUOUS, ids=str)
def test_a_removal_that_may_have_been_applied_is_lost_and_sent_once(place: Place, trouble: Trouble) -> None:
    """As for a swap; a delete of objects says that it may be repeated."""
    store = place.store
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
@pytest.mark.parametrize("name", [name for name in CALLS if name.startswith("GET")])
def test_a_read_that_failed_is_unavailable_and_sent_once(place: Place, name: str, trouble: Trouble) -> None:
    """After a failure, a closed connection or half an answer; the next one is answered whole."""
    place.register.swap("k", b"register", None)
    place.blobs.put_new("k", b"object")
    place.items.forget_requests()
    place.items.plan(trouble)
    with pytest.raises(Unavailable, match="does not answer"):
        every_call(place.store)[name]()
    assert len(place.items.asked) == 1
    assert every_call(place.store)[name]()


@pytest.mark.parametrize("name", CALLS)
def test_a_server_that_is_not_there_is_unavailable(name: str) -> None:
    """The request never left, and nothing was applied."""
    [port] = free_ports(1)
    url = f"fastly-kv://id?api=http://{HOST}:{port}"
    with pytest.raises(Unavailable, match="refused"):
        every_call(fastly_kv_store(url, token=TOKEN))[name]()


@pytest.mark.parametrize("status", [405, 409, 410, 421])
@pytest.mark.parametrize("name", CALLS)
def test_another_refusal_is_unavailable_at_once(place: Place, name: str, status: int) -> None:
    """The server said no: nothing was applied, and asking again brings nothing."""
    place.items.plan(Trouble(status))
    with pytest.raises(Unavailable, match=f"HTTP {status}"):
        every_call(place.store)[name]()
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
    with pytest.raises(Denied, match="does not accept the token"):
        every_call(place.opened(token="wrong"))[name]()


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
    store = fastly_kv_store(place.server.url("nosuchstore"), token=TOKEN)
    with pytest.raises(NotFound, match="'nosuchstore' does not exist"):
        every_call(store)[name]()


def test_a_kv_store_that_does_not_exist_reads_as_an_empty_one(place: Place) -> None:
    """The answer for a key is the same 404, and its change is a `Mismatch`: the key has no such generation."""
    store = fastly_kv_store(place.server.url("nosuchstore"), token=TOKEN)
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
        store = fastly_kv_store(f"fastly-kv://id?api={server.url}", token=TOKEN)
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

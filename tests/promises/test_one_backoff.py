"""One back-off, in one layer (decision 0052): how many requests a store gets that fails, and what becomes of the calls.

The same on a store in memory and over HTTP, where the client of the store is part of what is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from tests.promises.ledger import LARGE, TABLE, check_integrity, check_store, environment, opened
from tests.promises.moody import Moody
from tests.promises.places import fresh
from tests.servers.fastly_items import Trouble
from tests.servers.proxy import Answer, proxy
from tests.servers.s3 import S3Server
from tests.stores.fastly import Place
from virke import OutcomeUnknown, Unavailable
from virke.core.backoff import BACKOFF
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.errors import RateLimited
from virke.opening import open_store
from virke.stores.base import Call, Store
from virke.stores.counted import CountingStore
from virke.stores.faulty import At, FaultyStore, LoseRequest, Refuse
from virke.stores.memory import memory_store

MOST: Final = BACKOFF.tries + 1
"""A commit of several objects takes away what it may have stored: one delete, which is not repeated."""
INSERT: Final = "INSERT INTO entry VALUES (?, randomblob(?))"
ROWS: Final = "SELECT count(*) FROM entry"
CALLS: Final[dict[str, Callable[[Database], object]]] = {
    "read of the root": lambda database: database.query(ROWS, consistency="strong"),
    "read of objects": lambda database: database.query("SELECT sum(length(hex(filler))) FROM entry"),
    "small commit": lambda database: database.execute(INSERT, ("small", 0)),
    "large commit": lambda database: database.execute(INSERT, ("large", LARGE)),
    "settings": lambda database: database.change_settings({"max_attempts": 3}),
}


class Waits:
    """The waits of an environment."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.environment: Environment = replace(environment(), sleep=self.slept.append)


def begun(store: Store, folder: Path) -> None:
    """A database with rows in an object."""
    with opened(store, folder, create=True) as database:
        database.execute(TABLE)
        database.execute(INSERT, ("old", 40 * LARGE))


def tokens(store: Store, folder: Path) -> list[object]:
    """What is there, read elsewhere; and it is whole."""
    with opened(store, folder) as database:
        check_integrity(database)
        found: list[object] = [token for (token,) in database.query("SELECT token FROM entry ORDER BY rowid").rows]
    check_store(store)
    return found


@pytest.mark.parametrize("error", [Unavailable("HTTP 503"), RateLimited("HTTP 429")], ids=["503", "429"])
@pytest.mark.parametrize("name", CALLS)
def test_p11_a_store_that_always_fails_is_asked_a_few_times(name: str, error: Unavailable, tmp_path: Path) -> None:
    inner, waits = memory_store(), Waits()
    begun(inner, tmp_path)
    moody = Moody(inner)
    counted = CountingStore(moody.store)
    with opened(counted.store, tmp_path, env=waits.environment) as database:
        database.query("SELECT 1")
        moody.fail(error, *Call)
        counted.reset()
        with pytest.raises(Unavailable):
            CALLS[name](database)
        assert 2 <= counted.total.requests <= MOST
        assert sum(waits.slept) <= 1.5
        moody.recover()
    assert tokens(inner, tmp_path) == ["old"]


@pytest.mark.parametrize("fault", [Refuse(), LoseRequest()], ids=["refused", "lost"])
@pytest.mark.parametrize("name", CALLS)
def test_p1_p2_a_store_that_fails_once_is_asked_once_more(
    name: str, fault: Refuse | LoseRequest, tmp_path: Path
) -> None:
    """At each request of a call in turn: it succeeds with one request more, for a swap with that and a look at the root."""
    clean, _ = requests(name, tmp_path, None)
    assert clean
    for n in range(len(clean)):
        found, befell = requests(name, tmp_path, At(n + 1, fault))
        assert len(found) - len(clean) == (2 if befell is Call.SWAP else 1), (n, befell)


def requests(name: str, folder: Path, fault: At | None) -> tuple[list[Call], Call | None]:
    """The requests of one call, and which of them the fault befell, counted from the call's first."""
    store = memory_store()
    begun(store, folder)
    opening = FaultyStore(store)
    with opened(opening.store, folder) as database:
        database.query("SELECT 1")
    before = len(opening.log)
    faulty = FaultyStore(store, [] if fault is None else [replace(fault, n=before + fault.n)])
    with opened(faulty.store, folder) as database:
        database.query("SELECT 1")
        assert len(faulty.log) == before
        CALLS[name](database)
        mine = faulty.log[before:]
    assert len(tokens(store, folder)) == 1 + ("commit" in name)
    return [step.call for step in mine], next((step.call for step in mine if step.fault), None)


def test_retry_after_is_waited_for(tmp_path: Path) -> None:
    """By reads, and by objects that are put; what is too far away is an error at once, which says when."""
    inner, waits = memory_store(), Waits()
    begun(inner, tmp_path)
    moody = Moody(inner)
    counted = CountingStore(moody.store)
    with opened(counted.store, tmp_path, env=waits.environment) as database:
        database.query("SELECT 1")
        for call, act in ((Call.READ, CALLS["read of the root"]), (Call.PUT, CALLS["large commit"])):
            for after_s, tries in ((2.0, BACKOFF.tries), (3600.0, 1)):
                waits.slept.clear()
                counted.reset()
                moody.fail(RateLimited("HTTP 429", retry_after_s=after_s), call)
                with pytest.raises(Unavailable):
                    act(database)
                assert (counted.of(call).requests, waits.slept) == (tries, [after_s] * (tries - 1))
        moody.recover()
    assert tokens(inner, tmp_path) == ["old"]


# Over HTTP


@dataclass(frozen=True, slots=True)
class Far:
    """A store over HTTP: its next so many requests are answered 503, then all is well; `asked` counts them."""

    store: Store
    fail: Callable[[int], None]
    asked: Callable[[], int]
    objects: int
    """How many a large commit has here: all of them are put again if one is refused."""
    swaps_to_read: bool
    """Whether only a swap shows the newest root."""


@pytest.fixture(params=["Fastly KV", "S3"])
def far(request: pytest.FixtureRequest) -> Iterator[Far]:
    if request.param == "Fastly KV":
        place = Place(request.getfixturevalue("fastly_kv_server"))

        def fail(count: int) -> None:
            place.items.calm()
            place.items.forget_requests()
            place.items.plan(Trouble(503), count)

        yield Far(place.store, fail, lambda: len(place.items.asked), objects=2, swaps_to_read=True)
        return
    request.getfixturevalue("client")
    with proxy(request.getfixturevalue("seaweedfs").endpoint) as way:

        def fail_s3(count: int) -> None:
            way.reset()
            left = [Answer(503)] * count
            way.fault = lambda _: left.pop() if left else None

        store = open_store(S3Server("proxy", way.endpoint).url(fresh()))
        yield Far(store, fail_s3, lambda: way.requests.total(), objects=1, swaps_to_read=False)


FAR: Final = ("read of the root", "small commit", "large commit")


@pytest.mark.parametrize("name", FAR)
def test_p11_a_server_that_always_answers_503_gets_a_few_requests(far: Far, name: str, tmp_path: Path) -> None:
    """Each request is one over HTTP: no client repeats what the engine repeats."""
    begun(far.store, tmp_path)
    waits = Waits()
    with opened(far.store, tmp_path, env=waits.environment) as database:
        CALLS["read of objects"](database)
        far.fail(1000)
        with pytest.raises((Unavailable, OutcomeUnknown)):
            CALLS[name](database)
        assert BACKOFF.tries <= far.asked() <= MOST * (far.objects if name == "large commit" else 1)
        assert sum(waits.slept) <= 1.5
        far.fail(0)
    assert tokens(far.store, tmp_path) == ["old"]


@pytest.mark.parametrize("name", FAR)
def test_p1_p2_a_server_that_answers_503_once_is_asked_once_more(far: Far, name: str, tmp_path: Path) -> None:
    """Nothing is lost and nothing is doubled."""
    begun(far.store, tmp_path)
    with opened(far.store, tmp_path) as database:
        CALLS["read of objects"](database)
        counts = []
        for failures in (0, 1):
            far.fail(failures)
            CALLS[name](database)
            counts.append(far.asked())
    swaps = name == "small commit" or (name == "read of the root" and far.swaps_to_read)
    assert counts[1] - counts[0] == (2 if swaps else far.objects if name == "large commit" else 1)
    assert len(tokens(far.store, tmp_path)) == 1 + 2 * ("commit" in name)

"""A store that is down is not asked by everybody, and what was not sent is said to be so."""

from __future__ import annotations

import pytest

from tests.engine.world import NAME, make
from tests.engine.world import Clock as WorldClock
from tests.promises.moody import Moody
from virke.core.effects import Lost, Swapped, Tier
from virke.engine.database import Database
from virke.errors import Denied, RateLimited, StoreDown, Unavailable
from virke.stores.base import Call
from virke.stores.breaker import FAILURES, PAUSE_S, Breaker
from virke.stores.counted import CountingStore
from virke.stores.faulty import At, FaultyStore, LoseAnswer, Refuse
from virke.stores.memory import memory_store

EVERY = range(1, 100)


class Clock:
    """A clock that tests turn."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_fails_at_once_is_not_sent_and_one_call_looks_again() -> None:
    faulty, clock = FaultyStore(memory_store(), [At(n, Refuse(), Call.READ) for n in (1, 2, 3)]), Clock()
    breaker = Breaker(faulty.store, monotonic=clock)
    register = breaker.store.register
    assert breaker.failure is None
    for n in range(1, FAILURES + 1):
        with pytest.raises(Unavailable):
            register.read("k")
        assert (len(faulty.log), breaker.failure is not None) == (n, True)
    for call in (lambda: register.read("k"), lambda: register.swap("k", b"x", None), lambda: list(register.keys(""))):
        with pytest.raises(Unavailable, match="nothing was sent"):
            call()
    assert len(faulty.log) == FAILURES
    clock.now = PAUSE_S
    with pytest.raises(Unavailable):
        register.read("k")
    assert len(faulty.log) == FAILURES + 1
    clock.now = 2 * PAUSE_S
    register.read("k")
    assert (len(faulty.log), breaker.failure) == (FAILURES + 2, None)
    register.read("k")


def test_one_failure_is_no_outage() -> None:
    """Others are not refused for it; and it does not count once the store has answered."""
    faulty = FaultyStore(memory_store(), [At(n, Refuse(), Call.READ) for n in (1, 3)])
    breaker = Breaker(faulty.store, monotonic=Clock())
    for fails in (True, False, True, False):
        if fails:
            with pytest.raises(Unavailable):
                breaker.store.register.read("k")
        else:
            breaker.store.register.read("k")
    assert len(faulty.log) == 4


def test_a_lost_answer_counts_as_down_and_a_request_for_patience_does_not() -> None:
    faulty = FaultyStore(memory_store(), [At(1, LoseAnswer(), Call.SWAP)])
    breaker = Breaker(faulty.store, monotonic=Clock())
    assert isinstance(breaker.store.register.swap("k", b"x", None), Lost)
    assert breaker.failure is not None

    class Patient:
        """A register that asks for patience."""

        consistency = memory_store().register.consistency

        def read(self, *_: object) -> None:
            raise RateLimited("slow down")

    store = memory_store()
    patient = Breaker(type(store)(store.url, Patient(), store.blobs))  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(RateLimited):
            patient.store.register.read("k")
    assert patient.failure is None


def test_a_swap_is_sent_only_after_a_read_showed_that_the_store_is_there_again() -> None:
    """So what is tried in an outage is surely not applied."""
    faulty, clock = FaultyStore(memory_store(), [At(n, Refuse(), Call.READ) for n in (1, 2, 3)]), Clock()
    register = Breaker(faulty.store, monotonic=clock).store.register
    for _ in range(FAILURES):
        with pytest.raises(Unavailable):
            register.read("k")
    clock.now = PAUSE_S
    with pytest.raises(StoreDown):
        register.swap("k", b"x", None)
    assert [step.call for step in faulty.log] == [Call.READ] * 3
    clock.now = 2 * PAUSE_S
    assert isinstance(register.swap("k", b"x", None), Swapped)
    assert [step.call for step in faulty.log] == [*[Call.READ] * 4, Call.SWAP]


def test_a_listing_says_something_of_the_store_when_it_is_asked_for() -> None:
    faulty, clock = (
        FaultyStore(
            memory_store(), [At(1, Refuse(), Call.READ), At(2, Refuse(), Call.READ), At(1, Refuse(), Call.KEYS)]
        ),
        Clock(),
    )
    breaker = Breaker(faulty.store, monotonic=clock)
    for _ in range(FAILURES):
        with pytest.raises(Unavailable):
            breaker.store.register.read("k")
    clock.now = PAUSE_S
    listing = breaker.store.register.keys("")
    assert breaker.failure is not None
    with pytest.raises(StoreDown):
        list(listing)
    clock.now = 2 * PAUSE_S
    assert list(breaker.store.register.keys("")) == []
    assert breaker.failure is None


def test_a_store_that_says_no_is_there() -> None:
    class Strict:
        """A register that is down at first, and then refuses."""

        consistency = memory_store().register.consistency
        errors = iter([Unavailable("down"), Denied("no"), RateLimited("slow down")])

        def read(self, *_: object) -> None:
            raise next(self.errors)

    store, clock = memory_store(), Clock()
    breaker = Breaker(type(store)(store.url, Strict(), store.blobs), monotonic=clock)  # type: ignore[arg-type]
    for error in (Unavailable, Denied, RateLimited):
        with pytest.raises(error):
            breaker.store.register.read("k")
        assert (breaker.failure is not None) == (error is Unavailable)
        clock.now += PAUSE_S


def test_objects_are_read_while_the_register_is_down() -> None:
    faulty = FaultyStore(memory_store(), [At(n, Refuse(), Call.READ) for n in EVERY])
    breaker = Breaker(faulty.store, monotonic=Clock())
    with pytest.raises(Unavailable):
        breaker.store.register.read("k")
    breaker.store.blobs[Tier.KV].put_new("seg/a", b"x")
    assert breaker.failure is not None


@pytest.mark.parametrize("size", [10, 200_000], ids=["inline", "segment"])
def test_a_write_while_the_store_is_known_to_be_down_asks_it_once_in_half_a_second_and_waits_for_nothing(
    size: int,
) -> None:
    """The write that finds out tries as long as any; those after it are refused at once, until the store is back."""
    inner, clock = memory_store(), WorldClock()
    make(inner).execute("CREATE TABLE t (v)")
    moody = Moody(inner)
    counted = CountingStore(moody.store)
    breaker = Breaker(counted.store, monotonic=clock.look)
    database = Database(breaker.store, NAME, environment=clock.environment)

    def insert() -> object:
        return database.execute("INSERT INTO t VALUES (randomblob(?))", (size,))

    insert()
    moody.fail(Unavailable("no connection"), *Call)
    with pytest.raises(Unavailable):
        insert()
    for _ in range(3):
        clock.pass_s(PAUSE_S)
        counted.reset()
        clock.slept.clear()
        for _ in range(10):
            with pytest.raises(Unavailable, match="nothing was changed"):
                insert()
        assert (counted.total.requests, clock.slept) == (1, [])
    moody.recover()
    clock.pass_s(PAUSE_S)
    for _ in range(2):
        insert()
    assert database.query("SELECT count(*) FROM t").rows == [(3,)]

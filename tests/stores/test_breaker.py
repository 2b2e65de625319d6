"""A store that is down is not asked by everybody, and what was not sent is said to be so."""

from __future__ import annotations

import pytest

from virke.core.effects import Lost, Tier
from virke.errors import RateLimited, Unavailable
from virke.stores.base import Call
from virke.stores.breaker import PAUSE_S, Breaker
from virke.stores.faulty import At, FaultyStore, LoseAnswer, Refuse
from virke.stores.memory import memory_store

EVERY = range(1, 100)


class Clock:
    """A clock that tests turn."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_fails_at_once_is_not_sent_and_one_call_looks_again() -> None:
    faulty, clock = FaultyStore(memory_store(), [At(n, Refuse(), Call.READ) for n in (1, 2)]), Clock()
    breaker = Breaker(faulty.store, monotonic=clock)
    register = breaker.store.register
    assert breaker.failure is None
    with pytest.raises(Unavailable):
        register.read("k")
    assert (len(faulty.log), breaker.failure is not None) == (1, True)
    for call in (lambda: register.read("k"), lambda: register.swap("k", b"x", None), lambda: list(register.keys(""))):
        with pytest.raises(Unavailable, match="nothing was sent"):
            call()
    assert len(faulty.log) == 1
    clock.now = PAUSE_S
    with pytest.raises(Unavailable):
        register.read("k")
    assert len(faulty.log) == 2
    clock.now = 2 * PAUSE_S
    register.read("k")
    assert (len(faulty.log), breaker.failure) == (3, None)
    register.read("k")


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


def test_objects_are_read_while_the_register_is_down() -> None:
    faulty = FaultyStore(memory_store(), [At(n, Refuse(), Call.READ) for n in EVERY])
    breaker = Breaker(faulty.store, monotonic=Clock())
    with pytest.raises(Unavailable):
        breaker.store.register.read("k")
    breaker.store.blobs[Tier.KV].put_new("seg/a", b"x")
    assert breaker.failure is not None

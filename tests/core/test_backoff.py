"""The back-off: how often a store that fails is asked, and how long each wait is."""

from __future__ import annotations

import pytest

from virke.core.backoff import BACKOFF, Backoff
from virke.stores.breaker import PAUSE_S


def waits(chance: float, backoff: Backoff = BACKOFF, retry_after_s: float | None = None) -> list[float]:
    """All the waits of a call that fails for ever."""
    found: list[float] = []
    wait_s: float | None
    while (
        wait_s := backoff.wait_s(len(found) + 1, chance=chance, spent_s=sum(found), retry_after_s=retry_after_s)
    ) is not None:
        found.append(wait_s)
    return found


def test_waits_double_and_half_of_each_is_random() -> None:
    assert waits(1.0) == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert waits(0.0) == pytest.approx([0.05, 0.1, 0.2, 0.4])


def test_five_requests_are_all() -> None:
    assert len(waits(0.5)) + 1 == BACKOFF.tries == 5


def test_no_wait_is_longer_than_the_longest_and_all_together_not_than_the_total() -> None:
    assert waits(1.0, Backoff(tries=100, total_s=10.0)) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0])


def test_the_waits_outlast_a_breaker() -> None:
    """Else a call that met one failure would end before the breaker lets anything through."""
    assert sum(waits(0.0)) > PAUSE_S


def test_a_store_that_says_when_to_come_back_is_not_asked_before() -> None:
    assert waits(0.5, retry_after_s=2.0) == [2.0] * 4
    assert waits(1.0, retry_after_s=0.01) == waits(1.0)


def test_what_is_too_far_away_is_not_waited_for() -> None:
    """The limit of an account lasts an hour."""
    assert waits(0.5, retry_after_s=3600.0) == []

"""Rounds are what a request waits for one after the other."""

from __future__ import annotations

from virke.edge.host.counting import Counts


def test_what_is_started_together_is_one_round_and_what_waits_for_another_is_two() -> None:
    counts = Counts()
    ticks = [counts.sent() for _ in range(10)]
    for tick in ticks:
        counts.awaited(tick)
    assert counts.rounds == 1
    for _ in range(3):
        counts.awaited(counts.sent())
    assert counts.rounds == 4


def test_what_is_started_in_time_costs_no_round_of_its_own() -> None:
    counts = Counts()
    early = counts.sent()
    counts.awaited(counts.sent())
    counts.awaited(early)
    assert counts.rounds == 1


def test_latencies_add_up_along_what_waits_for_another_alone() -> None:
    counts = Counts()
    together = [counts.sent(0.009) for _ in range(3)]
    for tick in together:
        counts.awaited(tick)
    counts.awaited(counts.sent(0.43))
    assert (counts.rounds, round(counts.waited_s, 6)) == (2, 0.439)

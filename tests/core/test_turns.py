"""P15: every writer gets through, in every order of events; and each rule of turns is needed for that.

The bounds are exact worst cases, in ticks and in runs of the statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.core.turn_graph import Graph, Rules
from virke.core import turntaking

pytestmark = pytest.mark.once

Worst = tuple[int, int] | None
PAIR = Rules()
TWO_SLOW = Rules(kinds=("slow", "slow", "fast"))
TWO_SLOW_SHORT = replace(TWO_SLOW, sql=2, length=4)
THREE_SLOW = replace(TWO_SLOW_SHORT, kinds=("slow", "slow", "slow", "fast"))
LONG = Rules(sql=8, length=4)
DIES = Rules(kinds=("slow", "edge"), gap=0, faults=1, crash_of=(0,))
RACE = ("loses take",)
"""The race for the turn's own swap: that it ends is what gaps are for, and what real time adds."""


@pytest.fixture(autouse=True)
def clocks_agree() -> Iterator[None]:
    """The margin for wall clocks is a matter of seconds, not of order; without it the graph stays small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turntaking, "CLOCKS_MS", 0)
        yield


def worst(rules: Rules, *, besides: tuple[str, ...] = ()) -> list[Worst]:
    """For each actor the most ticks and runs until it commits; None: it may wait for ever."""
    graph = Graph(rules)
    found = [graph.worst(number, besides) for number in range(len(rules.kinds))]
    print(f"{len(graph.numbers):,} states: {dict(zip(rules.kinds, found, strict=False))}")
    return found


BOUNDED: list[tuple[str, Rules, list[Worst]]] = [
    ("a slow and a fast writer", PAIR, [(19, 3), (9, 0)]),
    ("two slow ones and a fast one", TWO_SLOW, [(29, 3), (29, 3), (9, 0)]),
    ("a statement longer than a turn", replace(LONG, renews=True), [(37, 3), (17, 0)]),
    ("three faults", replace(PAIR, faults=3), [(40, 6), (21, 0)]),
]
BOUNDED_SLOW: list[tuple[str, Rules, list[Worst]]] = [
    ("two slow ones, one fault", replace(TWO_SLOW_SHORT, faults=1), [(45, 4), (45, 4), (21, 0)]),
]


@pytest.mark.parametrize(("rules", "expected"), [case[1:] for case in BOUNDED], ids=[case[0] for case in BOUNDED])
def test_every_writer_gets_through(rules: Rules, expected: list[Worst]) -> None:
    assert worst(rules) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rules", "expected"), [case[1:] for case in BOUNDED_SLOW], ids=[case[0] for case in BOUNDED_SLOW]
)
def test_every_writer_of_a_larger_world_gets_through(rules: Rules, expected: list[Worst]) -> None:
    assert worst(rules) == expected


def test_upkeep_that_waits_for_turns_keeps_no_writer_from_its_own() -> None:
    rules = replace(PAIR, kinds=("slow", "fast", "upkeep"))
    assert worst(rules, besides=RACE)[:2] == [(17, 3), (13, 0)]


def test_requests_that_give_up_soon_get_past_a_dead_holder_by_the_wall_clock() -> None:
    """Each is new, so none ever sees the turn for its length; and what they find when they come again is bounded."""
    assert Graph(DIES).worst(1) == (13, 0)


def test_one_shot_processes_wait_for_a_dead_holder_only_once() -> None:
    """The first to commit removes the turn."""
    rules = replace(DIES, kinds=("slow", "cli"), hints=False)
    assert not Graph(rules).again_and_again("waited to the end")
    assert Graph(replace(rules, anyone_removes=False)).again_and_again("waited to the end")


@pytest.mark.prove
def test_a_slow_writer_gets_past_a_dead_holder() -> None:
    """Another slow one died with its turn: whoever commits removes it, or no second turn would ever be taken."""
    rules = replace(TWO_SLOW_SHORT, faults=1, crash_of=(0,))
    assert worst(rules)[1:] == [(45, 4), (21, 0)]
    assert worst(replace(rules, anyone_removes=False, rests=False, rebases=False, hints=False))[1] is None


@pytest.mark.prove
def test_three_slow_writers_do_not_starve_a_fast_one() -> None:
    """Their turns would follow each other without a break: the rest between two is what lets it in."""
    assert worst(THREE_SLOW)[3] == (7, 0)
    assert worst(replace(THREE_SLOW, rests=False), besides=RACE)[3] is None


STARVING: list[tuple[str, Rules, int, tuple[str, ...]]] = [
    ("no turns", replace(PAIR, takes_turns=False), 0, RACE),
    ("no gaps", replace(PAIR, gap=0), 0, ()),
    ("no renewal", LONG, 0, RACE),
    ("no wall clock", replace(DIES, hints=False), 1, ()),
    ("a dead holder's turn stays, no wall clock", replace(DIES, anyone_removes=False, hints=False), 1, ()),
    ("old software that ignores turns", replace(PAIR, kinds=("slow", "fast", "old")), 0, RACE),
]


@pytest.mark.parametrize(
    ("rules", "number", "besides"), [case[1:] for case in STARVING], ids=[case[0] for case in STARVING]
)
def test_without_one_rule_a_writer_may_starve(rules: Rules, number: int, besides: tuple[str, ...]) -> None:
    """What is left out is needed; and old software can be promised nothing."""
    assert Graph(rules).worst(number, besides) is None


def test_a_race_lost_to_a_turn_costs_no_run_of_the_statement() -> None:
    """The pages are the same, so what was computed on them is planned again."""
    again = Graph(replace(PAIR, faults=1, rebases=False)).worst(0)
    once = Graph(replace(PAIR, faults=1)).worst(0)
    assert again is not None
    assert once is not None
    assert once[1] < again[1]

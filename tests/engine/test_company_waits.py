"""How long a leader waits for company, and how many may join: nothing for one that was alone (B15)."""

from __future__ import annotations

import pytest

from tests.engine.test_company import COMMIT_S, insert
from tests.engine.test_company import World as Joining
from tests.engine.world import Clock, make
from virke.engine import company
from virke.engine.company import EMBEDDED_SHARE

GAP_S, REST_S = 2.0, 0.5


class World:
    """A company whose fairness asks for a gap and whose reads ask for a rest, as they are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.db = make(clock=self.clock)
        self.company = self.db._writer.company
        self.gap_s, self.rest_s = 0.0, 0.0
        self.waited: list[tuple[int, float]] = []
        monkeypatch.setattr(self.db._committing.fairness, "gap_s", lambda *_: self.gap_s)
        monkeypatch.setattr(self.db._volume.driver.undisturbed, "rest_s", lambda: self.rest_s)
        monkeypatch.setattr(self.db._writer.queue, "wait_for", lambda *how: self.waited.append(how))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.mark.parametrize(("group", "waited"), [(0, []), (1, []), (2, [(2, COMMIT_S * EMBEDDED_SHARE)])])
def test_only_who_had_company_waits_for_it(world: World, group: int, waited: list[tuple[int, float]]) -> None:
    world.company.committed(group, COMMIT_S)
    world.company.wait("auto")
    assert world.waited == waited
    assert world.clock.slept == []


@pytest.mark.parametrize(("gap_s", "rest_s", "slept"), [(2.0, 0.5, [2.0]), (0.5, 2.0, [2.0]), (0.0, -1.0, [])])
def test_the_longer_of_a_gap_and_a_rest_is_waited_for(
    world: World, gap_s: float, rest_s: float, slept: list[float]
) -> None:
    world.gap_s, world.rest_s = gap_s, rest_s
    world.company.wait("auto")
    assert world.clock.slept == slept


@pytest.mark.parametrize(
    ("window_ms", "gap_s", "slept"), [(700, 0.5, [0.7]), (200, 0.5, [0.5]), (0, 0.5, [0.5]), (0, 0.0, [])]
)
def test_the_longer_of_a_gap_and_the_window_is_waited_for(
    world: World, window_ms: int, gap_s: float, slept: list[float]
) -> None:
    """A window is waited for whole, and reads ask for nothing then."""
    world.gap_s, world.rest_s = gap_s, 9.0
    world.company.wait(window_ms)
    assert world.clock.slept == slept


def test_no_gap_is_left_where_the_store_has_a_pace(world: World) -> None:
    """It leaves room for others by itself."""
    world.gap_s = GAP_S
    pacing = world.db._committing.pacing
    pacing.seen(world.db._branch.latest().root, (0.0, 0.0))
    pacing.refused(world.clock.monotonic_s, None)
    assert pacing.is_paced
    world.company.wait("auto")
    assert world.clock.slept == []


def test_no_more_join_than_a_commit_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are the next one."""
    monkeypatch.setattr(company, "GROUP_MAX", 3)
    joining = Joining(monkeypatch)
    joining.line_up(insert(1))
    second = joining.line_up(insert(2))
    joining.meanwhile = {second: lambda: [joining.line_up(insert(number)) for number in (3, 4, 5)]}
    assert joining.lead() == {3: 1, 2: 1}
    assert joining.numbers() == [1, 2, 3, 4, 5]

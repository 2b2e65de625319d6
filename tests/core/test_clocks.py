"""Collection when clocks are wrong (P8): a clock that is ahead does not stop it, and none of them makes it delete too much."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.core.model import small_limits
from tests.core.test_collect import HOUR_MS, World, new_world
from virke.core.collect import DAY_MS, GRACE_MS, advanced_horizon, may_be_due, plan_horizon
from virke.core.ids import Version

YEAR_MS = 365 * DAY_MS
KEEP_DAYS = 3


@dataclass(slots=True)
class Machines:
    """A database written and collected by machines whose clocks differ from the true time by so much."""

    world: World = field(default_factory=lambda: new_world(KEEP_DAYS))
    true_ms: int = 2 * YEAR_MS * 10
    committed_ms: dict[Version, int] = field(default_factory=dict)
    """When each version was really committed."""

    @property
    def horizon(self) -> Version:
        return self.world.model.root.horizon.version

    @property
    def pending(self) -> Version | None:
        """The watermark whose garbage is still to be deleted."""
        horizon = self.world.model.root.horizon
        return horizon.watermark if horizon.is_pending else None

    def write(self, off_ms: int = 0, times: int = 1) -> None:
        """Commits, and the compactions that they make due."""
        for _ in range(times):
            model = self.world.model
            model.now_ms = self.true_ms + off_ms
            number = model.root.head.version
            self.world.write(frozenset({1, 2 + number % 7, 3 + number % 20}), 20 + number % 5)
            self._note()
            model.upkeep()
            self._note()

    def _note(self) -> None:
        for version in range(len(self.committed_ms) + 1, self.world.model.root.head.version + 1):
            self.committed_ms[Version(version)] = self.true_ms

    def collect(self, off_ms: int = 0) -> None:
        """What `db gc` does: sweep what is due, then advance; nothing of the window may be let go."""
        model = self.world.model
        model.now_ms = self.true_ms + off_ms
        if not may_be_due(model.root, model.now_ms, GRACE_MS):
            return
        self.world.sweep()
        horizon = advanced_horizon(model.root, self.world.marked(), model.now_ms)
        if horizon is None:
            return
        # the version of the horizon itself is kept: it was the newest one when the window began, or is older
        before = self.horizon
        assert horizon.version == before or self.committed_ms[horizon.version] <= self.true_ms - KEEP_DAYS * DAY_MS
        model.apply(plan_horizon(model.root, horizon, commit_id=model.commit_id(), time_ms=model.now_ms))
        model.moved()
        self._note()

    def days(self, count: int, off_ms: int = 0) -> None:
        """So many days with commits, and collections an hour after each."""
        for _ in range(count):
            self.true_ms += DAY_MS
            self.write(times=4)
            self.true_ms += HOUR_MS
            self.collect(off_ms)


@small_limits()
@pytest.mark.parametrize("ahead_ms", [0, HOUR_MS, 2 * DAY_MS, 10 * YEAR_MS])
def test_p8_one_commit_by_a_clock_that_is_ahead_does_not_stop_history_from_being_trimmed(ahead_ms: int) -> None:
    """At most twice as much is kept as without it, for however long the clock was ahead."""
    machines = Machines()
    machines.days(2)
    machines.write(ahead_ms)
    machines.days(30)
    kept_ms = machines.true_ms - machines.committed_ms[machines.horizon]
    assert KEEP_DAYS * DAY_MS <= kept_ms <= (2 * KEEP_DAYS + 2) * DAY_MS
    machines.world.check()


@small_limits()
def test_p8_a_database_that_a_clock_ahead_created_is_collected() -> None:
    """Its time of creation is in the future as well."""
    machines = Machines()
    model = machines.world.model
    model.root = replace(model.root, created_ms=machines.true_ms + 10 * YEAR_MS)
    machines.write(10 * YEAR_MS)
    machines.days(30)
    assert machines.horizon > 0
    machines.world.check()


@small_limits()
def test_p8_a_horizon_that_a_clock_ahead_wrote_is_swept() -> None:
    """Its grace period begins when somebody sees it whose clock is not ahead."""
    machines = Machines()
    machines.days(12)
    while machines.world.model.root.horizon.is_pending:
        machines.true_ms += HOUR_MS
        machines.collect()
    model = machines.world.model
    model.now_ms = machines.true_ms + 10 * YEAR_MS
    horizon = advanced_horizon(model.root, machines.world.marked(), model.now_ms)
    assert horizon is not None
    model.apply(plan_horizon(model.root, horizon, commit_id=model.commit_id(), time_ms=model.now_ms))
    model.moved()
    machines.write()
    watermark = machines.pending
    assert watermark
    machines.collect()
    assert model.root.horizon.since_ms == machines.true_ms
    assert not machines.world.sweep(), "its grace begins now"
    machines.true_ms += GRACE_MS
    machines.collect()
    assert machines.pending is None
    machines.world.check()


@small_limits()
@pytest.mark.parametrize("behind_ms", [HOUR_MS, 2 * DAY_MS, 10 * YEAR_MS])
def test_p8_a_clock_that_jumps_back_lets_nothing_go_too_early(behind_ms: int) -> None:
    """A collector that is behind, and honest ones after it, which find what it observed."""
    machines = Machines()
    machines.days(2)
    for _ in range(6):
        machines.days(1, -behind_ms)
        machines.days(1)
        machines.write(-behind_ms)
    machines.days(12)
    assert machines.true_ms - machines.committed_ms[machines.horizon] >= KEEP_DAYS * DAY_MS
    assert machines.horizon > 0
    machines.world.check()


ahead = st.sampled_from([0, 0, HOUR_MS, 2 * DAY_MS, 10 * YEAR_MS])
behind = st.sampled_from([0, 0, -HOUR_MS, -2 * DAY_MS, -10 * YEAR_MS])
passes = st.sampled_from([0, GRACE_MS, HOUR_MS, DAY_MS, 2 * DAY_MS])


@settings(max_examples=60)
@given(st.lists(st.tuples(passes, ahead, st.booleans()), min_size=10, max_size=30))
@small_limits()
def test_p8_whoever_writes_an_honest_collector_keeps_the_window(history: list[tuple[int, int, bool]]) -> None:
    """Commits by clocks that are ahead and right, in any order."""
    machines = Machines()
    for pass_ms, off_ms, collects in history:
        machines.true_ms += pass_ms
        machines.write(off_ms, 2)
        if collects:
            machines.collect()
    machines.world.check()


@settings(max_examples=60)
@given(st.lists(st.tuples(passes, behind), min_size=10, max_size=30))
@example([(0, 0)] * 10 + [(0, -10 * YEAR_MS), (0, -2 * DAY_MS)])
@small_limits()
def test_p8_a_collector_that_is_behind_keeps_the_window_and_so_do_honest_ones_after_it(
    history: list[tuple[int, int]],
) -> None:
    """Collections by clocks that are behind and right, in any order."""
    machines = Machines()
    for pass_ms, collector_ms in history:
        machines.true_ms += pass_ms
        machines.write(times=2)
        machines.collect(collector_ms)
    machines.world.check()

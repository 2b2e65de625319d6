"""A store that takes one swap a second to a key: the budgets of B13, in virtual time; and rules that miss them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import pytest

from tests.core.actors import empty, id_of
from tests.core.paced import ROUND_S, Limited, MakeRule, paced
from virke.core import pace
from virke.core.change import change_without_pages, next_root
from virke.core.ids import CommitId, Version
from virke.core.pace import NO_VERSION, Look, Pace, Send, Sleep
from virke.core.root import Root


@pytest.mark.parametrize("threads", [1, 8])
def test_one_process_meets_the_rate_without_refusals(threads: int) -> None:
    found = paced(Pace, 1, threads)
    assert found.commits_s >= 0.9
    assert found.refused <= 0.1
    assert found.p99_s <= 1.5


@pytest.mark.parametrize(("processes", "threads"), [(2, 8), (4, 8), (4, 1)])
def test_several_processes_share_the_rate(processes: int, threads: int) -> None:
    """Without a word between them but the ring: few refusals, and none is left behind."""
    found = paced(Pace, processes, threads)
    assert found.commits_s >= 0.85
    assert found.refused <= 0.2
    assert found.fairness >= 0.5


def test_a_store_without_limit_is_not_slowed_down() -> None:
    found = paced(Pace, 1, 8, seeds=1, store=partial(Limited, period_s=0.0, burst=1))
    assert found.refused == 0
    assert found.commits_s > 0.9 / (ROUND_S * 1.1 + 0.002)


@pytest.mark.parametrize("processes", [1, 4])
def test_what_the_store_asks_for_is_waited_for(processes: int) -> None:
    """`Retry-After` is added to what was learned, and costs little, for refusals are few."""
    found = paced(Pace, processes, 8, store=partial(Limited, retry_after_s=1.0))
    assert found.commits_s >= 0.8
    assert found.refused <= 0.3


def test_a_store_that_allows_bursts_is_used_well() -> None:
    found = paced(Pace, 1, 8, store=partial(Limited, burst=5))
    assert found.commits_s >= 0.9
    assert found.refused <= 0.1


def test_another_rate_is_learned() -> None:
    """A slower one by refusals, a faster one by careful tries."""
    slower = paced(Pace, 1, 8, store=partial(Limited, period_s=3.0))
    assert slower.commits_s >= 0.27
    assert slower.refused <= 0.2
    assert paced(Pace, 1, 8, store=partial(Limited, period_s=0.2)).commits_s >= 1.05


def test_a_process_that_comes_late_gets_its_share() -> None:
    """Room is left for it at every eighth version; without, the others would go round and round."""
    assert paced(Pace, 2, 8, last_comes_s=30.0).fairness >= 0.5
    assert paced(NoRoom, 2, 8, last_comes_s=30.0).fairness < 0.5


def test_a_gap_that_is_too_long_does_not_starve_its_process() -> None:
    """Others commit at their own pace, and nothing is tried while they do: what they need is seen."""

    def patient(tag: bytes) -> Pace:
        longer = 1.5 if tag.endswith(b"\1") else 1.0
        return Pace(tag, gap_s=longer, safe_gap_s=longer)

    assert paced(patient, 3, 8).fairness >= 0.5


# Wrong variants


@dataclass(frozen=True, slots=True)
class Rate:
    """Each process adapts a rate of its own: a little more after each success, half of it after a refusal."""

    tag: bytes
    rate: float = 0.0
    sent_s: float = -9.0

    def step(self, now_s: float) -> Send | Look | Sleep:
        """Its own rate alone."""
        due_s = self.sent_s + 1 / self.rate if self.rate else now_s
        return Send() if now_s >= due_s else Sleep(due_s)

    def seen(self, root: Root, *, asked_s: float, now_s: float) -> Rate:
        """Others are not looked at."""
        return self

    def accepted(self, root: Root, *, sent_s: float, now_s: float) -> Rate:
        """A little more."""
        return replace(self, rate=self.rate and self.rate + 0.05, sent_s=sent_s)

    def refused(self, *, sent_s: float, retry_after_s: float | None, chance: float) -> Rate:
        """Half of it."""
        return replace(self, rate=max(0.1, self.rate / 2) if self.rate else 1.0, sent_s=sent_s)


@dataclass(frozen=True, slots=True)
class Second(Rate):
    """A second after the last commit that is known, of whoever; nothing is learned."""

    version: Version = NO_VERSION

    def seen(self, root: Root, *, asked_s: float, now_s: float) -> Second:
        """Another's commit counts like an own one."""
        newer = root.head.version > self.version
        sent_s = (asked_s + now_s) / 2 if newer else self.sent_s
        return replace(self, version=root.head.version, sent_s=sent_s)

    def accepted(self, root: Root, *, sent_s: float, now_s: float) -> Second:
        """From here on a second."""
        return replace(self, version=root.head.version, sent_s=sent_s)

    def refused(self, *, sent_s: float, retry_after_s: float | None, chance: float) -> Second:
        """Try again at once if the second had passed."""
        return replace(self, rate=1.0)


class NoOrder(Pace):
    """All that wait go at the same time."""

    __slots__ = ()

    def _before_me(self) -> int:
        return 0


class NoRoom(Pace):
    """Those that are in the order never wait for one that is not."""

    __slots__ = ()

    def _leaves_room(self) -> bool:
        return False


class NoLooks(Pace):
    """Nobody looks whether another came first."""

    __slots__ = ()

    def step(self, now_s: float) -> Send | Look | Sleep:
        """Sleep, then send."""
        due_s = self.slot_s() if self.is_paced else now_s
        return Send() if now_s >= due_s else Sleep(due_s)


def test_a_rate_of_its_own_for_each_process_wastes_the_store_and_starves() -> None:
    """The saw-tooth wastes a third for one process; four refuse each other."""
    assert paced(Rate, 1, 8).commits_s < 0.75
    many = paced(Rate, 4, 8)
    assert many.commits_s < 0.75
    assert many.p99_s > 15


def test_a_second_after_the_last_commit_is_refused_half_of_the_time() -> None:
    """The second that counts is the store's: a swap that comes a few milliseconds early is refused."""
    assert paced(Second, 1, 8).refused > 0.5


@pytest.mark.parametrize("rule", [NoOrder, NoLooks])
def test_order_and_looks_are_needed(rule: MakeRule) -> None:
    """Without, four processes refuse each other, and some wait for half a minute."""
    found = paced(rule, 4, 8)
    assert found.refused > 0.5
    assert found.longest_s > 20


# Single rules


def after(root: Root, tag: bytes) -> Root:
    """`root` after a commit of the process with `tag`."""
    commit_id = CommitId(id_of("commit", root)[: -len(tag)] + tag)
    return next_root(root, commit_id, change_without_pages(root, 0))


MINE, OTHER = b"mine", b"othr"


def test_a_collision_does_not_make_the_gap_longer() -> None:
    """Refused because another was faster: the gap is right (Q2)."""
    root = after(empty(), MINE)
    begun = Pace(MINE, gap_s=1.0, safe_gap_s=1.0).accepted(root, sent_s=10.0, now_s=10.05)
    moved = begun.seen(after(root, OTHER), asked_s=11.05, now_s=11.1)
    refused = partial(Pace.refused, sent_s=11.03, retry_after_s=None, chance=0.5)
    assert refused(moved).gap_s == 1.0
    assert refused(begun.seen(root, asked_s=11.05, now_s=11.1)).gap_s == pace.GROWTH


def test_a_read_that_fails_does_not_hold_a_send_back_for_ever() -> None:
    root = after(after(empty(), OTHER), MINE)
    begun = Pace(MINE, gap_s=1.0, safe_gap_s=1.0).accepted(root, sent_s=10.0, now_s=10.05)
    late = begun.slot_s() + 1
    assert begun.step(late) == Look()
    assert begun.looked_in_vain(asked_s=late, now_s=late + 5).step(late + 5) == Send()


def test_the_process_that_committed_longest_ago_comes_first() -> None:
    root = after(after(after(empty(), b"1111"), b"2222"), b"3333")
    slots = [
        Pace(tag, gap_s=1.0, safe_gap_s=1.0).accepted(root, sent_s=10.0, now_s=10.05).slot_s()
        for tag in (b"1111", b"2222", b"3333", b"new!")
    ]
    assert slots[3] < slots[1] < slots[2]
    assert slots[0] < slots[1]


def test_the_store_s_own_word_is_waited_for() -> None:
    root = after(empty(), MINE)
    begun = Pace(MINE).accepted(root, sent_s=10.0, now_s=10.05).seen(root, asked_s=10.2, now_s=10.25)
    refused = begun.refused(sent_s=10.1, retry_after_s=5.0, chance=0.5)
    assert refused.slot_s() == 15.25
    assert begun.refused(sent_s=10.1, retry_after_s=None, chance=0.5).slot_s() < 12


def test_a_shorter_gap_is_tried_alone_only() -> None:
    """While others write, a try that fails would cost them a second as well."""
    alone = shared = Pace(MINE, gap_s=1.0, safe_gap_s=1.0)
    mine, both = empty(), empty()
    for number in range(pace.GOOD_FIRST + pace.SEEN_LAST):
        mine, both = after(mine, MINE), after(after(both, OTHER), MINE)
        alone = alone.accepted(mine, sent_s=2.0 * number, now_s=2.0 * number + 0.05)
        shared = shared.accepted(both, sent_s=2.0 * number, now_s=2.0 * number + 0.05)
    assert alone.gap_s == pace.SHRINKING
    assert shared.gap_s == 1.0


def test_a_shorter_gap_that_is_refused_is_taken_back_and_tried_later() -> None:
    root = after(empty(), MINE)
    trying = Pace(MINE, gap_s=0.9, safe_gap_s=1.0, is_trying=True).accepted(root, sent_s=10.0, now_s=10.05)
    settled = trying.refused(sent_s=10.93, retry_after_s=None, chance=0.5)
    assert (settled.gap_s, settled.is_trying, settled.good_needed) == (1.0, False, 2 * pace.GOOD_FIRST)


def test_a_read_that_began_before_the_own_swap_does_not_set_it_back() -> None:
    """Its root is newer than the own one; when it came is not known better than when the own one was sent."""
    root = after(empty(), MINE)
    begun = Pace(MINE, gap_s=1.0, safe_gap_s=1.0).accepted(root, sent_s=10.0, now_s=10.05)
    assert begun.seen(after(root, OTHER), asked_s=9.0, now_s=10.1).last_s == 10.0


def test_nothing_is_sent_after_a_look_that_was_begun_before_the_slot() -> None:
    """Where there are others: what it showed may be as old as its beginning (rule 6)."""
    root = after(after(empty(), OTHER), MINE)
    begun = Pace(MINE, gap_s=1.0, safe_gap_s=1.0).accepted(root, sent_s=10.0, now_s=10.05)
    known = begun.seen(root, asked_s=10.1, now_s=10.15)
    due_s = known.slot_s() - known.read_s
    assert known.seen(root, asked_s=due_s - 0.02, now_s=due_s + 0.03).step(due_s + 0.03) == Look()
    assert known.seen(root, asked_s=due_s + 0.01, now_s=due_s + 0.06).step(due_s + 0.06) == Send()


def test_a_gap_grows_to_its_bound_and_every_time_the_good_ones_are_counted_anew() -> None:
    root = after(empty(), MINE)
    begun = Pace(MINE, gap_s=1.0, safe_gap_s=1.0, good=pace.GOOD_FIRST - 1).accepted(root, sent_s=0.0, now_s=0.0)
    for _ in range(20):
        begun = begun.refused(sent_s=begun.last_s + begun.gap_s, retry_after_s=None, chance=0.5)
        assert begun.good == 0
    assert begun.gap_s == begun.safe_gap_s == pace.GAP_MOST_S

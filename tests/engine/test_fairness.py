"""A node that always has something to write leaves gaps for others: few while it seems alone, many where it is not."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable

import pytest

from virke.core.change import change_without_pages, next_root
from virke.core.effects import Tier
from virke.core.ids import CommitId, DatabaseId
from virke.core.ring import RING_LENGTH
from virke.core.root import Root, first_root
from virke.core.turntaking import LOSSES, POLL_LEAST_S
from virke.engine import fairness
from virke.engine.fairness import GAP_MOST_S, LONE_ROW, NEAR_S, STRETCH_MAX, Fairness

SWAP_S = 0.025


def empty() -> Root:
    return first_root(
        name="db",
        database_id=DatabaseId(bytes(16)),
        commit_id=CommitId(bytes(16)),
        time_ms=0,
        page_size=4096,
        tier=Tier.KV,
    )


def after(root: Root, owner: int, number: int) -> Root:
    """`root` after one commit of a node."""
    return next_root(
        root, CommitId(owner.to_bytes(8, "big") + number.to_bytes(8, "big")), change_without_pages(root, 0)
    )


def gaps(
    root: Root, *, swap_s: float = SWAP_S, pause_s: float = 0.0, commits: int = 200, other_after: int = 0
) -> dict[int, float]:
    """After which of its commits a node leaves a gap that nobody uses, and for how many round trips.

    Its commits begin `pause_s` after each other's ends. Another node commits once, after `other_after` of them.
    """
    node, now, found = Fairness(), 0.0, dict[int, float]()
    for number in range(1, commits + 1):
        began_at, now = now, now + swap_s
        root = after(root, 1, number)
        node.won(root.head.commit_id, began_at, now)
        now += pause_s
        if number == other_after:
            root, now = after(root, 2, number), now + 2 * swap_s
        gap_s = node.gap_s(root, now, 1.0)
        if gap_s:
            found[number] = round(gap_s / swap_s, 3)
        now += gap_s
    return found


@pytest.mark.parametrize("before", [0, 1, RING_LENGTH])
def test_a_lone_node_leaves_one_gap_of_one_and_a_half_round_trips_after_128_commits(before: int) -> None:
    """Never a longer one, whoever wrote before it came; so less than one commit in a hundred waits (B15)."""
    root = empty()
    for number in range(before):
        root = after(root, 2, number)
    found = gaps(root, commits=600)
    assert found == {128: 1.5, 256: 1.5, 384: 1.5, 512: 1.5}


def test_a_node_that_sees_others_leaves_many() -> None:
    """Twice as long after twice as many commits, as long as no other comes."""
    assert gaps(empty(), commits=50, other_after=1) == {3: 1.5, 7: 3, 15: 6, 31: 12, 47: 12}


def test_who_loses_a_race_leaves_short_gaps_again() -> None:
    node, root, now = Fairness(), empty(), 0.0
    node.lost()  # so the commit in the ring that is not its own counts
    found = []
    for number in range(1, 12):
        root = after(root, 1, number)
        node.won(root.head.commit_id, now, now + SWAP_S)
        now += SWAP_S
        gap_s = node.gap_s(root, now, 1.0)
        now += gap_s
        if gap_s:
            found.append(round(gap_s / SWAP_S, 3))
            if len(found) == 2:
                node.lost()
    assert found == [1.5, 3, 1.5]


def test_a_commit_that_was_slow_is_no_measure_of_the_gap() -> None:
    """It was uploaded, repeated, or timed out: a node that is alone would sleep for minutes."""
    node, root, now, longest = Fairness(), empty(), 0.0, 0.0
    for number in range(1, 2000):
        root = after(root, 1, number)
        took_s = 10.0 if number % 128 == 0 else SWAP_S
        node.won(root.head.commit_id, now, now + took_s)
        now += took_s
        gap_s = node.gap_s(root, now, 1.5)
        longest, now = max(longest, gap_s), now + gap_s
    assert SWAP_S < longest <= 2 * STRETCH_MAX * 2 * SWAP_S <= GAP_MOST_S
    far = Fairness()
    far.won(root.head.commit_id, 0.0, 60.0)
    far.won(root.head.commit_id, 60.0, 120.0)
    assert all(far.gap_s(empty(), 120.0, 1.5) <= GAP_MOST_S for _ in range(9))


@pytest.mark.parametrize(("swap_s", "pause_s"), [(NEAR_S / 2, 0.0), (SWAP_S, SWAP_S * 2)])
def test_a_near_store_and_a_node_with_pauses_of_its_own_need_none(swap_s: float, pause_s: float) -> None:
    assert gaps(empty(), swap_s=swap_s, pause_s=pause_s) == {}


class Race:
    """Nodes that never stop writing, each half a round trip from a register; virtual time.

    The first node's SQL takes `sql_s` when it is run again; the register is `refusal_s` slower to refuse than to take.
    A node that lost twice takes a turn as the engine does (core/turntaking), with a rest of 0.2 s after each.
    """

    def __init__(
        self,
        nodes: int,
        seed: int,
        *,
        polite: bool = True,
        turns: bool = True,
        sql_s: float = 0.0,
        refusal_s: float = 0.0,
    ) -> None:
        self.random = random.Random(seed)
        self.root = empty()
        self.wins, self.failed, self.longest = Counter[int](), Counter[int](), 0
        self._fairness = [Fairness() for _ in range(nodes)]
        self._turn_of: int | None = None
        self._rests_until = 0.0
        self._polite, self._sql_s, self._refusal_s = polite, sql_s, refusal_s
        self._turns = turns and polite
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        for node in range(nodes):
            self._begin(self.random.random() * SWAP_S, node, self.root)

    def _at(self, time: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), event))

    def _half(self) -> float:
        return SWAP_S / 2 * self.random.uniform(0.9, 1.1)

    def _begin(self, now: float, node: int, base: Root, *, turn: bool = False) -> None:
        self._at(now + self._half(), lambda time: self._swap(time, now, node, base, turn=turn))

    def _swap(self, time: float, began_at: float, node: int, base: Root, *, turn: bool) -> None:
        if base is self.root and turn:
            self.root, self._turn_of = after(base, node + 1, 10**6 + len(self._events)), node
            self._at(time + self._half(), lambda now: self._run(now, node, self.root))
        elif base is self.root:
            if self._turn_of is not None:
                self._turn_of, self._rests_until = None, time + 0.2
            self.root = won = after(base, node + 1, self.wins[node])
            self.wins[node] += 1
            self._at(time + self._half(), lambda now: self._won(now, began_at, node, won))
        else:
            self.failed[node] += 1
            self.longest = max(self.longest, self.failed[node])
            self._fairness[node].lost()
            self._at(time + 2 * self._half() + self._refusal_s, lambda seen: self._read(seen, node))

    def _read(self, time: float, node: int) -> None:
        seen, holder, rests = self.root, self._turn_of, time < self._rests_until
        if holder not in (None, node):
            self._at(time + POLL_LEAST_S, lambda now: self._read(now, node))
        elif self._turns and self.failed[node] >= LOSSES and holder is None and not rests:
            self._at(time + self._half(), lambda now: self._begin(now, node, seen, turn=True))
        else:
            self._at(time + self._half(), lambda now: self._run(now, node, seen))

    def _run(self, time: float, node: int, base: Root) -> None:
        self._at(time + (self._sql_s if node == 0 else 0.0), lambda now: self._begin(now, node, base))

    def _won(self, now: float, began_at: float, node: int, root: Root) -> None:
        self.failed[node] = 0
        self._fairness[node].won(root.head.commit_id, began_at, now)
        gap_s = self._fairness[node].gap_s(root, now, self.random.uniform(0.5, 1.5)) if self._polite else 0.0
        self._begin(now + gap_s, node, root)

    def run(self, rounds: int) -> Race:
        """So many round trips."""
        while self._events[0][0] < rounds * SWAP_S:
            time, _, event = heapq.heappop(self._events)
            event(time)
        return self


@pytest.mark.parametrize("nodes", [2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_kept_from_writing(nodes: int, seed: int) -> None:
    """Each node wins its share, a newcomer after one or two gaps of a node that was alone; most rounds have a winner."""
    race = Race(nodes, seed).run(2000)
    assert min(race.wins.values()) * nodes >= 0.7 * race.wins.total()
    assert race.longest <= 2 * LONE_ROW
    assert race.wins.total() >= 0.6 * 2000


def test_without_gaps_the_winner_goes_on_winning() -> None:
    """What the gaps are for: this race is the same but for them."""
    assert max(Race(2, seed, polite=False).run(2000).longest for seed in range(5)) > 100


SLOW = [(0.05, 0.0), (0.1, 0.0), (0.05, 0.11), (0.1, 0.11)]
"""SQL of two and four round trips, on a store that refuses as fast as it takes, and on one that is slow to refuse."""


@pytest.mark.parametrize(("sql_s", "refusal_s"), SLOW)
@pytest.mark.parametrize("seed", range(3))
def test_a_node_with_long_sql_gets_its_turn(sql_s: float, refusal_s: float, seed: int) -> None:
    """By turns, and by gaps that grow where they were not used."""
    race = Race(2, seed, sql_s=sql_s, refusal_s=refusal_s).run(2000)
    assert race.wins[0] >= 0.1 * race.wins.total()
    assert race.longest <= 2 * LONE_ROW
    assert race.wins.total() >= 0.5 * 2000


@pytest.mark.parametrize(("sql_s", "refusal_s"), SLOW)
def test_in_gaps_of_one_length_it_never_would(monkeypatch: pytest.MonkeyPatch, sql_s: float, refusal_s: float) -> None:
    """What turns and the growth are for."""
    monkeypatch.setattr(fairness, "STRETCH_MAX", 1)
    assert min(Race(2, seed, turns=False, sql_s=sql_s, refusal_s=refusal_s).run(2000).wins[0] for seed in range(3)) < 20

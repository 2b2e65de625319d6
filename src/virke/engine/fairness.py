"""When a node that commits without pause leaves a gap, so that another node gets its turn (decision 0012).

Knows commit ids and how long swaps take; knows neither the store nor what is written.

The winner of a race learns the new root one round trip before everyone else, and so tends to win again.

A loser has to read the root before its next swap, so it needs two round trips where the winner needs one: against a
node that always has something to write it would never win. So a node whose commits follow each other without a gap
leaves one from time to time, of one to two round trips; whoever waits wins it.

1. Where others wrote lately (the ring shows commits that are not ours), after every second commit in a row.
2. Where no other writer is seen, after every 128th: one may be there that never won yet. It needs no more: the swap of
   a turn is as short as a swap gets, and a loser takes one (core/turntaking, rule T8).
3. Where others are seen, a gap that was not used may have been too short for a loser with long SQL, or with a store that
   is slow to refuse: the next is twice as long, after twice as many commits, up to eight times. A lost race starts over.
4. A node whose commits do not follow each other, or whose store is near, never waits.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from virke.core.ids import CommitId
from virke.core.ring import RING_LENGTH
from virke.core.root import Root

SHARED_ROW: Final = 2
LONE_ROW: Final = 128
STRETCH_MAX: Final = 8
GAP_MOST_S: Final = 2.0
NEAR_S: Final = 0.003
"""Swaps that take no longer race in other ways: by how long SQL takes, and by chance."""


class Fairness:
    """The commits of one process in a row, and when they pause for others."""

    def __init__(self) -> None:
        self._own: deque[CommitId] = deque(maxlen=RING_LENGTH)
        self._has_lost = False
        self._first: CommitId | None = None
        """What is older in the ring than this process's first commit says nothing of who writes now."""
        self._row = 0
        self._stretch = 1
        self._swap_s = 0.0
        self._ended_at = float("-inf")

    def won(self, commit_id: CommitId, began_at: float, ended_at: float) -> None:
        """A commit of ours is in history; its store calls took from `began_at` to `ended_at` (monotonic seconds)."""
        follows = began_at - self._ended_at <= max(self._swap_s, NEAR_S)
        self._row = self._row + 1 if follows else 1
        took_s = ended_at - began_at
        self._swap_s = min(took_s, 2 * self._swap_s) if self._swap_s else took_s  # a repeated one measures nothing
        self._ended_at = ended_at
        self.took(commit_id)

    def took(self, commit_id: CommitId) -> None:
        """A commit of ours is in history; on its own it stands in no row (upkeep, a transaction, a fence)."""
        if not self._own and not self._has_lost:
            self._first = commit_id
        self._own.append(commit_id)

    def lost(self) -> None:
        """Another commit came first."""
        self._row, self._stretch, self._first, self._has_lost = 0, 1, None, True

    def gap_s(self, root: Root, now: float, jitter: float) -> float:
        """How long to wait before the next commit on `root`; `jitter` is from 0.5 to 1.5."""
        if self._swap_s < NEAR_S or not self._row or now - self._ended_at > self._swap_s:
            return 0.0
        is_shared = self._sees_others(root)
        stretch = self._stretch if is_shared else 1
        if self._row < (SHARED_ROW * stretch if is_shared else LONE_ROW):
            return 0.0
        if is_shared:
            self._stretch = min(stretch * 2, STRETCH_MAX)
        return min(self._swap_s * (0.5 + jitter) * stretch, GAP_MOST_S)

    def _sees_others(self, root: Root) -> bool:
        """Whether others committed lately: since this process's first commit, if it never lost a race."""
        ids = [entry.commit_id for entry in root.ring]
        if self._first in ids:
            ids = ids[ids.index(self._first) :]
        return any(commit_id not in self._own for commit_id in ids)

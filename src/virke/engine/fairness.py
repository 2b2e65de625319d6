"""When a node that commits without pause leaves a gap, so that another node gets its turn (decision 0012).

Knows commit ids and how long swaps take; knows neither the store nor what is written.

The winner of a race learns the new root one round trip before everyone else, and so tends to win again.

A loser has to read the root before its next swap, so it needs two round trips where the winner needs one: against a
node that always has something to write it would never win. So a node whose commits follow each other without a gap
leaves one from time to time, of one to two round trips; whoever waits wins it.

1. Where others wrote lately (the ring shows commits that are not ours), after every second commit in a row.
2. Where nobody else is seen, after every sixteenth: somebody may be there who never won yet.
3. A gap that nobody used may have been too short for a loser with long SQL, or with a store that is slow to refuse:
   the next is twice as long, after twice as many commits, up to eight times. Whoever loses a race starts over.
4. A node whose commits do not follow each other, or whose store is near, never waits.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from virke.core.ids import CommitId
from virke.core.root import RING_LENGTH, Root

SHARED_ROW: Final = 2
LONE_ROW: Final = 16
STRETCH_MAX: Final = 8
GAP_MOST_S: Final = 2.0
NEAR_S: Final = 0.003
"""Swaps that take no longer race in other ways: by how long SQL takes, and by chance."""


class Fairness:
    """The commits of one process in a row, and when they pause for others."""

    def __init__(self) -> None:
        self._own: deque[CommitId] = deque(maxlen=RING_LENGTH)
        self._row = 0
        self._stretch = 1
        self._swap_s = 0.0
        self._ended_at = float("-inf")

    def won(self, commit_id: CommitId, began_at: float, ended_at: float) -> None:
        """A commit of ours is in history; its store calls took from `began_at` to `ended_at` (monotonic seconds)."""
        follows = began_at - self._ended_at <= max(self._swap_s, NEAR_S)
        self._row = self._row + 1 if follows else 1
        took_s = ended_at - began_at
        self._swap_s = min(took_s, 2 * self._swap_s) if self._swap_s else took_s  # one that was repeated is no measure
        self._ended_at = ended_at
        self.took(commit_id)

    def took(self, commit_id: CommitId) -> None:
        """A commit of ours is in history; on its own it stands in no row (upkeep, a transaction, a fence)."""
        self._own.append(commit_id)

    def lost(self) -> None:
        """Another commit came first."""
        self._row, self._stretch = 0, 1

    def gap_s(self, root: Root, now: float, jitter: float) -> float:
        """How long to wait before the next commit on `root`; `jitter` is from 0.5 to 1.5."""
        if self._swap_s < NEAR_S or not self._row or now - self._ended_at > self._swap_s:
            return 0.0
        is_shared = any(entry.commit_id not in self._own for entry in root.ring)
        if self._row < (SHARED_ROW if is_shared else LONE_ROW) * self._stretch:
            return 0.0
        stretch, self._stretch = self._stretch, min(self._stretch * 2, STRETCH_MAX)
        return min(self._swap_s * (0.5 + jitter) * stretch, GAP_MOST_S)

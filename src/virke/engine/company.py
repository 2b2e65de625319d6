"""Who rides in one commit: what the leader waits for before it takes the group, and who may join while the group runs.

1. Those who were answered together tend to come again together, so as many as rode in the last commit are waited for: a moment,
   and for longer while they come so fast that all of them will be there. Whoever comes while programs are run has to share
   the interpreter with them, so that both take longer, or waits for the next commit.
2. Waiting is a small part of a commit. While programs are run nobody waits, so others may join for longer: it is their
   one chance not to wait for a whole commit of others. Each makes those before it wait longer, so that has an end, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from virke.engine.committing import Committing
from virke.engine.groups import fit_together
from virke.engine.queue import Pending, Queue
from virke.engine.volume import Volume

GROUP_MAX: Final = 512
EMBEDDED_SHARE: Final = 0.05
"""Of the time that the last commit took, how long an embedded leader waits for company."""
COMING_SHARE: Final = 0.2
"""Of the same time, how long it waits while company comes."""
JOINING_SHARE: Final = 0.25
"""Of the same time, how long others may join a group while its programs are run."""


class Company:
    """Of one writer: its last commit, and what follows from it for the next."""

    def __init__(self, volume: Volume, committing: Committing, queue: Queue) -> None:
        self._volume = volume
        self._committing = committing
        self._queue = queue
        self._last_group = 0
        self._last_commit_s = 0.0
        self.share = EMBEDDED_SHARE
        """Of the time that the last commit took, how long the leader waits."""

    def wait(self, window_ms: str | int) -> None:
        """Give others their time: other nodes by a gap, reads by a rest, this process's callers by `commit_window_ms`."""
        environment, root = self._volume.environment, self._volume.branch.latest().root
        gap_s = 0.0
        if not self._committing.pacing.is_paced:  # the pace leaves room for others
            gap_s = self._committing.fairness.gap_s(root, environment.monotonic(), environment.jitter())
        if window_ms == "auto":
            if (rest_s := max(gap_s, self._volume.driver.undisturbed.rest_s())) > 0:
                environment.sleep(rest_s)
            if self._last_group > 1:
                self._wait_for_the_last()
        elif wait_s := max(int(window_ms) / 1000, gap_s):
            environment.sleep(wait_s)

    def _wait_for_the_last(self) -> None:
        """Until as many are in line as rode in the last commit, as long as it may be (rule 1)."""
        looks = max(1, round(COMING_SHARE / self.share))
        while looks:
            before = len(self._queue.waiting)
            self._queue.wait_for(self._last_group, self._last_commit_s * self.share)
            looks -= 1
            missing = self._last_group - len(self._queue.waiting)
            if missing <= 0 or missing > looks * (self._last_group - missing - before):
                return

    def committed(self, group: int, took_s: float) -> None:
        """Learn how many programs rode in a commit, and how long it took."""
        self._last_group, self._last_commit_s = group, took_s

    def and_joining(self, group: list[Pending]) -> Iterator[Pending]:
        """The programs of the group, and after them those who lined up meanwhile, which are in the group from then on."""
        environment = self._volume.environment
        until_s = environment.monotonic() + self._last_commit_s * JOINING_SHARE
        for pending in group:
            yield pending
            if pending is group[-1] and environment.monotonic() < until_s:
                group += self._queue.take(GROUP_MAX - len(group), fit_together, group[0].program)

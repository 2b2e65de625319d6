"""The pace of one register: when this process may send its next swap to a store that takes only so many a second.

Knows the clock, and how to look at the root; the rules are in core/pace. Knows no SQL and no queue.

1. Until a store refuses a swap for its rate nothing is asked and nothing is held back.
2. A refused swap is not a try: the caller waits for its slot, for as long as its own time allows. But a store that does
   not show its root either is down.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from virke.core.pace import Look, Pace, Send, Sleep
from virke.core.root import Root, RootAt
from virke.engine.environment import Environment
from virke.errors import Unavailable

NO_LIMIT: Final = float("inf")


class Pacing:
    """What this process knows of one register's pace."""

    def __init__(self, environment: Environment, look: Callable[[], RootAt]) -> None:
        self._environment = environment
        self._look_at_root = look
        self._pace: Pace | None = None
        self._last: tuple[Root, float, float] | None = None
        """The last accepted swap, its sending and its answer, before there was a pace to tell of it."""
        self._first: tuple[Root, float] | None = None
        """The root of the first commit, and when it was known."""
        self._lock = threading.Lock()
        self._in_vain = False
        """Whether the store did not show its root after a refusal, however often it was asked (core/backoff)."""
        self.until_s = NO_LIMIT
        """When the caller of the commit that is under way gives up."""

    @property
    def is_paced(self) -> bool:
        """Whether the store has said that swaps come too fast."""
        return self._pace is not None and self._pace.is_paced

    @property
    def is_silent(self) -> bool:
        """Whether the store refuses swaps and reads alike: it is down, and that is not a pace."""
        return self._in_vain

    def gap_s(self) -> float:
        """The time between two accepted swaps, 0 where there is no limit."""
        return self._pace.gap_s if self._pace else 0.0

    def has_slot(self) -> bool:
        """Whether a swap may be sent at this moment."""
        return self._pace is None or isinstance(self._pace.step(self._environment.monotonic()), Send)

    def await_slot(self, until_s: float) -> bool:
        """Wait until a swap may be sent; False: not before `until_s`. Writes that go with it are taken after that."""
        while self._pace is not None:
            now_s = self._environment.monotonic()
            match self._pace.step(now_s):
                case Send():
                    return True
                case _ if now_s >= until_s:
                    return False
                case Sleep(at_s):
                    self._environment.wait(min(at_s, until_s) - now_s)
                case Look():
                    self._observe_root()
        return True

    def begins(self, root: Root) -> None:
        """A commit on `root` is about to be sent: what is newer than the first of them came after it."""
        if self._pace is None and self._first is None:
            self._first = root, self._environment.monotonic()

    def accepted(self, root: Root, sent_s: float) -> None:
        """The swap of `root`, sent at `sent_s`, was applied."""
        now_s = self._environment.monotonic()
        with self._lock:
            if self._pace is None:
                self._last = root, sent_s, now_s
            else:
                self._pace = self._pace.accepted(root, sent_s=sent_s, now_s=now_s)

    def refused(self, sent_s: float, retry_after_s: float | None) -> None:
        """The swap that was sent at `sent_s` came too soon; `seen` was called before with what was read after that."""
        with self._lock:
            chance = self._environment.jitter() - 0.5
            self._pace = self._known_pace().refused(sent_s=sent_s, retry_after_s=retry_after_s, chance=chance)

    def await_refused(self, sent_s: float, retry_after_s: float | None) -> None:
        """A commit that can't be planned again came too soon: wait for its slot.

        Raises:
            Unavailable: the time of the caller is over.
        """
        self._observe_root()
        self.refused(sent_s, retry_after_s)
        if self.is_silent or not self.await_slot(self.until_s):
            raise Unavailable("the store takes no more commits at this moment; try again")

    def seen(self, root: Root | None, read_s: tuple[float, float]) -> None:
        """A read that was begun and answered then showed `root`; None: it was not answered."""
        asked_s, now_s = read_s
        with self._lock:
            pace = self._known_pace()
            if root is None:
                self._in_vain = True
                self._pace = pace.looked_in_vain(asked_s=asked_s, now_s=now_s)
            else:
                self._in_vain = False
                self._pace = pace.seen(root, asked_s=asked_s, now_s=now_s)

    def _observe_root(self) -> None:
        asked_s = self._environment.monotonic()
        root: Root | None
        try:
            root = self._look_at_root().root
        except Unavailable:
            root = None
        self.seen(root, (asked_s, self._environment.monotonic()))

    def _known_pace(self) -> Pace:
        if self._pace is not None:
            return self._pace
        pace = Pace(self._environment.tag())
        if self._first:
            root, now_s = self._first
            pace = pace.seen(root, asked_s=now_s, now_s=now_s)
        if self._last:
            root, sent_s, now_s = self._last
            pace = pace.accepted(root, sent_s=sent_s, now_s=now_s)
        return pace

"""When to send the next swap to a store that takes only so many a second to one key (decision 0014, rules Q1-Q6).

Pure: a value that takes in what happened and when (monotonic seconds), and says what to do next: send, look, or sleep.

1. Nothing is held back until the store refuses a swap for its rate. From then on the gap between two accepted swaps is
   kept: of whichever process the last one was, for they share the register.
2. The gap is learned. It starts at a second; it grows when a swap was refused though the gap had passed and nothing had
   been committed in between; it shrinks carefully after many good commits. While others write nothing is tried, but
   a process whose gap is too long learns from the commits that it sees: else it would never come first.
3. A refused swap that finds the root moved was a collision: another process was faster, and the gap is right as it is.
4. Several processes take turns, the one that committed longest ago first. Each commit id ends in a tag of its process,
   so the ring says who that is. Who comes later in that order waits longer, looks whether another came first, and so
   learns of a commit without a refusal.
5. At every eighth version those that are in the order leave room for a process that is not in it yet.
6. `step` never says `Send` before the last look was begun at the time of the send, where there are others.

The caller takes the writes that wait when it is told to send, not when it begins to wait: they are all in one commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from virke.core.ids import TAG_BYTES, CommitId, Version
from virke.core.ring import RingEntry
from virke.core.root import Root
from virke.lazy_dataclasses import dataclass

FIRST_GAP_S: Final = 1.0
GAP_MOST_S: Final = 16.0
MARGIN: Final = 1.03
"""A swap that comes a few milliseconds early is refused, one that comes a few late costs a few milliseconds."""
GROWTH: Final = 1.5
HAS_PASSED: Final = 0.95
SHRINKING: Final = 0.9
GOOD_FIRST: Final = 64
GOOD_MOST: Final = 1024
GOOD_STEP: Final = 8
"""Good commits before the gap is first tried smaller, the most of them after failed tries, and between two steps."""
SEEN_LAST: Final = 8
"""How many of the last commits say who else writes."""
ROOM_EVERY: Final = 8
LOOK_EVERY_S: Final = 0.04
QUIET: Final = 0.8
"""The part of the gap in which there is nothing to see."""
TOO_LONG: Final = 0.97
"""A gap is too long if the last commits, some of them others', came on average after less than this part of it."""
STRIKES_MOST: Final = 3
NEVER: Final = float("-inf")
NO_VERSION: Final = Version(0)


@dataclass(frozen=True, slots=True)
class Send:
    """Take the writes that wait, and send the swap now."""


@dataclass(frozen=True, slots=True)
class Look:
    """Read the root (conditionally) and report it with `seen`."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Nothing to do until then (monotonic seconds)."""

    until_s: float


@dataclass(frozen=True, slots=True)
class Pace:
    """What is known of a register's rate, and of who else writes; `tag` is that of the own commit ids."""

    tag: bytes
    gap_s: float = 0.0
    last_s: float = NEVER
    """When the last accepted swap was sent, as well as is known."""
    not_before_s: float = NEVER
    """What the store itself said (`Retry-After`)."""
    version: Version = NO_VERSION
    writers: tuple[bytes, ...] = ()
    """The tags of the last commits, oldest first."""
    read_s: float = 0.0
    swap_s: float = 0.0
    """How long a read and a swap take."""
    good: int = 0
    good_needed: int = GOOD_FIRST
    safe_gap_s: float = 0.0
    is_trying: bool = False
    strikes: int = 0
    spread_s: float = 0.0
    """After a collision: a random wait, so that the two don't collide again."""
    counted_from: tuple[Version, float] = (NO_VERSION, NEVER)
    """A version that was seen, and when it was sent: from there on commits are counted."""
    looked_from_s: float = NEVER
    looked_s: float = NEVER

    @property
    def is_paced(self) -> bool:
        """Whether the store has ever said that swaps come too fast, and none of what followed says that it forgot it."""
        return self.gap_s > 0

    # What happened

    def seen(self, root: Root, *, asked_s: float, now_s: float) -> Pace:
        """A read begun at `asked_s` showed `root`: a newer one was swapped in about half a look before."""
        pace = replace(
            self,
            read_s=_running_mean(self.read_s, now_s - asked_s),
            looked_from_s=asked_s,
            looked_s=max(asked_s, now_s),
        )
        if root.head.version <= self.version:
            return pace
        sent_s = (asked_s + now_s - LOOK_EVERY_S) / 2
        if not self.version:  # who knows how old it is
            sent_s = NEVER
        last_s = max(self.last_s, sent_s)
        pace = replace(pace, version=root.head.version, writers=_recent_tags(root.ring), last_s=last_s, spread_s=0.0)
        return (pace._back_to_safe_gap() if pace.is_trying else pace)._after_others_commit()

    def looked_in_vain(self, *, asked_s: float, now_s: float) -> Pace:
        """A read begun at `asked_s` was not answered: send without knowing, rather than look for ever."""
        return replace(self, looked_from_s=asked_s, looked_s=max(asked_s, now_s))

    def accepted(self, root: Root, *, sent_s: float, now_s: float) -> Pace:
        """The swap of `root`, sent at `sent_s`, was applied."""
        pace = replace(
            self,
            version=root.head.version,
            writers=_recent_tags(root.ring),
            swap_s=_running_mean(self.swap_s, now_s - sent_s),
            last_s=sent_s,
            strikes=0,
            spread_s=0.0,
        )
        return pace._after_good_try() if pace.is_paced and not pace._has_others() else pace

    def refused(self, *, sent_s: float, retry_after_s: float | None, chance: float) -> Pace:
        """A swap was refused for its rate, and the root was read since then (`seen`); `chance` is from 0 to 1."""
        pace = replace(self, strikes=min(self.strikes + 1, STRIKES_MOST))
        if not self.is_paced:
            last_s = sent_s - FIRST_GAP_S / 2 if self.last_s == NEVER else self.last_s
            pace = replace(pace, gap_s=FIRST_GAP_S, safe_gap_s=FIRST_GAP_S, last_s=last_s)
        elif self.is_trying:
            pace = pace._back_to_safe_gap()
        elif sent_s - self.last_s >= HAS_PASSED * self.gap_s:  # so no other swap was accepted meanwhile (rule 3)
            gap_s = min(GROWTH * self.gap_s, GAP_MOST_S)
            pace = replace(pace, gap_s=gap_s, safe_gap_s=gap_s, good=0)
        if self.is_paced and self._has_others():
            pace = replace(pace, spread_s=chance * 2**pace.strikes * self._round_s())
        if retry_after_s:
            pace = replace(pace, not_before_s=max(self.looked_s, sent_s) + retry_after_s)
        return pace

    def _after_good_try(self) -> Pace:
        """One more commit without a refusal, alone (rule 2)."""
        good = self.good + 1
        if good < (GOOD_STEP if self.is_trying else self.good_needed):
            return replace(self, good=good)
        gap_s = self.gap_s * SHRINKING
        if gap_s < 2 * self._round_s():
            return replace(self, gap_s=0.0, good=0, good_needed=GOOD_FIRST, is_trying=False)
        return replace(self, gap_s=gap_s, safe_gap_s=self.gap_s, good=0, is_trying=True)

    def _after_others_commit(self) -> Pace:
        """Another has committed: a shorter gap, if the last commits show that the store takes more (rule 2)."""
        version, from_s = self.counted_from
        passed = self.version - version
        if from_s != NEVER and passed < SEEN_LAST:
            return self
        pace = replace(self, counted_from=(self.version, self.last_s))
        if from_s == NEVER or not self.is_paced:
            return pace
        mean_s = (self.last_s - from_s) / passed
        if mean_s >= TOO_LONG * self.gap_s:
            return pace
        return replace(pace, gap_s=mean_s, safe_gap_s=mean_s)

    def _back_to_safe_gap(self) -> Pace:
        """Back to the last gap that was good; the next try comes later."""
        needed = min(2 * self.good_needed, GOOD_MOST)
        return replace(self, gap_s=self.safe_gap_s, is_trying=False, good=0, good_needed=needed)

    # What to do

    def step(self, now_s: float) -> Send | Look | Sleep:
        """What to do at `now_s` to bring a commit into the register."""
        if not self.is_paced:
            return Send()
        shares = self._has_others() or self._leaves_room()
        due_s = self.slot_s() - (self.read_s if shares else 0.0)
        if not shares:
            return Send() if now_s >= due_s else Sleep(due_s)
        if now_s >= due_s:
            return Send() if self.looked_from_s >= due_s else Look()
        look_s = max(self.last_s + QUIET * self.gap_s, self.looked_s + LOOK_EVERY_S)
        return Look() if now_s >= look_s else Sleep(min(look_s, due_s))

    def slot_s(self) -> float:
        """The earliest time at which the next swap may be sent."""
        own = self.tag in self.writers
        turn_s = self._before_me() * self._delta_s() if own else 0.0
        room_s = self._delta_s() if own and self._leaves_room() else 0.0
        return max(self.last_s + MARGIN * self.gap_s + turn_s + room_s + self.spread_s, self.not_before_s)

    def _has_others(self) -> bool:
        return any(tag != self.tag for tag in self.writers)

    def _before_me(self) -> int:
        """How many others committed longer ago than this process did, and so come first."""
        latest = {tag: at for at, tag in enumerate(self.writers)}
        return sum(at < latest[self.tag] for at in latest.values())

    def _leaves_room(self) -> bool:
        return self.version % ROOM_EVERY == 0

    def _round_s(self) -> float:
        return max(self.read_s, self.swap_s)

    def _delta_s(self) -> float:
        """Long enough to see the commit of one that comes before."""
        return LOOK_EVERY_S + 1.25 * (self.read_s + self.swap_s)


def tag_of(commit_id: CommitId) -> bytes:
    """The tag of the process that made a commit id (rule 4). Before there were tags: random, so another one each time."""
    return commit_id[-TAG_BYTES:]


def _recent_tags(ring: Sequence[RingEntry]) -> tuple[bytes, ...]:
    return tuple(tag_of(entry.commit_id) for entry in ring[-SEEN_LAST:])


def _running_mean(before_s: float, took_s: float) -> float:
    """A running mean that one slow request does not spoil."""
    return 0.75 * before_s + 0.25 * min(took_s, 4 * before_s) if before_s else took_s

"""Whose turn it is to commit: how a writer that keeps losing gets a turn, and how the others wait for it (decision 0014).

Pure: values and plans; the caller has the clocks. Turns are for liveness alone, safety is compare-and-swap's.

1. A turn is a commit: a version and a commit id of its own, no pages. Without that, its swap could not be distinguished from
   another's, and a lost answer would make the next commit's outcome unknown.
2. It is taken after `LOSSES` lost races, on a root without a turn, before the SQL is run again. The swaps for it are not
   tries of the write.
3. Its holder renews it at half of its length, with the next serial, for as long as its statement may run.
4. A foreign turn is in the way until it is gone, or was seen for its length by the own monotonic clock. First seen
   counts, for each token and serial, and an older root never sets it back. The wall clock may only shorten the wait, for
   callers that are new each time: it is asked whether the turn was written more than twice its length ago, and clocks
   may differ by `CLOCKS_MS`.
5. Whoever commits removes the turn that it sees, its own or an expired one (core/change.next_root). A holder that died
   costs everyone one wait.
6. The commit that ends a turn leaves a rest: no turn is taken before the rest was watched for its time. Turns that
   follow each other without a break would starve writers that never need one.
7. A rest has no name, so it counts only while it is watched: after a pause of more than its length it begins again.
   Otherwise a writer that was busy meanwhile would take the next turn's rest for the one it saw.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from virke.core.change import change_without_pages, may_have_answered, next_root
from virke.core.commit import Plan
from virke.core.ids import CommitId, Version
from virke.core.root import Root
from virke.core.turn import Turn
from virke.lazy_dataclasses import dataclass

LOSSES: Final = 2
LENGTH_LEAST_MS: Final = 1_000
LENGTH_MOST_MS: Final = 10_000
CLOCKS_MS: Final = 10_000
REST_LEAST_MS: Final = 200
REST_SWAPS: Final = 4
POLL_LEAST_S: Final = 0.1
"""Half of the shortest rest: a waiter that looks less often could miss it."""
NEVER: Final = float("-inf")
NO_VERSION: Final = Version(0)


@dataclass(frozen=True, slots=True)
class Watch:
    """What a process has seen of turns and rests, by its monotonic clock."""

    version: Version = NO_VERSION
    turn: tuple[bytes, int] | None = None
    turn_from_s: float = NEVER
    rest_from_s: float = NEVER
    rest_seen_s: float = NEVER

    def saw(self, root: Root, now_s: float) -> Watch:
        """`root` was read, or swapped in, at `now_s`; an older one than was seen before changes nothing."""
        if root.head.version < self.version:
            return self
        watch = replace(self, version=root.head.version)
        if root.turn:
            key = root.turn.token, root.turn.serial
            from_s = self.turn_from_s if key == self.turn else now_s
            return replace(watch, turn=key, turn_from_s=from_s, rest_from_s=NEVER, rest_seen_s=NEVER)
        if not root.rest_ms:
            return watch
        watched = now_s - self.rest_seen_s <= root.rest_ms / 1000
        return replace(watch, rest_from_s=self.rest_from_s if watched else now_s, rest_seen_s=now_s)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a writer brings: the token of its turn (also while it has none), races lost so far, how long a swap takes.

    `may_take`: a write; upkeep and settings wait for turns and take none.
    """

    token: bytes
    losses: int = 0
    swap_s: float = 0.0
    may_take: bool = True


@dataclass(frozen=True, slots=True)
class Go:
    """Run the SQL if need be, and commit on this root."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Read the root again (conditionally) after so long, and ask again."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Take:
    """Swap a turn in (`plan_turn`), then run the SQL on the root that it made."""


Move = Go | Wait | Take


def is_clear(root: Root, claim: Claim) -> bool:
    """Whether a root has nothing that this writer would have to watch: then it goes on, whatever was seen before."""
    return root.turn is None and not root.rest_ms and not claim.losses


def next_move(root: Root, watch: Watch, claim: Claim, *, now_s: float, now_ms: int) -> Move:
    """What a writer does on the newest root that it knows; `watch` has seen it."""
    turn = root.turn
    if turn and turn.token != claim.token:
        left_s = expires_in_s(turn, watch, now_s=now_s, now_ms=now_ms)
        return Wait(min(left_s, max(POLL_LEAST_S, REST_SWAPS / 2 * claim.swap_s))) if left_s > 0 else Go()
    if turn or not claim.may_take or claim.losses < LOSSES:
        return Go()
    if root.rest_ms:
        rest_s = root.rest_ms / 1000
        left_s = rest_s - (now_s - watch.rest_from_s)
        if left_s > 0:
            return Wait(min(left_s, rest_s / 2))
    return Take()


def expires_in_s(turn: Turn, watch: Watch, *, now_s: float, now_ms: int) -> float:
    """For how much longer a foreign turn is in the way; 0 or less: it is not (rule 4)."""
    assert watch.turn == (turn.token, turn.serial), "the root with this turn was not seen"
    by_own_clock = turn.length_ms / 1000 - (now_s - watch.turn_from_s)
    by_wall_clock = (turn.written_ms + 2 * turn.length_ms + CLOCKS_MS - now_ms) / 1000
    return min(by_own_clock, by_wall_clock)


def length_ms(*, work_s: float, pace_s: float, swap_s: float) -> int:
    """How long a turn has to be: twice what the statement, its upload, the store's pace and two swaps took."""
    measured = round(2000 * (work_s + pace_s + 2 * swap_s))
    return min(max(measured, LENGTH_LEAST_MS), LENGTH_MOST_MS)


def rest_after_ms(swap_s: float) -> int:
    """The rest that a holder leaves: enough for others to see it, and to commit."""
    return max(REST_LEAST_MS, round(1000 * REST_SWAPS * swap_s))


def renewal_at_s(turn: Turn, taken_s: float, share: float = 0.5) -> float:
    """When the holder of a turn that was taken or renewed at `taken_s` renews it, if it is not done by then.

    `share` of its length: less before something during which it can't be renewed.
    """
    return taken_s + share * turn.length_ms / 1000


def plan_turn(root: Root, claim: Claim, commit_id: CommitId, *, length_ms: int, now_ms: int) -> Plan | None:
    """How to take a turn on `root`, or to renew it if it is the own one; None if another's is there."""
    if root.turn and root.turn.token != claim.token:
        return None
    serial = root.turn.serial + 1 if root.turn else 1
    turn = Turn(claim.token, serial, length_ms, now_ms)
    return Plan(next_root(root, commit_id, replace(change_without_pages(root, now_ms), turn=turn)))


def moved_turn_only(before: Root, after: Root) -> bool:
    """Whether only turns and fences are between two roots: what was stored for one is as good on the other."""
    head = replace(
        after.head, version=before.head.version, commit_id=before.head.commit_id, time_ms=before.head.time_ms
    )
    same = replace(after, head=head, ring=before.ring, turn=before.turn, rest_ms=before.rest_ms)
    return same == before and (after.head == before.head or not may_have_answered(before, after))

"""Collection: what may be deleted, decided by marking from the root, in two observations a grace period apart.

Pure. Knows references and indexes; deletes nothing itself.

A segment that replaced others (a merge, a whole image) lists them as its inputs; they are needed while a version
before its own `hi` is inside the history window. `Horizon` in the root says how far collection has come.

1. A segment is needed if the root names it, or if it is an input of a needed segment that is `held`: one whose `hi`
   is above the horizon, or that was created after the watermark. Nothing needed is ever deleted (P8).
2. Two observations: a swap writes horizon and watermark (advance); at the earliest `grace_ms` later what was already
   garbage then, and still is, is deleted (sweep). A reader in flight has that long; then it reads the root again.
3. An upload in flight is safe or doomed: an object created above the watermark is never deleted; one created at or
   below it belongs to a writer whose base the watermark's swap has made stale. (A merge that would be rebased over a
   watermark is abandoned: core/merge.py, rule 4.)
4. Garbage is deleted from the innermost outwards: `Marked.garbage` is in that order, so that a killed sweep is found again.
5. What a pin holds is needed, whatever the horizon says, and also below merges that were swept: the segments that
   showed its version when it was set. A merge that came later is read through its inputs; as its index names them, it
   is kept as well, while the pin lives (`merge.choose` leaves pinned segments alone, so few such merges come to be).
6. A branch deletes only what it wrote itself, in this life: segments that it took over are its parent's. What an
   earlier life of its name left behind is garbage: that life ended without anything that pinned it.
7. Clocks may be wrong. A commit's time is never before the time of the one before it, so one by a clock that is behind
   counts from there, and a clock that is ahead makes what comes after it look too young. To a collector, a time
   that is more than `SKEW_MS` in its own future says nothing: such a segment is as old as the first observation after it, which is the watermark. If
   there is none, or none by a plausible time, one is written for that alone, and history is let go when that is
   `history_days` old: where a clock was ahead, up to twice as much history is kept, and never less. An observation is
   never taken to be older than the newest commit that no clock disputes. (A collector believes its own clock: one that is
   ahead lets go too early. After a clock that was ahead, one that is behind may shorten history by as much as it is behind.)
8. The walk needs no LIST: garbage is found below the segments that hold it. Leftovers of killed writers are found by
   `leftovers`, which takes a listing and is used by `db gc` alone.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import field, replace
from typing import Final

from virke.core.change import change_without_pages, next_root
from virke.core.commit import Plan
from virke.core.effects import Effect, Outcome
from virke.core.finding import find_indexes
from virke.core.ids import CommitId, Version
from virke.core.pins import Pin
from virke.core.root import Horizon, Root
from virke.core.segment import Ref
from virke.errors import Corrupt
from virke.lazy_dataclasses import dataclass
from virke.lazy_patterns import pattern

GRACE_MS: Final = 10 * 60 * 1000
DAY_MS: Final = 86_400_000
SKEW_MS: Final = 7 * DAY_MS
"""A time that is further in the future than this is not waited for (rule 7). Below it, the commit's own time is believed: the
collector's clock may be the one that is wrong, by days, and an observation by one that was behind by years says little."""
_CREATED = pattern(r"([0-9a-f]{8})-([0-9a-f]{16})-[0-9a-f]{32}-\d+\.[0-9a-f]{4}")


@dataclass(frozen=True, slots=True)
class Marked:
    """The result of a walk: what is needed, and what is garbage by the root's own horizon and not swept yet."""

    needed: tuple[Ref, ...]
    garbage: tuple[Ref, ...]
    pinned: frozenset[Ref] = frozenset()
    """What of `needed` pins hold, whatever the horizon says (rule 5)."""
    inputs: Mapping[Ref, tuple[Ref, ...]] = field(default_factory=dict)
    """The inputs of each merge that history was read through."""

    @property
    def needed_keys(self) -> frozenset[str]:
        """The store keys of every needed part."""
        return frozenset(key for ref in self.needed for key in ref.keys)


def are_inputs_held(ref: Ref, horizon: Horizon) -> bool:
    """True if the inputs of `ref` are needed (rule 1)."""
    return ref.hi > horizon.version or ref.identity.created > horizon.watermark


def are_inputs_swept(ref: Ref, horizon: Horizon) -> bool:
    """True if the inputs of `ref` were deleted by an earlier sweep."""
    return ref.hi <= horizon.swept_version and ref.identity.created <= horizon.swept_watermark


def pins_through(pin: Pin, ref: Ref) -> bool:
    """True if `pin` reads `ref` through its inputs: it goes past the pinned version, or is a merge of after the pin."""
    return ref.has_inputs and (ref.hi > pin.version or ref.identity.created > pin.pinned_at)


def is_own(root: Root, ref: Ref) -> bool:
    """True if the branch of `root` wrote `ref` itself, in this life (rule 6)."""
    return ref.identity.branch == root.branch and ref.identity.epoch >= root.birth_epoch


def mark_needed(root: Root) -> Generator[Effect, Outcome, Marked]:
    """Walk from `root` to everything that it keeps and everything of its own that it let go."""
    marked = yield from _mark_history(root)
    pinned = yield from mark_pinned(root)
    needed = dict.fromkeys((*marked.needed, *pinned))
    garbage = tuple(ref for ref in marked.garbage if ref not in needed and is_own(root, ref))
    return Marked(tuple(needed), garbage, frozenset(pinned), marked.inputs)


def mark_pinned(root: Root) -> Generator[Effect, Outcome, tuple[Ref, ...]]:
    """Everything that the pins of `root` hold (rule 5), the merges on the way included."""
    needed: dict[Ref, None] = {}
    waiting = [(pin, ref) for pin in root.pins for ref in root.segments]
    while waiting:
        held_by = [(pin, ref) for pin, ref in waiting if ref.lo <= pin.version]
        needed |= dict.fromkeys(ref for _, ref in held_by)
        inner = [(pin, ref) for pin, ref in held_by if pins_through(pin, ref)]
        indexes = yield from find_indexes(list(dict.fromkeys(ref for _, ref in inner)))
        for _, ref in inner:
            if ref not in indexes:
                raise Corrupt(f"segment {ref.index_key} is missing")
        waiting = [(pin, child) for pin, ref in inner for child in indexes[ref].inputs]
    return tuple(needed)


def _mark_history(root: Root) -> Generator[Effect, Outcome, Marked]:
    """What the newest version and the history window need, and what they let go."""
    horizon = root.horizon
    needed: dict[Ref, None] = {}
    garbage: dict[Ref, None] = {}
    inputs: dict[Ref, tuple[Ref, ...]] = {}
    waiting = [(ref, True) for ref in root.segments]
    while waiting:
        batch, waiting = waiting, []
        for ref, is_needed in batch:
            (needed if is_needed else garbage)[ref] = None
        inner = [(ref, is_needed) for ref, is_needed in batch if ref.has_inputs and not are_inputs_swept(ref, horizon)]
        indexes = yield from find_indexes([ref for ref, _ in inner])
        for ref, is_needed in inner:
            index = indexes.get(ref)
            if index is None and is_needed:
                raise Corrupt(f"segment {ref.index_key} is missing")
            keep = is_needed and are_inputs_held(ref, horizon)
            inputs[ref] = index.inputs if index else ()
            waiting.extend((child, keep) for child in inputs[ref])
    return Marked(tuple(needed), tuple(ref for ref in reversed(garbage) if ref not in needed), inputs=inputs)


def advanced_horizon(root: Root, marked: Marked, now_ms: int) -> Horizon | None:
    """The first observation: a horizon that lets more go, or None if history is as long as it should be.

    `marked` may be of an older root: commits that came since only add to what is needed, and the sweep walks again.
    """
    horizon = root.horizon
    if horizon.is_pending:  # a grace period that seems to begin in a year begins now
        return replace(horizon, since_ms=now_ms) if is_ahead(horizon.since_ms, now_ms) else None
    cutoff_ms = now_ms - root.settings.history_days * DAY_MS
    merges = [ref for ref in marked.needed if ref.has_inputs and not are_inputs_swept(ref, horizon)]
    seen_ms = observed_ms(root, marked, now_ms)
    old = [ref.hi for ref in merges if time_of(ref, horizon, seen_ms, now_ms) <= cutoff_ms]
    watermark = Version(root.head.version + 1)
    if old:
        return replace(horizon, version=max(*old, horizon.version), watermark=watermark, since_ms=now_ms)
    ahead = [ref for ref in merges if is_ahead(ref.hi_time_ms, now_ms)]
    are_seen = any(ref.hi < horizon.watermark for ref in ahead) and not is_ahead(horizon.since_ms, now_ms)
    return replace(horizon, watermark=watermark, since_ms=now_ms) if ahead and not are_seen else None


def is_ahead(time_ms: int, now_ms: int) -> bool:
    """True if a clock that was ahead wrote `time_ms`, as far as a collector can tell (rule 7)."""
    return time_ms > now_ms + SKEW_MS


def time_of(ref: Ref, horizon: Horizon, seen_ms: int, now_ms: int) -> int:
    """When the newest version of `ref` was there at the latest."""
    is_seen = is_ahead(ref.hi_time_ms, now_ms) and ref.hi < horizon.watermark
    return seen_ms if is_seen else ref.hi_time_ms


def observed_ms(root: Root, marked: Marked, now_ms: int) -> int:
    """When the watermark was written: not before what is known to have been there."""
    times = (root.created_ms, *(ref.hi_time_ms for ref in marked.needed))
    return max((root.horizon.since_ms, *(time_ms for time_ms in times if time_ms <= now_ms)))


def may_be_due(root: Root, now_ms: int, grace_ms: int) -> bool:
    """False if the root alone shows that there is nothing to sweep or to advance: then the walk can be spared."""
    if root.horizon.is_pending:
        return may_sweep(root, now_ms, grace_ms) or is_ahead(root.horizon.since_ms, now_ms)
    return not now_ms - root.settings.history_days * DAY_MS < root.created_ms <= now_ms + SKEW_MS


def may_sweep(root: Root, now_ms: int, grace_ms: int) -> bool:
    """True if the second observation is due: a grace period has passed since the first."""
    return root.horizon.is_pending and now_ms - root.horizon.since_ms >= grace_ms


def plan_horizon(root: Root, horizon: Horizon, *, commit_id: CommitId, time_ms: int) -> Plan:
    """The commit that writes `horizon`."""
    return Plan(replace(next_root(root, commit_id, change_without_pages(root, time_ms)), horizon=horizon))


def swept_horizon(horizon: Horizon) -> Horizon:
    """`horizon` after its garbage was deleted."""
    return replace(horizon, swept_version=horizon.version, swept_watermark=horizon.watermark)


def leftover_keys(root: Root, marked: Marked, keys: Iterable[str]) -> list[str]:
    """Of the listed `keys`, those of `root`'s branch that it does not need and whose writers can't come back.

    They can't if what they would commit on is past (rule 3), or was an earlier life of the branch (rule 6).
    """
    needed, mine = marked.needed_keys, f"seg/{root.database_id.hex()}/{root.branch}/"
    found = []
    for key in keys:
        parsed = _CREATED.fullmatch(key.removeprefix(mine)) if key.startswith(mine) else None
        if parsed is None or key in needed:
            continue
        if int(parsed[1], 16) < root.birth_epoch or int(parsed[2], 16) <= root.horizon.watermark:
            found.append(key)
    return found

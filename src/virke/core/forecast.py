"""What history costs a day, and when what of it may be deleted: for `status`, from a walk that was done already.

Pure. Knows references and the rules of collection; decides nothing (core/collect does).

1. The inputs of a merge are kept until `history_days` after the newest version of the merge: its `hi` is below the
   horizon then. What is below an input goes no later.
2. What the newest version needs, what a pin holds and what another branch wrote is never counted as let go.
3. All that was written in the last `history_days` is still there: it is kept at least that long. So its bytes are what
   writes cost a day, merges included.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from virke.core.collect import DAY_MS, Marked, is_own, observed_ms, time_of
from virke.core.root import Root
from virke.core.segment import Ref
from virke.lazy_dataclasses import dataclass

_FOR_EVER: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Amount:
    """Some objects of the store."""

    objects: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """`now` could go today, `later` goes between `first_ms` and `last_ms` (0 if nothing does), whatever is written until then."""

    bytes_per_day: int
    now: Amount
    later: Amount
    first_ms: int
    last_ms: int


def amount_of(refs: Iterable[Ref]) -> Amount:
    """How much some segments are."""
    found = tuple(refs)
    return Amount(sum(ref.parts for ref in found), sum(ref.stored_bytes for ref in found))


def forecast_history(root: Root, marked: Marked, now_ms: int) -> Forecast:
    """What `marked`, the walk from `root`, says of the days to come."""
    ends = {ref: at_ms for ref, at_ms in _segment_ends(root, marked, now_ms).items() if ref not in marked.pinned}
    now = {ref for ref, at_ms in ends.items() if at_ms <= now_ms}.union(marked.garbage)
    later = {ref: at_ms for ref, at_ms in ends.items() if ref not in now}
    return Forecast(
        bytes_per_day=_bytes_per_day(root, marked, now_ms),
        now=amount_of(now),
        later=amount_of(later),
        first_ms=min(later.values(), default=0),
        last_ms=max(later.values(), default=0),
    )


def _segment_ends(root: Root, marked: Marked, now_ms: int) -> dict[Ref, int]:
    """When history lets go of each segment that the newest version does not need (rule 1)."""
    seen_ms, days_ms = observed_ms(root, marked, now_ms), root.settings.history_days * DAY_MS
    ends: dict[Ref, int] = {}
    waiting = [(ref, _FOR_EVER) for ref in root.segments]
    while waiting:
        ref, end_ms = waiting.pop()
        inner_ms = min(end_ms, time_of(ref, root.horizon, seen_ms, now_ms) + days_ms)
        for child in marked.inputs.get(ref, ()):
            ends[child] = max(ends.get(child, 0), inner_ms)
            waiting.append((child, inner_ms))
    return {ref: end_ms for ref, end_ms in ends.items() if ref not in root.segments and is_own(root, ref)}


def _bytes_per_day(root: Root, marked: Marked, now_ms: int) -> int:
    """The mean of the days that history keeps, or of those since the database was made; at least of one."""
    window_ms = max(DAY_MS, min(root.settings.history_days * DAY_MS, now_ms - root.created_ms))
    seen_ms, refs = observed_ms(root, marked, now_ms), {*root.segments, *marked.needed, *marked.garbage}
    own = [ref for ref in refs if is_own(root, ref)]
    written = [ref for ref in own if time_of(ref, root.horizon, seen_ms, now_ms) >= now_ms - window_ms]
    return amount_of(written).stored_bytes * DAY_MS // window_ms

"""From what a transaction changed to a commit plan: inline, spilled or as a segment of its own.

Pure. Knows roots, segments and sizes; knows no store but its largest part.

1. A commit of at most `INLINE_COMMIT_MAX` encoded bytes rides in the root: one store write (B1).
2. When inline commits outgrow their budget they are spilled, frames copied verbatim, into one segment;
   a larger commit takes them along into its own segment. Either way: one round of puts, one swap (B2).
3. A spill or a segment never drops a version: each commit stays a group of its own.
4. The new root's version is the base's plus one; its ring ends in its own commit id.
5. A commit removes the turn that it sees and leaves a rest, unless it takes or renews one (core/turntaking).
6. A restore is a commit like any other, and begins an epoch: only the pages go back.
7. Where a request may cost only so much, what is inline is spilled after an answer, from two thirds of its budget or `SPILL_COMMITS` on, by a commit of its own:
   then no request has to (2), and roots stay short. The newest commit stays: it has page 1, which everybody reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import field, replace
from typing import Final

from virke.core import carried, recent
from virke.core import hot as hot_pages
from virke.core.commit import Plan
from virke.core.effects import PutNew, Tier
from virke.core.extensions import with_restore
from virke.core.ids import CommitId, Epoch, PageCount, PageNo, Version
from virke.core.inline import Inline, encode_inline
from virke.core.packing import SegmentWriter
from virke.core.ring import ANSWERS_MAX, RING_LENGTH, Answer, Ring, RingEntry, ring_after
from virke.core.root import JOURNALS_MAX, JournalMark, Root, has_same_pages
from virke.core.segment import Frame, Head, Identity, Ref, encode_frame, frame_pages
from virke.core.settings import Settings
from virke.core.turn import Turn
from virke.lazy_dataclasses import dataclass

INLINE_COMMIT_MAX: Final = 64 << 10
INLINE_TOTAL_MIN: Final = 48 << 10
INLINE_TOTAL_MAX: Final = 512 << 10
INLINE_TOTAL_COMMITS: Final = 8
INLINE_COUNT_MAX: Final = 128
SPILL_COMMITS: Final = 12
"""Commits of a spill by itself: each takes some 0.8 million instructions of the step, which has 15."""
ANSWERS_KEPT: Final = 1024
PART_BYTES: Final = {Tier.KV: 256 << 10, Tier.OBJECT: 16 << 20}


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit brings: changed pages, and the state after it.

    `turn` is the one that it takes or renews; `rest_ms` what the holder of a turn leaves behind it. A fence (`keeps_turn`)
    proves that a root is the newest, and lets the turn in it be: its holder loses nothing (`may_go_on`).
    """

    pages: Mapping[PageNo, bytes]
    page_size: int
    page_count: PageCount
    checksum: int
    time_ms: int
    answers: tuple[Answer, ...] = ()
    marks: tuple[JournalMark, ...] = ()
    settings: Settings | None = None
    tier: Tier | None = None
    turn: Turn | None = None
    rest_ms: int = 0
    keeps_turn: bool = False
    part_bytes: Mapping[Tier, int] = field(default_factory=lambda: PART_BYTES)
    whole: frozenset[Tier] = frozenset()
    """The tiers whose stores have no ranges (`SegmentWriter`)."""
    restores: Version | None = None
    """The version that these pages bring back: a new epoch begins."""
    recent_bytes: int = 0
    """How much of recent segments' indexes the root carries (core/recent)."""


def next_root(root: Root, commit_id: CommitId, change: Change) -> Root:
    """`root` after the commit of `change`, except for its pages."""
    return _root_after(root, _next_head(root, commit_id, change), change, segments=root.segments, inline=root.inline)


def _next_head(root: Root, commit_id: CommitId, change: Change) -> Head:
    return Head(
        version=Version(root.head.version + 1),
        commit_id=commit_id,
        time_ms=max(change.time_ms, root.head.time_ms),  # clocks jump back; history must not
        page_size=change.page_size,
        page_count=change.page_count,
        checksum=change.checksum,
    )


def _root_after(
    root: Root, head: Head, change: Change, *, segments: tuple[Ref, ...], inline: tuple[Inline, ...]
) -> Root:
    """`root` with the state, the segments and the inline commits that it has after `change`: copied once."""
    journals = _with_marks(root.journals, change.marks)
    if change.restores is not None:  # ring, answers and marks go on as the newest (decision 0037)
        extensions = with_restore(root.extensions, head.version, change.restores)
        root = replace(root, epoch=Epoch(root.epoch + 1), extensions=extensions)
    ring = _next_ring(root, RingEntry(head.commit_id, change.answers), keeps_answers=not change.pages)
    return replace(
        root,
        head=head,
        segments=segments,
        inline=inline,
        ring=_with_bounded_answers(ring) if change.answers else ring,
        journals=journals[-JOURNALS_MAX:],
        marks_dropped=head.version if len(journals) > JOURNALS_MAX else root.marks_dropped,
        settings=change.settings or root.settings,
        tier=change.tier or root.tier,
        turn=change.turn or (root.turn if change.keeps_turn else None),
        rest_ms=_rest_ms(root, change),
    )


def _rest_ms(root: Root, change: Change) -> int:
    """The rest after a turn that this commit ends: its holder's measure, or the length of one that expired."""
    if change.turn:
        return 0
    if root.turn is None or change.keeps_turn:
        return root.rest_ms
    return change.rest_ms or root.turn.length_ms


def change_without_pages(root: Root, time_ms: int, *, settings: Settings | None = None) -> Change:
    """A change of references or settings only: no pages."""
    head = root.head
    return Change({}, head.page_size, head.page_count, head.checksum, time_ms, settings=settings)


def plan_change(root: Root, commit_id: CommitId, change: Change) -> Plan:
    """How to commit `change` on `root`."""
    if not change.pages:
        return Plan(next_root(root, commit_id, change))
    head = _next_head(root, commit_id, change)
    is_sorted = len(change.pages) >= hot_pages.FROM_PAGES  # its hot pages come last, in other frames
    is_apart = not is_sorted and len(root.segments) > 1
    interior = carried.interior_of(change.pages) if change.recent_bytes and is_apart else set()
    inline = _encode_inline(head, change.pages, interior, bytes_max=INLINE_COMMIT_MAX if is_sorted else None)
    if inline is None:
        puts, ref = _new_segment(root, commit_id, root.inline, change, state=head)
        return Plan(_root_after(root, head, change, segments=(*root.segments, ref), inline=()), puts)
    size = inline.data_bytes
    carries = sum([commit.data_bytes for commit in root.inline])
    if size <= INLINE_COMMIT_MAX and carries + size <= _inline_budget(size) and len(root.inline) < INLINE_COUNT_MAX:
        if interior:
            root = replace(root, extensions=carried.with_noted(root.extensions, interior))
        return Plan(_root_after(root, head, change, segments=root.segments, inline=(*root.inline, inline)))
    left: tuple[Inline, ...] = ()
    if size <= INLINE_COMMIT_MAX:
        spilled, left = root.inline, (inline,)
    else:
        spilled = (*root.inline, inline)
    return _plan_with_spilled(root, head, change, spilled, left=left, interior=interior)


def plan_spill(root: Root, commit_id: CommitId, change: Change) -> Plan:
    """How to put inline commits of `root`, but never the newest, into a segment, by a commit that changes no page (rule 7)."""
    count = min(len(root.inline) - 1, SPILL_COMMITS)
    spilled, left = root.inline[:count], root.inline[count:]
    interior = carried.noted_in(root.extensions).intersection(page for commit in left for page in commit.pages)
    return _plan_with_spilled(root, _next_head(root, commit_id, change), change, spilled, left=left, interior=interior)


def is_spill_worth(root: Root) -> bool:
    """Whether `root` carries so much that it is better in a segment, before a commit has to put it there (rule 7)."""
    if len(root.inline) < 2:
        return False
    older = sum([commit.data_bytes for commit in root.inline[:-1]])
    least = min(commit.data_bytes for commit in root.inline)  # a page that splits makes one commit large
    return len(root.inline) > SPILL_COMMITS or 3 * older >= 2 * _inline_budget(least)


def _inline_budget(size: int) -> int:
    """How much a root carries inline at most, if the newest commit has that size."""
    return min(max(INLINE_TOTAL_MIN, INLINE_TOTAL_COMMITS * size), INLINE_TOTAL_MAX)


def _plan_with_spilled(
    root: Root,
    head: Head,
    change: Change,
    spilled: tuple[Inline, ...],
    *,
    left: tuple[Inline, ...] = (),
    interior: Set[PageNo] = frozenset(),
) -> Plan:
    """A commit whose root has `spilled` in a segment, and carries `left`; `interior`: those of its own pages that are."""
    frames: list[Frame] = []
    puts, ref = _new_segment(root, head.commit_id, spilled, change, frames=frames)
    segments = (*root.segments, ref)
    if change.recent_bytes:
        made = {recent.key_of(ref): recent.newest_of(frames)}
        extensions = recent.with_copies(root.extensions, segments, made, change.recent_bytes)
        if not left:
            extensions, interior = carried.with_noted(extensions, interior), frozenset()
        extensions = carried.with_spilled(extensions, segments, spilled, frames, left=interior)
        root = replace(root, extensions=extensions)
    return Plan(_root_after(root, head, change, segments=segments, inline=left), puts)


def may_go_on(base: Root, now: Root) -> bool:
    """Whether what was computed on `base` may be committed on `now`, without running it again.

    A turn, a fence, a merge and a change of settings move the root, and no page: what SQL saw is still there. It is not
    for pages that were uploaded while they were written: their segment says which version they are of.
    """
    return has_same_pages(base, now) and base.journals == now.journals and not may_have_answered(base, now)


def may_have_answered(base: Root, now: Root) -> bool:
    """Whether keyed requests were answered since `base`, as far as the ring shows; perhaps one that is to be committed."""
    passed = now.head.version - base.head.version
    return not 0 < passed <= len(now.ring) or any(entry.answers for entry in now.ring[-passed:])


def tier_for(root: Root, size_bytes: int) -> Tier:
    """Where a database of `size_bytes` belongs by its own settings; it never moves back to the KV tier by itself."""
    settings = root.settings
    if root.tier is Tier.OBJECT or settings.tier == "object":
        return Tier.OBJECT
    return Tier.OBJECT if settings.tier == "auto" and size_bytes > settings.promote_at_mb << 20 else Tier.KV


def identity_of(root: Root, commit_id: CommitId, ordinal: int = 0) -> Identity:
    """The identity of a segment that the next commit on `root` would name."""
    return Identity(root.database_id, root.branch, root.epoch, Version(root.head.version + 1), commit_id, ordinal)


def copy_inline(
    writer: SegmentWriter, commits: Iterable[Inline], frames: list[Frame] | None = None
) -> Iterator[tuple[str, bytes]]:
    """Add inline commits to a segment, a group each, frames as they are; to `frames` goes where they are there."""
    for commit in commits:
        for frame in commit.frames:
            yield from writer.copy(frame, commit.data[frame.offset : frame.offset + frame.length])
            if frames is not None and writer.last is not None:
                frames.append(writer.last)
        writer.end_group(commit.head)


def _new_segment(
    root: Root,
    commit_id: CommitId,
    commits: tuple[Inline, ...],
    change: Change,
    *,
    state: Head | None = None,
    frames: list[Frame] | None = None,
) -> tuple[tuple[PutNew, ...], Ref]:
    """A segment of `commits`; with `state`, of the changed pages as well, the hot ones last."""
    tier = change.tier or root.tier
    most, is_whole = change.part_bytes[tier], tier in change.whole
    writer = SegmentWriter(identity_of(root, commit_id), tier, most, is_whole=is_whole)
    parts = list(copy_inline(writer, commits, frames))
    if state:
        hot = hot_pages.HotPages(len(change.pages))
        parts += writer.pages(state.page_size, hot.cold(sorted(change.pages.items())))
        parts += hot.finish(writer, state)
    last, ref = writer.finish(())
    return tuple(PutNew(tier, key, data) for key, data in (*parts, *last)), ref


def _encode_inline(
    head: Head, pages: Mapping[PageNo, bytes], apart: Set[PageNo], *, bytes_max: int | None
) -> Inline | None:
    """The pages as an inline commit, those of `apart` in frames of their own; None as soon as it is longer than that."""
    offset = 0
    frames: list[Frame] = []
    datas: list[bytes] = []
    for some in _pages_of_frames(sorted(pages), frame_pages(head.page_size), apart):
        frame, data = encode_frame(some, b"".join(pages[number] for number in some), part=0, offset=offset)
        frames.append(frame)
        datas.append(data)
        offset += len(data)
        if bytes_max is not None and offset > bytes_max:
            return None
    return encode_inline(head, frames, b"".join(datas))


def _pages_of_frames(numbers: Sequence[PageNo], most: int, apart: Set[PageNo]) -> Iterator[tuple[PageNo, ...]]:
    """The pages of each frame: at most so many, and those of `apart` with no others but the first page, which is small."""
    some: list[PageNo] = []
    for number in numbers:
        if some and (len(some) == most or (apart and (number in apart) != (some[-1] in apart or some[-1] == 1))):
            yield tuple(some)
            some = []
        some.append(number)
    if some:
        yield tuple(some)


def _next_ring(root: Root, entry: RingEntry, *, keeps_answers: bool) -> Sequence[RingEntry]:
    """The ring with one more entry.

    A commit without pages (upkeep, a fence) pushes no answer out of it: the oldest entry that stays takes over those of
    the one that goes.
    """
    if isinstance(root.ring, Ring) and not entry.answers:
        return ring_after(root.ring, entry)
    ring = (*root.ring, entry)
    kept = ring[-RING_LENGTH:]
    gone = ring[: len(ring) - len(kept)]
    if not keeps_answers or not any(one.answers for one in gone):
        return kept
    answers = tuple(answer for one in (*gone, kept[0]) for answer in one.answers)
    return (RingEntry(kept[0].commit_id, answers[-ANSWERS_MAX:]), *kept[1:])


def _with_bounded_answers(ring: Sequence[RingEntry]) -> Sequence[RingEntry]:
    """The ring with at most `ANSWERS_KEPT` answers, the newest; every commit id stays."""
    total = sum([len(entry.answers) for entry in ring])
    if total <= ANSWERS_KEPT:
        return ring
    kept: list[RingEntry] = []
    total = 0
    for entry in reversed(ring):
        total += len(entry.answers)
        kept.append(entry if total <= ANSWERS_KEPT else RingEntry(entry.commit_id))
    return tuple(reversed(kept))


def _with_marks(journals: tuple[JournalMark, ...], marks: tuple[JournalMark, ...]) -> tuple[JournalMark, ...]:
    if not marks:
        return journals
    moved = {mark.journal_id for mark in marks}
    kept = [mark for mark in journals if mark.journal_id not in moved]
    return (*kept, *marks)

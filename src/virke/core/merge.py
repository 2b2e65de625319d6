"""Compaction and whole images: many segments into one, page by page, and the commit that names the result.

Pure: generators of effects. Knows the segment format and which runs are worth merging; reads nothing itself.

1. References change, contents never: the merged segment's pages are the newest of its inputs.
2. Runs are adjacent, so that versions stay in order; the merged segment spans `lo … hi` of its inputs and lists
   them, which keeps every version of the history window reconstructible.
3. Write amplification is bounded: a run is merged when `FAN_IN` segments of like size stand together, or when what
   came later is half of the oldest.
4. A merge that lost the race to a commit is rebased while its inputs are still a run of the new root, but never past
   a collection watermark: then its upload might be garbage already (core/collect.py, rule 3). Nor past a pin: a merge
   that is older than the pin passes for what the pin holds, and its inputs would go.
5. Segments that pins hold are left alone while they are few: they are kept anyway, and a merge of them is kept twice.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Final

from virke.core import carried, recent
from virke.core.change import PART_BYTES, change_without_pages, identity_of, next_root
from virke.core.commit import Plan
from virke.core.effects import Absent, Delete, Effect, Outcome, Tier
from virke.core.finding import bring_entries
from virke.core.hot import HotPages
from virke.core.ids import CommitId, PageNo, Version
from virke.core.index import Index
from virke.core.packing import SegmentWriter
from virke.core.page import lock_page
from virke.core.pins import Pin
from virke.core.reading import read_decoded
from virke.core.root import Root
from virke.core.segment import Frame, Head, Ref, decode_frame
from virke.core.upload import AT_ONCE, Upload
from virke.errors import Corrupt, VirkeError
from virke.lazy_dataclasses import dataclass

FAN_IN: Final = 4
TIER_RATIO: Final = 4
SMALLEST_BYTES: Final = 64 << 10
BATCH_PAGES: Final = 1024
HELD_BYTES: Final = 8 << 20
"""What parts take that wait to be stored: a merge runs beside requests, and its memory comes on top of theirs (B18)."""
PINNED_MAX: Final = 32
"""Of more segments than these, pinned ones are merged too: reads would suffer."""
WINDOW_PAGES: Final = 64 << 10
"""How many pages are sorted out at a time: what bounds the memory of a merge."""


@dataclass(frozen=True, slots=True)
class Run:
    """Segments `start … stop - 1` of a root, to be merged into one."""

    start: int
    stop: int


def choose_in(root: Root) -> Run | None:
    """The run of `root` most worth merging, or None; among segments that no pin holds, unless too many are held."""
    pinned = max((at for pin in root.pins for at in _held_by(pin, root.segments)), default=0)
    if pinned > PINNED_MAX:
        return choose_run(root.segments)
    run = choose_run(root.segments[pinned:])
    return run and Run(run.start + pinned, run.stop + pinned)


def _held_by(pin: Pin, segments: tuple[Ref, ...]) -> Iterator[int]:
    """For each of the segments that `pin` holds as they are, how many there are up to it."""
    for at, ref in enumerate(segments, 1):
        if ref.lo <= pin.version and ref.identity.created <= pin.pinned_at:
            yield at


def choose_run(segments: tuple[Ref, ...]) -> Run | None:
    """The run most worth merging, or None."""
    if len(segments) < 2:
        return None
    later = sum(ref.stored_bytes for ref in segments[1:])
    if len(segments) >= FAN_IN and later * 2 >= segments[0].stored_bytes:
        return Run(0, len(segments))
    return like_sized_run(segments, 1)


def like_sized_run(segments: tuple[Ref, ...], least: int) -> Run | None:
    """The segments from `least` on that stand together and are of like size, up to the newest; None if they are too few."""
    for start in range(len(segments) - FAN_IN, least - 1, -1):
        newest = max(_size_class(ref) for ref in segments[start + 1 :])
        if _size_class(segments[start]) <= newest:
            first = start
            while first > least and _size_class(segments[first - 1]) <= newest:
                first -= 1
            return Run(first, len(segments))
    return None


def _size_class(ref: Ref) -> int:
    size, found = ref.stored_bytes // SMALLEST_BYTES, 0
    while size >= TIER_RATIO:
        size //= TIER_RATIO
        found += 1
    return found


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge to do: its inputs with their indexes, and the writer's identity on `root`."""

    root: Root
    run: Run
    indexes: tuple[Index, ...]
    commit_id: CommitId
    tier: Tier

    @property
    def inputs(self) -> tuple[Ref, ...]:
        """The segments that are merged, oldest first."""
        return self.root.segments[self.run.start : self.run.stop]


def merge_segments(
    job: Merge,
    part_bytes: dict[Tier, int] | None = None,
    *,
    plain: frozenset[Tier] = frozenset(),
    whole: frozenset[Tier] = frozenset(),
) -> Generator[Effect, Outcome, Ref]:
    """Write the merged segment; returns its reference. Nothing names it yet.

    Raises:
        Unavailable: a part could not be read or stored. Corrupt: an input is damaged. What was uploaded is deleted.
    """
    most = (part_bytes or PART_BYTES)[job.tier]
    upload = Upload(job.tier, at_once=max(1, min(AT_ONCE, HELD_BYTES // most)))
    try:
        is_plain = job.tier in plain
        identity, is_whole = identity_of(job.root, job.commit_id), job.tier in whole
        writer = SegmentWriter(identity, job.tier, most, is_plain=is_plain, is_whole=is_whole)
        return (yield from _write_merged(job, upload, writer))
    except VirkeError:
        yield upload.removal()
        raise


def _write_merged(job: Merge, upload: Upload, writer: SegmentWriter) -> Generator[Effect, Outcome, Ref]:
    newest = job.indexes[-1].groups[-1].head
    hot = HotPages(newest.page_count)
    for first in range(1, newest.page_count + 1, WINDOW_PAGES):
        last = min(first + WINDOW_PAGES - 1, newest.page_count)
        for index in job.indexes:
            yield from bring_entries(index, first, last)
        found = winning_frames(job, newest, first, last)
        for at in range(0, len(found), BATCH_PAGES):
            pages = yield from _read_batch(job, found[at : at + BATCH_PAGES], newest.page_size)
            yield from upload.put(writer.pages(newest.page_size, hot.cold(pages)))
    yield from upload.put(hot.finish(writer, newest))
    parts, ref = writer.finish(job.inputs, lo=job.inputs[0].lo)
    yield from upload.put(parts)
    yield from upload.finish()
    return ref


def plan_merge(
    root: Root,
    job: Merge,
    ref: Ref,
    *,
    commit_id: CommitId,
    time_ms: int,
    begun_at: Version | None = None,
    index: bytes = b"",
    recent_bytes: int | None = None,
    frames: Sequence[carried.Carried] = (),
) -> Plan | None:
    """The commit that puts `ref` in the place of its inputs on `root`; None if that may not be done any more.

    `begun_at` is the version above which `ref` counts as made, if not that of the job's root. `index`: its bytes, of which the root
    carries a copy if there is room in `recent_bytes`, and a segment that is older; `frames`: those that it carries then.
    """
    inputs, begun_at = job.inputs, job.root.head.version if begun_at is None else begun_at
    if root.horizon.watermark > begun_at or root.epoch != job.root.epoch:
        return None
    if any(pin.pinned_at > begun_at for pin in root.pins):
        return None
    for start in range(len(root.segments) - len(inputs) + 1):
        if root.segments[start : start + len(inputs)] == inputs:
            break
    else:
        return None
    segments = (*root.segments[:start], ref, *root.segments[start + len(inputs) :])
    made = {recent.key_of(ref): recent.copy_of(index, ref)} if index and start else {}
    extensions = recent.with_copies(root.extensions, segments, made, recent_bytes)
    held = {recent.key_of(ref): list(frames)} if frames and start else {}
    extensions = carried.with_carried(extensions, segments, held)
    return Plan(
        replace(
            next_root(root, commit_id, change_without_pages(root, time_ms)), segments=segments, extensions=extensions
        )
    )


def removal_of(ref: Ref) -> Delete:
    """The effect that removes a segment which nothing names."""
    return Delete(ref.tier, ref.keys)


def winning_frames(job: Merge, newest: Head, first: int, last: int) -> list[tuple[PageNo, int, Frame, int]]:
    """For each page from `first` to `last`: page, input, frame and slot of its newest bytes, ascending."""
    found: dict[PageNo, tuple[PageNo, int, Frame, int]] = {}
    skip = lock_page(newest.page_size)  # a page of another size may have had its number
    for number, (ref, index) in enumerate(zip(job.inputs, job.indexes, strict=True)):
        for page, (frame, slot) in index.pages(Version(ref.hi), first, last).items():
            if page != skip:
                found[page] = (page, number, frame, slot)
    return [found[page] for page in sorted(found)]


def _read_batch(
    job: Merge, winners: list[tuple[PageNo, int, Frame, int]], page_size: int
) -> Generator[Effect, Outcome, list[tuple[PageNo, bytes]]]:
    """Fetch and decode a batch, one `Get` for each tier."""
    frames = {(number, frame.part, frame.offset): frame for _, number, frame, _ in winners}
    decoded: dict[tuple[int, int, int], list[bytes]] = {}
    for tier in Tier:
        places = [place for place in frames if job.inputs[place[0]].tier == tier]
        if not places:
            continue
        ranges = [
            (job.inputs[number].identity.part_key(part), offset, frames[number, part, offset].length)
            for number, part, offset in places
        ]

        def decode(at: int, data: bytes, places: list[tuple[int, int, int]] = places) -> list[bytes]:
            return decode_frame(frames[places[at]], data, page_size, job.indexes[places[at][0]].what)

        for place, pages in zip(places, (yield from read_decoded(tier, ranges, decode)), strict=True):
            if isinstance(pages, Absent):
                raise Corrupt(f"{job.indexes[place[0]].what}: the object is missing")
            decoded[place] = pages
    return [(page, decoded[number, frame.part, frame.offset][slot]) for page, number, frame, slot in winners]

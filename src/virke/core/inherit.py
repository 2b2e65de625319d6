"""The first root of a branch: what it takes over from the root that its pin was set on.

Pure: a generator of effects. Reads indexes only where an earlier version is asked for.

1. The branch reads as its source did at the pinned version, and names only what the pin holds.
2. Its versions go on from the pin's swap, and nothing before its first one can be read from it: segments that it took
   over are older than its horizon, its watermark and what counts as swept.
3. Recent commits, answers, journal marks and pins are not taken over: what was answered there was answered by another branch.
4. A segment that goes past the pinned version, and replaced nothing, is a row of commits: those up to the version are
   copied, frames as they are, into a segment of the branch's own.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from virke.core.change import PART_BYTES
from virke.core.effects import Absent, Effect, Outcome, PutNew
from virke.core.finding import bring_entries, find_indexes
from virke.core.ids import CommitId, PageCount, Version
from virke.core.index import Index
from virke.core.packing import SegmentWriter
from virke.core.pins import Parent, Pin
from virke.core.reading import read_decoded
from virke.core.ring import RingEntry
from virke.core.root import Horizon, Root
from virke.core.segment import Frame, Head, Identity, Ref, decode_frame
from virke.errors import Corrupt
from virke.lazy_dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _AsOf:
    """What a version is read from: the state, whole segments, and one of which only a part belongs to it."""

    head: Head
    segments: tuple[Ref, ...]
    cut: tuple[Ref, Index] | None = None


def inherited_root(
    source: Root, pin: Pin, commit_id: CommitId, time_ms: int
) -> Generator[Effect, Outcome, tuple[Root, tuple[PutNew, ...]]]:
    """The first root of the branch that `pin` is for, and what has to be stored before it is placed.

    Raises:
        Unavailable: the store did not answer. Corrupt: an index is damaged or missing.
    """
    first = Version(pin.pinned_at + 1)
    inline = tuple(commit for commit in source.inline if commit.version <= pin.version)
    if pin.version == source.head.version:
        at = _AsOf(source.head, source.segments)
    else:
        at = yield from _as_of(source, pin.version)
    head = inline[-1].head if inline else at.head
    root = Root(
        database_id=source.database_id,
        name=source.name,
        branch=pin.name,
        epoch=pin.birth_epoch,
        head=replace(head, version=first, commit_id=commit_id, time_ms=max(time_ms, source.head.time_ms)),
        created_ms=time_ms,
        tier=source.tier,
        settings=source.settings,
        ring=(RingEntry(commit_id),),
        horizon=Horizon(first, first, time_ms, first, first),
        segments=at.segments,
        inline=inline,
        birth_epoch=pin.birth_epoch,
        parent=Parent(source.branch, source.birth_epoch),
        extensions=tuple(each for each in source.extensions if each.is_inherited),
    )
    if at.cut is None:
        return root, ()
    ref, puts = yield from _copied_segment(root, *at.cut, version=pin.version)
    return replace(root, segments=(*root.segments, ref)), puts


def _as_of(source: Root, version: Version) -> Generator[Effect, Outcome, _AsOf]:
    """The segments that show `version`; a merge that goes past it is replaced by its inputs."""
    nothing = Head(version, source.head.commit_id, source.created_ms, source.head.page_size, PageCount(0), 0)
    waiting, cut = list(source.segments), None
    whole: list[Ref] = []
    while waiting:
        here = [ref for ref in waiting if ref.lo <= version]
        whole += [ref for ref in here if ref.hi <= version]
        past = [ref for ref in here if ref.hi > version]
        indexes = yield from find_indexes(past)
        waiting = []
        for ref in past:
            index = _present_index(indexes, ref)
            waiting += index.inputs
            if not index.inputs:
                cut = ref, index
    whole.sort(key=lambda ref: ref.hi)
    if cut is None and not whole:
        return _AsOf(nothing, ())
    index = cut[1] if cut else _present_index((yield from find_indexes(whole[-1:])), whole[-1])
    head = [group.head for group in index.groups if group.head.version <= version][-1]
    return _AsOf(head, tuple(whole), cut)


def _present_index(indexes: dict[Ref, Index], ref: Ref) -> Index:
    if ref not in indexes:
        raise Corrupt(f"segment {ref.index_key} is missing")
    return indexes[ref]


def _copied_segment(
    root: Root, ref: Ref, index: Index, *, version: Version
) -> Generator[Effect, Outcome, tuple[Ref, tuple[PutNew, ...]]]:
    """The commits of a segment up to `version` as a segment of `root`'s own."""
    identity = Identity(root.database_id, root.branch, root.epoch, root.head.version, root.head.commit_id)
    writer = SegmentWriter(identity, root.tier, PART_BYTES[root.tier])
    parts: list[tuple[str, bytes]] = []
    yield from bring_entries(index)
    for number, group in enumerate(index.groups):
        if group.head.version > version:
            continue
        frames, size = list(index.frames(number)), group.head.page_size
        places = [(ref.identity.part_key(frame.part), frame.offset, frame.length) for frame in frames]

        def whole(at: int, data: bytes, frames: list[Frame] = frames, size: int = size) -> bytes:
            decode_frame(frames[at], data, size, index.what)
            return data

        for frame, data in zip(frames, (yield from read_decoded(ref.tier, places, whole)), strict=True):
            if isinstance(data, Absent):
                raise Corrupt(f"{index.what}: the object is missing")
            parts += writer.copy(frame, data)
        writer.end_group(group.head)
    last, made = writer.finish(())
    return made, tuple(PutNew(root.tier, key, data) for key, data in (*parts, *last))

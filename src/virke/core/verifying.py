"""Reading all that a root needs, and checking every checksum in it.

Pure: generators of effects. Knows roots, references, indexes and frames; knows no SQL.

1. Everything is read from the store itself, past every copy: a good copy must not hide a damaged object.
2. Nothing that is found ends the walk: a damaged object is one `Damage`, and the others are read all the same.
3. Memory is bounded by one index and one chunk of a part, whatever the size of the database.
4. What only a swept merge names is not asked for: collection has deleted it (core/collect, rule 1).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import field
from typing import Final

from virke.core.collect import are_inputs_held, are_inputs_swept, pins_through
from virke.core.effects import Absent, Effect, Get, Outcome, Tier
from virke.core.ids import PageNo
from virke.core.index import Index, Stub, decode_index
from virke.core.pins import Pin
from virke.core.root import Root
from virke.core.segment import Frame, Ref, decode_frame
from virke.errors import Corrupt, Unavailable
from virke.lazy_dataclasses import dataclass

CHUNK_BYTES: Final = 8 << 20
"""How much of a part is read at a time; a part as it is written is no longer."""
_MISSING: Final = "the object is missing"
FramePlace = tuple[str, int]
"""The key of a frame's object, and its offset in it; in the root the key is empty and the offset that of its commit."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not what was written: the object's key, and what is wrong with it.

    `kind` is `missing` (an object is not there), `index`, `frame`, `inline` (a commit that the root carries), `state` (whole frames
    that do not make up the state that was committed) or `sql` (what SQLite finds).
    """

    kind: str
    object: str
    what: str


@dataclass(slots=True)
class Findings:
    """What a walk found so far."""

    damages: list[Damage] = field(default_factory=list)
    bad_segments: set[Ref] = field(default_factory=set)
    """Those whose index can't be read."""
    bad_frames: dict[FramePlace, tuple[PageNo, ...]] = field(default_factory=dict)
    """Damaged frames, and their pages."""
    owners: dict[Damage, Ref] = field(default_factory=dict)
    """The segment of each damage in one."""
    objects: int = 0
    frames: int = 0
    bytes: int = 0

    def add(self, ref: Ref, damage: Damage) -> None:
        """One more, in segment `ref`."""
        self.damages.append(damage)
        self.owners[damage] = ref


Seen = Callable[[Ref, Frame, Sequence[bytes]], None]
"""Called with every whole frame of a segment, and its pages."""


def fresh_index(ref: Ref) -> Generator[Effect, Outcome, Index]:
    """The index of `ref` with all of its entries, from the store itself. Raises `Corrupt`, `Unavailable`."""
    [data] = yield from _get_ranges(ref.tier, [(ref.index_key, ref.index_offset, ref.index_length)])
    if isinstance(data, Absent):
        raise Corrupt(_MISSING)
    index = decode_index(data, ref)
    if isinstance(index, Stub):
        places = index.places
        datas = yield from _get_ranges(
            ref.tier, [(ref.identity.part_key(at.part), at.offset, at.length) for at in places]
        )
        index = index.with_tables([_present_part(each) for each in datas])
    missing = index.missing()
    keys = [(ref.identity.part_key(place.part), place.offset, place.length) for _, place in missing]
    for (block, _), each in zip(missing, (yield from _get_ranges(ref.tier, keys)) if keys else (), strict=True):
        index.take(block, _present_part(each))
    return index


def needed_segments(root: Root, findings: Findings) -> Generator[Effect, Outcome, list[tuple[Ref, Index | None]]]:
    """Every segment that `root`'s newest version, its history and its pins need; None for one without a readable index.

    Indexes that are not readable are added to `findings`. Raises `Unavailable`.
    """
    found: dict[Ref, Index | None] = {}
    waiting: list[tuple[Ref, bool, tuple[Pin, ...]]] = [(ref, True, root.pins) for ref in root.segments]
    while waiting:
        ref, is_held, pins = waiting.pop()
        through = tuple(pin for pin in pins if ref.lo <= pin.version and pins_through(pin, ref))
        keeps = is_held and are_inputs_held(ref, root.horizon) and not are_inputs_swept(ref, root.horizon)
        if ref not in found:
            try:
                found[ref] = yield from fresh_index(ref)
            except Corrupt as error:
                found[ref] = None
                findings.bad_segments.add(ref)
                is_gone = error.message == _MISSING
                findings.add(ref, Damage("missing" if is_gone else "index", ref.index_key, error.message))
        for child in index.inputs if (index := found[ref]) else ():
            child_pins = tuple(pin for pin in through if child.lo <= pin.version)
            if keeps or child_pins:
                waiting.append((child, keeps, child_pins))
    return list(found.items())


def check_segment(
    index: Index, findings: Findings, seen: Seen, report: Callable[[int], None]
) -> Generator[Effect, Outcome, None]:
    """Read every frame of a segment and check it; `report` is called with the bytes of each chunk."""
    ref = index.ref
    by_part: dict[int, list[tuple[Frame, int]]] = {part: [] for part in range(ref.parts)}
    for number, group in enumerate(index.groups):
        for frame in index.frames(number):
            by_part.setdefault(frame.part, []).append((frame, group.head.page_size))
    for part, frames in by_part.items():
        key = ref.identity.part_key(part)
        findings.objects += 1
        for chunk in _chunks_of_frames(sorted(frames, key=lambda one: one[0].offset)):
            start = chunk[0][0].offset
            length = chunk[-1][0].offset + chunk[-1][0].length - start
            [data] = yield from _get_ranges(ref.tier, [(key, start, length)])
            findings.bytes += length
            if isinstance(data, Absent):
                findings.bad_frames.update({(key, frame.offset): frame.pages for frame, _ in frames})
                if (missing := Damage("missing", key, _MISSING)) not in findings.owners:
                    findings.add(ref, missing)
                break
            for frame, page_size in chunk:
                findings.frames += 1
                try:
                    at = frame.offset - start
                    pages = decode_frame(frame, data[at : at + frame.length], page_size, "here")
                except Corrupt as error:
                    findings.bad_frames[key, frame.offset] = frame.pages
                    what = (
                        f"offset {frame.offset}: {error.message.removeprefix('here: ')} ({_named_pages(frame.pages)})"
                    )
                    findings.add(ref, Damage("frame", key, what))
                else:
                    seen(ref, frame, pages)
            report(length)


def check_inline(root: Root, findings: Findings, seen: Callable[[Frame, int, Sequence[bytes]], None]) -> None:
    """Check the commits that the root itself carries; `seen` is called with the number of each one's version, too."""
    for commit in root.inline:
        for frame in commit.frames:
            findings.frames += 1
            data = commit.data[frame.offset : frame.offset + frame.length]
            try:
                pages = decode_frame(frame, data, commit.head.page_size, "here")
            except Corrupt as error:
                findings.bad_frames["", frame.offset + (commit.head.version << 32)] = frame.pages
                what = f"version {commit.head.version}: {error.message.removeprefix('here: ')} ({_named_pages(frame.pages)})"
                findings.damages.append(Damage("inline", f"root/{root.name}/{root.branch}", what))
            else:
                seen(frame, commit.head.version, pages)


def _chunks_of_frames(frames: Sequence[tuple[Frame, int]]) -> Iterator[list[tuple[Frame, int]]]:
    """Neighbours that are read at once."""
    chunk: list[tuple[Frame, int]] = []
    for one in frames:
        frame = one[0]
        if chunk and frame.offset + frame.length - chunk[0][0].offset > CHUNK_BYTES:
            yield chunk
            chunk = []
        chunk.append(one)
    if chunk:
        yield chunk


def _named_pages(pages: Sequence[PageNo]) -> str:
    return f"page {pages[0]}" if len(pages) == 1 else f"{len(pages)} pages from {pages[0]} on"


def _get_ranges(
    tier: Tier, ranges: Sequence[tuple[str, int, int]]
) -> Generator[Effect, Outcome, Sequence[bytes | Absent]]:
    answer = yield Get(tier, tuple(ranges), fresh=True)
    if not isinstance(answer, list):
        raise Unavailable("the store did not answer a read")
    return answer


def _present_part(data: bytes | Absent) -> bytes:
    if isinstance(data, Absent):
        raise Corrupt("a part of the index is missing")
    return data

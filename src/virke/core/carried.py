"""Frames of recent segments that have interior pages, carried by the root: a reader that knows nothing passes them without a lookup.

Pure. Byte layout: docs/format.md (an extension of the root). Knows frames and references; decides nothing about a root.

1. What is carried are bytes of a frame as they are in its segment, which never change; whoever finds the frame in an index holds the
   bytes against its checksum, and reads the segment if they are others.
2. It is of one segment for ever (`recent.key_of`). So what a writer left in a root whose segments are others means nothing there.
3. Which pages of inline commits are interior is **noted** by each commit that writes one, which has it uncompressed. A spill then knows
   which frames to carry, and inflates none. What is noted wrongly, or not at all, costs a lookup, or some bytes.
4. All of it has at most `BYTES_MAX`. The newest segments come first, and a frame of which all interior pages came before is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from virke.core.extensions import CARRIED, Extension
from virke.core.hot import INTERIOR
from virke.core.ids import ID_BYTES, PageNo
from virke.core.inline import Inline
from virke.core.recent import Key, key_of
from virke.core.segment import Frame, Ref
from virke.core.wire import Reader, Writer, number_column
from virke.errors import Corrupt

BYTES_MAX: Final = 24 << 10
NOTED_MAX: Final = 128
_RECORD: Final = struct.Struct(f">{ID_BYTES}sBIHIHI")
"""Commit id, ordinal and index checksum of a segment; part, offset, pages and bytes of a frame."""
_PAGE_BYTES: Final = 4
Place = tuple[int, int]
"""The part of a frame, and where it begins in that."""


class Carried(NamedTuple):
    """One frame: where it is in its segment, the interior pages in it, its encoded bytes."""

    place: Place
    pages: tuple[PageNo, ...]
    data: bytes


def interior_of(pages: Mapping[PageNo, bytes]) -> set[PageNo]:
    """Which of those are interior; the first page is in every commit, and not asked for."""
    return {number for number, data in pages.items() if number > 1 and data[0] in INTERIOR}


def carried_in(extensions: tuple[Extension, ...]) -> dict[Key, list[Carried]]:
    """What a root carries, by segment; nothing where it can't be read."""
    return _read_carried(extensions)[1]


def frames_in(extensions: tuple[Extension, ...]) -> dict[Key, dict[Place, bytes]]:
    """The same for a reader: bytes by place."""
    return {key: {one.place: one.data for one in frames} for key, frames in carried_in(extensions).items()}


def noted_in(extensions: tuple[Extension, ...]) -> set[PageNo]:
    """The pages of inline commits that are noted as interior (rule 3)."""
    return _noted_and_rest(extensions)[0]


def with_noted(extensions: tuple[Extension, ...], pages: Iterable[PageNo]) -> tuple[Extension, ...]:
    """The same, and that those pages of the commit to come are interior (rule 3)."""
    noted, rest = _noted_and_rest(extensions)
    wanted = noted.union(pages)
    return extensions if wanted == noted else _with_carried(extensions, wanted, rest)


def with_spilled(
    extensions: tuple[Extension, ...],
    segments: Sequence[Ref],
    commits: Iterable[Inline],
    frames: Sequence[Frame],
    *,
    left: Iterable[PageNo],
) -> tuple[Extension, ...]:
    """What the root of `segments` carries after `commits` became the last of them, whose frames are `frames` there, in their order.

    `left`: the interior pages of the commit that stays inline.
    """
    noted, known = _read_carried(extensions)
    datas = [commit.data[frame.offset : frame.offset + frame.length] for commit in commits for frame in commit.frames]
    made: list[Carried] = []
    passed: set[PageNo] = set()
    for frame, data in zip(reversed(frames), reversed(datas), strict=True):
        if found := tuple([page for page in frame.pages if page in noted and page not in passed]):
            passed.update(frame.pages)
            made.append(Carried((frame.part, frame.offset), found, data))
    return _with_carried(extensions, set(left), _encoded_records(segments, {**known, key_of(segments[-1]): made}))


def with_carried(
    extensions: tuple[Extension, ...], segments: Sequence[Ref], made: Mapping[Key, list[Carried]]
) -> tuple[Extension, ...]:
    """What the root of `segments` carries: of what it did before, and of what was `made`."""
    noted, known = _read_carried(extensions)
    return _with_carried(extensions, noted, _encoded_records(segments, {**known, **made}))


def _encoded_records(segments: Sequence[Ref], known: Mapping[Key, list[Carried]]) -> bytes:
    out = Writer()
    passed: set[PageNo] = set()
    for ref in reversed(segments):
        for one in known.get(key_of(ref), ()):
            if passed.issuperset(one.pages) or len(out) + len(one.data) + _RECORD.size > BYTES_MAX:
                continue
            passed.update(one.pages)
            fields = (*key_of(ref), *one.place, len(one.pages), len(one.data))
            out.raw(_RECORD.pack(*fields) + struct.pack(f">{len(one.pages)}I", *one.pages))
            out.raw(one.data)
    return out.bytes()


def _with_carried(extensions: tuple[Extension, ...], noted: set[PageNo], rest: bytes) -> tuple[Extension, ...]:
    others = [each for each in extensions if each.type_number != CARRIED]
    if not noted and not rest:
        return tuple(others)
    out, kept = Writer(), sorted(noted)[-NOTED_MAX:]
    out.varint(len(kept))
    for number in kept:
        out.varint(number)
    out.raw(rest)
    return tuple(sorted([*others, Extension(CARRIED, out.bytes())], key=lambda each: each.type_number))


def _noted_and_rest(extensions: tuple[Extension, ...]) -> tuple[set[PageNo], bytes]:
    """The pages that are noted, and what comes after them; neither where they can't be read."""
    data = next((each.data for each in extensions if each.type_number == CARRIED), b"")
    if not data:
        return set(), b""
    source = Reader(data, "frames that a root carries")
    try:
        return set(map(PageNo, source.varints(source.count(1)))), source.raw(source.left)
    except Corrupt:
        return set(), b""


def _read_carried(extensions: tuple[Extension, ...]) -> tuple[set[PageNo], dict[Key, list[Carried]]]:
    noted, data = _noted_and_rest(extensions)
    source = Reader(data, "frames that a root carries")
    found: dict[Key, list[Carried]] = {}
    try:
        for key, one in _each_record(source):
            found.setdefault(key, []).append(one)
    except Corrupt:  # rule 1: what is left is read from segments
        return noted, {}
    return noted, found


def _each_record(source: Reader) -> Iterator[tuple[Key, Carried]]:
    while source.left:
        *key, part, offset, count, length = source.unpack(_RECORD)
        pages = tuple(map(PageNo, number_column(source.raw(_PAGE_BYTES * count))))
        yield (key[0], key[1], key[2]), Carried((part, offset), pages, source.raw(length))

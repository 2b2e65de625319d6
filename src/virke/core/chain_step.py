"""One step of a merge in steps: which pages it takes, what it reads for them, and the link that it puts.

Pure: a generator of effects. Knows chains (`chain`), frames and which pages are hot; knows no root.

1. A step does something in any case, and otherwise stays within its bounds: what it reads is counted before it is read.
2. Pages ascend within each phase: first those that are not hot, then the lower hot ones, then the upper ones (core/hot).
3. A page of which no byte is more frequent than others is not compressed: that costs most, and is in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Final

from virke.core.blocks import Listed, Place
from virke.core.chain import COLD, DONE, LOWER, UPPER, Chain, Link, encode_link, get_fresh
from virke.core.codec import STRIDED
from virke.core.commit import store_objects
from virke.core.effects import Absent, Effect, Outcome, PutNew, Tier
from virke.core.entries import FRAMES_MAX, encode_entries
from virke.core.hot import FROM_PAGES, INTERIOR, child_pages, last_child
from virke.core.ids import PageNo
from virke.core.index import Index, Listing
from virke.core.merge import winning_frames
from virke.core.segment import Frame, check_frame, decode_frame, encode_frame, frame_pages
from virke.errors import Corrupt, Unavailable
from virke.lazy_dataclasses import dataclass

_SPARE_BYTES: Final = 16 << 10
"""Of a part, for the index and the place of the next step, beyond what the index of the link before it takes."""
_PAGES_MIN: Final = 32
_SAMPLE_BYTES: Final = 512
_DENSE_BYTES: Final = 205
"""So many different bytes are among the sample of a page that does not shrink: 221 where all are random, 60 in text (rule 3)."""
_DENSE_SHARE: Final = 8
"""What such a page costs: so much less than one that is compressed."""
_READ_BYTES: Final = 6 << 10
"""What a read, and the entries that come with it, counts for among the bytes that are taken apart."""
_COPY_BYTES: Final = 5 << 10
"""What a frame counts for that is copied as it is: to find and to list it takes as much as to take apart so many bytes."""
_STRIDED_TIMES: Final = 4
"""So many times as much as to inflate costs adding up differences, too."""
_SORTED_GROUPS: Final = 3
"""At least so many has a segment whose hot pages are behind the others (core/hot, and here)."""
_INSIDE_BYTES: Final = 6 << 10
"""While an index is no longer than this, entries are in it: to see that a page is not in the segment then takes no other part. Those of hot pages always are."""
_NOWHERE: Final = (1 << 16, 0)
"""Behind all parts."""
Winner = tuple[PageNo, int, Frame, int]
"""A page, the number of the input that has its newest bytes, its frame there and its place in it."""
Piece = tuple[int, bytes]
"""Bytes of a part, and where they begin."""
Pieces = Callable[[int, int], Piece | None]
"""What is in memory already of an input's part, by their numbers."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one step may cost. Of both kinds of bytes it may have half, or all of one and nothing of the other."""

    parts: int
    """Reads of its inputs."""
    decoded_bytes: int
    """Of pages in frames that are taken apart, and of frames that are copied."""
    encoded_bytes: int
    """Of pages that are compressed."""
    part_bytes: int
    """Its own part."""


def _no_piece(number: int, part: int) -> None:
    del number, part


def take_step(
    chain: Chain, indexes: tuple[Index, ...], before: Link, bounds: Bounds, *, known: Pieces = _no_piece
) -> Generator[Effect, Outcome, Link]:
    """Take the step behind `before`; the link that it put. What is `known` is not read.

    Raises:
        Exists: another process took it. Unavailable: a part could not be read or stored. Corrupt: an input is damaged.
    """
    assert before.identity in (None, chain.identity), "a link goes on from one of its own chain"
    taking = _Step(chain, indexes, before, bounds, known=known)
    yield from taking.run()
    data, link = encode_link(chain, before.links, bytes(taking.buffer), groups=taking.listing, place=taking.place)
    put = PutNew(chain.tier, chain.identity.part_key(before.links), data)
    if failed := (yield from store_objects((put,))):
        raise Unavailable(f"the store did not take a part of a merge: {failed}")
    return link


class _Step:
    """One step while it is taken."""

    def __init__(
        self, chain: Chain, indexes: tuple[Index, ...], before: Link, bounds: Bounds, *, known: Pieces
    ) -> None:
        self._chain, self._job = chain, chain.job(indexes)
        self._head = indexes[-1].groups[-1].head
        self._before, self._bounds = before, bounds
        self.place = before.place
        self.buffer = bytearray()
        self._frames: tuple[list[Frame], ...] = ([], [], [])
        """Those of each phase."""
        self._hot_at = list(map(_hot_at, indexes))
        self._known = known
        self._parts: dict[tuple[int, int], Piece] = {}
        """Of the parts that were read."""
        self._reads = 0
        """How many reads that took."""
        self._seen: dict[PageNo, bytes] = {}
        """Hot pages that this step came past."""
        self._charged: set[tuple[int, int, int]] = set()
        """The frames that count among the bytes taken apart."""
        self._unpacked: tuple[Frame | None, list[bytes]] = (None, [])
        """The frame that was taken apart last, and its pages."""
        self._decoded = self._encoded = 0
        self._did = False
        self.listing: Listing = ()
        """The groups of the index so far, once it has run: one for each phase."""

    def run(self) -> Generator[Effect, Outcome, None]:
        """As much as the bounds allow."""
        while self.place.phase < DONE and not (self._did and self._is_full(self._decoded, self._encoded)):
            found, next_page = yield from self._next_pages()
            if not found and next_page == self.place.next_page:
                break  # its entries are in parts that this step may not read any more
            while taken := self._within_bounds(found):  # again, where what was written cost less than it might have
                yield from self._write_pages(taken)
                self._did = True
                found = found[len(taken) :]
            if found:
                self.place = replace(self.place, next_page=found[0][0])
                break
            if next_page:
                self.place = replace(self.place, next_page=next_page)
            else:
                self.place = replace(self.place, phase=self.place.phase + 1, next_page=1)
        known = self._before.groups or ((self._head, ()),) * len(self._frames)
        self.listing = tuple(
            (self._head, (*blocks, *self._listed_blocks(frames, phase)))
            for phase, ((_, blocks), frames) in enumerate(zip(known, self._frames, strict=True))
        )
        self.place = replace(self.place, stored_bytes=self._before.place.stored_bytes + len(self.buffer))

    def _listed_blocks(self, frames: list[Frame], phase: int) -> Iterator[Listed]:
        """The blocks of frames of this link; the entries of a long chain go behind the frames in the KV tier, whose objects come whole.

        Not those of hot pages, which every lookup asks for.
        """
        is_far = phase == COLD and self._chain.tier is Tier.KV and self._before.index_bytes > _INSIDE_BYTES
        for at in range(0, len(frames), FRAMES_MAX):
            block, entries = encode_entries(frames[at : at + FRAMES_MAX])
            if is_far:
                yield Listed(block, Place(self._before.links, len(self.buffer), len(entries)))
                self.buffer += entries
            else:
                yield Listed(block, entries)

    def _bring_entries(self, first: int, last: int) -> Generator[Effect, Outcome, int]:
        """Read entries of pages from `first` to `last` that the indexes lack; up to which page they are here then.

        Those of the page that this step begins with are read in any case (rule 1).
        """
        begins = self.place == self._before.place and first <= self._begins_at()
        for number, index in enumerate(self._job.indexes):
            for block, place in sorted(index.missing(first, last), key=lambda one: index.first_of(one[0])):
                key = number, place.part
                if not self._has_bytes(*key, place.offset, place.offset + place.length):
                    must = begins and index.first_of(block) <= first
                    is_far = self._reads >= self._bounds.parts - 1  # one is left for the first page itself
                    if (is_far or self._is_full(self._decoded + _READ_BYTES, self._encoded)) and not must:
                        last = min(last, max(index.first_of(block), first) - 1)
                        break
                    yield from self._read_parts({key: (0, None)})
                start, data = self._parts[key]
                index.take(block, data[place.offset - start : place.offset - start + place.length])
        return last

    def _next_pages(self) -> Generator[Effect, Outcome, tuple[list[Winner], int]]:
        """The next pages of the phase, and the page behind them; 0 if there is none."""
        head, first = self._head, self.place.next_page
        count = max(1, (self._bounds.decoded_bytes - self._decoded) // head.page_size)
        if self.place.phase != COLD:
            wanted = self._wanted_pages()
            found: list[Winner] = []
            for page in wanted[:count]:
                if (yield from self._bring_entries(page, page)) < page:
                    return found, page
                found += winning_frames(self._job, head, page, page)
            return found, wanted[count] if len(wanted) > count else 0
        width = max(count, _PAGES_MIN)
        while True:
            last = yield from self._bring_entries(first, wanted_last := min(first + width - 1, head.page_count))
            found = winning_frames(self._job, head, first, last)
            if last < wanted_last and len(found) <= count:
                return found, last + 1
            if len(found) > count:
                return found[:count], found[count][0]
            if last >= head.page_count:
                return found, 0
            if len(found) == count:
                return found, last + 1
            width *= 4  # the segments have few of these pages

    def _wanted_pages(self) -> list[int]:
        """The hot pages of the phase from `place` on."""
        return [page for page in sorted(self.place.hot) if page >= self.place.next_page and self._is_of_phase(page)]

    def _begins_at(self) -> int:
        """The first page that is to be taken."""
        if self.place.phase == COLD:
            return self.place.next_page
        return next(iter(self._wanted_pages()), self.place.next_page)

    def _is_of_phase(self, page: int) -> bool:
        is_upper = page in self.place.schema or self.place.hot[page] in self.place.hot
        return self.place.phase == (UPPER if is_upper else LOWER)

    def _within_bounds(self, found: list[Winner]) -> list[Winner]:
        """As many of `found` as this step may still take; at least one if it did nothing yet."""
        size, stays, bounds = self._head.page_size, self._staying_places(found), self._bounds
        room = bounds.part_bytes - self._before.index_bytes - _SPARE_BYTES - len(self.buffer)
        spans: dict[tuple[int, int], tuple[int, int]] = {}
        decoded, encoded = self._decoded, self._encoded
        charged = set(self._charged)
        for at, (page, number, frame, _) in enumerate(found):
            stay = at in stays
            if page not in self._seen and (key := (number, frame.part, frame.offset)) not in charged:
                charged.add(key)
                _widen_span(spans, number, frame)
                decoded += _COPY_BYTES if stay else 0
                decoded += frame.length if stay and self._is_known_cold(number, frame) else self._frame_worth(frame)
                room -= frame.length if stay else 0
            if not stay:
                encoded += size
                room -= size
            reads = len(self._missing_spans(spans))
            is_over = (
                self._is_full(decoded + reads * _READ_BYTES, encoded) or room < 0 or self._reads + reads > bounds.parts
            )
            if is_over and (at or self._did or self.place != self._before.place):
                return found[:at]
            self._decoded, self._encoded = decoded, encoded
            self._charged |= charged
        return found

    def _is_full(self, decoded: int, encoded: int) -> bool:
        """Whether so many bytes of both kinds are more than there may be."""
        bounds = self._bounds
        most = bounds.decoded_bytes * bounds.encoded_bytes
        return decoded * bounds.encoded_bytes + encoded * bounds.decoded_bytes > most

    def _frame_worth(self, frame: Frame) -> int:
        """What taking a frame apart counts for."""
        return len(frame.pages) * self._head.page_size * (_STRIDED_TIMES if frame.codec == STRIDED else 1)

    def _staying_places(self, found: list[Winner]) -> set[int]:
        """The places in `found` of frames that may stay as they are (chain, rule 5)."""
        at = 0
        stays: set[int] = set()
        while at < len(found):
            frame = found[at][2]
            length = len(frame.pages)
            some = found[at : at + length]
            is_whole = len(some) == length and all(one[2] is frame and one[0] not in self._seen for one in some)
            if is_whole:
                stays.update(range(at, at + length))
                at += length
            else:
                at += 1
        return stays

    # Reading

    def _fetch_frames(self, taken: list[Winner]) -> Generator[Effect, Outcome, None]:
        """Read the parts that the frames of `taken` are in, each in one range."""
        spans: dict[tuple[int, int], tuple[int, int]] = {}
        for _, number, frame, _ in taken:
            _widen_span(spans, number, frame)
        yield from self._read_parts(
            {key: (start, stop - start) for key, (start, stop) in self._missing_spans(spans).items()}
        )

    def _missing_spans(self, spans: dict[tuple[int, int], tuple[int, int]]) -> dict[tuple[int, int], tuple[int, int]]:
        """What of parts is not here."""
        return {key: span for key, span in spans.items() if not self._has_bytes(*key, *span)}

    def _read_parts(self, wanted: dict[tuple[int, int], tuple[int, int | None]]) -> Generator[Effect, Outcome, None]:
        """Read of each part `wanted` bytes from a place on; all of it in the KV tier, where it comes anyway."""
        inputs = self._chain.inputs
        for tier in Tier:
            asked = {key: span for key, span in wanted.items() if inputs[key[0]].tier is tier}
            if tier is Tier.KV:
                asked = dict.fromkeys(asked, (0, None))
            names = {key: inputs[key[0]].identity.part_key(key[1]) for key in asked}
            self._reads += len(asked)
            self._decoded += len(asked) * _READ_BYTES
            answers = (yield from get_fresh(tier, *((names[key], *asked[key]) for key in asked))) if asked else []
            for key, data in zip(asked, answers, strict=True):
                if isinstance(data, Absent):
                    raise Corrupt(f"{names[key]}: the object is missing")
                self._parts[key] = asked[key][0], data

    def _has_bytes(self, number: int, part: int, start: int, stop: int) -> bool:
        """Whether bytes of a part are here, be it that they are `known`."""
        for piece in (self._parts.get((number, part)), self._known(number, part)):
            if piece is not None and piece[0] <= start and stop <= piece[0] + len(piece[1]):
                self._parts[number, part] = piece
                return True
        return False

    def _bytes_of(self, number: int, frame: Frame) -> bytes:
        start, data = self._parts[number, frame.part]
        return data[frame.offset - start : frame.offset - start + frame.length]

    def _pages_of(self, number: int, frame: Frame) -> list[bytes]:
        if self._unpacked[0] is not frame:
            data, what = self._bytes_of(number, frame), self._key_of(number, frame)
            self._unpacked = frame, decode_frame(frame, data, self._head.page_size, what)
        return self._unpacked[1]

    def _key_of(self, number: int, frame: Frame) -> str:
        return self._chain.inputs[number].identity.part_key(frame.part)

    # Writing

    def _write_pages(self, taken: list[Winner]) -> Generator[Effect, Outcome, None]:
        """Put pages into frames, those of whole frames as they are."""
        yield from self._fetch_frames([one for one in taken if one[0] not in self._seen])
        stays, at = self._staying_places(taken), 0
        waiting: list[tuple[PageNo, bytes]] = []
        was_dense = False
        while at < len(taken):
            page, number, frame, slot = taken[at]
            may_stay = at in stays and not slot
            if may_stay and self._is_known_cold(number, frame):
                check_frame(frame, self._bytes_of(number, frame), self._key_of(number, frame))
            elif may_stay:
                may_stay = not any(map(self._is_hot, frame.pages, self._pages_of(number, frame)))
            if may_stay:
                self._flush(waiting, is_plain=was_dense)
                copied = replace(frame, part=self._before.links, offset=len(self.buffer))
                self._add_frame(copied, self._bytes_of(number, frame))
                at += len(frame.pages)
                continue
            data = self._seen[page] if page in self._seen else self._pages_of(number, frame)[slot]
            if self._is_hot(page, data):
                self._pass_hot(page, data)
            else:
                is_dense = _is_dense(data)
                most = frame_pages(self._head.page_size) if self.place.phase == COLD else 1  # a lookup needs one
                if len(waiting) == most or is_dense != was_dense:
                    self._flush(waiting, is_plain=was_dense)
                was_dense = is_dense
                waiting.append((page, data))
            at += 1
        self._flush(waiting, is_plain=was_dense)

    def _is_known_cold(self, number: int, frame: Frame) -> bool:
        """Whether no page of a frame is left to a later phase, as can be said without looking into it."""
        if self.place.phase != COLD or self._head.page_count < FROM_PAGES:
            return True
        hot_at = self._hot_at[number]
        is_before = hot_at is not None and (frame.part, frame.offset) < hot_at
        return is_before and self.place.schema.isdisjoint(frame.pages)

    def _is_hot(self, page: PageNo, data: bytes) -> bool:
        """Whether a page is left to a later phase."""
        if self.place.phase != COLD or self._head.page_count < FROM_PAGES:
            return False
        return page in self.place.schema or data[0] in INTERIOR

    def _pass_hot(self, page: PageNo, data: bytes) -> None:
        schema = self.place.schema
        if page in schema:
            schema = schema | frozenset(child_pages(page, data))
        self.place = replace(self.place, hot={**self.place.hot, page: last_child(page, data)}, schema=schema)
        self._seen[page] = data

    def _flush(self, waiting: list[tuple[PageNo, bytes]], *, is_plain: bool) -> None:
        if waiting:
            pages, raw = tuple(page for page, _ in waiting), b"".join(data for _, data in waiting)
            part, offset = self._before.links, len(self.buffer)
            self._add_frame(*encode_frame(pages, raw, part=part, offset=offset, is_plain=is_plain))
            self._encoded -= len(raw) - len(raw) // _DENSE_SHARE if is_plain else 0
            waiting.clear()

    def _add_frame(self, frame: Frame, data: bytes) -> None:
        self._frames[self.place.phase].append(frame)
        self.buffer += data


def _is_dense(page: bytes) -> bool:
    return len(set(page[:: max(1, len(page) // _SAMPLE_BYTES)])) > _DENSE_BYTES


def _widen_span(spans: dict[tuple[int, int], tuple[int, int]], number: int, frame: Frame) -> None:
    """Add a frame to what is needed of its part."""
    key, end = (number, frame.part), frame.offset + frame.length
    start, stop = spans.get(key, (frame.offset, end))
    spans[key] = min(start, frame.offset), max(stop, end)


def _hot_at(index: Index) -> tuple[int, int] | None:
    """Where the hot pages of a segment begin whose pages are sorted, by part and place in it; None if they are not."""
    if len(index.groups) < _SORTED_GROUPS or not index.is_one_state or index.groups[-1].head.page_count < FROM_PAGES:
        return None
    places = [index.begins_at(group) for group in range(1, len(index.groups))]
    return min((place for place in places if place), default=_NOWHERE)

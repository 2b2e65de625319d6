"""One step of a merge in steps: which pages it takes, what it reads for them, and the link that it puts.

Pure: a generator of effects. Knows chains (`chain`), frames and which pages are hot; knows no root.

1. A step does something in any case, and otherwise stays within its bounds.
2. Pages ascend within each phase: first those that are not hot, then the lower hot ones, then the upper ones (core/hot).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Final

from virke.core.chain import COLD, DONE, LOWER, UPPER, Chain, Link, decode_link, encode_link, get
from virke.core.commit import store_objects
from virke.core.effects import Absent, Effect, Outcome, PutNew, Tier
from virke.core.entries import FRAMES_MAX, encode_entries
from virke.core.hot import FROM_PAGES, INTERIOR, children, last_child
from virke.core.ids import PageNo
from virke.core.index import Index, Listed, Listing, Place
from virke.core.merge import winners
from virke.core.segment import Frame, decode_frame, encode_frame, frame_pages
from virke.errors import Corrupt, Unavailable

_SPARE_BYTES: Final = 16 << 10
"""Of a part, for the index and the place of the next step, beyond what the index of the link before it takes."""
_PAGES_MIN: Final = 64
Winner = tuple[PageNo, int, Frame, int]
"""A page, the number of the input that has its newest bytes, its frame there and its place in it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one step may cost: parts that are read, bytes of pages taken out of frames and put into new ones, its own part."""

    parts: int
    decoded_bytes: int
    encoded_bytes: int
    part_bytes: int


def step(chain: Chain, indexes: tuple[Index, ...], before: Link, bounds: Bounds) -> Generator[Effect, Outcome, Link]:
    """Take the step behind `before`; the link that it put.

    Raises:
        Exists: somebody else took it. Unavailable: a part could not be read or stored. Corrupt: an input is damaged.
    """
    assert before.identity in (None, chain.identity), "a link goes on from one of its own chain"
    taking = _Step(chain, indexes, before, bounds)
    yield from taking.run()
    data = encode_link(chain, bytes(taking.buffer), taking.listing, taking.place)
    put = PutNew(chain.tier, chain.identity.part_key(before.links), data)
    if failed := (yield from store_objects((put,))):
        raise Unavailable(f"the store did not take a part of a merge: {failed}")
    return decode_link(chain, before.links, data)


class _Step:
    """One step while it is taken."""

    def __init__(self, chain: Chain, indexes: tuple[Index, ...], before: Link, bounds: Bounds) -> None:
        self._chain, self._job = chain, chain.job(indexes)
        self._head = indexes[-1].groups[-1].head
        self._before, self._bounds = before, bounds
        self.place = before.place
        self.buffer = bytearray()
        self._frames: tuple[list[Frame], ...] = ([], [], [])
        """Those of each phase."""
        self._parts: dict[tuple[int, int], tuple[int, bytes]] = {}
        """Of the parts that were read: where what was read begins, and the bytes."""
        self._seen: dict[PageNo, bytes] = {}
        """Hot pages that this step came past."""
        self._decoded = self._encoded = 0
        self.listing: Listing = ()
        """The groups of the index so far, once it has run: one for each phase."""

    def run(self) -> Generator[Effect, Outcome, None]:
        """As much as the bounds allow."""
        while self.place.phase < DONE:
            found, next_page = yield from self._next()
            if not found and next_page == self.place.next_page:
                break  # its entries are in parts that this step may not read any more
            taken = self._within_bounds(found)
            yield from self._write(taken)
            if len(taken) < len(found):
                self.place = replace(self.place, next_page=found[len(taken)][0])
                break
            if next_page:
                self.place = replace(self.place, next_page=next_page)
            else:
                self.place = replace(self.place, phase=self.place.phase + 1, next_page=1)
        known = self._before.groups or ((self._head, ()),) * len(self._frames)
        pairs = zip(known, self._frames, strict=True)
        self.listing = tuple((self._head, (*blocks, *self._listed(frames))) for (_, blocks), frames in pairs)
        self.place = replace(self.place, stored_bytes=self._before.place.stored_bytes + len(self.buffer))

    def _listed(self, frames: list[Frame]) -> Iterator[Listed]:
        """The blocks of frames of this link; in the KV tier, whose objects come whole, their entries go behind the frames."""
        for at in range(0, len(frames), FRAMES_MAX):
            block, entries = encode_entries(frames[at : at + FRAMES_MAX])
            if self._chain.tier is Tier.KV:
                yield Listed(block, Place(self._before.links, len(self.buffer), len(entries)))
                self.buffer += entries
            else:
                yield Listed(block, entries)

    def _bring(self, first: int, last: int) -> Generator[Effect, Outcome, int]:
        """Read entries of pages from `first` to `last` that the indexes lack; up to which page they are here then.

        Those of the page that this step begins with are read in any case (rule 1).
        """
        begins = self.place == self._before.place and first <= self._begins_at()
        for number, index in enumerate(self._job.indexes):
            for block, place in sorted(index.missing(first, last), key=lambda one: index.first_of(one[0])):
                key = number, place.part
                if not self._has(*key, place.offset, place.offset + place.length):
                    must = begins and index.first_of(block) <= first
                    if len(self._parts) >= self._bounds.parts and not must:
                        last = min(last, max(index.first_of(block), first) - 1)
                        break
                    ref = self._chain.inputs[number]
                    [data] = yield from get(ref.tier, (ref.identity.part_key(place.part), 0, None))
                    if isinstance(data, Absent):
                        raise Corrupt(f"{ref.identity.part_key(place.part)}: the object is missing")
                    self._parts[key] = 0, data
                start, data = self._parts[key]
                index.take(block, data[place.offset - start : place.offset - start + place.length])
        return last

    def _next(self) -> Generator[Effect, Outcome, tuple[list[Winner], int]]:
        """The next pages of the phase, and the page behind them; 0 if there is none."""
        head, first = self._head, self.place.next_page
        count = max(1, (self._bounds.decoded_bytes - self._decoded) // head.page_size)
        if self.place.phase != COLD:
            wanted = self._wanted()
            found = list[Winner]()
            for page in wanted[:count]:
                if (yield from self._bring(page, page)) < page:
                    return found, page
                found += winners(self._job, head, page, page)
            return found, wanted[count] if len(wanted) > count else 0
        width = max(count, _PAGES_MIN)
        while True:
            last = yield from self._bring(first, wanted_last := min(first + width - 1, head.page_count))
            found = winners(self._job, head, first, last)
            if last < wanted_last and len(found) <= count:
                return found, last + 1
            if len(found) > count:
                return found[:count], found[count][0]
            if last >= head.page_count:
                return found, 0
            if len(found) == count:
                return found, last + 1
            width *= 4  # the segments have few of these pages

    def _wanted(self) -> list[int]:
        """The hot pages of the phase from `place` on."""
        return [page for page in sorted(self.place.hot) if page >= self.place.next_page and self._is_of_phase(page)]

    def _begins_at(self) -> int:
        """The first page that is to be taken."""
        if self.place.phase == COLD:
            return self.place.next_page
        return next(iter(self._wanted()), self.place.next_page)

    def _is_of_phase(self, page: int) -> bool:
        is_upper = page in self.place.schema or self.place.hot[page] in self.place.hot
        return self.place.phase == (UPPER if is_upper else LOWER)

    def _within_bounds(self, found: list[Winner]) -> list[Winner]:
        """As many of `found` as this step may still take; at least one if it did nothing yet."""
        size, stays, bounds = self._head.page_size, self._staying(found), self._bounds
        room = bounds.part_bytes - self._before.index_bytes - _SPARE_BYTES - len(self.buffer)
        frames, parts = set[tuple[int, int, int]](), set(self._parts)
        for at, (page, number, frame, _) in enumerate(found):
            if page not in self._seen and (key := (number, frame.part, frame.offset)) not in frames:
                frames.add(key)
                parts.add(key[:2])
                self._decoded += len(frame.pages) * size
                room -= frame.length if at in stays else 0
            if at not in stays:
                self._encoded += size
                room -= size
            is_over = self._decoded > bounds.decoded_bytes or self._encoded > bounds.encoded_bytes
            if (is_over or room < 0 or len(parts) > bounds.parts) and (at or self.place != self._before.place):
                return found[:at]
        return found

    def _staying(self, found: list[Winner]) -> set[int]:
        """The places in `found` of frames that may stay as they are (chain, rule 5)."""
        stays, at = set[int](), 0
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

    def _fetch(self, taken: list[Winner]) -> Generator[Effect, Outcome, None]:
        """Read the parts that the frames of `taken` are in, each in one range."""
        spans: dict[tuple[int, int], tuple[int, int]] = {}
        for _, number, frame, _ in taken:
            key, end = (number, frame.part), frame.offset + frame.length
            start, stop = spans.get(key, (frame.offset, end))
            spans[key] = min(start, frame.offset), max(stop, end)
        for tier in Tier:
            wanted: list[tuple[int, int]] = []
            ranges: list[tuple[str, int, int | None]] = []
            for (number, part), (start, stop) in spans.items():
                ref = self._chain.inputs[number]
                if ref.tier is tier and not self._has(number, part, start, stop):
                    wanted.append((number, part))
                    at, length = (
                        (0, None) if tier is Tier.KV else (start, stop - start)
                    )  # all of a KV value comes anyway
                    ranges.append((ref.identity.part_key(part), at, length))
            answers = (yield from get(tier, *ranges)) if wanted else []
            for key, data, asked in zip(wanted, answers, ranges, strict=True):
                if isinstance(data, Absent):
                    raise Corrupt(f"{asked[0]}: the object is missing")
                self._parts[key] = asked[1], data

    def _has(self, number: int, part: int, start: int, stop: int) -> bool:
        begin, data = self._parts.get((number, part), (0, b""))
        return begin <= start and stop <= begin + len(data)

    def _bytes_of(self, number: int, frame: Frame) -> bytes:
        start, data = self._parts[number, frame.part]
        return data[frame.offset - start : frame.offset - start + frame.length]

    def _pages_of(self, number: int, frame: Frame) -> list[bytes]:
        what = self._chain.inputs[number].identity.part_key(frame.part)
        return decode_frame(frame, self._bytes_of(number, frame), self._head.page_size, what)

    # Writing

    def _write(self, taken: list[Winner]) -> Generator[Effect, Outcome, None]:
        """Put pages into frames, those of whole frames as they are."""
        yield from self._fetch([one for one in taken if one[0] not in self._seen])
        stays, waiting, at = self._staying(taken), list[tuple[PageNo, bytes]](), 0
        decoded: tuple[Frame | None, list[bytes]] = (None, [])
        while at < len(taken):
            page, number, frame, slot = taken[at]
            if page not in self._seen and decoded[0] is not frame:
                decoded = frame, self._pages_of(number, frame)
            if at in stays and not slot and not any(map(self._is_hot, frame.pages, decoded[1])):
                self._flush(waiting)
                copied = replace(frame, part=self._before.links, offset=len(self.buffer))
                self._add(copied, self._bytes_of(number, frame))
                at += len(frame.pages)
                continue
            data = self._seen[page] if page in self._seen else decoded[1][slot]
            if self._is_hot(page, data):
                self._pass_hot(page, data)
            else:
                waiting.append((page, data))
                if len(waiting) == frame_pages(self._head.page_size):
                    self._flush(waiting)
            at += 1
        self._flush(waiting)

    def _is_hot(self, page: PageNo, data: bytes) -> bool:
        """Whether a page is left to a later phase."""
        if self.place.phase != COLD or self._head.page_count < FROM_PAGES:
            return False
        return page in self.place.schema or data[0] in INTERIOR

    def _pass_hot(self, page: PageNo, data: bytes) -> None:
        schema = self.place.schema
        if page in schema:
            schema = schema | frozenset(children(page, data))
        self.place = replace(self.place, hot={**self.place.hot, page: last_child(page, data)}, schema=schema)
        self._seen[page] = data

    def _flush(self, waiting: list[tuple[PageNo, bytes]]) -> None:
        if waiting:
            pages, raw = tuple(page for page, _ in waiting), b"".join(data for _, data in waiting)
            self._add(*encode_frame(pages, raw, part=self._before.links, offset=len(self.buffer)))
            waiting.clear()

    def _add(self, frame: Frame, data: bytes) -> None:
        self._frames[self.place.phase].append(frame)
        self.buffer += data

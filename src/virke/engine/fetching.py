"""Frames of segments from the store, encoded, with those that are worth reading ahead.

Knows frames, segments and the driver; knows no page map, no root and no SQL. Belongs to one open database.

1. What was read ahead stays encoded until it is asked for: a page costs the inflating of its own frame, no more.
2. Where the environment has threads, a scan's next windows are fetched, and most of them inflated, in the background.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import Final

from virke.core.pagemap import InSegment
from virke.core.segment import Frame, Ref, decode_frame
from virke.engine.driver import Driver
from virke.engine.environment import Environment
from virke.engine.frames import FrameCache, FrameKey
from virke.engine.indexes import Indexes
from virke.engine.readahead import IsHere, ReadAhead, runs_of_frames
from virke.engine.whole_parts import WholeParts
from virke.errors import Corrupt, VirkeError
from virke.stores.base import Range

LEFT_ENCODED: Final = 8  # each eighth frame that is fetched ahead is left to the query: it sets off the next window


class Fetching:
    """Brings the frames of one open database into `frames`, under keys of `owner`."""

    def __init__(
        self,
        driver: Driver,
        environment: Environment,
        frames: FrameCache,
        *,
        owner: int,
        indexes: Indexes,
        parts: WholeParts,
    ) -> None:
        self._driver = driver
        self._spawn = environment.spawn
        self._frames = frames
        self._owner = owner
        self._indexes = indexes
        self._parts = parts
        # Where requests count, two lookups in a small segment are two (0062).
        small_bytes = frames.bytes_min // 4 if environment.allowance is None else 0
        self._read_ahead = ReadAhead(small_bytes, parts.room_ahead)

    def key_of(self, ref: Ref, frame: Frame) -> FrameKey:
        """Under which key a frame of a segment is kept."""
        return self._owner, ref.identity.commit_id, ref.identity.ordinal, frame.part, frame.offset

    def bring(self, page_size: int, place: InSegment) -> bytes | None:
        """The encoded bytes of a frame; what is worth reading ahead comes along and is kept. None: there is no such object."""
        frame, ref = place.frame, place.ref
        if ref.tier in self._parts.tiers:
            part = self._parts.bring(ref, [frame.part]).get(frame.part)
            return None if part is None else part[frame.offset : frame.offset + frame.length]
        wanted = self._read_ahead.missed(ref, place.index, frame, self._presence_test(ref))
        coming = self._frames.announce(self.key_of(ref, one) for one in wanted)
        try:
            if self._spawn:
                self._spawn_fetch(page_size, ref, self._read_ahead.begin(place.index, frame, self._presence_test(ref)))
            came = self._fetch_frames(ref, wanted)
            found = came.pop(self.key_of(ref, frame), None)
            self._frames.keep(came)
        finally:
            self._frames.arrived(coming)
        return found

    def go_on(self, page_size: int, place: InSegment) -> None:
        """If this is a scan, fetch its next window in the background."""
        ref = place.ref
        if self._spawn is None or ref.tier in self._parts.tiers:
            return
        while frames := self._read_ahead.next(place.index, place.frame, self._presence_test(ref)):
            self._spawn_fetch(page_size, ref, frames)

    def _spawn_fetch(self, page_size: int, ref: Ref, frames: list[Frame]) -> None:
        if not frames:
            return
        assert self._spawn, "the caller looked"
        coming = self._frames.announce(self.key_of(ref, frame) for frame in frames)
        try:
            self._spawn(partial(self._fetch_ahead, page_size, ref, frames, coming=coming))
        except RuntimeError:  # the interpreter is about to end
            self._frames.arrived(coming)

    def _fetch_ahead(self, page_size: int, ref: Ref, frames: list[Frame], *, coming: threading.Event) -> None:
        """Fetch a window of a scan, and inflate most of it."""
        try:
            self._frames.keep(self._fetch_frames(ref, frames))
        except VirkeError:
            return  # a query that needs the frames asks for them, and gets the error
        finally:
            self._frames.arrived(coming)
        for number, frame in enumerate(frames):
            key = self.key_of(ref, frame)
            encoded = self._frames.peek(key)
            if number % LEFT_ENCODED and isinstance(encoded, bytes):
                with suppress(Corrupt):  # of a copy, perhaps: who asks for a page of it asks the store itself
                    pages = decode_frame(frame, encoded, page_size, ref.identity.part_key(frame.part))
                    self._frames.keep({key: pages})

    def _fetch_frames(self, ref: Ref, frames: list[Frame]) -> dict[FrameKey, bytes]:
        """The encoded bytes of frames of a segment, in one round; without those whose object is missing."""
        wanted = runs_of_frames(frames)
        ranges = [
            Range(ref.identity.part_key(run[0].part), run[0].offset, sum(f.length for f in run)) for run in wanted
        ]
        found: dict[FrameKey, bytes] = {}
        for run, data in zip(wanted, self._driver.get(ref.tier, ranges), strict=True):
            if isinstance(data, bytes):
                start = run[0].offset
                for frame in run:
                    found[self.key_of(ref, frame)] = data[frame.offset - start : frame.offset - start + frame.length]
        return found

    def _presence_test(self, ref: Ref) -> IsHere:
        return lambda frame: self._frames.has(self.key_of(ref, frame)) or self._indexes.cut(ref, frame) is not None

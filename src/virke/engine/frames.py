"""Frames in memory: decoded, or as they came from the store, within a budget of bytes; and those on their way.

Knows keys and bytes; knows neither the store nor pages' meaning. Shared by all databases of a process.

1. The least recently used frames go first, whichever database they are of; one frame alone may exceed the budget.
2. A decoded frame is never replaced by an encoded one.
3. A thread that asks for a frame that is under way waits for it, and asks the store itself if it did not come.
4. Frames have an owner, and go with it: what one database holds is not shown to another, even if both name it alike.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

NEAR_KEPT: Final = 16
FrameKey = tuple[int, bytes, int, int, int]
"""Owner, commit id and ordinal of the segment (−1: the root), part, offset."""
Cached = list[bytes] | bytes
"""The pages of a frame; or its encoded bytes, as they were read ahead and not asked for yet."""


class FrameCache:
    """The frames that one process holds: `bytes_min`, or as much as there is room for (`room`, in bytes) if that is more."""

    def __init__(self, bytes_min: int, room: Callable[[], int] | None = None) -> None:
        self.bytes_min = bytes_min
        self._room = room
        self._bytes = 0
        self._left: list[int] = []
        self._frames: OrderedDict[FrameKey, Cached] = OrderedDict()
        self._coming: dict[FrameKey, threading.Event] = {}
        self._lock = threading.Lock()

    def find(self, key: FrameKey) -> Cached | None:
        """The frame, if it is here; waits for it if it is under way."""
        while True:
            if (found := self.find_here(key)) is not None:
                return found
            with self._lock:
                coming = self._coming.get(key)
            if coming is None:
                return self.find_here(key)  # it may have come between
            coming.wait()

    def find_here(self, key: FrameKey) -> Cached | None:
        """The frame, if it is here now."""
        with self._lock:
            found = self._frames.get(key)
            if found is not None:
                self._frames.move_to_end(key)
            return found

    def peek(self, key: FrameKey) -> Cached | None:
        """The frame, if it is here; as if it had not been asked for."""
        return self._frames.get(key)

    def has(self, key: FrameKey) -> bool:
        """Whether the frame is here or under way."""
        return key in self._frames or key in self._coming

    def keep(self, frames: Mapping[FrameKey, Cached]) -> None:
        """Take frames in."""
        with self._lock:
            while self._left:
                self._drop_frames_of(self._left.pop())
            for key, cached in frames.items():
                known = self._frames.get(key, b"")
                if not isinstance(known, list):
                    self._frames[key] = cached
                    self._bytes += _cached_bytes(cached) - _cached_bytes(known)
            bytes_max = max(self.bytes_min, self._room()) if self._room else self.bytes_min
            while self._bytes > bytes_max and len(self._frames) > 1:
                self._bytes -= _cached_bytes(self._frames.popitem(last=False)[1])

    @property
    def size_bytes(self) -> int:
        """What all frames hold."""
        return self._bytes

    def leave(self, owner: int) -> None:
        """The frames of `owner` may go; takes no lock, so that it may be called when an object is collected."""
        self._left.append(owner)

    def _drop_frames_of(self, owner: int) -> None:
        for key in [key for key in self._frames if key[0] == owner]:
            self._bytes -= _cached_bytes(self._frames.pop(key))

    def announce(self, keys: Iterable[FrameKey]) -> threading.Event:
        """These frames are under way, until the event that is returned is passed to `arrived`."""
        coming = threading.Event()
        with self._lock:
            for key in keys:
                self._coming.setdefault(key, coming)
        return coming

    def arrived(self, coming: threading.Event) -> None:
        """What was announced is here now, or will not come."""
        with self._lock:
            for key in [key for key, event in self._coming.items() if event is coming]:
                del self._coming[key]
        coming.set()


class NearFrames:
    """The last few frames of files of this machine, verified and not compressed: the system's cache holds the others."""

    def __init__(self) -> None:
        self._raw: dict[FrameKey, bytes] = {}
        self.get = self._raw.get

    def keep(self, key: FrameKey, raw: bytes) -> None:
        """Take one in; the one that came first goes."""
        self._raw[key] = raw
        if len(self._raw) > NEAR_KEPT:
            with suppress(StopIteration, RuntimeError):  # another thread was first
                self._raw.pop(next(iter(self._raw)), None)

    def leave(self, owner: int) -> None:
        """The frames of `owner` go."""
        for key in [key for key in list(self._raw) if key[0] == owner]:
            self._raw.pop(key, None)


def _cached_bytes(cached: Cached) -> int:
    return len(cached) if isinstance(cached, bytes) else len(cached) * len(cached[0])

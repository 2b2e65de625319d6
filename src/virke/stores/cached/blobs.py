"""A cache of immutable objects in front of any blobs: in memory, and on a disk if one is given.

Knows that an object never changes under its key, and nothing of what it contains. What came in one piece is kept in
one piece (`extents`), a disk is a `Disk`, requests are `coalesce`d, and threads share them (`flights`).

1. Only bytes that the inner store answered, or took, are cached. `Absent` never is: the object may come.
2. Whatever is cached serves every range inside it, and neighbours together serve a range that spans them.
3. One `get` asks the inner store at most once for all that is missing; only if another thread's request, that it
   waited for, failed or brought nothing, it asks once more. An object that is `Absent` in one of these answers is
   absent for the whole call, what was cached of it included.
4. A store without ranges is asked for whole objects, each of them once.
5. Files are checked before they are trusted. One that fails is removed and counts as a miss; so does any error of the
   disk, which `damaged` counts; no caller is told.
6. Memory stays within `memory_bytes` after every call and the folder within `disk_bytes`, as `extents` and
   `budget` say. What was put is kept in memory only, and only up to a quarter of its budget.
7. No lock is held while the inner store or the disk is asked.
8. A range that is asked for `fresh` is answered by the inner blobs alone: what was cached may be what is damaged.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Final

from virke.core.effects import Absent, PutOutcome, Stored
from virke.errors import Corrupt, Invalid
from virke.lazy_dataclasses import dataclass
from virke.stores.base import Blobs, Consistency, Listed, Range, byte_bounds, check_key
from virke.stores.cached.coalesce import coalesced_ranges, whole_objects
from virke.stores.cached.disk import BadFile, Disk
from virke.stores.cached.extents import Extent, Memory, Span, read_extents
from virke.stores.cached.flights import Flight, Flights

MEMORY_BYTES: Final = 64 << 20
GAP_BYTES: Final = 8 << 10
PIECE_BYTES: Final = 1 << 20
_PUT_SHARE: Final = 4


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """What a cache has done so far, in asked ranges; `damaged` counts files and disk errors.

    `shared` ranges came with the request of another thread, `misses` were asked of the inner store.
    """

    memory_hits: int = 0
    disk_hits: int = 0
    misses: int = 0
    damaged: int = 0
    shared: int = 0


class CachedBlobs:
    """Blobs that answer from the cache where they can (B1–B8 as the inner blobs keep them)."""

    def __init__(
        self,
        inner: Blobs,
        *,
        memory_bytes: int = MEMORY_BYTES,
        disk: Disk | None = None,
        gap_bytes: int = GAP_BYTES,
        piece_bytes: int = PIECE_BYTES,
        on_hits: Callable[[int], None] | None = None,
    ) -> None:
        """`on_hits` is called in the caller's thread with how many ranges of a `get` did not have to be asked for.

        Raises:
            Invalid: `piece_bytes` is below one, or `gap_bytes` negative.
        """
        if piece_bytes < 1 or gap_bytes < 0:
            raise Invalid(f"pieces of {piece_bytes} bytes with gaps of {gap_bytes} bytes can't be asked for")
        self._inner = inner
        self._memory = Memory(memory_bytes)
        self._put_bytes_max = memory_bytes // _PUT_SHARE
        self._disk = disk
        self._on_hits = on_hits
        ranged = partial(
            coalesced_ranges, gap_bytes=gap_bytes, piece_bytes=piece_bytes, object_bytes_max=inner.part_bytes_max
        )
        self._flights = Flights(ranged if inner.has_ranges else whole_objects)
        self._counts = _Counting()

    @property
    def counts(self) -> CacheCounts:
        """Hits and misses so far."""
        return self._counts.now()

    @property
    def consistency(self) -> Consistency:
        """As the inner blobs."""
        return self._inner.consistency

    @property
    def has_ranges(self) -> bool:
        """As the inner blobs."""
        return self._inner.has_ranges

    @property
    def part_bytes_max(self) -> int:
        """What the inner blobs take."""
        return self._inner.part_bytes_max

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        """Write through, and keep the object in memory once it is stored. Raises what the inner blobs raise."""
        outcome = self._inner.put_new(key, data)
        if outcome == Stored():
            self._keep_put(key, data)
        return outcome

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        """Write through, and keep the objects in memory once they are stored. Raises what the inner blobs raise."""
        outcome = self._inner.put_all(objects)
        if outcome == Stored():
            for key, data in objects:
                self._keep_put(key, data)
        return outcome

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        """Every range in the order asked; what is not cached is asked of the inner blobs at once. Raises as they do."""
        if any(asked.fresh for asked in ranges):
            return self._get_anew(ranges)
        answers: dict[int, bytes | Absent] = {}
        missing: dict[int, Range] = {}
        find = self._memory.find
        for n, asked in enumerate(ranges):
            if (data := find(asked)) is None:
                missing[n] = asked
            else:
                answers[n] = data
        if answers:
            self._counts.add(memory_hits=len(answers))
        misses = self._look_further(ranges, answers, missing) if missing else 0
        if self._on_hits is not None:
            self._on_hits(len(ranges) - misses)
        return [answers[n] for n in range(len(ranges))]

    def _get_anew(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        """Past the cache (8): what it holds of these objects is replaced by what comes."""
        self._forget_keys({check_key(asked.key) for asked in ranges})
        self._counts.add(misses=len(ranges))
        answers = self._inner.get(ranges)
        self._take_in(_extents_of_pieces(ranges, answers))
        return answers

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects from the inner blobs, then from this cache (other processes' caches drop them by age)."""
        self._inner.delete(keys)
        self._forget_keys(keys)

    def list(self, prefix: str) -> Iterator[Listed]:
        """What the inner blobs list."""
        return self._inner.list(prefix)

    def _forget_keys(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._memory.forget(key)
            if self._disk is not None:
                try:
                    self._disk.forget(key)
                except OSError:
                    self._counts.add(damaged=1)

    def _keep_put(self, key: str, data: bytes) -> None:
        if len(data) <= self._put_bytes_max:
            self._memory.keep(Extent(key, Span(0, len(data), last=True), bytes(data)))

    def _look_further(
        self, ranges: Sequence[Range], answers: dict[int, bytes | Absent], missing: Mapping[int, Range]
    ) -> int:
        """Answer what memory did not; how many ranges were asked of the inner blobs."""
        for asked in missing.values():
            check_key(asked.key)
            if asked.offset < 0 or (asked.length or 0) < 0:
                byte_bounds(asked, 0)  # refuses it
        if self._disk is not None:
            answers |= self._read_disk(self._disk, missing)
            missing = {n: asked for n, asked in missing.items() if n not in answers}
        misses = self._ask_inner(answers, missing, share=True) if missing else 0
        absent = {ranges[n].key for n, answer in answers.items() if isinstance(answer, Absent)}
        if absent:
            answers |= {n: Absent() for n, asked in enumerate(ranges) if asked.key in absent}
        return misses

    def _read_disk(self, disk: Disk, missing: Mapping[int, Range]) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        damaged = 0
        objects = {key: disk.object(key) for key in {asked.key for asked in missing.values()}}
        for n, asked in missing.items():
            try:
                extents = objects[asked.key].find(asked)
            except (OSError, BadFile):
                damaged += 1
                continue
            if extents is not None:
                for extent in extents:
                    self._memory.keep(extent)
                found[n] = read_extents(asked, extents)
        self._counts.add(disk_hits=len(found), damaged=damaged)
        return found

    def _ask_inner(self, answers: dict[int, bytes | Absent], missing: Mapping[int, Range], *, share: bool) -> int:
        """Answer `missing` by the inner blobs, or by what others are asking them for; how many were asked here."""
        own = Flight()
        try:
            boarding = self._flights.board(own, missing, self._memory.find, share=share)
            if boarding.asking:
                answers |= self._fetch_pieces(own, boarding.asking)
        finally:
            self._flights.end(own)
        shared = {n: flight.find(missing[n]) for n, flight in boarding.waiting.items()}
        came = {n: data for n, data in shared.items() if data is not None}
        self._counts.add(memory_hits=len(boarding.known), shared=len(came))
        answers |= boarding.known
        answers |= came
        alone = {n: missing[n] for n in shared.keys() - came.keys()}
        return len(boarding.asking) + (self._ask_inner(answers, alone, share=False) if alone else 0)

    def _fetch_pieces(self, own: Flight, asking: Mapping[int, Range]) -> dict[int, bytes | Absent]:
        self._counts.add(misses=len(asking))
        answers = self._inner.get(own.pieces)
        absent = {piece.key for piece, answer in zip(own.pieces, answers, strict=True) if isinstance(answer, Absent)}
        extents = _extents_of_pieces(own.pieces, answers)
        own.land(extents)
        self._take_in(extents)
        return {n: Absent() if asked.key in absent else _bytes_landed(own, asked) for n, asked in asking.items()}

    def _take_in(self, extents: Sequence[Extent]) -> None:
        for extent in extents:
            self._memory.keep(extent)
        if self._disk is None:
            return
        for key, group in groupby(extents, key=lambda extent: extent.key):
            try:
                self._disk.keep(key, group)
            except OSError:
                self._counts.add(damaged=1)


class _Counting:
    """`CacheCounts` that threads add to."""

    def __init__(self) -> None:
        self._memory_hits = self._disk_hits = self._misses = self._damaged = self._shared = 0
        self._lock = threading.Lock()

    def add(
        self, *, memory_hits: int = 0, disk_hits: int = 0, misses: int = 0, damaged: int = 0, shared: int = 0
    ) -> None:
        with self._lock:
            self._memory_hits += memory_hits
            self._disk_hits += disk_hits
            self._misses += misses
            self._damaged += damaged
            self._shared += shared

    def now(self) -> CacheCounts:
        with self._lock:
            return CacheCounts(self._memory_hits, self._disk_hits, self._misses, self._damaged, self._shared)


def _extents_of_pieces(pieces: Sequence[Range], answers: Sequence[bytes | Absent]) -> list[Extent]:
    """What the inner blobs answered for `pieces`. Raises `Corrupt` if one is not as long as asked."""
    pairs = zip(pieces, answers, strict=True)
    return [_extent_of_piece(piece, answer) for piece, answer in pairs if not isinstance(answer, Absent)]


def _extent_of_piece(piece: Range, data: bytes) -> Extent:
    """What the inner blobs answered for `piece`. Raises `Corrupt` if that is not as long as asked."""
    if piece.length is not None and piece.length != len(data):
        raise Corrupt(
            f"the store answered {len(data)} bytes of object {piece.key!r}, but {piece.length} from {piece.offset} were asked for",
            key=piece.key,
        )
    return Extent(piece.key, Span(piece.offset, piece.offset + len(data), last=piece.length is None), data)


def _bytes_landed(own: Flight, asked: Range) -> bytes:
    """The bytes of `asked` that came. Raises `Corrupt` beyond the object's end."""
    data = own.find(asked)
    assert data is not None or asked.length == 0, "all that was asked for came, and no bytes are no extent"
    return data or b""

"""The contract of a store: one register protocol, one blob protocol, and how they are bundled.

Stores carry bytes. They know no pages, segments or SQL. Every sentence numbered here is a test
in the conformance suite (`tests/stores/conformance.py`); a store is done when the suite passes.

Register
 R1. `read` of a key never written answers `Absent`.
 R2. `swap(base=None)` creates; if the key exists, it answers `Mismatch` and changes nothing.
 R3. `swap(base=g)` replaces only while the register has generation `g`; else `Mismatch`, nothing changed.
 R4. Every applied swap gives a generation that the key never had before, equal bytes included,
     a deleted and re-created key included.
 R5. Of any number of concurrent swaps with one base, exactly one is applied (threads and processes).
 R6. `read(known=g)` answers `Unchanged` while the generation is `g`, else the record.
 R7. After `Swapped`, the value survives the death of the process and, where the store says so, of the machine.
 R8. What was applied is whole: a reader sees the old value or the new one, never a mix.
 R9. `remove(base=g)` deletes only while the generation is `g`; else (also if the key is absent) `Mismatch`.
 R10. An answer that never came is `Lost` for a swap or a remove; a read that fails raises `Unavailable`.
 R11. `keys(prefix)` lists existing keys with that prefix, sorted.

What a store may have besides
 L1. `line(key, timeout_s)` is a place in a queue for those who are about to swap `key`, in all threads and processes
     that reach the store through this machine. It yields whether one is first, after at most `timeout_s`; the end of
     the block lets the next one through, and so does the death of its process. It is advice, never a lock: a swap
     needs no place in it, and safety is R3's. All who stand in line get through, loops that come back at once included.
     A thread that is first does not ask again for that key: it would wait for itself. No request is made for it, and
     nothing is left where nothing was written.
 L2. `watch(key)` gives a function that costs next to nothing and makes no request: it answers a stamp, or None. While
     it answers an equal stamp, no swap or remove of `key` was applied since, by whomever; None says nothing. So: take
     the stamp, *then* read; what was read is the newest for as long as the stamp stays. `stamp_of(generation)` is the
     stamp that the swap left which made this generation: while `watch` answers it, that swap was the last one, so who
     has swapped need not read to know that. `watch_ended(key)` answers the stamp that the last change left which has
     ended, also while another one is under way. While a process is changing `key` and it answers an equal stamp, no
     change was answered since, and no reader was shown one: a read that meets a change under way answers when that has ended.
 L3. `tidy()` removes what writers that were killed long ago left half-written, and answers how much of it there was.
     It needs no LIST, and never takes anything from a writer that is alive.

Blobs
 B1. `put_new` answers `Stored` only when the whole object is durable.
 B2. An existing object is never changed: putting the same bytes again is `Stored`, other bytes raise `Exists`.
 B3. `get` answers every asked range in order, each exactly as long as asked; a missing object is `Absent`;
     a range beyond the object's end raises `Corrupt`, never short or padded bytes.
 B4. `delete` of a missing object is not an error.
 B5. `list(prefix)` yields every object whose put returned before the call and that was not deleted.
 B6. Nothing half-written is ever visible to `get` or `list`, also after a kill.
 B7. Keys are checked: relative, `/`-separated, no empty, `.` or `..` parts; else `Invalid`. So are a register's.
 B8. An object of more than `part_bytes_max` bytes raises `TooLarge`; nothing is stored.
 B9. `put_all` answers `Stored` only when every object is durable; `Lost` if that is not known. Repeating it is harmless.
 B10. `get` and `list` show an object as soon as its put was answered, unless `consistency` is eventual: then they may
     say for a while that it is absent. A deleted one may still be shown. Neither ever shows other bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import Final, Protocol

from virke.core.effects import Absent, Generation, Lost, PutOutcome, ReadOutcome, Stored, SwapOutcome, Tier
from virke.errors import Corrupt, Invalid, TooLarge
from virke.lazy_dataclasses import dataclass
from virke.lazy_patterns import pattern

KEY_BYTES_MAX: Final = 512
_KEY = pattern(r"[A-Za-z0-9_.@=-]+(/[A-Za-z0-9_.@=-]+)*")
_DOTS = pattern(r"(?:^|/)\.\.?(?:/|$)")


class Consistency(Enum):
    """What reads promise: the newest state, or one that may be older."""

    LINEARIZABLE = "linearizable"
    EVENTUAL = "eventual"


@dataclass(frozen=True, slots=True)
class Range:
    """`length` bytes of an object from `offset`; `length=None` asks for all that follows.

    `fresh`: from the store itself; who keeps a copy replaces it.
    """

    key: str
    offset: int = 0
    length: int | None = None
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing: key, size in bytes, time of last change in Unix milliseconds."""

    key: str
    size_bytes: int
    modified_ms: int


Line = Callable[[str, float], AbstractContextManager[bool]]
"""`line(key, timeout_s)`: see L1."""
Watch = Callable[[], bytes | None]
"""`stamp()`: see L2."""


class Call(Enum):
    """The calls of both protocols, as logs, counters and planned faults name them."""

    READ = "read"
    SWAP = "swap"
    REMOVE = "remove"
    KEYS = "keys"
    PUT = "put_new"
    GET = "get"
    DELETE = "delete"
    LIST = "list"


class Register(Protocol):
    """Small mutable values with compare-and-swap (R1–R11)."""

    @property
    def consistency(self) -> Consistency:
        """What `read` promises."""

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        """The record of `key`. Raises `Unavailable` when the store does not answer."""

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        """Replace `key` if its generation is `base` (None: create it). Raises `Unavailable` only if definitely not applied.

        `RateLimited` says that it came too soon after others to the same key. A store does not repeat it then.
        """

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        """Delete `key` if its generation is `base`."""

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that start with `prefix`, sorted. A LIST: never on the path of a query or commit."""


class Blobs(Protocol):
    """Immutable objects (B1–B10)."""

    @property
    def consistency(self) -> Consistency:
        """Whether an object that was stored is shown at once (B10)."""

    @property
    def has_ranges(self) -> bool:
        """False where every `get` moves whole objects, whatever range was asked for."""

    @property
    def part_bytes_max(self) -> int:
        """Largest object that `put_new` takes, in bytes."""

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        """Write one object. Raises `Unavailable` only if definitely not applied, `Exists` if other bytes are there."""

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        """Write many objects, in one round trip where the store can. Raises as `put_new`; then some may be there."""

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        """Many ranges at once, in the order asked. Raises `Unavailable`, `Corrupt`."""

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; missing ones are fine."""

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object under `prefix`. A LIST: never on the path of a query or commit."""


@dataclass(frozen=True, slots=True)
class Store:
    """One place where databases live: a register, and blobs for each tier it serves."""

    url: str
    """How it is named to people: without secrets."""
    register: Register
    blobs: dict[Tier, Blobs]
    is_metered: bool = False
    """Whether its calls are counted on receipts (`receipt`)."""
    is_bounded: bool = False
    """Whether its reads are allowed or refused, request by request (`bounded`)."""
    line: Line | None = None
    """The queue of those who write one key (L1); None where the store has none."""
    watch: Callable[[str], Watch] | None = None
    """How to see for next to nothing whether a key was changed (L2); None where only a read shows it."""
    watch_ended: Callable[[str], Watch] | None = None
    """How to see that no change of a key was answered but perhaps one under way (L2); None where only `watch` says it."""
    stamp_of: Callable[[Generation], bytes] | None = None
    """The stamp that a swap left (L2); not None where `watch` is not."""
    plain: frozenset[Tier] = frozenset()
    """The tiers whose large segments are not worth compressing: their objects are files of this machine."""
    says_waits: bool = False
    """Whether its swaps say when they wait (`waiting`)."""
    tidy: Callable[[], int] | None = None
    """Remove what killed writers left (L3); None where they leave nothing."""


def put_each(blobs: Blobs, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
    """`put_all` for a store without round trips: one object after another."""
    outcome: PutOutcome = Stored()
    for key, data in objects:
        if isinstance(stored := blobs.put_new(key, data), Lost):
            outcome = stored
    return outcome


def check_key(key: str) -> str:
    """Return `key` if every store can hold it.

    Raises:
        Invalid: empty, too long (512 bytes), or a part that is empty, `.`, `..` or has other
            characters than `A-Z a-z 0-9 _ . @ = -`.
    """
    has_dots = (key.startswith(".") or "/." in key) and _DOTS.search(key)
    if len(key) > KEY_BYTES_MAX or not _KEY.fullmatch(key) or has_dots:
        raise Invalid(f"invalid store key {key!r}")
    return key


def check_size(key: str, size_bytes: int, part_bytes_max: int) -> None:
    """Refuse an object that is larger than the store takes.

    Raises:
        TooLarge: `size_bytes` is above `part_bytes_max`; write smaller parts.
    """
    if size_bytes > part_bytes_max:
        raise TooLarge(f"object {key!r} has {size_bytes} bytes, this store takes {part_bytes_max}; write it in parts")


def byte_bounds(asked: Range, size_bytes: int) -> tuple[int, int]:
    """The first byte of `asked` and the one after its last, in an object of `size_bytes`.

    Raises:
        Invalid: the offset or length is negative.
        Corrupt: the range reaches beyond the end; the object is not the one that its index describes.
    """
    if asked.offset < 0 or (asked.length is not None and asked.length < 0):
        raise Invalid(f"negative range {asked}")
    end = max(size_bytes, asked.offset) if asked.length is None else asked.offset + asked.length
    if end > size_bytes:
        raise Corrupt(
            f"object {asked.key!r} has {size_bytes} bytes, but bytes {asked.offset} to {end} were asked for",
            key=asked.key,
        )
    return asked.offset, end

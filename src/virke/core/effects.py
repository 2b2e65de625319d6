"""What the pure protocols ask of the outside world, and what it answers.

Pure. A protocol is a generator that yields effects and is sent outcomes; the driver
(`engine/driver.py`), the explorer and the edge guest all perform the same effects.

1. A swap has three outcomes and never a bool: `Swapped`, `Mismatch`, `Lost`. `Lost` means
   "not known to have happened, not known not to have happened".
2. A `Mismatch` does not prove a lost race: it may be the answer to a repeat of our own success.
3. A generation is opaque. It may be compared for equality by the store only.
"""

from __future__ import annotations

from enum import Enum
from typing import NewType

from virke.lazy_dataclasses import dataclass

Generation = NewType("Generation", str)


class Tier(Enum):
    """Where a segment's parts are: in the KV store or in object storage."""

    KV = "kv"
    OBJECT = "object"

    __hash__ = object.__hash__  # members are one of a kind, and keys on every path: the library's own hashes the name


# Outcomes of a register


@dataclass(frozen=True, slots=True)
class Record:
    """What a register holds: its bytes and the store's token for compare-and-swap."""

    data: bytes
    generation: Generation


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The register still has the generation that the reader named."""


@dataclass(frozen=True, slots=True)
class Absent:
    """The register or object does not exist."""


@dataclass(frozen=True, slots=True)
class Swapped:
    """The swap was applied. `generation` is None where the store's answer does not carry one."""

    generation: Generation | None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The store says that the register has another generation than the base."""


@dataclass(frozen=True, slots=True)
class Lost:
    """No usable answer: the request may have been applied, may still be, or never will be.

    `retry_after_s` is what the store says of when to ask again, if it says so.
    """

    reason: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The store says no, or never got the request: definitely not applied. `is_down`: it is of no use to repeat it at once.

    `retry_after_s` is what the store says of when to ask again, if it says so.
    """

    reason: str
    is_down: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class OutOfTime:
    """There is no time for another try."""


@dataclass(frozen=True, slots=True)
class Paced:
    """The store takes only so many swaps of one key a second, and this one came too soon: definitely not applied.

    `retry_after_s` is what the store itself says, None if it says nothing.
    """

    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """The immutable object is there, whole, and will survive a crash."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of objects, as a LIST shows them."""

    keys: tuple[str, ...]


ReadOutcome = Record | Unchanged | Absent | Lost
SwapOutcome = Swapped | Mismatch | Lost
PutOutcome = Stored | Lost
Outcome = (
    Record
    | Absent
    | Swapped
    | Mismatch
    | Lost
    | Refused
    | Paced
    | Stored
    | Keys
    | OutOfTime
    | list[bytes | Absent]
    | None
)
"""What a protocol is sent back; each effect says which of them."""


# Effects


@dataclass(frozen=True, slots=True)
class ReadRoot:
    """Read a register: of the branch that is worked on, or the one under `key`. `Record`, `Absent` or `Lost`."""

    key: str | None = None


@dataclass(frozen=True, slots=True)
class SwapRoot:
    """Replace what a register holds if its generation is still `base` (None: if it does not exist); `key` as above.

    Answered with `Swapped`, `Mismatch`, `Lost`, `Refused` or `Paced`.
    """

    data: bytes
    base: Generation | None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class RemoveRoot:
    """Make the register under `key` absent if its generation is still `base`. Answered as `SwapRoot`."""

    key: str
    base: Generation


@dataclass(frozen=True, slots=True)
class ListKeys:
    """List the keys of the objects of one tier that begin with `prefix`. Answered with `Keys`; errors are raised."""

    tier: Tier
    prefix: str


@dataclass(frozen=True, slots=True)
class PutNew:
    """Write one immutable object under a key that no other writer ever writes. `Stored`, `Lost` or `Refused`."""

    tier: Tier
    key: str
    data: bytes


@dataclass(frozen=True, slots=True)
class PutAll:
    """Write many immutable objects at once, as `PutNew` does one. `Stored` when all are there, `Lost` or `Refused`."""

    tier: Tier
    objects: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Get:
    """Read ranges of immutable objects, `(key, offset, length)`. Answered with their bytes or `Absent`, in order.

    A length of None asks for all that follows.

    `fresh`: from the store itself, past all copies.
    """

    tier: Tier
    ranges: tuple[tuple[str, int, int | None], ...]
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete objects, best effort; with `must` an error is raised. Answered with None."""

    tier: Tier
    keys: tuple[str, ...]
    must: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait before the next effect: the `attempt`-th wait of this protocol (0, 1, 2 …), with jitter."""

    attempt: int


@dataclass(frozen=True, slots=True)
class BackOff:
    """Wait after the `failed`-th failure of the store in a row (1, 2 …), as core/backoff has it. None or `OutOfTime`."""

    failed: int
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class AwaitSlot:
    """Wait until the pace of the register (core/pace) allows another swap. Answered with None.

    Raises what the caller's deadline raises once that is over.
    """

    refused: Paced


Effect = ReadRoot | SwapRoot | RemoveRoot | ListKeys | PutNew | PutAll | Get | Delete | Pause | BackOff | AwaitSlot

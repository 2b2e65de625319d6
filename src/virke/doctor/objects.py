"""What the objects of one tier promise: they are never changed, ranges are exact, what is deleted is gone.

Knows the sentences B2 to B8 of the contract.

1. Objects are random bytes, so nothing that a store makes up can pass for them.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Final

from virke.core.effects import Absent, Lost, Stored, Tier
from virke.doctor.trial import Trial
from virke.doctor.verdict import Finding, Refuted, Unproved
from virke.errors import Corrupt, Exists, TooLarge
from virke.stores.base import Range

LARGE_BYTES: Final = 1 << 20
OVERWRITES: Final = (
    "`create_only=off` is set: the store is not asked to keep objects from being replaced. Virke never writes a key "
    "twice, so nothing is lost as long as no other program writes into this place (P7)."
)
_RANGED_BYTES: Final = 5000
_RANGES: Final = 32
_BEYOND: Final = ((0, 101), (99, 2), (100, 1), (101, None), (1 << 40, 1))


def put_and_get(trial: Trial, tier: Tier) -> Finding:
    """B1, B3, B9: what was put is there, whole; what was not is absent."""
    small, empty, missing = (trial.object_key(tier) for _ in range(3))
    data = trial.environment.random_bytes(3000)
    trial.got(tier, [Range(missing)], [Absent()])
    if trial.blobs(tier).put_all([(small, data), (empty, b"")]) != Stored():
        raise Unproved("the answer to a put of two objects was lost")
    trial.got(tier, [Range(small), Range(missing), Range(empty)], [data, Absent(), b""])
    return Finding("what was put is there whole, what was not is absent")


def never_changed(trial: Trial, tier: Tier) -> Finding:
    """B2."""
    if _is_replaced(trial, tier):
        raise Refuted("other bytes are taken under a key that has an object already")
    return Finding("the same bytes again are taken, other bytes are refused")


def may_be_changed(trial: Trial, tier: Tier) -> Finding:
    """B2, where the store was opened without asking for it."""
    if _is_replaced(trial, tier):
        return Finding("other bytes replace an object", OVERWRITES)
    return Finding("other bytes are refused, although `create_only=off` does not ask")


def _is_replaced(trial: Trial, tier: Tier) -> bool:
    """Whether other bytes are taken under a key that has an object."""
    key, data, other = trial.object_key(tier), *(trial.environment.random_bytes(100) for _ in range(2))
    trial.stored(tier, key, data)
    trial.got(tier, [Range(key)], [data])
    trial.stored(tier, key, data)
    try:
        outcome = trial.blobs(tier).put_new(key, other)
    except Exists:
        trial.got(tier, [Range(key)], [data])
        return False
    if isinstance(outcome, Lost):
        raise Unproved(f"the answer to a put was lost: {outcome.reason}")
    return True


def check_ranges(trial: Trial, tier: Tier) -> Finding:
    """B3: many ranges of several objects in one call."""
    first, second, missing = (trial.object_key(tier) for _ in range(3))
    data, other = (trial.environment.random_bytes(_RANGED_BYTES) for _ in range(2))
    trial.stored(tier, first, data)
    trial.stored(tier, second, other)
    asked, wanted = [Range(missing, 0, 10)], list[bytes | Absent]([Absent()])
    for number in range(_RANGES):
        key, held = ((first, data), (second, other))[number % 2]
        start, length = number * 150, 1 + number * 7 % 300
        asked.append(Range(key, start, length))
        wanted.append(held[start : start + length])
    tail = [Range(first, _RANGED_BYTES - 1), Range(second, _RANGED_BYTES), Range(first, 7, 0), Range(second)]
    trial.got(tier, [*asked, *tail], [*wanted, data[-1:], b"", b"", other])
    moved = "" if trial.blobs(tier).has_ranges else "; whole objects are moved for them"
    return Finding(f"{len(asked) + len(tail)} ranges in one call, each exact and in its place{moved}")


def beyond_the_end(trial: Trial, tier: Tier) -> Finding:
    """B3: a range that the object does not have."""
    key = trial.object_key(tier)
    data = trial.environment.random_bytes(100)
    trial.stored(tier, key, data)
    trial.got(tier, [Range(key)], [data])
    blobs = trial.blobs(tier)
    for offset, length in _BEYOND:
        asked = [Range(key, offset, length)]
        with suppress(Corrupt):
            [answer] = trial.until(partial(blobs.get, asked), lambda found: found != [Absent()], blobs.consistency)
            told = "absent" if isinstance(answer, Absent) else f"{len(answer)} bytes"
            raise Refuted(f"a range from {offset} of an object of 100 bytes is answered: {told}")
    return Finding("a range beyond the end is refused, never short or padded")


def check_large(trial: Trial, tier: Tier) -> Finding:
    """B8: an object of 1 MiB, or with `large` of all that the store takes, and one byte more."""
    limit = trial.blobs(tier).part_bytes_max
    size = limit if trial.large else min(limit, LARGE_BYTES)
    key = trial.object_key(tier)
    data = trial.environment.random_bytes(size)
    trial.stored(tier, key, data)
    trial.got(tier, [Range(key), Range(key, size - 1000, 1000)], [data, data[-1000:]])
    if not trial.large:
        return Finding(f"{size:,} bytes written and read")
    with suppress(TooLarge):
        trial.blobs(tier).put_new(trial.object_key(tier), data + b"!")
        raise Refuted(f"{size + 1:,} bytes are taken, {limit:,} is declared as the most")
    return Finding(f"{size:,} bytes written and read, one more is refused")


def check_delete(trial: Trial, tier: Tier) -> Finding:
    """B4."""
    gone, kept, missing = (trial.object_key(tier) for _ in range(3))
    data = trial.environment.random_bytes(100)
    for key in (gone, kept):
        trial.stored(tier, key, data)
        trial.got(tier, [Range(key)], [data])
    trial.blobs(tier).delete([gone, missing])
    trial.blobs(tier).delete([gone])
    trial.got(tier, [Range(gone), Range(kept)], [Absent(), data])
    return Finding("what is deleted is gone, the rest stays")


def check_listing(trial: Trial, tier: Tier) -> Finding:
    """B5."""
    keys = [trial.object_key(tier) for _ in range(4)]
    sizes = {key: 10 * number for number, key in enumerate(keys)}
    for key, size in sizes.items():
        trial.stored(tier, key, trial.environment.random_bytes(size))
    trial.blobs(tier).delete([keys[0]])
    del sizes[keys[0]]
    blobs, folder = trial.blobs(tier), keys[0].rpartition("/")[0] + "/"

    def found() -> dict[str, int]:
        return {item.key: item.size_bytes for item in blobs.list(folder) if item.key in keys}

    if (there := trial.until(found, lambda now: now == sizes, blobs.consistency)) != sizes:
        raise Refuted(f"3 objects are there and 1 was deleted, the listing has {len(there)}, or other sizes")
    return Finding("a listing has what is there and not what was deleted")

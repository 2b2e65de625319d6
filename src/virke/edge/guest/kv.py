"""Fastly's KV store at the edge: a register, and the objects of the kv tier, over the host's calls (`items`).

Knows the layout that it shares with the REST client; knows no pages.

1. A swap is one conditional write and is sent once: ADD to create, the base generation to replace. Its answer carries no
   generation. 64 random bits as metadata make every write a change (R4).
2. Reads may be late (`EVENTUAL`).
3. There is no conditional delete among the host's calls, so a register is never removed here: that is for the CLI.
4. An object is created by ADD and never again. "It exists already" is believed only after reading it back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from virke.core.effects import (
    Absent,
    Generation,
    Lost,
    Mismatch,
    PutOutcome,
    ReadOutcome,
    Record,
    Stored,
    SwapOutcome,
    Unchanged,
)
from virke.edge.guest.items import Insert, Item, Items
from virke.errors import Denied, Exists, TooLarge, Unavailable, VirkeError
from virke.stores.base import Consistency, Listed, Range, byte_bounds, check_size
from virke.stores.fastly_kv.layout import VALUE_BYTES_MAX, item_name, modified_metadata

_GENERATION: Final = re.compile(r"[0-9]{1,20}")


class EdgeRegister:
    """The register (R1–R8, R10, R11): one item for each key."""

    def __init__(self, items: Items, space: str, random_bytes: Callable[[int], bytes]) -> None:
        self._items = items
        self._space = space
        self._random_bytes = random_bytes

    @property
    def consistency(self) -> Consistency:
        """Eventual: a read may show an earlier value, or none, for a while after a swap."""
        return Consistency.EVENTUAL

    def expect(self, keys: Sequence[str]) -> None:
        """These keys are read next: ask for all of them at once."""
        self._items.expect([item_name(self._space, key) for key in keys])

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        """The record of `key`, or `Unchanged` while `known` is what is shown. Raises `Unavailable`."""
        [item] = self._items.lookup([item_name(self._space, key)])
        if item is None:
            return Absent()
        return Unchanged() if item.generation == known else Record(item.data, item.generation)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        """Replace `key` if its generation is `base` (None: create it).

        Raises:
            Unavailable, RateLimited, TooLarge: definitely not applied.
        """
        name = item_name(self._space, key)
        if len(data) > VALUE_BYTES_MAX:
            raise TooLarge(f"register {key!r} would have {len(data)} bytes, Fastly KV takes {VALUE_BYTES_MAX}")
        if base is not None and not _GENERATION.fullmatch(base):
            return Mismatch()  # nothing here ever had it
        [outcome] = self._items.insert([Insert(name, bytes(data), base, self._random_bytes(8).hex())])
        if isinstance(outcome, VirkeError):
            raise outcome
        return outcome

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        """Never done here (rule 3). Raises `Denied`."""
        raise Denied(
            f"{key!r} can't be removed at the edge: its store deletes without a condition there",
            hint="use the CLI or a node with the same KV store",
        )

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that start with `prefix`, sorted. Raises `Unavailable`."""
        names = [name for page in self._items.names(self._space + prefix) for name in page]
        return iter(sorted(name.removeprefix(self._space) for name in names))


class EdgeBlobs:
    """Objects of the kv tier (B1–B10): one item for each."""

    def __init__(self, items: Items, space: str, *, part_bytes_max: int, now_ms: Callable[[], int]) -> None:
        self._items = items
        self._space = space
        self._part_bytes_max = part_bytes_max
        self._now_ms = now_ms

    @property
    def consistency(self) -> Consistency:
        """Eventual: an object may be absent for a while after its put was answered."""
        return Consistency.EVENTUAL

    @property
    def has_ranges(self) -> bool:
        """False: there are whole values only."""
        return False

    @property
    def part_bytes_max(self) -> int:
        """Largest object that `put_new` takes, in bytes."""
        return self._part_bytes_max

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        """Write one object. Raises `Unavailable` (definitely not applied), `Exists`, `TooLarge`, `Invalid`."""
        return self.put_all([(key, data)])

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        """Write many objects side by side. Raises as `put_new`; then some may be there."""
        items = []
        for key, data in objects:
            check_size(key, len(data), self._part_bytes_max)
            items.append(Insert(item_name(self._space, key), bytes(data), None, modified_metadata(self._now_ms())))
        outcomes = self._items.insert(items)
        for outcome in outcomes:
            if isinstance(outcome, VirkeError):
                raise outcome
        lost = next((outcome for outcome in outcomes if isinstance(outcome, Lost)), None)
        there = [item for item, outcome in zip(items, outcomes, strict=True) if isinstance(outcome, Mismatch)]
        return lost or (self._compare_items(there) if there else Stored())

    def _compare_items(self, items: Sequence[Insert]) -> PutOutcome:
        """Whether what is there already is what was to be written. Raises `Exists`: it is not."""
        try:
            found = self._items.lookup([item.name for item in items])
        except Unavailable as error:
            return Lost(f"objects exist already, but can't be compared: {error.message}")
        for item, there in zip(items, found, strict=True):
            key = item.name.removeprefix(self._space)
            if there is None:
                return Lost(f"object {key!r} exists, but is not shown yet")
            if there.data != item.data:
                raise Exists(f"object {key!r} exists with other bytes", key=key)
        return Stored()

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        """Every range in the order asked; each object is fetched once, all side by side.

        Raises:
            Unavailable: the store does not answer. Corrupt: a range reaches beyond its object. Invalid: not a key or range.
        """
        names = list(dict.fromkeys(item_name(self._space, asked.key) for asked in ranges))
        items = dict(zip(names, self._items.lookup(names), strict=True))
        return [_cut_range(items[self._space + asked.key], asked) for asked in ranges]

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; missing ones are fine. Raises `Unavailable`: repeat the call."""
        self._items.delete([item_name(self._space, key) for key in keys])

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object under `prefix`; one whose own answer is late ("absent") is left out. Raises `Unavailable`."""
        for names in self._items.names(self._space + prefix):
            for found in self._items.look(names):
                if found is not None:
                    yield Listed(found.key.removeprefix(self._space), found.size_bytes, found.modified_ms)


def _cut_range(item: Item | None, asked: Range) -> bytes | Absent:
    if item is None:
        return Absent()
    start, end = byte_bounds(asked, len(item.data))
    return item.data[start:end] if end - start < len(item.data) else item.data

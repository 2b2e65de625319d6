"""Fastly's KV store by host calls: a register, and the objects of the kv tier. Its items are those of `fastly_kv`.

Knows the host's calls and the layout that it shares with the REST client; knows no pages.

1. All lookups of a call are started before the first is awaited, at most `FLIGHT_MAX` at a time; each is awaited exactly
   once, whatever became of the others: a handle that is awaited twice, or left, traps the sandbox.
2. A swap is one conditional write and is sent once: ADD to create, the base generation to replace. Its answer carries no
   generation. 64 random bits as metadata make every write a change (R4).
3. A write that the host refuses before it was sent, or that the store says came too soon, was surely not applied; any
   other failure is `Lost`, except one that says that the condition failed.
4. Reads may be late (`EVENTUAL`). A lookup that was started early (`expect`) answers the next read of that item in the same
   request, and none that comes after this sandbox changed it, or in a later request.
5. There is no conditional delete among the host's calls, so a register is never removed here: that is for the CLI.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Never, TypeVar

from wit_world.imports import http_body, kv_store
from wit_world.imports.async_io import Pollable

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
    Swapped,
    Unchanged,
)
from virke.edge.guest.calls import Failed, body_of, reason, whole
from virke.errors import Denied, Exists, RateLimited, TooLarge, Unavailable, VirkeError
from virke.stores.base import Consistency, Listed, Range, bounds, check_size
from virke.stores.fastly_kv.layout import VALUE_BYTES_MAX, item_name, modified, modified_ms

T = TypeVar("T")
FLIGHT_MAX: Final = 64
LIST_PAGE: Final = 1000
_GENERATION: Final = re.compile(r"[0-9]{1,20}")
METADATA_CHARS: Final = 2000
_NO_CONDITION: Final = "KvError_PreconditionFailed"
_TOO_SOON: Final = "KvError_TooManyRequests"
_TOO_LARGE: Final = "KvError_PayloadTooLarge"
_BAD: Final = "KvError_BadRequest"


@dataclass(frozen=True, slots=True)
class Item:
    """What a key holds."""

    data: bytes
    generation: Generation


@dataclass(frozen=True, slots=True)
class Insert:
    """One item to write: over `base`, or where nothing is if that is None."""

    name: str
    data: bytes
    base: Generation | None
    metadata: str


class Items:
    """The items of one KV store that is linked to the service."""

    def __init__(self, name: str) -> None:
        """Raises `Unavailable`: no store of that name is linked."""
        self.name = name
        try:
            self._store = kv_store.Store.open(name)
        except Failed as error:
            raise Unavailable(
                f"the KV store {name!r} can't be opened: {reason(error)}",
                hint="link a KV store of that name to the service: `virke deploy` does",
            ) from error
        self._expected: dict[str, Pollable | Failed[object]] = {}

    # Reading

    def expect(self, names: Sequence[str]) -> None:
        """Start lookups that this request is about to need, so that they are in flight together."""
        for name in names:
            if name not in self._expected:
                self._expected[name] = self._started(name)

    def forget(self) -> None:
        """The request is over: what was started early and not asked for is of no use to the next one."""
        for name in list(self._expected):
            self._drop(name)

    def lookup(self, names: Sequence[str]) -> list[Item | None]:
        """Several items, in one round trip for each `FLIGHT_MAX`. Raises `Unavailable`, `RateLimited`."""
        return self._each(names, _item)

    def look(self, names: Sequence[str]) -> list[Listed | None]:
        """What is known of items without their bytes. Raises as `lookup`."""
        return self._each(names, _seen)

    def _each(self, names: Sequence[str], take: Callable[[str, kv_store.Entry], T]) -> list[T | None]:
        found: list[T | None] = []
        for some in _flights(names):
            early = self._expected
            started = [early.pop(name) if name in early else self._started(name) for name in some]
            failed: BaseException | None = None
            for name, handle in zip(some, started, strict=True):
                try:
                    found.append(_awaited(name, handle, take))
                except (Failed, EOFError) as error:
                    failed = failed or error
            if failed is not None:
                self._read_failed(failed)
        return found

    def _started(self, name: str) -> Pollable | Failed[object]:
        try:
            return self._store.lookup_async(name)
        except Failed as error:
            return error

    def _drop(self, name: str) -> None:
        handle = self._expected.pop(name, None)
        if handle is not None:
            try:
                _awaited(name, handle, _ignored)
            except (Failed, EOFError) as error:
                del error  # nobody asked for it

    def _read_failed(self, error: BaseException) -> Never:
        why = reason(error)
        if why == _TOO_SOON:
            raise RateLimited(f"the KV store {self.name!r} takes no more reads at this moment") from error
        raise Unavailable(f"the KV store {self.name!r} does not answer a read: {why}") from error

    # Writing

    def insert(self, items: Sequence[Insert]) -> list[SwapOutcome | VirkeError]:
        """Write several items, `FLIGHT_MAX` at a time; what became of each. An error says that one was surely not applied."""
        outcomes: list[SwapOutcome | VirkeError] = []
        for some in _flights(items):
            for item in some:
                self._drop(item.name)
            started = [self._sent(item) for item in some]
            outcomes += [self._inserted(handle) for handle in started]
        return outcomes

    def _sent(self, item: Insert) -> Pollable | Failed[object]:
        options = kv_store.InsertOptions(
            background_fetch=False,
            if_generation_match=None if item.base is None else int(item.base),
            metadata=item.metadata,
            time_to_live_sec=None,
            mode=kv_store.InsertMode.ADD if item.base is None else kv_store.InsertMode.OVERWRITE,
            extra=None,
        )
        try:
            return self._store.insert_async(item.name, body_of(item.data), options)
        except Failed as error:
            return error

    def _inserted(self, handle: Pollable | Failed[object]) -> SwapOutcome | VirkeError:
        if isinstance(handle, Failed):
            return Unavailable(f"the KV store {self.name!r} was not sent a write: {reason(handle)}")
        try:
            kv_store.await_insert(handle)
        except Failed as error:
            match reason(error):
                case why if why == _NO_CONDITION:
                    return Mismatch()
                case why if why == _TOO_SOON:
                    return RateLimited("Fastly KV takes no more writes to this key at this moment")
                case why if why == _TOO_LARGE:
                    return TooLarge("Fastly KV says that the value is too large")
                case why if why == _BAD:
                    return Unavailable(f"the KV store {self.name!r} refuses a write: {why}")
                case why:
                    return Lost(f"the KV store {self.name!r}: {why}")
        return Swapped(None)

    def delete(self, names: Sequence[str]) -> None:
        """Remove items; missing ones are fine. Raises `Unavailable`: they may be gone, repeat the call."""
        failed: Failed[object] | None = None
        for some in _flights(names):
            started: list[Pollable] = []
            for name in some:
                try:
                    started.append(self._store.delete_async(name))
                except Failed as error:
                    failed = error
            for handle in started:
                try:
                    kv_store.await_delete(handle)
                except Failed as error:
                    failed = error
        if failed is not None:
            raise Unavailable(f"the KV store {self.name!r} does not delete: {reason(failed)}; repeat it") from failed

    def names(self, prefix: str) -> Iterator[list[str]]:
        """The names that start with `prefix`, a page at a time; this list is never late. Raises `Unavailable`."""
        cursor: str | None = None
        while True:
            options = kv_store.ListOptions(
                mode=kv_store.ListMode.STRONG, cursor=cursor, limit=LIST_PAGE, prefix=prefix, extra=None
            )
            try:
                page = json.loads(whole(kv_store.await_list(self._store.list_async(options))))
                names, cursor = list(map(str, page["data"])), (page.get("meta") or {}).get("next_cursor")
            except (Failed, EOFError) as error:
                self._read_failed(error)
            except (ValueError, KeyError, TypeError) as error:
                raise Unavailable(f"the KV store {self.name!r} lists its keys in a way not known here") from error
            yield names
            if not cursor:
                return


def _flights(asked: Sequence[T]) -> Iterator[Sequence[T]]:
    """What is in flight together (rule 1)."""
    return (asked[at : at + FLIGHT_MAX] for at in range(0, len(asked), FLIGHT_MAX))


def _awaited(name: str, handle: Pollable | Failed[object], take: Callable[[str, kv_store.Entry], T]) -> T | None:
    if isinstance(handle, Failed):
        raise handle
    entry = kv_store.await_lookup(handle)
    if entry is None:
        return None
    with entry:
        return take(name, entry)


def _item(name: str, entry: kv_store.Entry) -> Item:
    del name
    generation, body = entry.generation(), entry.take_body()
    assert body is not None, "a body is taken once"
    return Item(whole(body), Generation(str(generation)))


def _seen(name: str, entry: kv_store.Entry) -> Listed:
    body = entry.take_body()
    assert body is not None, "a body is taken once"
    size = http_body.get_known_length(body) or 0
    http_body.close(body)
    return Listed(name, size, modified_ms(entry.metadata(METADATA_CHARS) or "") or 0)


def _ignored(name: str, entry: kv_store.Entry) -> None:
    del name
    body = entry.take_body()
    if body is not None:
        http_body.close(body)


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
            Unavailable, RateLimited, TooLarge: surely not applied.
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
        """Never done here (rule 5). Raises `Denied`."""
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
        """Write one object. Raises `Unavailable` (surely not applied), `Exists`, `TooLarge`, `Invalid`."""
        return self.put_all([(key, data)])

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        """Write many objects side by side. Raises as `put_new`; then some may be there."""
        items = []
        for key, data in objects:
            check_size(key, len(data), self._part_bytes_max)
            items.append(Insert(item_name(self._space, key), bytes(data), None, modified(self._now_ms())))
        outcomes = self._items.insert(items)
        for outcome in outcomes:
            if isinstance(outcome, VirkeError):
                raise outcome
        lost = next((outcome for outcome in outcomes if isinstance(outcome, Lost)), None)
        there = [item for item, outcome in zip(items, outcomes, strict=True) if isinstance(outcome, Mismatch)]
        return lost or (self._compared(there) if there else Stored())

    def _compared(self, items: Sequence[Insert]) -> PutOutcome:
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
        return [_cut(items[self._space + asked.key], asked) for asked in ranges]

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; missing ones are fine. Raises `Unavailable`: repeat the call."""
        self._items.delete([item_name(self._space, key) for key in keys])

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object under `prefix`; one whose own answer is late ("absent") is left out. Raises `Unavailable`."""
        for names in self._items.names(self._space + prefix):
            for found in self._items.look(names):
                if found is not None:
                    yield Listed(found.key.removeprefix(self._space), found.size_bytes, found.modified_ms)


def _cut(item: Item | None, asked: Range) -> bytes | Absent:
    if item is None:
        return Absent()
    start, end = bounds(asked, len(item.data))
    return item.data[start:end] if end - start < len(item.data) else item.data

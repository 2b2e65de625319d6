"""The items of one KV store, by host calls.

Knows the host's calls; knows neither registers nor objects.

1. All lookups of a call are started before the first is awaited, at most `FLIGHT_MAX` at a time; each is awaited exactly
   once, whatever became of the others: a handle that is awaited twice traps the sandbox.
2. A write that the host refuses before it was sent, or that the store says came too soon, was definitely not applied; any
   other failure is `Lost`, except one that says that the condition failed.
3. A lookup that was started early (`expect`) answers the next read of that item in the same request, and none that comes
   after this sandbox changed it, or in a later request.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Never, TypeVar

from wit_world.imports import http_body, kv_store
from wit_world.imports.async_io import Pollable

from virke.core.effects import (
    Generation,
    Lost,
    Mismatch,
    SwapOutcome,
    Swapped,
)
from virke.edge.guest.calls import Failed, body_of, reason_of, whole_body
from virke.errors import RateLimited, TooLarge, Unavailable, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.stores.base import Listed
from virke.stores.fastly_kv.layout import modified_ms

T = TypeVar("T")
FLIGHT_MAX: Final = 64
LIST_PAGE: Final = 1000
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
                f"the KV store {name!r} can't be opened: {reason_of(error)}",
                hint="link a KV store of that name to the service: `virke deploy` does",
            ) from error
        self.writes = 0
        """How many were sent since it was set to 0."""
        self._expected: dict[str, Pollable | Failed[object]] = {}

    # Reading

    def expect(self, names: Sequence[str]) -> None:
        """Start lookups that this request is about to need, so that they are in flight together."""
        for name in names:
            if name not in self._expected:
                self._expected[name] = self._started_lookup(name)

    def forget(self) -> None:
        """The request is over: what was started early and not asked for is of no use to the next one."""
        for name in list(self._expected):
            self._drop_expected(name)

    def lookup(self, names: Sequence[str]) -> list[Item | None]:
        """Several items, in one round trip for each `FLIGHT_MAX`. Raises `Unavailable`, `RateLimited`."""
        return self._take_each(names, _item_of_entry)

    def look(self, names: Sequence[str]) -> list[Listed | None]:
        """What is known of items without their bytes. Raises as `lookup`."""
        return self._take_each(names, _listed_entry)

    def _take_each(self, names: Sequence[str], take: Callable[[str, kv_store.Entry], T]) -> list[T | None]:
        found: list[T | None] = []
        for some in _flights_of(names):
            early = self._expected
            started = [early.pop(name) if name in early else self._started_lookup(name) for name in some]
            failed: BaseException | None = None
            for name, handle in zip(some, started, strict=True):
                try:
                    found.append(_awaited_entry(name, handle, take))
                except (Failed, EOFError) as error:
                    failed = failed or error
            if failed is not None:
                self._read_failed(failed)
        return found

    def _started_lookup(self, name: str) -> Pollable | Failed[object]:
        try:
            return self._store.lookup_async(name)
        except Failed as error:
            return error

    def _drop_expected(self, name: str) -> None:
        handle = self._expected.pop(name, None)
        if handle is not None:
            try:
                _awaited_entry(name, handle, _ignore_entry)
            except (Failed, EOFError) as error:
                del error  # no caller asked for it

    def _read_failed(self, error: BaseException) -> Never:
        why = reason_of(error)
        if why == _TOO_SOON:
            raise RateLimited(f"the KV store {self.name!r} takes no more reads at this moment") from error
        raise Unavailable(f"the KV store {self.name!r} does not answer a read: {why}") from error

    # Writing

    def insert(self, items: Sequence[Insert]) -> list[SwapOutcome | VirkeError]:
        """Write several items, `FLIGHT_MAX` at a time; what became of each. An error says that one was definitely not applied."""
        outcomes: list[SwapOutcome | VirkeError] = []
        self.writes += len(items)
        for some in _flights_of(items):
            for item in some:
                self._drop_expected(item.name)
            started = [self._sent_insert(item) for item in some]
            outcomes += [self._outcome_of_insert(handle) for handle in started]
        return outcomes

    def _sent_insert(self, item: Insert) -> Pollable | Failed[object]:
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

    def _outcome_of_insert(self, handle: Pollable | Failed[object]) -> SwapOutcome | VirkeError:
        if isinstance(handle, Failed):
            return Unavailable(f"the KV store {self.name!r} was not sent a write: {reason_of(handle)}")
        try:
            kv_store.await_insert(handle)
        except Failed as error:
            match reason_of(error):
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
        for some in _flights_of(names):
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
            raise Unavailable(f"the KV store {self.name!r} does not delete: {reason_of(failed)}; repeat it") from failed

    def names(self, prefix: str) -> Iterator[list[str]]:
        """The names that start with `prefix`, a page at a time; this list is never late. Raises `Unavailable`."""
        cursor: str | None = None
        while True:
            options = kv_store.ListOptions(
                mode=kv_store.ListMode.STRONG, cursor=cursor, limit=LIST_PAGE, prefix=prefix, extra=None
            )
            try:
                page = json.loads(whole_body(kv_store.await_list(self._store.list_async(options))))
                names, cursor = list(map(str, page["data"])), (page.get("meta") or {}).get("next_cursor")
            except (Failed, EOFError) as error:
                self._read_failed(error)
            except (ValueError, KeyError, TypeError) as error:
                raise Unavailable(f"the KV store {self.name!r} lists its keys in a way not known here") from error
            yield names
            if not cursor:
                return


def _flights_of(asked: Sequence[T]) -> Iterator[Sequence[T]]:
    """What is in flight together (rule 1)."""
    return (asked[at : at + FLIGHT_MAX] for at in range(0, len(asked), FLIGHT_MAX))


def _awaited_entry(name: str, handle: Pollable | Failed[object], take: Callable[[str, kv_store.Entry], T]) -> T | None:
    if isinstance(handle, Failed):
        raise handle
    entry = kv_store.await_lookup(handle)
    if entry is None:
        return None
    with entry:
        return take(name, entry)


def _item_of_entry(name: str, entry: kv_store.Entry) -> Item:
    del name
    generation, body = entry.generation(), entry.take_body()
    assert body is not None, "a body is taken once"
    return Item(whole_body(body), Generation(str(generation)))


def _listed_entry(name: str, entry: kv_store.Entry) -> Listed:
    body = entry.take_body()
    assert body is not None, "a body is taken once"
    size = http_body.get_known_length(body) or 0
    http_body.close(body)
    return Listed(name, size, modified_ms(entry.metadata(METADATA_CHARS) or "") or 0)


def _ignore_entry(name: str, entry: kv_store.Entry) -> None:
    del name
    body = entry.take_body()
    if body is not None:
        http_body.close(body)

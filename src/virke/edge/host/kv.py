"""The interface `kv-store`: what the guest starts, and awaits once each.

An operation is applied when it is started and answered when it is awaited, not before its latency has passed.
"""

from __future__ import annotations

import json
import time
from typing import Final

from virke.edge.host.counting import Counts, Tick
from virke.edge.host.exchange import Body
from virke.edge.host.faults import Faults, FaultyItems
from virke.edge.host.items import Item, Mode, Refusal, Write
from virke.edge.host.sandbox import Sandbox
from virke.edge.host.values import Case, Err, HostFunction, Ok, Pollable, Resource, Trap
from virke.lazy_dataclasses import dataclass

LIST_LIMIT: Final = 1000


@dataclass
class KvStore(Resource):
    """An open KV store."""

    kind = "kv-store/store"
    items: FaultyItems
    faults: Faults


@dataclass
class Entry(Resource):
    """What a lookup found."""

    kind = "kv-store/entry"
    item: Item
    is_taken: bool = False


@dataclass
class Pending(Pollable):
    """What was started: its outcome, and when it may be known, by the request's clock and by the machine's."""

    outcome: object
    counts: Counts
    tick: Tick
    ready_s: float

    def awaited(self) -> object:
        """Wait, and take what came of it."""
        if (left_s := self.ready_s - time.monotonic()) > 0:
            time.sleep(left_s)
        self.counts.awaited(self.tick)
        return self.outcome

    @property
    def is_ready(self) -> bool:
        """Whether `awaited` answers at once."""
        return self.ready_s <= time.monotonic()


def kv_store(stores: dict[str, FaultyItems], faults: Faults) -> dict[str, HostFunction]:
    """The functions of the interface, over the stores that are linked."""

    def open_store(_box: Sandbox, name: str) -> Ok | Err:
        found = stores.get(name)
        return Err("not-found") if found is None else Ok(KvStore(found, faults))

    functions: dict[str, HostFunction] = {"[static]store.open": open_store}
    for name, start in (
        ("lookup", _start_lookup),
        ("insert", _start_insert),
        ("delete", _start_delete),
        ("list", _start_list),
    ):
        functions[f"[method]store.{name}"] = _at_once(start)
        functions[f"[method]store.{name}-async"] = _starting_function(start)
        functions[f"await-{name}"] = _await_pending
    functions["[method]entry.take-body"] = _take_body
    functions["[method]entry.metadata"] = _metadata_of_entry
    functions["[method]entry.generation"] = lambda _box, entry: entry.item.generation
    return functions


def _starting_function(start: HostFunction) -> HostFunction:
    return lambda *args: Ok(start(*args))


def _at_once(start: HostFunction) -> HostFunction:
    def call(*args: object) -> object:
        pending = start(*args)
        assert isinstance(pending, Pending)
        return pending.awaited()

    return call


def _await_pending(_box: Sandbox, pending: Pending) -> object:
    if not isinstance(pending, Pending):
        raise Trap("what was awaited is not an operation on a KV store")
    return pending.awaited()


def _when_done(counts: Counts, faults: Faults, latency_s: float) -> tuple[Tick, float]:
    return counts.sent(latency_s), time.monotonic() + (latency_s if faults.sleeps else 0.0)


def _start_lookup(box: Sandbox, store: KvStore, key: str) -> Pending:
    counts = box.counts
    counts.lookups += 1
    found = store.items.lookup(key)
    outcome: Ok | Err
    size = len(found.data) if isinstance(found, Item) else 0
    counts.lookup_bytes += size
    outcome = Err(Case(found.value)) if isinstance(found, Refusal) else Ok(None if found is None else Entry(found))
    return Pending(outcome, counts, *_when_done(counts, store.faults, store.faults.lookup_takes_s(size)))


def _start_insert(box: Sandbox, store: KvStore, key: str, *rest: object) -> Pending:
    body, options = rest
    assert isinstance(body, Body)
    counts, data = box.counts, body_bytes(body)
    counts.writes += 1
    counts.write_bytes += len(data)
    match options:
        case {"if-generation-match": int() | None as base, "metadata": str() | None as metadata, "mode": str(mode)}:
            refusal = store.items.insert(Write(key, data, Mode(mode), base, metadata))
        case _:
            raise Trap(f"options of an insert are not understood: {options}")
    outcome = Ok() if refusal is None else Err(Case(refusal.value))
    return Pending(outcome, counts, *_when_done(counts, store.faults, store.faults.write_takes_s(len(data))))


def _start_delete(box: Sandbox, store: KvStore, key: str) -> Pending:
    box.counts.deletes += 1
    there = store.items.delete(key)
    return Pending(Ok(there), box.counts, *_when_done(box.counts, store.faults, store.faults.write_s))


def _start_list(box: Sandbox, store: KvStore, options: dict[str, object]) -> Pending:
    box.counts.lists += 1
    limit = options["limit"] if isinstance(options["limit"], int) else LIST_LIMIT
    prefix, cursor = options["prefix"] or "", options["cursor"] or ""
    assert isinstance(prefix, str)
    assert isinstance(cursor, str)
    keys = list(store.items.keys(prefix, cursor, limit + 1))
    meta: dict[str, object] = {"limit": limit, "prefix": prefix}
    if len(keys) > limit:
        keys.pop()
        meta["next_cursor"] = keys[-1]
    body = Body(json.dumps({"data": keys, "meta": meta}).encode())
    return Pending(Ok(body), box.counts, *_when_done(box.counts, store.faults, store.faults.lookup_s))


def _take_body(_box: Sandbox, entry: Entry) -> Body | None:
    if entry.is_taken:
        return None
    entry.is_taken = True
    return Body(entry.item.data)


def _metadata_of_entry(_box: Sandbox, entry: Entry, most: int) -> Ok | Err:
    metadata = entry.item.metadata()
    if metadata is not None and len(metadata.encode()) > most:
        return Err(Case("buffer-len", len(metadata.encode())))
    return Ok(metadata)


def body_bytes(body: Body) -> bytes:
    """What the guest wrote into a body that it gives away."""
    body.close()
    return body.whole()

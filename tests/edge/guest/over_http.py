"""The guest's own store, asked from outside: a program that carries a call out inside the component, and proxies that send it there.

Calls and what they came to are pickled; every class of them is the same on both sides.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from typing import Any, Final

from virke.core.effects import Absent, Generation, PutOutcome, ReadOutcome, Record, SwapOutcome, Tier
from virke.edge.host.host import Host
from virke.stores.base import Blobs, Consistency, Listed, Range, Register, Store

GOLDEN: Final = "golden"
"""In place of a tier: what the guest reads in files of each format."""
PROGRAM: Final = """
GOLDEN = "golden"
import pickle
from virke.edge.guest.service import SERVICE
from virke.core.wire import Reader
from virke.core.root import decode_root, encode_root
from virke.core.segment import read_ref
from described import described, described_segment
import virke.core.effects, virke.errors, virke.stores.base

def app(environ, start_response):
    tier, name, arguments = pickle.loads(environ["wsgi.input"].read())
    start_response("200 OK", [("content-type", "application/octet-stream")])
    if tier == GOLDEN:
        return [pickle.dumps(("done", {"root": golden_root, "segment": golden_segment}[name](*arguments)))]
    store = SERVICE.parts.opened.store
    part = store.register if tier is None else store.blobs[tier]
    try:
        done = getattr(part, name)
        if callable(done):
            done = done(*arguments)
        said = ("done", list(done) if name in ("keys", "list") else done)
    except virke.errors.VirkeError as error:
        said = ("raised", (type(error), error.message))
    return [pickle.dumps(said)]

def golden_root(data, name):
    root = decode_root(data, name)
    return described(root), encode_root(root)

def golden_segment(encoded, parts):
    ref = read_ref(Reader(encoded, "golden"))
    return described_segment(ref, dict(zip(ref.keys, parts)))
"""


class Asked:
    """One part of the guest's store."""

    def __init__(self, host: Host, tier: Tier | str | None) -> None:
        self._host = host
        self._tier = tier

    def call(self, name: str, *arguments: object) -> Any:
        """What a call came to inside the component. Raises what it raised there."""
        body = pickle.dumps((self._tier, name, arguments))
        response = self._host.request("POST", "/", body=body)
        assert response.status == 200, response.body
        how, found = pickle.loads(response.body)
        if how == "raised":
            kind, message = found
            raise kind(message)
        return found


class GuestRegister(Asked):
    """`EdgeRegister`; what it can't do, removing, is done by the command line's register of the same place."""

    def __init__(self, host: Host, elsewhere: Register) -> None:
        super().__init__(host, None)
        self._elsewhere = elsewhere

    @property
    def consistency(self) -> Consistency:
        found: Consistency = self.call("consistency")
        return found

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        found: ReadOutcome = self.call("read", key, known)
        return found

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        found: SwapOutcome = self.call("swap", key, data, base)
        return found

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        there = self._elsewhere.read(key)
        return self._elsewhere.remove(key, there.generation if isinstance(there, Record) else base)

    def keys(self, prefix: str) -> Iterator[str]:
        return iter(self.call("keys", prefix))


class GuestBlobs(Asked):
    """`EdgeBlobs` or `EdgeObjects`; what that can't do, listing a bucket, is done by the command line's blobs of the same place."""

    def __init__(self, host: Host, tier: Tier, elsewhere: Blobs) -> None:
        super().__init__(host, tier)
        self._elsewhere = elsewhere

    @property
    def consistency(self) -> Consistency:
        found: Consistency = self.call("consistency")
        return found

    @property
    def has_ranges(self) -> bool:
        return bool(self.call("has_ranges"))

    @property
    def part_bytes_max(self) -> int:
        return int(self.call("part_bytes_max"))

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        found: PutOutcome = self.call("put_new", key, data)
        return found

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        found: PutOutcome = self.call("put_all", list(objects))
        return found

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        found: list[bytes | Absent] = self.call("get", list(ranges))
        return found

    def delete(self, keys: Sequence[str]) -> None:
        self.call("delete", list(keys))

    def list(self, prefix: str) -> Iterator[Listed]:
        return self._elsewhere.list(prefix) if self._tier is Tier.OBJECT else iter(self.call("list", prefix))


def guest_store(host: Host, elsewhere: Store) -> Store:
    """The guest's store over a host whose data are `elsewhere`."""
    blobs: dict[Tier, Blobs] = {tier: GuestBlobs(host, tier, there) for tier, there in elsewhere.blobs.items()}
    return Store("edge:virke", GuestRegister(host, elsewhere.register), blobs)

"""Fastly KV Store as a place for databases: a register and the objects of the kv tier, over its REST API.

    fastly-kv://STORE_ID[/prefix][?api=https://api.fastly.com&timeout_s=10]
    PREFIX/register/KEY   the register's values       PREFIX/blobs/KEY   the objects

Knows which request means which call; `api` decides when a request is repeated. Over REST a write is a
compare-and-swap at the vendor, but a read may be answered from a cache that is behind, usually for less than a
second, with no bound that the vendor would publish. So both parts say that they are eventual, and:

1. Each change of the register is one conditional request, and is sent once: `add` to create, the base generation to
   replace or delete. The answer carries no generation, so a swap answers `Swapped(None)`.
2. A read that is behind is older state that once was true, never something else. A swap on an old base is a
   `Mismatch`, whatever reads show, because the vendor compares where it writes.
3. R4: the vendor gives a key another 64-bit generation whenever its value *or* metadata changes. Whether writing
   equal bytes over themselves counts as a change is not written down, so every swap brings 64 random bits as metadata:
   there are no equal writes. After a deletion the next generation is new as well: those seen so far are Unix
   microseconds. None of this is a promise about numbers, which are compared for equality only.
4. A condition on a key that does not exist must fail (the vendor counts "absent" as generation 0), but nothing here
   is built on it: `swap(base=None)` is `add`, and the commit protocol reads before it believes a `Mismatch`.
5. An object is created by `add` and never again. "It exists already" is believed only after reading it back: equal
   bytes are `Stored`, others raise `Exists`, and an object that is not shown yet leaves the put `Lost`.
6. The token is in no URL, no error and no representation.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlencode, urlsplit

from virke.core.effects import (
    Absent,
    Generation,
    Lost,
    PutOutcome,
    ReadOutcome,
    Record,
    Stored,
    SwapOutcome,
    Swapped,
    Tier,
    Unchanged,
)
from virke.errors import Denied, Exists, Invalid, TooLarge, Unavailable, UsageError
from virke.lazy_dataclasses import dataclass
from virke.stores.base import KEY_BYTES_MAX, Consistency, Listed, Range, Store, byte_bounds, check_size
from virke.stores.fastly_kv.api import FastlyApi
from virke.stores.fastly_kv.http import HttpClient
from virke.stores.fastly_kv.layout import (
    BLOBS,
    NAME_BYTES_MAX,
    PART_BYTES_MAX,
    REGISTER,
    VALUE_BYTES_MAX,
    item_name,
    modified_metadata,
)
from virke.stores.parallel import at_once
from virke.stores.url import address_of_server, parse_url, prefix_of, seconds_of

FASTLY_SCHEME: Final = "fastly-kv"
API: Final = "https://api.fastly.com"
TOKEN_VARIABLE: Final = "FASTLY_API_TOKEN"
TIMEOUT_S: Final = 10.0
TIMEOUT_S_MOST: Final = 600.0
_STORE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN: Final = re.compile(r"[!-~]+")
_FORM: Final = "fastly-kv://STORE_ID[/prefix][?api=https://…&timeout_s=10]"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class FastlyRegister:
    """The register (R1–R11): one item for each key."""

    def __init__(self, api: FastlyApi, space: str) -> None:
        self._api = api
        self._space = space

    @property
    def consistency(self) -> Consistency:
        """Eventual: a read may show an earlier value, or none, for a while after a swap."""
        return Consistency.EVENTUAL

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        """The record of `key`, or `Unchanged` while `known` is what is shown. Raises `Unavailable`, `Denied`."""
        item = self._api.get(item_name(self._space, key))
        if item is None:
            return Absent()
        if item.generation is None:
            raise Unavailable(f"Fastly KV gave no generation of {key!r}; is this its API?", is_answer=True)
        return Unchanged() if item.generation == known else Record(item.data, item.generation)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        """Replace `key` if its generation is `base` (None: create it).

        Raises:
            Unavailable: the server refuses for now, or can't be reached; definitely not applied.
            Denied: the token is not accepted. NotFound: the KV store does not exist. TooLarge: more than 25 MB.
        """
        name = item_name(self._space, key)
        if len(data) > VALUE_BYTES_MAX:
            raise TooLarge(f"register {key!r} would have {len(data)} bytes, Fastly KV takes {VALUE_BYTES_MAX}")
        return self._api.put(name, bytes(data), base, secrets.token_hex(8))

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        """Delete `key` if its generation is `base`. Raises as `swap` does."""
        return self._api.delete(item_name(self._space, key), base)

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that start with `prefix`, sorted; this list is never behind. Raises `Unavailable`, `Denied`."""
        names = [name for page in self._api.keys(self._space + prefix) for name in page]
        return iter(sorted(name.removeprefix(self._space) for name in names))


class FastlyBlobs:
    """Objects of the kv tier (B1–B10): one item for each."""

    def __init__(self, api: FastlyApi, space: str, *, part_bytes_max: int, clock_ms: Callable[[], int]) -> None:
        self._api = api
        self._space = space
        self._part_bytes_max = part_bytes_max
        self._clock_ms = clock_ms

    @property
    def consistency(self) -> Consistency:
        """Eventual: an object may be absent for a while after its put was answered."""
        return Consistency.EVENTUAL

    @property
    def has_ranges(self) -> bool:
        """False: the API has whole values only."""
        return False

    @property
    def part_bytes_max(self) -> int:
        """Largest object that `put_new` takes, in bytes."""
        return self._part_bytes_max

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        """Write one object.

        Raises:
            Unavailable, Denied, NotFound: see `FastlyRegister.swap`; definitely not applied.
            Exists, TooLarge, Invalid: see B2, B8, B7.
        """
        name = item_name(self._space, key)
        check_size(key, len(data), self._part_bytes_max)
        match self._api.put(name, bytes(data), None, modified_metadata(self._clock_ms())):
            case Swapped():
                return Stored()
            case Lost() as lost:
                return lost
        try:
            there = self._api.get(name)
        except Unavailable as error:
            return Lost(f"object {key!r} exists, but can't be compared: {error.message}")
        if there is None:
            return Lost(f"object {key!r} exists, but is not shown yet")
        if there.data != data:
            raise Exists(f"object {key!r} exists with other bytes", key=key)
        return Stored()

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        """Write many objects side by side. Raises as `put_new`; then some may be there."""
        outcomes = at_once([partial(self.put_new, key, data) for key, data in objects])
        return next((outcome for outcome in outcomes if isinstance(outcome, Lost)), Stored())

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        """Every range in the order asked; each object is fetched once, all side by side.

        Raises:
            Unavailable, Denied: the server does not answer, or refuses.
            Corrupt: a range reaches beyond its object. Invalid: a key or range can't be one.
        """
        places: dict[str, list[int]] = {}
        for n, asked in enumerate(ranges):
            places.setdefault(asked.key, []).append(n)
        parts = at_once([partial(self._cut_ranges, key, [ranges[n] for n in mine]) for key, mine in places.items()])
        answers: dict[int, bytes | Absent] = {}
        for mine, cut in zip(places.values(), parts, strict=True):
            answers.update(zip(mine, cut, strict=True))
        return [answers[n] for n in range(len(ranges))]

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects side by side; missing ones are fine.

        Raises:
            Unavailable: they may be gone, repeat the call. Denied: the token is not accepted.
        """
        names = [item_name(self._space, key) for key in keys]
        for outcome in at_once([partial(self._api.delete, name) for name in names]):
            if isinstance(outcome, Lost):
                raise Unavailable(f"{outcome.reason}; repeat the delete", retry_after_s=outcome.retry_after_s)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object under `prefix`: the keys are never behind, sizes and times are asked for side by side.

        An object whose own answer is behind ("absent") is left out, as is one that was deleted meanwhile.

        Raises:
            Unavailable, Denied, NotFound: the server does not answer, or refuses.
        """
        for names in self._api.keys(self._space + prefix):
            seen = at_once([partial(self._api.look, name) for name in names])
            for name, found in zip(names, seen, strict=True):
                if found is not None:
                    when_ms = self._clock_ms() if found.modified_ms is None else found.modified_ms
                    yield Listed(name.removeprefix(self._space), found.size_bytes, when_ms)

    def _cut_ranges(self, key: str, ranges: Sequence[Range]) -> Sequence[bytes | Absent]:
        item = self._api.get(item_name(self._space, key))
        if item is None:
            return [Absent() for _ in ranges]
        places = [byte_bounds(asked, len(item.data)) for asked in ranges]
        return [item.data[start:end] for start, end in places]


@dataclass(frozen=True, slots=True)
class _Place:
    """What a store URL says."""

    store_id: str
    prefix: str
    api: str
    timeout_s: float

    @property
    def url(self) -> str:
        """The same place as a URL: the API only if it is another, and nothing that is not about the place."""
        place = "/".join(filter(None, [self.store_id, self.prefix]))
        return f"{FASTLY_SCHEME}://{place}" + ("" if self.api == API else f"?{urlencode({'api': self.api})}")


def fastly_kv_store(
    url: str,
    *,
    token: str | None = None,
    part_bytes_max: int = PART_BYTES_MAX,
    clock_ms: Callable[[], int] = _now_ms,
) -> Store:
    """The store that `url` names, for the bearer of `token` (or of `FASTLY_API_TOKEN`). Asks the server nothing yet.

    `part_bytes_max` is the largest object.

    Raises:
        Denied: there is no token. UsageError: the URL is not understood. Invalid: `part_bytes_max` is not 1 to 25 MB.
    """
    place = _parsed_url(url)
    if not 1 <= part_bytes_max <= VALUE_BYTES_MAX:
        raise Invalid(f"part_bytes_max must be 1 to {VALUE_BYTES_MAX}, not {part_bytes_max}")
    bearer = token if token is not None else os.environ.get(TOKEN_VARIABLE, "")
    if not bearer:
        raise Denied(f"Fastly KV needs an API token: set {TOKEN_VARIABLE}")
    if not _TOKEN.fullmatch(bearer):
        raise Denied(f"the Fastly API token has characters that no token has; check {TOKEN_VARIABLE}")
    api = FastlyApi(HttpClient(place.api, timeout_s=place.timeout_s), place.store_id, bearer)
    space = f"{place.prefix}/" if place.prefix else ""
    blobs = FastlyBlobs(api, space + BLOBS, part_bytes_max=part_bytes_max, clock_ms=clock_ms)
    return Store(place.url, FastlyRegister(api, space + REGISTER), {Tier.KV: blobs})


def _parsed_url(url: str) -> _Place:
    parts = parse_url(url, _FORM, ("api", "timeout_s"))
    if parts.scheme != FASTLY_SCHEME or parts.has_credentials or not _STORE_ID.fullmatch(parts.place):
        raise UsageError(f"the Fastly KV URL is not understood; write {_FORM}")
    prefix = prefix_of(parts.path.strip("/"), NAME_BYTES_MAX - KEY_BYTES_MAX - len(f"/{REGISTER}"))
    try:
        item_name("", f"{prefix}/x" if prefix else "x")
    except Invalid as error:
        raise UsageError(error.message) from error
    timeout_s = seconds_of(parts.options.get("timeout_s"), TIMEOUT_S, TIMEOUT_S_MOST)
    return _Place(parts.place, prefix, _checked_api(parts.options.get("api", API)), timeout_s)


def _checked_api(text: str) -> str:
    """The address of the API, checked: the token goes there."""
    address = address_of_server("option api of a store URL", text)
    if address.startswith("http:") and not _is_loopback(urlsplit(address).hostname or ""):
        raise UsageError("option api of a store URL must be https://…, or the token could be read on its way")
    return address


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False

"""Object storage: S3 and whatever speaks it, Google Cloud Storage and Azure, through obstore.

Knows keys and conditional requests; `url` knows what a URL means, how requests are sent and what their errors
mean `client`'s. Knows no pages.

A register's value is an object `MAGIC | kind | nonce | data`. On some stores the ETag is a hash of the bytes, so the
nonce, fresh for each send, is what makes a generation never repeat (R4). Objects can't be deleted on a condition, so
a removed register stays as a tombstone of 21 bytes (kind 1), which reads as `Absent` and is replaced by a creation.

1. A swap is one PUT with `If-None-Match: *` or `If-Match`; 412 is `Mismatch`, 409 is a race that the store called off:
   definitely not applied. No write is sent twice from here.
2. A write that was definitely not applied raises; any other that got no answer is `Lost` (`client`, invariant 2).
3. An object is created, never replaced (B2), where the store can be asked that; else its key alone, which no other
   writer has, keeps it (`create_only=False`).
4. Nothing is repeated here: the engine does that (decision 0052).
5. A copy behind `mirror` (a CDN) may serve an object; if it fails or has nothing, or was wrong (`Range.fresh`), the store is.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final, Literal

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
    Tier,
    Unchanged,
)
from virke.errors import Corrupt, Exists, Invalid, Unavailable, VirkeError
from virke.stores.base import Consistency, Listed, Range, Store, byte_bounds, check_key, check_size
from virke.stores.object.client import (
    AlreadyExistsError,
    BaseError,
    Client,
    Condition,
    NotModifiedError,
    PreconditionError,
    absent_object,
    is_called_off,
    mirror_client,
    status_of,
    store_client,
    translated_error,
    unless_sure,
)
from virke.stores.object.url import ObjectPlace
from virke.stores.parallel import at_once

OBJECT_BYTES_MAX: Final = 16 << 20
_ENVELOPE: Final = struct.Struct(">4sB16s")
assert struct.calcsize(">4sB16s") == 21
"""magic `VKR1` | kind: 0 value, 1 tombstone | 16 random bytes"""
_MAGIC: Final = b"VKR1"
_VALUE: Final = 0
_TOMBSTONE: Final = 1


def object_store(place: ObjectPlace, *, part_bytes_max: int = OBJECT_BYTES_MAX) -> Store:
    """The store at `place`: a register, and the blobs of the object tier.

    Raises:
        UsageError: the client library refuses an option, or a credential has characters that none has.
    """
    client, mirror = store_client(place), mirror_client(place)
    blobs = ObjectBlobs(client, part_bytes_max=part_bytes_max, create_only=place.create_only, mirror=mirror)
    return Store(place.url, ObjectRegister(client), {Tier.OBJECT: blobs})


class ObjectRegister:
    """A register of conditional PUTs (R1–R11)."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def consistency(self) -> Consistency:
        """Linearizable, as S3, Google Cloud Storage and Azure promise for one object; `virke doctor` tries it."""
        return Consistency.LINEARIZABLE

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        """The record of `key`, or `Unchanged` while its generation is `known`. Raises `Unavailable`, `Corrupt`."""
        etag = None if known is None else _condition_for(known).etag
        try:
            found = self._client.get(check_key(key), etag)
        except NotModifiedError:
            return Unchanged()
        except FileNotFoundError as error:
            return absent_object(error, key)
        except BaseError as error:
            raise translated_error(error, f"read {key}") from error
        generation = self._generation_of(found.etag, found.version)
        if generation is None:
            raise Unavailable(f"read {key}: the store names no ETag, so it can't compare and swap", is_answer=True)
        kind, data = _opened_data(found.data, key)
        return Absent() if kind == _TOMBSTONE else Record(data, generation)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        """Replace `key` if its generation is `base` (None: create it). Raises `Unavailable`, `Denied`, `NotFound`."""
        sealed = _sealed_data(_VALUE, data)
        outcome = self._put_sealed(check_key(key), sealed, base)
        if base is None and isinstance(outcome, Mismatch) and (tombstone := self._tombstone_generation(key)):
            return self._put_sealed(key, sealed, tombstone)
        return outcome

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        """Delete `key` if its generation is `base`: leaves a tombstone. Raises as `swap` does."""
        outcome = self._put_sealed(check_key(key), _sealed_data(_TOMBSTONE, b""), base)
        return Swapped(None) if isinstance(outcome, Swapped) else outcome

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that start with `prefix`, sorted; one read for each that may be a tombstone."""
        found = sorted((item.key, item.size_bytes) for item in _listed_objects(self._client, prefix))
        return (key for key, size in found if size > _ENVELOPE.size or not self._tombstone_generation(key))

    def _put_sealed(self, key: str, sealed: bytes, base: Generation | None) -> SwapOutcome:
        try:
            etag, version = self._client.put(key, sealed, "create" if base is None else _condition_for(base))
        except (AlreadyExistsError, PreconditionError) as error:
            if is_called_off(error):
                raise translated_error(error, f"swap {key}") from error
            return Mismatch()
        except (BaseError, FileNotFoundError) as error:
            return Lost(unless_sure(error, f"swap {key}").message)
        return Swapped(self._generation_of(etag, version))

    def _tombstone_generation(self, key: str) -> Generation | None:
        """The generation of the tombstone under `key`, if there is one."""
        try:
            found = self._client.get(key)
            kind, _ = _opened_data(found.data, key)
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise translated_error(error, f"read {key}") from error
        return self._generation_of(found.etag, found.version) if kind == _TOMBSTONE else None

    def _generation_of(self, etag: str | None, version: str | None) -> Generation | None:
        """What names this write in a condition: the ETag, on Google Cloud Storage with the object's generation."""
        if etag is None:
            return None
        return Generation(f"{etag}\t{version}" if version and self._client.has_versions else etag)


def _condition_for(generation: Generation) -> Condition:
    etag, _, version = generation.partition("\t")
    return Condition(etag, version or None)


def _sealed_data(kind: int, data: bytes) -> bytes:
    return _ENVELOPE.pack(_MAGIC, kind, secrets.token_bytes(16)) + data


def _opened_data(stored: bytes, key: str) -> tuple[int, bytes]:
    """Kind and data of a register's object. Raises `Corrupt`."""
    if len(stored) < _ENVELOPE.size or stored[:4] != _MAGIC or stored[4] not in (_VALUE, _TOMBSTONE):
        raise Corrupt(f"register {key!r}: the object under its key is not a register", key=key)
    return stored[4], stored[_ENVELOPE.size :]


class ObjectBlobs:
    """Immutable objects (B1–B10); every range is one request, all of a call at once."""

    def __init__(
        self, client: Client, *, part_bytes_max: int, create_only: bool = True, mirror: Client | None = None
    ) -> None:
        self._client = client
        self._part_bytes_max = part_bytes_max
        self._create_only = create_only
        self._mirror = mirror

    @property
    def consistency(self) -> Consistency:
        """Linearizable: see `ObjectRegister`."""
        return Consistency.LINEARIZABLE

    @property
    def has_ranges(self) -> bool:
        """Range requests."""
        return True

    @property
    def part_bytes_max(self) -> int:
        """Largest object that `put_new` takes, in bytes."""
        return self._part_bytes_max

    def put_new(self, key: str, data: bytes) -> PutOutcome:
        """Write one object. Raises `Unavailable`, `Denied`, `Exists`, `TooLarge`, `Invalid`."""
        check_size(check_key(key), len(data), self._part_bytes_max)
        try:
            mode: Literal["create", "overwrite"] = "create" if self._create_only else "overwrite"
            self._client.put(key, data, mode)
        except AlreadyExistsError as error:
            if is_called_off(error):
                raise translated_error(error, f"put {key}") from error
            return self._check_same_bytes(key, data)
        except (BaseError, FileNotFoundError) as error:
            return Lost(unless_sure(error, f"put {key}").message)
        return Stored()

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        """Write many objects at once. Raises as `put_new`; then some may be there."""
        outcomes = at_once([partial(self.put_new, key, data) for key, data in objects])
        return next((outcome for outcome in outcomes if isinstance(outcome, Lost)), Stored())

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        """Every range in the order asked. Raises `Unavailable`, `Denied`, `Corrupt`, `Invalid`."""
        for asked in ranges:
            byte_bounds(Range(check_key(asked.key), asked.offset, asked.length), 1 << 62)  # negative ones are `Invalid`
        return at_once([partial(self._get_range, asked) for asked in ranges])

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; missing ones are fine. Raises `Unavailable`: they may be gone, repeat the call."""
        wanted = [check_key(key) for key in keys]
        if not wanted:
            return
        try:
            self._client.delete(wanted)
        except FileNotFoundError as error:  # some stores stop at the first that is missing
            absent_object(error, wanted[0])
            at_once([partial(self._delete_object, key) for key in wanted])
        except BaseError as error:
            raise translated_error(error, "delete objects") from error

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object under `prefix`. Raises `Unavailable`, `Denied`."""
        return _listed_objects(self._client, prefix)

    def _delete_object(self, key: str) -> None:
        try:
            self._client.delete(key)
        except FileNotFoundError as error:
            absent_object(error, key)
        except BaseError as error:
            raise translated_error(error, f"delete {key}") from error

    def _check_same_bytes(self, key: str, data: bytes) -> PutOutcome:
        """There is an object under `key`: ours from an earlier send, or another."""
        there = self._get_range(Range(key))
        if isinstance(there, Absent):
            return Lost(f"put {key}: the store says that the key is taken, and then that it is free")
        if there != data:
            raise Exists(f"object {key!r} exists with other bytes", key=key)
        return Stored()

    def _get_range(self, asked: Range) -> bytes | Absent:
        if self._mirror is not None and not asked.fresh:
            try:
                data = _fetched_range(self._mirror, asked)
                if isinstance(data, bytes) and (asked.length is None or len(data) == asked.length):
                    return data
            except (VirkeError, BaseError, OSError):
                return _fetched_range(self._client, asked)  # invariant 5: a copy may lack or refuse what the store has
        return _fetched_range(self._client, asked)


def _fetched_range(client: Client, asked: Range) -> bytes | Absent:
    """One range of one object, exactly."""
    try:
        if asked.length and asked.length > 0:
            data = client.get_range(asked.key, asked.offset, asked.length)
        elif asked.length is None and not asked.offset:
            return client.get(asked.key).data
        else:
            return _odd_range(client, asked)
    except FileNotFoundError as error:
        return absent_object(error, asked.key)
    except BaseError as error:
        if status_of(error) == 416:
            return _odd_range(client, asked)
        raise translated_error(error, f"get {asked.key}") from error
    if len(data) != asked.length:
        byte_bounds(asked, asked.offset + len(data))  # raises: the object is shorter
        raise Corrupt(f"object {asked.key!r} gave {len(data)} bytes of {asked.length}", key=asked.key)
    return data


def _odd_range(client: Client, asked: Range) -> bytes | Absent:
    """A range that HTTP can't name (an empty one, one to the end) or that the store refused: its size decides."""
    try:
        start, end = byte_bounds(asked, client.size(asked.key))
    except FileNotFoundError as error:
        return absent_object(error, asked.key)
    except BaseError as error:
        raise translated_error(error, f"look at {asked.key}") from error
    return _fetched_range(client, Range(asked.key, start, end - start)) if end > start else b""


def _listed_objects(client: Client, prefix: str) -> Iterator[Listed]:
    """Every object whose key starts with `prefix`; the client itself lists whole folders only."""
    folder = prefix.rpartition("/")[0]
    if folder and not _is_key(folder):
        return
    try:
        for item in client.list(folder or None):
            if item["path"].startswith(prefix):
                yield Listed(item["path"], item["size"], int(item["last_modified"].timestamp() * 1000))
    except (BaseError, FileNotFoundError) as error:
        raise translated_error(error, f"list {prefix}") from error


def _is_key(text: str) -> bool:
    try:
        return bool(check_key(text))
    except Invalid:
        return False

"""Object storage: S3 and whatever speaks it, Google Cloud Storage and Azure, through obstore.

The only file that imports obstore. Knows keys, conditional requests and the vendor's errors; what a URL means is
`url`'s matter. Knows no pages.

A register's value is an object `MAGIC | kind | nonce | data`. On some stores the ETag is a hash of the bytes, so the
nonce, fresh for each send, is what makes a generation never repeat (R4). Objects can't be deleted on a condition, so
a removed register stays as a tombstone of 21 bytes (kind 1), which reads as `Absent` and is replaced by a creation.

1. A swap is one PUT with `If-None-Match: *` or `If-Match`; 412 is `Mismatch`, 409 is a race that the store called off:
   surely not applied. No write is sent twice from here: the client's own retries are off.
2. A request that no connection took, and one that was answered with 3xx, 4xx, 501 or SlowDown, was surely not applied:
   `Unavailable` (or `Denied`, `NotFound`). Anything else that is no answer is `Lost`.
3. An object is created, never replaced (B2), where the store can be asked that; else its key alone, which no other
   writer has, keeps it (`create_only=False`).
4. Where the server fails, the read of a register is repeated here; that of an object by the engine.
5. A copy behind `mirror` (a CDN) may serve an object; if it fails or has nothing, or was wrong (`Range.fresh`), the store is.
"""

from __future__ import annotations

import re
import secrets
import struct
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotModifiedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, HTTPStore, ObjectStore, S3Store

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
from virke.errors import Corrupt, Denied, Exists, Invalid, NotFound, Unavailable, UsageError, VirkeError
from virke.stores.base import Consistency, Listed, Range, Store, bounds, check_key, check_size
from virke.stores.object.url import ObjectPlace
from virke.stores.parallel import at_once

OBJECT_BYTES_MAX: Final = 16 << 20
_ENVELOPE: Final = struct.Struct(">4sB16s")
assert struct.calcsize(">4sB16s") == 21
"""magic `VKR1` | kind: 0 value, 1 tombstone | 16 random bytes"""
_MAGIC: Final = b"VKR1"
_PAUSES_S: Final = (0.02, 0.1)
_VALUE: Final = 0
_TOMBSTONE: Final = 1
_STATUS: Final = re.compile(r"status code: (\d{3})")
_NO_ANSWER: Final = re.compile(r"Error performing \w+ (\w+://[^/\s]+)\S* in \S+ - HTTP error")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_NO_BUCKET: Final = ("<Code>NoSuchBucket", "<Code>ContainerNotFound")
_METADATA_SERVICES: Final = ("/latest/api/token", "169.254.169.254", "metadata.google.internal")
"""Where the client looks for credentials when it was given none."""


def object_store(place: ObjectPlace, *, part_bytes_max: int = OBJECT_BYTES_MAX) -> Store:
    """The store at `place`: a register, and the blobs of the object tier.

    Raises:
        UsageError: the client library refuses an option.
    """
    client = _client(place)
    mirror = HTTPStore(place.cdn_url, **_transport(place, place.cdn_url)) if place.cdn_url else None
    blobs = ObjectBlobs(client, part_bytes_max=part_bytes_max, create_only=place.create_only, mirror=mirror)
    return Store(place.url, ObjectRegister(client), {Tier.OBJECT: blobs})


def _client(place: ObjectPlace) -> ObjectStore:
    options: dict[str, Any] = {**place.client}
    transport = _transport(place, options.get("endpoint", ""))
    prefix = place.prefix or None
    try:
        if place.scheme == "s3":
            return S3Store(place.bucket, prefix=prefix, **transport, **options)
        if place.scheme == "az":
            return AzureStore(place.bucket, prefix=prefix, **transport, **options)
        if "endpoint" in options:
            options["base_url"] = options.pop("endpoint")
        return GCSStore(place.bucket, prefix=prefix, **transport, **options)
    except (BaseError, ValueError) as error:
        raise UsageError(f"store {place.url!r}: {_short(error)}") from error


def _transport(place: ObjectPlace, endpoint: str) -> dict[str, Any]:
    """Invariant 1: no request is ever sent twice by the client."""
    plain = urlsplit(endpoint).scheme == "http"
    options = {"timeout": f"{round(place.timeout_s * 1000)}ms", "connect_timeout": "5s", "allow_http": plain}
    return {"client_options": options, "retry_config": {"max_retries": 0}}


class ObjectRegister:
    """A register of conditional PUTs (R1–R11)."""

    def __init__(self, client: ObjectStore) -> None:
        self._client = client
        self._has_versions = isinstance(client, GCSStore)

    @property
    def consistency(self) -> Consistency:
        """Linearizable, as S3, Google Cloud Storage and Azure promise for one object; `virke doctor` tries it."""
        return Consistency.LINEARIZABLE

    def read(self, key: str, known: Generation | None = None) -> ReadOutcome:
        """The record of `key`, or `Unchanged` while its generation is `known`. Raises `Unavailable`, `Corrupt`."""
        etag = None if known is None else _condition(known)["e_tag"]
        try:
            answer, stored = _patiently(self._client, check_key(key), {"if_none_match": etag} if etag else None)
        except NotModifiedError:
            return Unchanged()
        except FileNotFoundError as error:
            return _absent(error, key)
        except BaseError as error:
            raise _translated(error, f"read {key}") from error
        generation = self._generation(answer.meta["e_tag"], answer.meta["version"])
        if generation is None:
            raise Unavailable(f"read {key}: the store names no ETag, so it can't compare and swap")
        kind, data = _opened(stored, key)
        return Absent() if kind == _TOMBSTONE else Record(data, generation)

    def swap(self, key: str, data: bytes, base: Generation | None) -> SwapOutcome:
        """Replace `key` if its generation is `base` (None: create it). Raises `Unavailable`, `Denied`, `NotFound`."""
        sealed = _sealed(_VALUE, data)
        outcome = self._put(check_key(key), sealed, base)
        if base is None and isinstance(outcome, Mismatch) and (tombstone := self._tombstone(key)):
            return self._put(key, sealed, tombstone)
        return outcome

    def remove(self, key: str, base: Generation) -> SwapOutcome:
        """Delete `key` if its generation is `base`: leaves a tombstone. Raises as `swap` does."""
        outcome = self._put(check_key(key), _sealed(_TOMBSTONE, b""), base)
        return Swapped(None) if isinstance(outcome, Swapped) else outcome

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that start with `prefix`, sorted; one read for each that may be a tombstone."""
        found = sorted((item.key, item.size_bytes) for item in _listed(self._client, prefix))
        return (key for key, size in found if size > _ENVELOPE.size or not self._tombstone(key))

    def _put(self, key: str, sealed: bytes, base: Generation | None) -> SwapOutcome:
        try:
            done = obstore.put(self._client, key, sealed, mode="create" if base is None else _condition(base))
        except (AlreadyExistsError, PreconditionError) as error:
            if _is_called_off(error):
                raise _translated(error, f"swap {key}") from error
            return Mismatch()
        except (BaseError, FileNotFoundError) as error:
            return Lost(_unless_sure(error, f"swap {key}").message)
        return Swapped(self._generation(done["e_tag"], done["version"]))

    def _tombstone(self, key: str) -> Generation | None:
        """The generation of the tombstone under `key`, if there is one."""
        try:
            answer = obstore.get(self._client, key)
            kind, _ = _opened(bytes(answer.bytes()), key)
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise _translated(error, f"read {key}") from error
        return self._generation(answer.meta["e_tag"], answer.meta["version"]) if kind == _TOMBSTONE else None

    def _generation(self, etag: str | None, version: str | None) -> Generation | None:
        """What names this write in a condition: the ETag, on Google Cloud Storage with the object's generation."""
        if etag is None:
            return None
        return Generation(f"{etag}\t{version}" if version and self._has_versions else etag)


def _patiently(client: ObjectStore, key: str, options: obstore.GetOptions | None) -> tuple[obstore.GetResult, bytes]:
    """Read one object; a server that answers 5xx is asked again, twice."""
    for pause_s in _PAUSES_S:
        try:
            answer = obstore.get(client, key, options=options)
            return answer, bytes(answer.bytes())
        except BaseError as error:
            if _status(error) < 500:
                raise
            time.sleep(pause_s)
    answer = obstore.get(client, key, options=options)
    return answer, bytes(answer.bytes())


def _condition(generation: Generation) -> obstore.UpdateVersion:
    etag, _, version = generation.partition("\t")
    return {"e_tag": etag, "version": version} if version else {"e_tag": etag}


def _sealed(kind: int, data: bytes) -> bytes:
    return _ENVELOPE.pack(_MAGIC, kind, secrets.token_bytes(16)) + data


def _opened(stored: bytes, key: str) -> tuple[int, bytes]:
    """Kind and data of a register's object. Raises `Corrupt`."""
    if len(stored) < _ENVELOPE.size or stored[:4] != _MAGIC or stored[4] not in (_VALUE, _TOMBSTONE):
        raise Corrupt(f"register {key!r}: the object under its key is no register's", key=key)
    return stored[4], stored[_ENVELOPE.size :]


class ObjectBlobs:
    """Immutable objects (B1–B10); every range is one request, all of a call at once."""

    def __init__(
        self, client: ObjectStore, *, part_bytes_max: int, create_only: bool = True, mirror: HTTPStore | None = None
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
            obstore.put(self._client, key, data, mode=mode, use_multipart=False)
        except AlreadyExistsError as error:
            if _is_called_off(error):
                raise _translated(error, f"put {key}") from error
            return self._same(key, data)
        except (BaseError, FileNotFoundError) as error:
            return Lost(_unless_sure(error, f"put {key}").message)
        return Stored()

    def put_all(self, objects: Sequence[tuple[str, bytes]]) -> PutOutcome:
        """Write many objects at once. Raises as `put_new`; then some may be there."""
        outcomes = at_once([partial(self.put_new, key, data) for key, data in objects])
        return next((outcome for outcome in outcomes if isinstance(outcome, Lost)), Stored())

    def get(self, ranges: Sequence[Range]) -> list[bytes | Absent]:
        """Every range in the order asked. Raises `Unavailable`, `Denied`, `Corrupt`, `Invalid`."""
        for asked in ranges:
            bounds(Range(check_key(asked.key), asked.offset, asked.length), 1 << 62)  # negative ones are `Invalid`
        return at_once([partial(self._get, asked) for asked in ranges])

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; missing ones are fine. Raises `Unavailable`: they may be gone, repeat the call."""
        wanted = [check_key(key) for key in keys]
        if not wanted:
            return
        try:
            obstore.delete(self._client, wanted)
        except FileNotFoundError as error:  # some stores stop at the first that is missing
            _absent(error, wanted[0])
            at_once([partial(self._delete, key) for key in wanted])
        except BaseError as error:
            raise _translated(error, "delete objects") from error

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object under `prefix`. Raises `Unavailable`, `Denied`."""
        return _listed(self._client, prefix)

    def _delete(self, key: str) -> None:
        try:
            obstore.delete(self._client, key)
        except FileNotFoundError as error:
            _absent(error, key)
        except BaseError as error:
            raise _translated(error, f"delete {key}") from error

    def _same(self, key: str, data: bytes) -> PutOutcome:
        """There is an object under `key`: ours from an earlier send, or another."""
        there = self._get(Range(key))
        if isinstance(there, Absent):
            return Lost(f"put {key}: the store says that the key is taken, and then that it is free")
        if there != data:
            raise Exists(f"object {key!r} exists with other bytes", key=key)
        return Stored()

    def _get(self, asked: Range) -> bytes | Absent:
        if self._mirror is not None and not asked.fresh:
            try:
                data = _fetched(self._mirror, asked)
                if isinstance(data, bytes) and (asked.length is None or len(data) == asked.length):
                    return data
            except (VirkeError, BaseError, OSError):
                return _fetched(self._client, asked)  # invariant 5: a copy may lack or refuse what the store has
        return _fetched(self._client, asked)


def _fetched(client: ObjectStore, asked: Range) -> bytes | Absent:
    """One range of one object, exactly."""
    try:
        if asked.length and asked.length > 0:
            data = bytes(obstore.get_range(client, asked.key, start=asked.offset, length=asked.length))
        elif asked.length is None and not asked.offset:
            return bytes(obstore.get(client, asked.key).bytes())
        else:
            return _odd_range(client, asked)
    except FileNotFoundError as error:
        return _absent(error, asked.key)
    except BaseError as error:
        if _status(error) == 416:
            return _odd_range(client, asked)
        raise _translated(error, f"get {asked.key}") from error
    if len(data) != asked.length:
        bounds(asked, asked.offset + len(data))  # raises: the object is shorter
        raise Corrupt(f"object {asked.key!r} gave {len(data)} bytes of {asked.length}", key=asked.key)
    return data


def _odd_range(client: ObjectStore, asked: Range) -> bytes | Absent:
    """A range that HTTP can't name (an empty one, one to the end) or that the store refused: its size decides."""
    try:
        start, end = bounds(asked, obstore.head(client, asked.key)["size"])
    except FileNotFoundError as error:
        return _absent(error, asked.key)
    except BaseError as error:
        raise _translated(error, f"look at {asked.key}") from error
    return _fetched(client, Range(asked.key, start, end - start)) if end > start else b""


def _listed(client: ObjectStore, prefix: str) -> Iterator[Listed]:
    """Every object whose key starts with `prefix`; the client itself lists whole folders only."""
    folder = prefix.rpartition("/")[0]
    if folder and not _is_key(folder):
        return
    try:
        for batch in obstore.list(client, folder or None):
            for item in batch:
                if item["path"].startswith(prefix):
                    yield Listed(item["path"], item["size"], int(item["last_modified"].timestamp() * 1000))
    except (BaseError, FileNotFoundError) as error:
        raise _translated(error, f"list {prefix}") from error


def _is_key(text: str) -> bool:
    try:
        return bool(check_key(text))
    except Invalid:
        return False


# The vendor's errors


def _status(error: Exception) -> int:
    """The HTTP status that an error tells of; 0 for none."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else 0


def _absent(error: FileNotFoundError, key: str) -> Absent:
    """What a 404 says. Raises `NotFound` if it is the bucket that is missing."""
    if any(code in str(error) for code in _NO_BUCKET):
        raise NotFound(f"the bucket does not exist; create it first ({_short(error)})", key=key) from error
    return Absent()


def _unless_sure(error: Exception, what: str) -> VirkeError:
    """The translated error, to be told as `Lost`; raises it if the request was surely not applied (invariant 2)."""
    made = _translated(error, what)
    status = _status(error)
    is_no = 300 <= status < 500 or status == 501 or "<Code>SlowDown" in str(error)
    if not isinstance(made, Unavailable) or is_no or _never_sent(error):
        raise made from error
    return made


def _is_called_off(error: Exception) -> bool:
    """A 409: the store called the race off. Azure says so, too, where others answer 412 to a creation."""
    return _status(error) == 409 and "<Code>BlobAlreadyExists" not in str(error)


def _never_sent(error: Exception) -> bool:
    return "kind: Connect" in str(error)


def _translated(error: Exception, what: str) -> VirkeError:
    text = str(error)
    if any(place in text for place in _METADATA_SERVICES):
        return Denied(f"{what}: no credentials for the object store (for S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)")
    if isinstance(error, FileNotFoundError) or any(code in text for code in _NO_BUCKET):
        return NotFound(f"{what}: the bucket does not exist; create it first ({_short(error)})")
    message = f"{what}: {_short(error)}"
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or _status(error) in (401, 403):
        return Denied(f"the object store refused: {message}")
    return Unavailable(message)


def _short(error: Exception) -> str:
    """One line of an error: status and code if the store answered, else what the client says."""
    text = str(error)
    if status := _status(error):
        code = _CODE.search(text)
        return f"HTTP {status} {code[1]}" if code else f"HTTP {status}"
    if found := _NO_ANSWER.search(text):
        return f"{'no connection to' if _never_sent(error) else 'no answer from'} {found[1]}"
    return text.split("\n", 1)[0][:300]

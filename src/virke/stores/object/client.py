"""The client of object storage: how it is set up, what is asked of it, and what its errors mean.

The only file that imports obstore. Knows options, credentials and the vendors' errors; knows no registers and no blobs.

1. No request is ever sent twice by the client: its own retries are off.
2. A request that no connection took, and one that was answered with 3xx, 4xx, 501 or SlowDown, was definitely not applied:
   `Unavailable` (or `Denied`, `NotFound`). Anything else that is not an answer proves nothing. 429 and SlowDown say that
   requests come too fast (`RateLimited`); what the server says about when again is not in the library's errors.
3. The library panics where it can't send something (a Rust `panic!`, no `Exception` in Python). That is made an error
   like others, which proves nothing either; whatever is known to cause it is refused before.
4. Access key, secret and session token of S3 belong together: with a key of `virke.toml`, a token of the environment
   is not used.
5. An endpoint that the place names beats every variable; conditional PUT can't be switched off by one.
6. The library's threads do not survive a fork, and every request would wait for them for ever, whatever its timeout. So
   in a child of a process that has sent one, each is refused at once: nothing is sent. A child of one that has not
   sent any may, also over a client that it inherited.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError as AlreadyExistsError
from obstore.exceptions import BaseError as BaseError
from obstore.exceptions import GenericError, PermissionDeniedError, UnauthenticatedError
from obstore.exceptions import NotModifiedError as NotModifiedError
from obstore.exceptions import PreconditionError as PreconditionError
from obstore.store import AzureStore, GCSStore, HTTPStore, ObjectStore, S3Store

from virke.core.effects import Absent
from virke.errors import Denied, NotFound, RateLimited, Unavailable, UsageError, VirkeError
from virke.lazy_dataclasses import dataclass
from virke.stores.object.url import ObjectPlace, checked_option

CREDENTIALS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "s3": {
        "access_key_id": ("AWS_ACCESS_KEY_ID",),
        "secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
        "session_token": ("AWS_SESSION_TOKEN", "AWS_TOKEN"),
    },
    "gs": {},
    "az": {
        "account_key": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY"),
        "sas_key": ("AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_SAS_TOKEN"),
    },
}
"""What goes into headers of requests, and the variables that stand in for a key of `virke.toml`."""
_STATUS: Final = re.compile(r"status code: (\d{3})")
_NO_ANSWER: Final = re.compile(r"Error performing \w+ (\w+://[^/\s]+)\S* in \S+ - HTTP error")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_NO_CONNECTION: Final = re.compile(r"\bkind: Connect\b")
"""Not `ConnectionReset`: that ends a connection which may have carried the request."""
_NO_BUCKET: Final = ("<Code>NoSuchBucket", "<Code>ContainerNotFound")
_SLOW_DOWN: Final = "<Code>SlowDown"
_BARE_REDIRECT: Final = "redirect without LOCATION"
"""A 3xx that names no other place: with AWS, what a wrong region is answered with."""
_NO_ODD_ANSWER: Final = ("HTTP error", "Error performing", "gave up", "Unable to", "redential")
"""Errors without a status that are none of an answer: of connections, panics and credentials."""
_METADATA_SERVICES: Final = ("/latest/api/token", "169.254.169.254", "metadata.google.internal")
"""Where the client looks for credentials when it was given none."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole object, and what names this write of it."""

    data: bytes
    etag: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class Condition:
    """The write that an object must still be of; `version` only where the store has versions."""

    etag: str
    version: str | None

    def as_update(self) -> obstore.UpdateVersion:
        """As the library wants it."""
        return {"e_tag": self.etag, **({"version": self.version} if self.version else {})}


class Client:
    """The requests, each sent once.

    All raise `BaseError`, `FileNotFoundError` where there is no such object, or `Unavailable` after a fork (invariant 6).
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.has_versions = isinstance(store, GCSStore)

    def put(
        self, key: str, data: bytes, mode: Literal["create", "overwrite"] | Condition
    ) -> tuple[str | None, str | None]:
        """Write one object with one PUT; its ETag and version."""
        how = mode if isinstance(mode, str) else mode.as_update()
        with _sending_request():
            done = obstore.put(self._store, key, data, mode=how, use_multipart=False)
            return done["e_tag"], done["version"]

    def get(self, key: str, unless_etag: str | None = None) -> Fetched:
        """Read one object, unless its ETag is `unless_etag`: then it raises `NotModifiedError`."""
        with _sending_request():
            answer = obstore.get(self._store, key, options={"if_none_match": unless_etag} if unless_etag else None)
            return Fetched(bytes(answer.bytes()), answer.meta["e_tag"], answer.meta["version"])

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Read at most `length` bytes of one object."""
        with _sending_request():
            return bytes(obstore.get_range(self._store, key, start=start, length=length))

    def size(self, key: str) -> int:
        """The size of one object, in bytes."""
        with _sending_request():
            return obstore.head(self._store, key)["size"]

    def delete(self, keys: str | list[str]) -> None:
        """Remove objects; with a list, many in one request."""
        with _sending_request():
            obstore.delete(self._store, keys)

    def list(self, folder: str | None) -> Iterator[obstore.ObjectMeta]:
        """All objects below a folder."""
        with _sending_request():
            for batch in obstore.list(self._store, folder):
                yield from batch


_first_sender: int | None = None


@contextmanager
def _sending_request() -> Iterator[None]:
    """One request; invariants 3 and 6."""
    global _first_sender
    process = os.getpid()
    if _first_sender is None:
        _first_sender = process
    elif _first_sender != process:
        raise Unavailable(
            "object storage can't be used in a process that was forked from one which used it already; "
            "fork before the first request (open the store in the child only), or start the process with `spawn`"
        )
    with _panics_are_errors():
        yield


@contextmanager
def _panics_are_errors() -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # it can't be imported
            raise
        raise GenericError(f"the client library gave up: {error}") from error


# Setting it up


def store_client(place: ObjectPlace, environ: Mapping[str, str] = os.environ) -> Client:
    """The client of the store at `place`.

    Raises:
        UsageError: the library refuses an option, or a credential has characters that none has.
    """
    options: dict[str, Any] = {**place.client, **_credential_options(place, environ)}
    endpoint = options.pop("endpoint", None)
    options |= {"prefix": place.prefix or None, **_transport_options(place, endpoint or "")}
    with _refusals_are_usage(place):
        match place.scheme:
            case "s3":
                if endpoint:
                    options |= {"endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
                return Client(S3Store(place.bucket, conditional_put="etag", **_with_one_credential(options)))
            case "az":
                return Client(AzureStore(place.bucket, **options, **({"endpoint": endpoint} if endpoint else {})))
            case _:
                return Client(GCSStore(place.bucket, **options, **({"base_url": endpoint} if endpoint else {})))


def mirror_client(place: ObjectPlace) -> Client | None:
    """The client of the copy of `place`, if it has one. Raises `UsageError`."""
    if place.cdn_url is None:
        return None
    with _refusals_are_usage(place):
        return Client(HTTPStore(place.cdn_url, **_transport_options(place, place.cdn_url)))


@contextmanager
def _refusals_are_usage(place: ObjectPlace) -> Iterator[None]:
    try:
        with _panics_are_errors():
            yield
    except (BaseError, ValueError) as error:
        raise UsageError(f"store {place.url!r}: {_short_text(error)}") from error


def _transport_options(place: ObjectPlace, endpoint: str) -> dict[str, Any]:
    """Invariant 1, timeouts, and whether the line may be open."""
    plain = urlsplit(endpoint).scheme == "http"
    options = {"timeout": f"{round(place.timeout_s * 1000)}ms", "connect_timeout": "5s", "allow_http": plain}
    return {"client_options": options, "retry_config": {"max_retries": 0}}


def _credential_options(place: ObjectPlace, environ: Mapping[str, str]) -> dict[str, str]:
    """What `virke.toml` says, else the environment; invariant 4. Raises `UsageError`, which shows none of it."""
    found = {}
    for key, names in CREDENTIALS[place.scheme].items():
        name = next((name for name in names if environ.get(name)), None)
        if key in place.client:
            found[key] = checked_option(key, place.client[key])
        elif name and not (key == "session_token" and "access_key_id" in place.client):
            found[key] = checked_option(key, environ[name], name)
    return found


def _with_one_credential(options: dict[str, Any]) -> dict[str, Any]:
    """S3's options with the credentials as one: given one by one, the library would add a token of the environment."""
    if not {"access_key_id", "secret_access_key"} <= options.keys():
        return options
    known = {key: options[key] for key in ("access_key_id", "secret_access_key")}
    known |= {"token": options.get("session_token"), "expires_at": None}
    others = {key: value for key, value in options.items() if key not in CREDENTIALS["s3"]}
    return {**others, "credential_provider": lambda: known}


# The vendors' errors


def status_of(error: Exception) -> int:
    """The HTTP status that an error carries; 0 for none."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else 0


def absent_object(error: FileNotFoundError, key: str) -> Absent:
    """What a 404 says. Raises `NotFound` if it is the bucket that is missing."""
    if any(code in str(error) for code in _NO_BUCKET):
        raise NotFound(f"the bucket does not exist; create it first ({_short_text(error)})", key=key) from error
    return Absent()


def unless_sure(error: Exception, what: str) -> VirkeError:
    """The translated error, to be returned as `Lost`; raises it if the request was definitely not applied (invariant 2)."""
    made = translated_error(error, what)
    status = status_of(error)
    is_no = 300 <= status < 500 or status == 501 or is_too_fast(error)
    if not isinstance(made, Unavailable) or is_no or _never_sent(error):
        raise made from error
    return made


def is_too_fast(error: Exception) -> bool:
    """A 429, or a 503 with the code SlowDown: the store takes only so many requests a second, to one key or to many."""
    return status_of(error) == 429 or _SLOW_DOWN in str(error)


def is_called_off(error: Exception) -> bool:
    """A 409: the store called the race off. Azure says so, too, where others answer 412 to a creation."""
    return status_of(error) == 409 and "<Code>BlobAlreadyExists" not in str(error)


def _never_sent(error: Exception) -> bool:
    return _NO_CONNECTION.search(str(error)) is not None


def translated_error(error: Exception, what: str) -> VirkeError:
    """The error of ours that says the same of a request to do `what`."""
    text = str(error)
    if any(place in text for place in _METADATA_SERVICES):
        return Denied(f"{what}: no credentials for the object store (for S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)")
    if isinstance(error, FileNotFoundError) or any(code in text for code in _NO_BUCKET):
        return NotFound(f"{what}: the bucket does not exist; create it first ({_short_text(error)})")
    if _BARE_REDIRECT in text:
        return Denied(f"{what}: the object store refers to another place: wrong region? add region=… to the store URL")
    message = f"{what}: {_short_text(error)}"
    if is_too_fast(error):
        return RateLimited(message)
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or status_of(error) in (401, 403):
        return Denied(f"the object store refused: {message}")
    return Unavailable(message, is_answer=_is_odd_answer(error))


def _is_odd_answer(error: Exception) -> bool:
    """Whether the library got an answer, and can make nothing of it: of other bytes than were asked for, for instance."""
    return not status_of(error) and not any(words in str(error) for words in _NO_ODD_ANSWER)


def _short_text(error: Exception) -> str:
    """One line of an error: status and code if the store answered, else what the client says."""
    text = str(error)
    if status := status_of(error):
        code = _CODE.search(text)
        return f"HTTP {status} {code[1]}" if code else f"HTTP {status}"
    if found := _NO_ANSWER.search(text):
        return f"{'no connection to' if _never_sent(error) else 'no answer from'} {found[1]}"
    return text.split("\n", 1)[0][:300]

"""What the service was configured with: a Config Store and a Secret Store, both linked as `virke`.

Knows the names of the items and what they mean. Nothing of it is in the package, so that one package runs anywhere.

1. A service without either store has the defaults: a KV store `virke`, and no request is let in without a token.
2. What is written there and not understood is an error that names the item; no secret is ever shown.
"""

from __future__ import annotations

import json
from dataclasses import field
from typing import Final
from urllib.parse import urlsplit

from wit_world.imports import config_store, secret_store

from virke.edge.guest.calls import Failed, reason_of
from virke.errors import Invalid, Unavailable
from virke.lazy_dataclasses import dataclass
from virke.stores.base import check_key

STORE: Final = "virke"
ITEM_CHARS: Final = 8000
SECRET_BYTES: Final = 64 << 10
YES: Final = ("yes", "true")
PLACE_FIELDS: Final = ("backend", "host", "bucket", "region", "prefix")


@dataclass(frozen=True, slots=True)
class Objects:
    """Object storage: through which backend, and where in it; `key_id` and `secret` sign its requests."""

    backend: str
    host: str
    bucket: str
    region: str
    key_id: str = field(repr=False)
    secret: str = field(repr=False)
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Writes:
    """A node that writes are sent to, and the token for it."""

    url: str
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Configuration:
    """All of it."""

    kv: str = STORE
    db: str | None = None
    """The database of a request or a program that names none."""
    has_api: bool = False
    """Whether there are database routes although a program was built in."""
    is_open: bool = False
    """Whether a store without tokens is open to every request: for `virke dev --edge` and tests."""
    objects: Objects | None = None
    writes: Writes | None = None


def read_configuration() -> Configuration:
    """What this service has. Raises `Invalid`: an item is not understood. `Unavailable`: a store does not answer."""
    config, secrets = _Texts(), _Secrets()
    return Configuration(
        kv=config.get("kv") or STORE,
        db=config.get("db") or None,
        has_api=config.get("api") in YES,
        is_open=config.get("open") in YES,
        objects=_parsed_objects(config.get("objects"), secrets),
        writes=_parsed_writes(config.get("writes"), secrets),
    )


class _Texts:
    """The Config Store, if there is one."""

    def __init__(self) -> None:
        try:
            self._store: config_store.Store | None = config_store.Store.open(STORE)
        except Failed:
            self._store = None  # rule 1: not linked

    def get(self, name: str) -> str:
        """An item; "" if it is not there."""
        if self._store is None:
            return ""
        try:
            return self._store.get(name, ITEM_CHARS) or ""
        except Failed as error:
            raise Unavailable(f"item {name!r} of the Config Store can't be read: {reason_of(error)}") from error


class _Secrets:
    """The Secret Store, opened if something of it is needed."""

    def get(self, name: str) -> str:
        """A secret; "" if it is not there."""
        try:
            secret = secret_store.Store.open(STORE).get(name)
            return "" if secret is None else secret.plaintext(SECRET_BYTES).decode()
        except Failed as error:
            raise Unavailable(
                f"item {name!r} of the Secret Store {STORE!r} can't be read: {reason_of(error)}",
                hint="link the Secret Store to the service: `virke deploy` does",
            ) from error


def _parsed_objects(text: str, secrets: _Secrets) -> Objects | None:
    if not text:
        return None
    try:
        found = json.loads(text)
        place = {name: str(found[name]) for name in PLACE_FIELDS if name != "prefix"}
        prefix = str(found.get("prefix") or "").strip("/")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(f"item `objects` of the Config Store is JSON with {', '.join(PLACE_FIELDS)}") from error
    if prefix:
        check_key(prefix)
    return Objects(**place, prefix=prefix, key_id=secrets.get("objects_key_id"), secret=secrets.get("objects_secret"))


def _parsed_writes(url: str, secrets: _Secrets) -> Writes | None:
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise Invalid("item `writes` of the Config Store is the URL of a node: https://…")
    return Writes(url.rstrip("/"), secrets.get("writes_token") or None)

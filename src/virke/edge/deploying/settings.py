"""What a database's service is configured with: items of its Config Store, secrets, and the backends that they name.

Pure. Writes what `virke.edge.guest.configuration` reads.

1. `open` is never written, and is removed where it stands: a deployed service asks for tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from typing import Final
from urllib.parse import urlsplit

from virke.edge.deploying.services import Backend
from virke.errors import UsageError
from virke.lazy_dataclasses import dataclass

LINK: Final = "virke"
"""What the stores of a service, and the backend of an app, are called there."""
OBJECTS: Final = "objects"
WRITES: Final = "writes"
OWN_ITEMS: Final = ("kv", "db", WRITES, "api", OBJECTS, "open")
"""Items that a deployment writes or removes; others stay."""
FASTLY_REGIONS: Final = ("us-east", "us-west", "eu-central")
FASTLY_HOST: Final = "object.fastlystorage.app"


@dataclass(frozen=True, slots=True)
class Objects:
    """Object storage behind the KV store: where, and the key that its requests are signed with."""

    host: str
    port: int
    is_tls: bool
    bucket: str
    region: str
    prefix: str
    key_id: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a database's service shall know."""

    database: str
    has_api: bool = False
    """Whether it answers the database's own routes though an app is in it."""
    objects: Objects | None = None
    writes: str | None = None
    """The URL of a node that takes the writes."""
    writes_token: str | None = field(default=None, repr=False)

    def items(self) -> dict[str, str]:
        """The items of the Config Store."""
        found = {"kv": LINK, "db": self.database}
        if self.has_api:
            found["api"] = "true"
        if self.writes:
            found[WRITES] = self.writes
        if self.objects:
            place = self.objects
            named = {
                "backend": OBJECTS,
                "host": _host_and_port(place),
                "bucket": place.bucket,
                "region": place.region,
                "prefix": place.prefix,
            }
            found[OBJECTS] = json.dumps(named)
        return found

    def secrets(self) -> dict[str, str]:
        """The secrets of the Secret Store."""
        found = (
            {}
            if self.objects is None
            else {"objects_key_id": self.objects.key_id, "objects_secret": self.objects.secret}
        )
        return found | ({"writes_token": self.writes_token} if self.writes and self.writes_token else {})

    def backends(self) -> tuple[Backend, ...]:
        """The servers that it asks."""
        found = []
        if self.objects is not None:
            found.append(Backend(OBJECTS, self.objects.host, self.objects.port, self.objects.is_tls))
        if self.writes is not None:
            found.append(backend_of(WRITES, self.writes))
        return tuple(found)


def backend_of(name: str, url: str) -> Backend:
    """A backend for the server of a URL. Raises `UsageError`: it is not one."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url!r} is not the URL of a server: write https://HOST")
    is_tls = parts.scheme == "https"
    return Backend(name, parts.hostname, port or (443 if is_tls else 80), is_tls)


def objects_of(place_bucket: str, prefix: str, client: Mapping[str, str], environ: Mapping[str, str]) -> Objects:
    """Object storage, of the parts of its URL and its credentials. Raises `UsageError`: something is missing."""
    region = client.get("region", "")
    endpoint = client.get("endpoint") or _usual_endpoint(region)
    server = backend_of(OBJECTS, endpoint)
    key_id = client.get("access_key_id") or environ.get("AWS_ACCESS_KEY_ID", "")
    secret = client.get("secret_access_key") or environ.get("AWS_SECRET_ACCESS_KEY", "")
    if not key_id or not secret:
        raise UsageError(
            "object storage needs a key: `access_key_id` and `secret_access_key` in [store], or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if client.get("virtual_hosted_style_request", "").lower() == "true" or urlsplit(endpoint).path.strip("/"):
        raise UsageError(
            "the edge asks object storage by path alone: an endpoint is a host, and no virtual_hosted_style_request"
        )
    region = region or next((one for one in FASTLY_REGIONS if server.host.startswith(f"{one}.")), "us-east-1")
    return Objects(server.host, server.port, server.is_tls, place_bucket, region, prefix, key_id, secret)


def _usual_endpoint(region: str) -> str:
    """Where a bucket is whose URL names only a region: Fastly's own have other names than Amazon's."""
    if region in FASTLY_REGIONS:
        return f"https://{region}.{FASTLY_HOST}"
    return f"https://s3.{region or 'us-east-1'}.amazonaws.com"


def _host_and_port(place: Objects) -> str:
    return place.host if place.port == (443 if place.is_tls else 80) else f"{place.host}:{place.port}"

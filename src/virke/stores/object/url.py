"""The URL of an object store, taken apart: `s3://bucket/prefix?endpoint=…`, `gs://…`, `az://container/…`.

Knows names of options; opens nothing.

1. A URL holds no secret: credentials come from the vendor's environment variables or from `virke.toml`. One that has
   some is refused, because URLs are printed.
2. An option that is not known is an error that lists the known ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from virke.errors import Invalid, UsageError
from virke.stores.base import KEY_BYTES_MAX, check_key

SCHEMES: Final = ("s3", "gs", "az")
OWN_OPTIONS: Final = frozenset({"cdn_url", "create_only", "timeout_s"})
CLIENT_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "s3": frozenset(
        "endpoint region virtual_hosted_style_request skip_signature unsigned_payload disable_bulk_delete s3_express "
        "request_payer".split()
    ),
    "gs": frozenset({"endpoint", "skip_signature"}),
    "az": frozenset({"endpoint", "account_name", "use_emulator", "skip_signature"}),
}
SECRETS: Final[Mapping[str, frozenset[str]]] = {
    "s3": frozenset({"access_key_id", "secret_access_key", "session_token"}),
    "gs": frozenset({"service_account", "service_account_key"}),
    "az": frozenset({"account_key", "sas_key"}),
}
_UNTOLD: Final = frozenset({"cdn_url", "timeout_s"})
"""Options that change neither data nor what is promised of it: they are no part of the place's name."""
TIMEOUT_S: Final = 30.0
PREFIX_BYTES_MAX: Final = 1024 - 1 - KEY_BYTES_MAX
_NO_CONDITIONS: Final = ".object.fastlystorage.app"
"""Hosts that document no conditional PUT; what lies there is immutable, its root elsewhere."""


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """Where in which store; `client` are options of the client library, secrets among them."""

    url: str
    scheme: str
    bucket: str
    prefix: str
    client: Mapping[str, str]
    cdn_url: str | None = None
    create_only: bool = True
    timeout_s: float = TIMEOUT_S


def object_place(
    url: str, secrets: Mapping[str, str] | None = None, own: Mapping[str, str] | None = None
) -> ObjectPlace:
    """Take a URL apart; `secrets` are the credentials of `virke.toml`, `own` its other options, by their names.

    The `url` of what is returned names the place: without options that change no data, such as a timeout.

    Raises:
        UsageError: the URL has no bucket, a secret, an unknown option or a value that can't be.
    """
    parts = urlsplit(url)
    scheme, bucket, prefix = parts.scheme, parts.netloc, parts.path.strip("/")
    if "@" in bucket:
        raise UsageError(f"a store URL holds no credentials: set them in the environment or in virke.toml ({scheme})")
    if not bucket:
        raise UsageError(f"a {scheme} store needs a bucket; write {scheme}://BUCKET/PREFIX")
    _check_prefix(prefix)
    options = _options(scheme, parts.query)
    own, secrets = dict(own or {}), secrets or {}
    endpoint = urlsplit(options.get("endpoint", ""))
    if "@" in endpoint.netloc:
        raise UsageError(f"an endpoint holds no credentials: set them in the environment or in virke.toml ({scheme})")
    host = endpoint.hostname or ""
    create_only = options.pop("create_only", "off" if host.endswith(_NO_CONDITIONS) else "on")
    if create_only not in ("on", "off"):
        raise UsageError(f"create_only must be on or off, not {create_only!r}")
    told = "&".join(pair for pair in parts.query.split("&") if pair.split("=")[0] not in _UNTOLD)
    return ObjectPlace(
        url=urlunsplit((scheme, bucket, parts.path, told, "")),
        scheme=scheme,
        bucket=bucket,
        prefix=prefix,
        cdn_url=options.pop("cdn_url", own.get("cdn_url")),
        create_only=create_only == "on",
        timeout_s=_seconds(options.pop("timeout_s", str(TIMEOUT_S))),
        client={**options, **{key: value for key, value in secrets.items() if key in SECRETS[scheme]}},
    )


def _options(scheme: str, query: str) -> dict[str, str]:
    known = OWN_OPTIONS | CLIENT_OPTIONS[scheme]
    found: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key in SECRETS[scheme]:
            raise UsageError(f"{key!r} does not belong in a store URL: set it in the environment or in virke.toml")
        if key not in known:
            raise UsageError(f"unknown option {key!r} of a {scheme}:// store; known: {', '.join(sorted(known))}")
        if key in found or not value:
            raise UsageError(f"option {key!r} of a {scheme}:// store is " + ("given twice" if value else "empty"))
        found[key] = value
    return found


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 3600:
        raise UsageError(f"timeout_s must be seconds from 0 to 3600, not {text!r}")
    return value


def _check_prefix(prefix: str) -> None:
    try:
        if prefix:
            check_key(prefix)
    except Invalid as error:
        raise UsageError(f"the prefix {prefix!r} of a store is like a key: {error.message}") from error
    if len(prefix) > PREFIX_BYTES_MAX:
        raise UsageError(f"the prefix of a store has at most {PREFIX_BYTES_MAX} characters")

"""The URL of an object store, taken apart: `s3://bucket/prefix?endpoint=…`, `gs://…`, `az://container/…`.

Knows names of options, and the vendor's variables that stand in for them; opens nothing.

1. A URL holds no secret: credentials come from the vendor's environment variables or from `virke.toml`. One that has
   some is refused, because URLs are printed.
2. An option that is not known is an error that lists the known ones. So is a value that the client could not send:
   it ends the thread that it works in (a Rust panic) instead of refusing it. No message shows such a value.
3. However a place is written, its `url` is one. `name` is the place alone, not how it is asked: what is kept next to a
   database (a journal of deferred writes) is found again when an option like `region` changes.
4. A variable of the environment that decides which server is asked is part of the place, like the option.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

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
VARIABLES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "s3": {
        "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
        "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
        "virtual_hosted_style_request": ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST",),
    },
    "gs": {"endpoint": ("GOOGLE_BASE_URL",)},
    "az": {
        "endpoint": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
        "account_name": ("AZURE_STORAGE_ACCOUNT_NAME",),
        "use_emulator": ("AZURE_STORAGE_USE_EMULATOR",),
    },
}
"""What the client reads from the environment where the URL has not the option; the first that is set counts."""
_WHERE: Final = frozenset({"endpoint", "virtual_hosted_style_request", "account_name", "use_emulator"})
"""Options that say which server is asked, and for what; with bucket and prefix they name the place."""
_UNTOLD: Final = frozenset({"cdn_url", "timeout_s"})
"""Options that change neither data nor what is promised of it: they are no part of the place's URL."""
_ADDRESSES: Final = frozenset({"endpoint", "cdn_url"})
_ADDRESS: Final = re.compile(r"(https?://)(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?((?:/[^?# ]*)?)", re.IGNORECASE)
_BUCKET: Final = re.compile(r"[A-Za-z0-9._$-]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SENDABLE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")
TIMEOUT_S: Final = 30.0
PREFIX_BYTES_MAX: Final = 1024 - 1 - KEY_BYTES_MAX
_NO_CONDITIONS: Final = ".object.fastlystorage.app"
"""Hosts that document no conditional PUT; what is stored there is immutable, its root elsewhere."""


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """Where in which store; `client` are options of the client library, secrets among them."""

    url: str
    name: str
    scheme: str
    bucket: str
    prefix: str
    client: Mapping[str, str] = field(repr=False)
    cdn_url: str | None = None
    create_only: bool = True
    timeout_s: float = TIMEOUT_S


def object_place(
    url: str,
    secrets: Mapping[str, str] | None = None,
    own: Mapping[str, str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> ObjectPlace:
    """Take a URL apart; `secrets` are the credentials of `virke.toml`, `own` its other options, by their names.

    Raises:
        UsageError: the URL has no bucket, a secret, an unknown option or a value that can't be; or a variable has.
    """
    parts = _parts(url)
    scheme, prefix = parts.scheme, parts.path.strip("/")
    _check_prefix(prefix)
    given = _options(scheme, parts.query)
    options = {**_defaults(scheme, environ, given), **given}
    told = {key: value for key, value in options.items() if key in _WHERE or (key in given and key not in _UNTOLD)}
    endpoint = urlsplit(options.get("endpoint", ""))
    is_off = (endpoint.hostname or "").endswith(_NO_CONDITIONS)
    create_only = options.pop("create_only", "off" if is_off else "on")
    if create_only not in ("on", "off"):
        raise UsageError(f"create_only must be on or off, not {create_only!r}")
    cdn_url = options.pop("cdn_url", None)
    if cdn_url is None and own and "cdn_url" in own:
        cdn_url = checked("cdn_url", own["cdn_url"])
    return ObjectPlace(
        url=_written(parts, told),
        name=_written(parts, {key: value for key, value in told.items() if key in _WHERE}),
        scheme=scheme,
        bucket=parts.netloc,
        prefix=prefix,
        cdn_url=cdn_url,
        create_only=create_only == "on",
        timeout_s=_seconds(options.pop("timeout_s", str(TIMEOUT_S))),
        client={**options, **{key: value for key, value in (secrets or {}).items() if key in SECRETS[scheme]}},
    )


def _parts(url: str) -> SplitResult:
    """Scheme, bucket, path and query of a URL that has nothing else."""
    if _CONTROL.search(url):
        raise UsageError("a store URL has no line end and no other control character")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError("the bucket of a store URL can't be read") from error
    scheme = parts.scheme
    if "@" in parts.netloc:
        raise UsageError(f"a store URL holds no credentials: set them in the environment or in virke.toml ({scheme})")
    if not parts.netloc:
        raise UsageError(f"a {scheme} store needs a bucket; write {scheme}://BUCKET/PREFIX")
    if not _BUCKET.fullmatch(parts.netloc):
        raise UsageError(f"a bucket has no such name; write {scheme}://BUCKET/PREFIX?endpoint=https://HOST:PORT")
    if "#" in url:
        raise UsageError("a store URL has no '#'; write %23 for one in an option")
    return parts


def _written(parts: SplitResult, options: Mapping[str, str]) -> str:
    place = "/".join(filter(None, [parts.netloc, parts.path.strip("/")]))
    query = urlencode(sorted(options.items()), safe=":/")
    return f"{parts.scheme}://{place}" + (f"?{query}" if query else "")


def _options(scheme: str, query: str) -> dict[str, str]:
    known = OWN_OPTIONS | CLIENT_OPTIONS[scheme]
    found: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key in SECRETS[scheme]:
            raise UsageError(f"{key!r} does not belong in a store URL: set it in the environment or in virke.toml")
        if key not in known:
            raise UsageError(f"unknown option {key!r} of a {scheme}:// store; known: {', '.join(sorted(known))}")
        if key in found:
            raise UsageError(f"option {key!r} of a {scheme}:// store is given twice")
        found[key] = checked(key, value)
    return found


def _defaults(scheme: str, environ: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """What the environment says of options that are not given."""
    found = {}
    for option, names in VARIABLES[scheme].items():
        name = next((name for name in names if name in environ), None)
        if name and option not in given:
            found[option] = checked(option, environ[name], name)
    return found


def checked(option: str, value: str, named: str | None = None) -> str:
    """The value of an option, or of what it is `named` elsewhere, if the client can send it; addresses in one form.

    Raises:
        UsageError: it is empty, is not printable ASCII, has a space at an end, or is not the address of a server.
    """
    named = named or option
    if not _SENDABLE.fullmatch(value):
        what = "has a line end, a space at an end, or a letter that is not ASCII" if value else "is empty"
        raise UsageError(f"{named} {what}; set it to what it should be, or leave it out")
    return _address(named, value) if option in _ADDRESSES else value


def _address(named: str, text: str) -> str:
    """The address of a server: scheme and host in lower case, no slash at the end."""
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise UsageError(f"{named} holds no credentials: set them in the environment or in virke.toml")
    found = _ADDRESS.fullmatch(text)
    if not found or not _is_host(found[2]) or not 0 < int((found[3] or ":1")[1:]) < 1 << 16:
        raise UsageError(f"{named} must be the address of a server: https://HOST or http://HOST:PORT, without ? and #")
    return f"{found[1].lower()}{found[2].lower()}{found[3] or ''}{found[4].rstrip('/')}"


def _is_host(text: str) -> bool:
    """Whether the client can read it: what ends like a number is an address of IPv4, or an error."""
    try:
        if text.startswith("["):
            IPv6Address(text[1:-1])
        elif text.rpartition(".")[2].isdigit():
            IPv4Address(text)
    except ValueError:
        return False
    return True


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

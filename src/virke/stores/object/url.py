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
from dataclasses import field, replace
from typing import Final
from urllib.parse import urlencode, urlsplit

from virke.config import scheme_of
from virke.errors import UsageError
from virke.lazy_dataclasses import dataclass
from virke.stores.base import KEY_BYTES_MAX
from virke.stores.url import StoreUrl, address_of_server, parse_url, prefix_of, seconds_of

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
_FORM: Final = "{}://BUCKET/PREFIX?endpoint=https://HOST:PORT"
_BUCKET: Final = re.compile(r"[A-Za-z0-9._$-]+")
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
    parts = _parsed_url(url)
    scheme, given = parts.scheme, parts.options
    options = {**_default_options(scheme, environ, given), **given}
    told = {key: value for key, value in options.items() if key in _WHERE or (key in given and key not in _UNTOLD)}
    endpoint = urlsplit(options.get("endpoint", ""))
    is_off = (endpoint.hostname or "").endswith(_NO_CONDITIONS)
    create_only = options.pop("create_only", "off" if is_off else "on")
    if create_only not in ("on", "off"):
        raise UsageError(f"create_only must be on or off, not {create_only!r}")
    cdn_url = options.pop("cdn_url", None)
    if cdn_url is None and own and "cdn_url" in own:
        cdn_url = checked_option("cdn_url", own["cdn_url"])
    return ObjectPlace(
        url=_written_url(parts, told),
        name=_written_url(parts, {key: value for key, value in told.items() if key in _WHERE}),
        scheme=scheme,
        bucket=parts.place,
        prefix=prefix_of(parts.path.strip("/"), PREFIX_BYTES_MAX),
        cdn_url=cdn_url,
        create_only=create_only == "on",
        timeout_s=seconds_of(options.pop("timeout_s", None), TIMEOUT_S),
        client={**options, **{key: value for key, value in (secrets or {}).items() if key in SECRETS[scheme]}},
    )


def _parsed_url(url: str) -> StoreUrl:
    """Scheme, bucket, prefix and options of a URL that has nothing else."""
    scheme, _ = scheme_of(url)
    parts = parse_url(url, _FORM.format(scheme), OWN_OPTIONS | CLIENT_OPTIONS[scheme], SECRETS[scheme])
    if parts.has_credentials:
        raise UsageError(f"a store URL holds no credentials: set them in the environment or in virke.toml ({scheme})")
    if not parts.place:
        raise UsageError(f"a {scheme} store needs a bucket; write {_FORM.format(scheme)}")
    if not _BUCKET.fullmatch(parts.place):
        raise UsageError(f"a bucket has no such name; write {_FORM.format(scheme)}")
    return replace(parts, options={key: checked_option(key, value) for key, value in parts.options.items()})


def _written_url(parts: StoreUrl, options: Mapping[str, str]) -> str:
    place = "/".join(filter(None, [parts.place, parts.path.strip("/")]))
    query = urlencode(sorted(options.items()), safe=":/")
    return f"{parts.scheme}://{place}" + (f"?{query}" if query else "")


def _default_options(scheme: str, environ: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """What the environment says of options that are not given."""
    found = {}
    for option, names in VARIABLES[scheme].items():
        name = next((name for name in names if name in environ), None)
        if name and option not in given:
            found[option] = checked_option(option, environ[name], name)
    return found


def checked_option(option: str, value: str, named: str | None = None) -> str:
    """The value of an option, or of what it is `named` elsewhere, if the client can send it; addresses in one form.

    Raises:
        UsageError: it is empty, is not printable ASCII, has a space at an end, or is not the address of a server.
    """
    named = named or option
    if not _SENDABLE.fullmatch(value):
        what = "has a line end, a space at an end, or a letter that is not ASCII" if value else "is empty"
        raise UsageError(f"{named} {what}; set it to what it should be, or leave it out")
    return address_of_server(named, value) if option in _ADDRESSES else value

"""The text of a store's URL, taken apart by one set of rules; what its parts mean is each store's own matter.

    SCHEME://[USER:PASSWORD@]HOST[:PORT][/PATH][?OPTION=VALUE&…]

Pure. Knows URLs and no store.

1. What is not understood is an error, never a guess, and the message says what is known.
2. No message shows who asks, the host, or the value of an option that could be a secret: a token may have been written there.
3. A secret among the options is refused: URLs are printed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import field
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from virke.errors import Invalid, UsageError
from virke.lazy_dataclasses import dataclass
from virke.stores.base import check_key

TIMEOUT_MOST_S: Final = 3600.0
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SECONDS: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")
_ADDRESS: Final = re.compile(r"(https?://)(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?((?:/[^?# ]*)?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """What a URL says. `place` is the host as it is written, with its port; `path` is as it is written, too."""

    scheme: str
    place: str
    host: str
    port: int | None
    path: str
    has_credentials: bool
    username: str | None
    password: str | None = field(repr=False)
    options: dict[str, str] = field(repr=False)


def parse_url(url: str, form: str, known: Collection[str], secrets: Collection[str] = ()) -> StoreUrl:
    """Take a URL apart; `form` shows how one is written, `known` are its options, `secrets` those that never belong in it.

    Raises:
        UsageError: a control character, a '#', a host or a port that can't be read, or an option that is unknown, a secret,
            given twice, or without a value.
    """
    if _CONTROL.search(url):
        raise UsageError("a store URL has no line end and no other control character")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # whose text shows what was written
        raise UsageError(f"the host or the port of a store URL can't be read; write {form}") from None
    if "#" in url:
        raise UsageError("a store URL has no '#'; write %23 for one in an option or a password")
    return StoreUrl(
        scheme=parts.scheme,
        place=parts.netloc.rpartition("@")[2],
        host=unquote(host or ""),
        port=port,
        path=parts.path,
        has_credentials="@" in parts.netloc,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        options=_parsed_options(parts.query, known, secrets),
    )


def _parsed_options(query: str, known: Collection[str], secrets: Collection[str]) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise UsageError("the options of a store URL are name=value, with & between them") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in secrets:
            raise UsageError(f"{name!r} does not belong in a store URL: set it in the environment or in virke.toml")
        if name not in known:
            raise UsageError(f"unknown option {name!r} of a store URL; known: {', '.join(sorted(known))}")
        if name in found:
            raise UsageError(f"option {name!r} of a store URL is given twice")
        found[name] = value
    return found


def seconds_of(text: str | None, default_s: float, most_s: float = TIMEOUT_MOST_S) -> float:
    """The value of the option `timeout_s`. Raises `UsageError`: it is not a number of seconds above 0, or above `most_s`."""
    if text is None:
        return default_s
    if not _SECONDS.fullmatch(text) or not 0 < float(text) <= most_s:
        raise UsageError(
            f"option timeout_s of a store URL is a number of seconds above 0, up to {most_s:g}, not {text!r}"
        )
    return float(text)


def prefix_of(text: str, bytes_max: int) -> str:
    """What all keys of a store begin with, may be nothing. Raises `UsageError`: no key can begin so, or it is too long."""
    try:
        if text:
            check_key(text)
    except Invalid as error:
        raise UsageError(f"the prefix {text!r} of a store is like a key: {error.message}") from error
    if len(text) > bytes_max:
        raise UsageError(f"the prefix of a store has at most {bytes_max} characters here")
    return text


def address_of_server(named: str, text: str) -> str:
    """The address of a server: scheme and host in lower case, no slash at the end. Raises `UsageError`: it is none."""
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise UsageError(f"{named} holds no credentials: set them in the environment or in virke.toml")
    found = _ADDRESS.fullmatch(text)
    if not found or not _is_host(found[2]) or not 0 < int((found[3] or ":1")[1:]) < 1 << 16:
        raise UsageError(f"{named} must be the address of a server: https://HOST or http://HOST:PORT, without ? and #")
    return f"{found[1].lower()}{found[2].lower()}{found[3] or ''}{found[4].rstrip('/')}"


def _is_host(text: str) -> bool:
    """Whether a client can read it: what ends like a number is an address of IPv4, or an error."""
    try:
        if text.startswith("["):
            IPv6Address(text[1:-1])
        elif text.rpartition(".")[2].isdigit():
            IPv4Address(text)
    except ValueError:
        return False
    return True

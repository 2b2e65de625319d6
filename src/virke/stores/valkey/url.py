"""The URL of a Valkey store: where the server is, who asks, and what is asked of it.

    valkey://[user:password@]host[:port]/[db][?option=value&…]      valkeys:// with TLS; redis:// and rediss:// are the same

Knows text only. `valkey` knows what the options do.

1. What is not understood is `UsageError`, never a guess, and the message lists what is known.
2. No message and no `str` shows a password.
3. `Address.place` depends on the place and on who asks, `Address.name` on the place alone: what is kept next to a
   database (a journal of deferred writes) is found again when a user, a password or a timeout changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Final
from urllib.parse import quote

from virke.errors import UsageError
from virke.lazy_dataclasses import dataclass
from virke.stores.base import KEY_BYTES_MAX
from virke.stores.url import parse_url, prefix_of, seconds_of

PORT_DEFAULT: Final = 6379
PREFIX_DEFAULT: Final = "virke"
TIMEOUT_DEFAULT_S: Final = 10.0
WAIT_DEFAULT_MS: Final = 1000

_TLS: Final = {"valkey": False, "valkeys": True, "redis": False, "rediss": True}
_FORM: Final = "valkey://[user:password@]host[:port]/[db][?option=value]"
_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_OPTIONS: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "prefix": (re.compile(r".+", re.DOTALL), "text that a key may begin with, such as app/test"),
    "wait_replicas": (_WHOLE, "a whole number"),
    "wait_aof": (re.compile(r"[01]"), "0 or 1"),
    "wait_ms": (re.compile(r"[1-9][0-9]{0,8}"), "a whole number of milliseconds above 0"),
}
"""What each option but `timeout_s` looks like, and how a message says so."""


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL says. `wait_replicas` and `wait_aof` are how many servers must have a write in memory, or on disk here."""

    host: str
    port: int = PORT_DEFAULT
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    prefix: str = PREFIX_DEFAULT
    timeout_s: float = TIMEOUT_DEFAULT_S
    wait_replicas: int = 0
    wait_aof: int = 0
    wait_ms: int = WAIT_DEFAULT_MS

    @property
    def server(self) -> str:
        """Host and port, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def place(self) -> str:
        """The URL without password and without the options that change no data."""
        user = quote(self.username or "", safe="")
        return self._url_for(f"{user}:***@" if self.password else f"{user}@" if user else "")

    @property
    def name(self) -> str:
        """The place alone, whoever asks."""
        return self._url_for("")

    def _url_for(self, who: str) -> str:
        prefix = "" if self.prefix == PREFIX_DEFAULT else f"?prefix={quote(self.prefix, safe='/@=')}"
        return f"{'valkeys' if self.tls else 'valkey'}://{who}{self.server}/{self.db}{prefix}"


def parse_address(url: str) -> Address:
    """What `url` says.

    Raises:
        UsageError: another scheme, no host, a port or database that is not a number, an option that is not known, given
            twice or has a wrong value, or waits that end after the timeout.
    """
    parts = parse_url(url, _FORM, {*_OPTIONS, "timeout_s"})
    if parts.scheme not in _TLS:
        raise UsageError(
            f"a store URL begins with {', '.join(f'{scheme}://' for scheme in _TLS)}, not {parts.scheme!r}"
        )
    if not parts.host or parts.port == 0:
        raise UsageError(f"a store URL names a host and no port 0: {_FORM}")
    number = parts.path.removeprefix("/")
    if number and not _WHOLE.fullmatch(number):
        raise UsageError(f"the path of a store URL is the number of a database: {_FORM}")
    options = parts.options
    for name, (form, meaning) in _OPTIONS.items():
        if name in options and not form.fullmatch(options[name]):
            raise UsageError(f"option {name} of a store URL is {meaning}, not {options[name]!r}")
    address = Address(
        host=parts.host,
        port=parts.port or PORT_DEFAULT,
        db=int(number or 0),
        username=parts.username,
        password=parts.password,
        tls=_TLS[parts.scheme],
        prefix=prefix_of(options.get("prefix", PREFIX_DEFAULT), KEY_BYTES_MAX),
        timeout_s=seconds_of(options.get("timeout_s"), TIMEOUT_DEFAULT_S),
        wait_replicas=int(options.get("wait_replicas", 0)),
        wait_aof=int(options.get("wait_aof", 0)),
        wait_ms=int(options.get("wait_ms", WAIT_DEFAULT_MS)),
    )
    waits = bool(address.wait_replicas) + address.wait_aof
    if waits * address.wait_ms >= address.timeout_s * 1000:
        raise UsageError(
            f"{waits} × wait_ms={address.wait_ms} is not below timeout_s={address.timeout_s:g}; raise timeout_s"
        )
    return address

"""Who may send a request while a store holds no token: this machine, by its own names, and nothing that a proxy or a foreign page sends.

Knows headers; knows no token and no socket.

1. A name other than the loopback's in `Host` may be a page that had its own name lead here (DNS rebinding).
2. A foreign `Origin` is a page of another site in this machine's browser.
3. What a proxy forwards does not come from this machine, whatever address it connects from.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from virke.errors import Denied

HINT: Final = "create a token: virke token create --scope admin --db '*'"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761: never anybody else's
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_local(headers: Mapping[str, str]) -> None:
    """Raise `Denied` unless a request comes from this machine, for all that its headers say."""
    host = headers.get("host", "")
    if not is_loopback(_host_of(f"//{host}")):
        raise Denied(f"without tokens this server answers to localhost only, not to {host!r}", hint=HINT)
    origin = headers.get("origin")
    if origin is not None and not is_loopback(_host_of(origin)):
        raise Denied(f"without tokens a page of {origin!r} may not ask this server", hint=HINT)
    forwarded = next((name for name in headers if name == "forwarded" or name.startswith("x-forwarded-")), None)
    if forwarded:
        raise Denied(f"without tokens this server takes no request that was forwarded ({forwarded})", hint=HINT)


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""

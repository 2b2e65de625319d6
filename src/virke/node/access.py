"""Access: for holders of tokens; while the store holds none, for this machine by its own names, and for nothing that a proxy or a foreign page sends.

Knows headers and the table of tokens; knows no socket.

1. A name other than the loopback's in `Host` may be a page that had its own name lead here (DNS rebinding).
2. A foreign `Origin` is a page of another site in this machine's browser.
3. What a proxy forwards does not come from this machine, whatever address it connects from.
4. The store is asked for its tokens in a thread, at most once in some seconds of traffic (`TokenTable`).
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from concurrent.futures import Executor
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from virke.api.messages import bearer_token
from virke.errors import Denied
from virke.scopes import Scope
from virke.tokens import Granted, TokenTable

NAMES_KEPT: Final = 1024
"""Names of hosts whose meaning is remembered: the same few come with every request."""
NAME_CHARS: Final = 300
"""A longer one does not exist: DNS has none beyond 253."""
HINT: Final = "create a token: virke token create --scope admin --db '*'"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    return len(host) <= NAME_CHARS and _is_loopback(host)


@lru_cache(NAMES_KEPT)
def _is_loopback(host: str) -> bool:
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761: never anybody else's
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Access:
    """What holds requests against the tokens of one store."""

    def __init__(self, table: TokenTable, threads: Executor) -> None:
        self._table = table
        self.needs_token_now = table.needs_token_now
        self._threads = threads

    async def enter(self, headers: Mapping[str, str], client: str | None, token: str | None = None) -> str | None:
        """The token of a request that may ask anything at all; None while none is needed.

        Raises:
            Denied: it may not. Unavailable: the store has not confirmed its tokens for too long.
        """
        await self._refresh_table()
        return self.enter_now(headers, client, token)

    def enter_now(
        self, headers: Mapping[str, str], client: str | None, token: str | None = None, *, is_local: bool = False
    ) -> str | None:
        """As `enter`, by the tokens that are known; `is_local`: `check_local` has nothing against this head."""
        if not self._table.needs_token:
            if not is_local:
                check_local(headers, client)
            return None
        token = token or bearer_token(headers)
        self.check(token, None, Scope.READ)
        return token

    async def needs_token(self) -> bool:
        """Whether the store holds tokens, so that a request needs one."""
        await self._refresh_table()
        return self._table.needs_token

    async def _refresh_table(self) -> None:
        if self._table.is_due:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._table.refresh)

    async def renew(self) -> None:
        """The tokens were changed by this server: the next request is held against the new ones. Raises `Corrupt`."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._table.renew)

    def check(self, token: str | None, database: str | None, needed: Scope) -> Granted:
        """What a token grants for a database, or for the whole store. Raises `Denied`, `Unavailable`."""
        return self._table.granted(token, database, needed, hint=HINT)


def check_local(headers: Mapping[str, str], client: str | None = None) -> None:
    """Raise `Denied` unless a request comes from this machine, for all that its headers and its address say."""
    if client is not None and not is_loopback(client):
        raise Denied("without tokens this server answers to this machine only", hint=HINT)
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
    return _parsed_host(url) if len(url) <= NAME_CHARS else ""


@lru_cache(NAMES_KEPT)
def _parsed_host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""

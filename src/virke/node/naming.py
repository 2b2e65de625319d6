"""Which database a request of Hrana's means that names none in its path.

Knows headers and the databases of a node; knows no Hrana.

1. `x-namespace` names it; else the first part of the host (`NAME.host`), if there is a database of that name; else it is
   the default one.
2. A part of a host that names no database is not asked for again in `FORGET_S`: each would cost a request to the store.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import lru_cache
from typing import Final

from virke.api.hrana.complaints import Refused
from virke.core.ids import check_name
from virke.engine.database import Database
from virke.errors import Invalid, NotFound
from virke.node.databases import Databases

FORGET_S: Final = 30.0
KNOWN_MAX: Final = 1000
HOST_CHARS: Final = 300
"""A longer one does not exist: DNS has none beyond 253."""
HINT: Final = (
    "no database is named: the URL of a libSQL client ends with /db/NAME/ (with the slash), or the server is started "
    "with --db NAME"
)


class Naming:
    """Databases of requests, by their headers."""

    def __init__(
        self,
        databases: Databases,
        threads: Executor,
        now_s: Callable[[], float],
        *,
        default: str | None,
    ) -> None:
        self._databases = databases
        self._threads = threads
        self._now_s = now_s
        self._default = default
        self._unknown: dict[str, float] = {}

    def known(self, name: str, headers: Mapping[str, str]) -> Database | None:
        """The database that a request means, if it is open and definitely that one without asking."""
        name = name or headers.get("x-namespace", "")
        if not name and (label := _label_of_host(headers.get("host", ""))) and self._may_exist(label):
            return self._databases.known(label)
        return self._databases.known(name or self._default or "")

    def always(self, name: str, headers: Mapping[str, str]) -> str | None:
        """The name of the database that every request with these headers means; None: it is not always the same."""
        name = name or headers.get("x-namespace", "")
        return None if not name and _label_of_host(headers.get("host", "")) else name or self._default or ""

    async def database(self, name: str, headers: Mapping[str, str]) -> Database:
        """The database that a request means, opened. Raises `Refused`, `NotFound`, `Unavailable`, `Invalid`."""
        if (found := self.known(name, headers)) is not None:
            return found
        name = name or headers.get("x-namespace", "")
        if not name and (label := _label_of_host(headers.get("host", ""))) and self._may_exist(label):
            try:
                return await self._open_database(label)
            except NotFound:
                self._forget_some()
                self._unknown[label] = self._now_s()
        name = name or self._default or ""
        if not name:
            raise Refused(HINT, "DATABASE_NOT_NAMED", status=404)
        return await self._open_database(name)

    async def _open_database(self, name: str) -> Database:
        found = self._databases.known(name)
        if found is not None:
            return found
        check_name(name)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._databases.database, name)

    def _may_exist(self, label: str) -> bool:
        asked_at = self._unknown.get(label)
        return asked_at is None or self._now_s() > asked_at + FORGET_S

    def _forget_some(self) -> None:
        if len(self._unknown) >= KNOWN_MAX:
            self._unknown.clear()


def _label_of_host(host: str) -> str:
    """The first part of a host that has several, if it can be a database's name."""
    return _parsed_label(host) if len(host) <= HOST_CHARS else ""


@lru_cache(KNOWN_MAX)  # the same few come with every request
def _parsed_label(host: str) -> str:
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    first, _, rest = name.partition(".")
    if not rest or name.startswith("["):
        return ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        return ""
    try:
        return check_name(first)
    except Invalid:
        return ""

"""A host with databases, and the requests that a client would send."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tests.whole_store import Cost, WholeBlobs
from virke.core.effects import Tier
from virke.edge.host.buckets import host_over
from virke.edge.host.exchange import Response
from virke.edge.host.faults import Faults
from virke.edge.host.host import Host
from virke.engine.catalog import make_database
from virke.engine.database import Database
from virke.engine.environment import Environment
from virke.scopes import Scope
from virke.stores.base import Store
from virke.stores.fastly_kv.layout import PART_BYTES_MAX
from virke.stores.memory import memory_store
from virke.tokens.keeping import create as create_token

NAME: Final = "app"
PART_BYTES: Final = min(PART_BYTES_MAX, 256 << 10)


def kv_like() -> Store:
    """A store in memory whose parts are as large as those in Fastly's KV, and move as a whole like those."""
    made = memory_store(kv_bytes_max=PART_BYTES)
    kv = WholeBlobs(made.blobs[Tier.KV], Cost(), PART_BYTES)
    return replace(made, blobs={**made.blobs, Tier.KV: kv})


@dataclass(frozen=True, slots=True)
class Said:
    """A response, read."""

    status: int
    json: dict[str, Any]
    response: Response

    @property
    def rows(self) -> list[list[Any]]:
        """The rows of a result."""
        assert self.status == 200, self.json
        rows: list[list[Any]] = self.json["rows"]
        return rows


class Edge:
    """A host over `store`, and one database of it."""

    def __init__(self, host: Host, store: Store, *, token: str | None = None) -> None:
        self.host = host
        self.store = store
        self.token = token

    @property
    def faults(self) -> Faults:
        """What goes wrong on command."""
        return self.host.faults

    def ask(self, method: str, path: str, sent: object = None, *, fresh: bool = False, **headers: str) -> Said:
        """One request, with the token."""
        every = {
            "content-type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if self.token is not None:
            every.setdefault("authorization", f"Bearer {self.token}")
        body = b"" if sent is None else json.dumps(sent).encode()
        if fresh:
            self.host.end_sandboxes()
        response = self.host.request(method, path, headers=tuple(every.items()), body=body)
        said = json.loads(response.body) if response.body[:1] in (b"{", b"[") else {"body": response.body.decode()}
        return Said(response.status, said, response)

    def query(self, sql: str, *params: object, fresh: bool = False, **headers: str) -> Said:
        """POST to `/query`."""
        return self.ask("POST", f"/db/{NAME}/query", {"sql": sql, "params": list(params)}, fresh=fresh, **headers)

    def execute(self, sql: str, *params: object, fresh: bool = False, **headers: str) -> Said:
        """POST to `/execute`."""
        return self.ask("POST", f"/db/{NAME}/execute", {"sql": sql, "params": list(params)}, fresh=fresh, **headers)

    @contextmanager
    def natively(self) -> Iterator[Database]:
        """The same database, as the command line or a node has it."""
        with Database(self.store, NAME) as database:
            yield database


@contextmanager
def edge(
    component: Path,
    store: Store | None = None,
    *,
    config: Mapping[str, str] | None = None,
    faults: Faults | None = None,
    with_token: bool = False,
    **options: Any,
) -> Iterator[Edge]:
    """A host with an empty database, or with what is in `store`. Open to everybody, unless it has a token."""
    held = store or kv_like()
    if store is None:
        make_database(held, NAME, Environment(), if_not_exists=False, page_size=4096)
    token = create_token(held, ["*"], Scope.ADMIN)[0] if with_token else None
    opened = {} if with_token else {"open": "yes"}
    options.setdefault("fuel", True)  # then the guest's clock counts instructions: its limits hold under any load
    host = host_over(held, component, config={**opened, **(config or {})}, faults=faults, **options)
    try:
        yield Edge(host, held, token=token)
        host.settle()
    finally:
        host.close()


def kv_only(store: Store) -> Store:
    """The same without an object tier."""
    return Store(store.url, store.register, {Tier.KV: store.blobs[Tier.KV]}, line=store.line)

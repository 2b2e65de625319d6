"""`python -m virke.project.edge_server JSON`: a component on a port of this machine, over a store, as `virke dev --edge` starts it.

Knows how the host is set up; knows no project. What it says first on standard error is `READY` and its URL, or why it can't.

1. The service is open: without tokens in the store it asks for none (`open`). Nothing else ever configures that.
2. What an app of JavaScript shows its database, where the store has tokens, is VIRKE_TOKEN of the environment.
3. With `port` null it compiles the component into the cache, and ends: the next one that is started has no wait.
4. The processor's time of a request is counted in instructions, so that its limits hold as at the platform, whatever else runs
   on this machine.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Final, Self

from virke.config import TOKEN_VARIABLE, StoreChoice
from virke.edge.host.buckets import host_over
from virke.edge.host.host import Host
from virke.edge.host.serving import serve_host
from virke.errors import VirkeError
from virke.lazy_dataclasses import dataclass
from virke.opening import open_store

HOST: Final = "127.0.0.1"
READY: Final = "virke serves "
REUSE: Final = 1000
"""How many requests a sandbox takes: so many that it stays warm, so few that what leaks shows."""


@dataclass(frozen=True, slots=True)
class Served:
    """What is served, and where; the text of it is the argument."""

    component: str
    store: str
    port: int | None
    config: Mapping[str, str] = field(default_factory=dict)
    backends: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """As `of` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Self:
        """What a text says."""
        return cls(**json.loads(text))


def host_of(served: Served) -> Host:
    """The host, at work. Raises as `open_store`, and as `Host`."""
    store = open_store(StoreChoice(served.store), create=True)
    config = {**served.config, "open": "yes"}
    secrets = {"token": token} if (token := os.environ.get(TOKEN_VARIABLE)) else {}
    component, backends = Path(served.component), served.backends
    return host_over(store, component, config=config, secrets=secrets, backends=backends, reuse=REUSE, fuel=True)


def main(text: str) -> None:
    """Serve until a signal comes."""
    served = Served.of(text)
    try:
        host = host_of(served)
        if served.port is None:
            host.close()
        else:
            serve_host(host, address=HOST, port=served.port, on_ready=_say_ready)
    except VirkeError as error:
        sys.exit(f"error: {error.message}")


def _say_ready(port: int) -> None:
    print(f"{READY}http://{HOST}:{port}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
